//! Events of a configuration.

use crate::calls;
use crate::voice::Voice;
use crate::waiting::Waiting;
use filter_api::{Call, CallFailure, CallId, Event, Leases, Level, Plugin};
use host_driver::EventProxy;
use proxy_wasm::hostcalls;
use std::fmt::Arguments;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A plugin that took its configuration.
pub(crate) struct Loaded<P: Plugin> {
    pub(crate) plugin: Arc<P>,
    pub(crate) voice: Arc<Voice>,
    /// The calls that events have made and that have not ended.
    calls: Vec<(u32, CallId)>,
    /// The streams that wait for the next event.
    pub(crate) waiting: Waiting,
}

impl<P: Plugin> Loaded<P> {
    pub(crate) fn new(plugin: P) -> Self {
        let voice = Arc::new(Voice::declare(P::NAME, P::METRICS));
        Self { plugin: Arc::new(plugin), voice, calls: Vec::new(), waiting: Waiting::default() }
    }

    /// Something happened. Runs in the callbacks of the root context `root`.
    pub(crate) fn event(&mut self, root: u32, event: Event) {
        if self.plugin.tick().is_none() {
            return;
        }
        let now = hostcalls::get_current_time().unwrap_or(SystemTime::UNIX_EPOCH);
        let leases = SharedData { now, name: P::NAME };
        let mut envoy = Envoy { now, voice: &self.voice, calls: &mut self.calls };
        host_driver::tell(event, &mut envoy, &leases, |event, cx| self.plugin.event(event, cx));
        self.waiting.wake(root);
    }

    /// A call has ended, of which no stream knows.
    pub(crate) fn call_ended(&mut self, root: u32, token: u32, headers: usize, body: usize, trailers: usize) {
        let Some(index) = self.calls.iter().position(|(known, _)| *known == token) else { return };
        let (_, id) = self.calls.swap_remove(index);
        let end = calls::ended(&self.voice, headers, body, trailers);
        self.event(root, Event::CallEnded(id, end));
    }
}

/// Envoy within a callback of a root context.
struct Envoy<'a> {
    now: SystemTime,
    voice: &'a Voice,
    calls: &'a mut Vec<(u32, CallId)>,
}

impl EventProxy for Envoy<'_> {
    fn now(&self) -> SystemTime {
        self.now
    }

    fn record(&mut self, metric: usize, value: u64) {
        self.voice.record(metric, value);
    }

    fn log(&mut self, level: Level, text: Arguments<'_>) {
        self.voice.log(level, text);
    }

    fn call(&mut self, call: Call) -> Result<(), CallFailure> {
        let token = calls::dispatch(&call, self.voice)?;
        self.calls.push((token, call.id));
        Ok(())
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
