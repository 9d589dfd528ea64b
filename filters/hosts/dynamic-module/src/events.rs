//! Events of an instance: time passes, calls end, and streams that wait are woken.
//!
//! Envoy tells events to a configuration, of which an instance may have several. The first of them makes the instance's
//! calls; when it goes the next one does, and makes those again that were under way.

use crate::envoy::{self, ConfigScheduler, EnvoyConfig, Waker};
use crate::registry::Configured;
use filter_api::{Call, CallEnd, CallFailure, Event, EventCx, Leases, MetricKind, Op, Ops};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// What the events of an instance need.
#[derive(Default)]
pub(crate) struct Events {
    joined: Mutex<u64>,
    ticker: Mutex<Option<Ticker>>,
    calls: Mutex<Vec<UnderWay>>,
    /// The calls whose end nobody will tell, because their configuration is gone. That is no failure of who was called.
    lost: Mutex<Vec<Call>>,
    /// The streams that wait for the next event.
    waiting: Mutex<Vec<Waker>>,
}

/// A call under way.
struct UnderWay {
    /// The number of the configuration that made it.
    by: u64,
    /// Envoy's id of it, among those of the configuration.
    id: u64,
    call: Call,
}

impl Events {
    /// Takes a configuration in and numbers it. Time passes for it where it brings a scheduler.
    pub(crate) fn join(&self, time: Option<(ConfigScheduler, Duration)>) -> u64 {
        let number = {
            let mut joined = lock(&self.joined);
            *joined += 1;
            *joined
        };
        if let Some((scheduler, period)) = time {
            let mut ticker = lock(&self.ticker);
            if ticker.is_none() {
                *ticker = Ticker::start(period);
            }
            if let Some(ticker) = &*ticker {
                lock(&ticker.shared.0).schedulers.push((number, scheduler));
                ticker.shared.1.notify_all();
            }
        }
        number
    }

    /// A stream waits for the next event.
    pub(crate) fn wait(&self, waker: Waker) {
        lock(&self.waiting).push(waker);
    }
}

impl Configured {
    /// Envoy has no use for the configuration any more.
    pub(crate) fn leave(&self) {
        let events = &self.instance.events;
        if let Some(ticker) = &*lock(&events.ticker) {
            lock(&ticker.shared.0).schedulers.retain(|(number, _)| *number != self.number);
        }
        let gone: Vec<UnderWay> = lock(&events.calls).extract_if(.., |call| call.by == self.number).collect();
        lock(&events.lost).extend(gone.into_iter().map(|gone| gone.call));
    }

    /// Some time has passed.
    pub(crate) fn tick(&self, config: &EnvoyConfig) {
        // In a statement of its own, so that the lock is given back before the filter is asked.
        let lost = std::mem::take(&mut *lock(&self.instance.events.lost));
        for call in lost {
            if let Some(refused) = self.call(config, call) {
                self.event(config, refused);
            }
        }
        self.event(config, Event::Tick);
    }

    /// A call has ended; `id` is Envoy's.
    pub(crate) fn call_ended(&self, config: &EnvoyConfig, id: u64, end: CallEnd) {
        let mut calls = lock(&self.instance.events.calls);
        let known = calls.iter().position(|call| (call.by, call.id) == (self.number, id));
        let Some(UnderWay { call, .. }) = known.map(|index| calls.swap_remove(index)) else { return };
        drop(calls);
        self.event(config, Event::CallEnded(call.id, end));
    }

    /// Makes a call; what there is to tell if it cannot be made.
    fn call(&self, config: &EnvoyConfig, call: Call) -> Option<Event> {
        let Some(id) = config.call(&call) else {
            return Some(Event::CallEnded(call.id, CallEnd::Failed(CallFailure::Refused)));
        };
        lock(&self.instance.events.calls).push(UnderWay { by: self.number, id, call });
        None
    }

    fn event(&self, config: &EnvoyConfig, event: Event) {
        let events = &self.instance.events;
        let mut queue = VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            let mut ops = Ops::default();
            let now = SystemTime::now();
            self.instance.plugin.event(event, &mut EventCx { now, ops: &mut ops, leases: &OneInstance });
            for op in ops.iter() {
                // Nothing else makes sense without an exchange.
                match op {
                    Op::Log(level, text) => envoy::log(level, self.name, text),
                    Op::Record(index, value) => {
                        if let Some(Some((id, MetricKind::Gauge))) = self.metrics.get(index) {
                            config.set_gauge(*id, value);
                        }
                    }
                    _ => {}
                }
            }
            queue.extend(ops.take_calls().into_iter().filter_map(|call| self.call(config, call)));
        }
        let waiting = std::mem::take(&mut *lock(&events.waiting));
        for waker in waiting {
            waker.wake();
        }
    }
}

/// A process has one instance of a configuration, which all workers share: every lease is free.
struct OneInstance;

impl Leases for OneInstance {
    fn take(&self, _name: u64, _time: Duration) -> bool {
        true
    }

    fn give_back(&self, _name: u64) {}
}

/// A thread that says to Envoy's main thread that time has passed. Envoy gives modules no timer for a configuration.
struct Ticker {
    shared: Arc<(Mutex<Ticking>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Ticking {
    stopped: bool,
    /// The first is told. A scheduler is used only while it is here, and goes before its configuration does.
    schedulers: Vec<(u64, ConfigScheduler)>,
}

impl Ticker {
    /// `None` if the system has no thread for it.
    fn start(period: Duration) -> Option<Self> {
        let shared = Arc::new((Mutex::new(Ticking::default()), Condvar::new()));
        let theirs = shared.clone();
        let run = move || {
            let mut ticking = lock(&theirs.0);
            while !ticking.stopped {
                if let Some((_, scheduler)) = ticking.schedulers.first() {
                    scheduler.schedule();
                }
                let waited = theirs.1.wait_timeout(ticking, period);
                ticking = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        };
        let thread = std::thread::Builder::new().name("filter-ticker".to_owned()).spawn(run).ok()?;
        Some(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        lock(&self.shared.0).stopped = true;
        self.shared.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// What is locked is whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
