//! Events of a configuration: time passes, calls end, and streams that wait are woken.

use crate::envoy::{self, ConfigScheduler, EnvoyConfig, Waker};
use crate::registry::Configured;
use filter_api::{CallEnd, CallFailure, CallId, Event, EventCx, Leases, Op, Ops};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// What the events of a configuration need.
#[derive(Default)]
pub(crate) struct Events {
    ticker: Mutex<Option<Ticker>>,
    /// The calls under way, by Envoy's id.
    calls: Mutex<Vec<(u64, CallId)>>,
    /// The streams that wait for the next event.
    waiting: Mutex<Vec<Waker>>,
}

impl Events {
    /// Has time pass for the configuration.
    pub(crate) fn start(&self, scheduler: ConfigScheduler, period: Duration) {
        *lock(&self.ticker) = Ticker::start(scheduler, period);
    }

    /// No time passes any more.
    pub(crate) fn stop(&self) {
        drop(lock(&self.ticker).take());
    }

    /// A stream waits for the next event.
    pub(crate) fn wait(&self, waker: Waker) {
        lock(&self.waiting).push(waker);
    }
}

impl Configured {
    /// Some time has passed.
    pub(crate) fn tick(&self, config: &EnvoyConfig) {
        self.event(config, Event::Tick);
    }

    /// A call has ended; `id` is Envoy's.
    pub(crate) fn call_ended(&self, config: &EnvoyConfig, id: u64, end: CallEnd) {
        let mut calls = lock(&self.events.calls);
        let known = calls.iter().position(|(envoys, _)| *envoys == id);
        let Some((_, id)) = known.map(|index| calls.swap_remove(index)) else { return };
        drop(calls);
        self.event(config, Event::CallEnded(id, end));
    }

    fn event(&self, config: &EnvoyConfig, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut ops = Ops::default();
            let now = SystemTime::now();
            self.plugin.event(event, &mut EventCx { now, ops: &mut ops, leases: &OneInstance });
            for op in ops.iter() {
                // Nothing else makes sense without an exchange.
                if let Op::Log(level, text) = op {
                    envoy::log(level, self.name, text);
                }
            }
            for call in ops.take_calls() {
                match config.call(&call) {
                    Some(id) => lock(&self.events.calls).push((id, call.id)),
                    None => {
                        events.push_back(Event::CallEnded(call.id, CallEnd::Failed(CallFailure::Refused)));
                    }
                }
            }
        }
        for waker in std::mem::take(&mut *lock(&self.events.waiting)) {
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
    stopped: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// `None` if the system has no thread for it.
    fn start(scheduler: ConfigScheduler, period: Duration) -> Option<Self> {
        let stopped = Arc::new((Mutex::new(false), Condvar::new()));
        let (flag, signal) = (stopped.clone(), stopped.clone());
        let run = move || {
            let mut stop = lock(&flag.0);
            while !*stop {
                scheduler.schedule();
                let waited = signal.1.wait_timeout(stop, period);
                stop = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        };
        let thread = std::thread::Builder::new().name("filter-ticker".to_owned()).spawn(run).ok()?;
        Some(Self { stopped, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *lock(&self.stopped.0) = true;
        self.stopped.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// What is locked is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
