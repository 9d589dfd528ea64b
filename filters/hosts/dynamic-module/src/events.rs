//! Events of an instance: time passes, calls end, and streams that wait are woken.
//!
//! Envoy tells events to a configuration, of which an instance may have several. The first of them makes the instance's
//! calls; when it goes the next one does, and makes those again that were under way.

use crate::envoy::Waker;
use crate::envoy::config::ConfigScheduler;
use filter_api::{Call, CallId, Leases};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the events of an instance need.
#[derive(Default)]
pub(crate) struct Events {
    joined: Mutex<u64>,
    ticker: Mutex<Option<Ticker>>,
    calls: Mutex<Vec<UnderWay>>,
    /// The calls whose end will not be told, because their configuration is gone. It is not a failure of the cluster.
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

    /// Envoy no longer uses the configuration with a number. Its calls are lost.
    pub(crate) fn leave(&self, number: u64) {
        if let Some(ticker) = &*lock(&self.ticker) {
            lock(&ticker.shared.0).schedulers.retain(|(other, _)| *other != number);
        }
        let gone: Vec<UnderWay> = lock(&self.calls).extract_if(.., |call| call.by == number).collect();
        lock(&self.lost).extend(gone.into_iter().map(|gone| gone.call));
    }

    /// The configuration with a number has started a call; `id` is Envoy's.
    pub(crate) fn call_began(&self, by: u64, id: u64, call: Call) {
        lock(&self.calls).push(UnderWay { by, id, call });
    }

    /// A call has ended: the filter's name for it, if it is known.
    pub(crate) fn call_ended(&self, by: u64, id: u64) -> Option<CallId> {
        let mut calls = lock(&self.calls);
        let index = calls.iter().position(|call| (call.by, call.id) == (by, id))?;
        Some(calls.swap_remove(index).call.id)
    }

    /// The calls that were lost, to be made again.
    pub(crate) fn take_lost(&self) -> Vec<Call> {
        std::mem::take(&mut *lock(&self.lost))
    }

    /// A stream waits for the next event.
    pub(crate) fn wait(&self, waker: Waker) {
        lock(&self.waiting).push(waker);
    }

    /// There was an event.
    pub(crate) fn wake(&self) {
        // In a statement of its own, so that the lock is given back before a stream may wait again.
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A process has one instance of a configuration, which all workers share: every lease is free.
pub(crate) struct OneInstance;

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
