//! Events of a configuration, and the streams that wait for them.

use crate::apply::{give_back, take_ops};
use crate::body::NoBody;
use crate::calls;
use crate::exchange::Exchange;
use crate::root::Loaded;
use filter_api::{CallEnd, CallId, Dir, Event, EventCx, Leases, Plugin, Stream};
use proxy_wasm::hostcalls;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::{Duration, SystemTime};

/// The streams of a configuration that wait for its next event, with the numbers of their contexts.
pub(crate) type Waiting<P> = Rc<RefCell<Vec<(u32, Weak<RefCell<Exchange<P>>>)>>>;

/// The calls that events have made and that have not ended.
#[derive(Debug, Default)]
pub(crate) struct EventCalls(Vec<(u32, CallId)>);

impl<P: Plugin> Loaded<P> {
    /// Something happened. Runs in the callbacks of the root context `root`.
    pub(crate) fn event(&mut self, root: u32, event: Event) {
        if self.plugin.tick().is_none() {
            return;
        }
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut ops = take_ops();
            let now = hostcalls::get_current_time().unwrap_or(SystemTime::UNIX_EPOCH);
            let leases = SharedData { now, name: P::NAME };
            self.plugin.event(event, &mut EventCx { now, ops: &mut ops, leases: &leases });
            self.voice.apply_event(&ops);
            for call in ops.take_calls() {
                match self.voice.dispatch(&call) {
                    Ok(token) => self.calls.0.push((token, call.id)),
                    Err(why) => events.push_back(Event::CallEnded(call.id, CallEnd::Failed(why))),
                }
            }
            give_back(ops);
        }
        self.wake(root);
    }

    /// A call has ended, of which no stream knows.
    pub(crate) fn call_ended(&mut self, root: u32, token: u32, headers: usize, body: usize, trailers: usize) {
        let Some(index) = self.calls.0.iter().position(|(known, _)| *known == token) else { return };
        let (_, id) = self.calls.0.swap_remove(index);
        let end = calls::ended(&self.voice, headers, body, trailers);
        self.event(root, Event::CallEnded(id, end));
    }

    /// Asks the streams that wait. What they have Envoy do, it does when this callback has returned.
    fn wake(&self, root: u32) {
        let waiting = self.waiting.take();
        if waiting.is_empty() {
            return;
        }
        for (context, exchange) in waiting {
            // A stream that is gone is a context that is gone.
            let Some(exchange) = exchange.upgrade() else { continue };
            if hostcalls::set_effective_context(context).is_ok()
                && let Ok(mut exchange) = exchange.try_borrow_mut()
            {
                exchange.woken();
            }
        }
        let _ours = hostcalls::set_effective_context(root);
    }
}

impl<P: Plugin> Exchange<P> {
    /// Notes that headers wait for the next event; `false` if there are none.
    pub(crate) fn waits_for_event(&mut self, dir: Dir) -> bool {
        let events = self.plugin.tick().is_some();
        if events {
            self.signal = Some(dir);
            self.waiting.borrow_mut().push((self.context, self.me.clone()));
        }
        events
    }

    /// There was an event.
    fn woken(&mut self) {
        let Some(dir) = self.signal.take() else { return };
        let mut out = NoBody::default();
        let Some((verdict, calls)) = self.ask(&mut out, |stream, cx| stream.woken(cx)) else { return };
        self.no_body(&out);
        // The SDK would take a call that is made here for one of the root context.
        self.no_calls(&calls);
        let verdict = self.settle(dir, verdict, Vec::new());
        self.go_on(dir, verdict);
    }
}

/// Leases in the data that all VMs of a `vm_id` share: when the lease ends, in nanoseconds since 1970.
///
/// The first time that a lease is taken, two VMs may both have it, because the ABI has no way to create what nobody
/// else has created.
struct SharedData {
    now: SystemTime,
    name: &'static str,
}

impl SharedData {
    fn key(&self, name: u64) -> String {
        format!("{}.lease.{name:016x}", self.name)
    }

    fn nanoseconds(time: SystemTime) -> u64 {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Leases for SharedData {
    fn take(&self, name: u64, time: Duration) -> bool {
        let key = self.key(name);
        let (value, cas) = hostcalls::get_shared_data(&key).unwrap_or_default();
        let end =
            value.and_then(|value| Some(u64::from_le_bytes(value.try_into().ok()?))).unwrap_or_default();
        let end_of_mine = Self::nanoseconds(self.now + time).to_le_bytes();
        // One that ends later than any that is taken now is from before the clock was set back.
        let latest = Self::nanoseconds(self.now + 2 * time);
        (end <= Self::nanoseconds(self.now) || end > latest)
            && hostcalls::set_shared_data(&key, Some(&end_of_mine), cas).is_ok()
    }

    fn give_back(&self, name: u64) {
        let _taken = hostcalls::set_shared_data(&self.key(name), Some(&0u64.to_le_bytes()), None);
    }
}
