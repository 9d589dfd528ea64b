//! What concerns a configuration and no exchange: things that are fetched once for all of them.

use crate::{CallEnd, CallId, Ops};
use std::time::{Duration, SystemTime};

/// Something that happened to a configuration.
#[derive(Debug)]
pub enum Event {
    /// The time that [`Plugin::tick`](crate::Plugin::tick) names has passed; the first time perhaps sooner.
    Tick,
    /// A call that an event made has ended.
    CallEnded(CallId, CallEnd),
}

/// What a core is given with an event. When it has returned, every stream that waits for no call is
/// [woken](crate::Stream::woken).
pub struct EventCx<'a> {
    /// The time by the host's clock.
    pub now: SystemTime,
    /// Calls to start, lines to log, and gauges to record ([`Ops::record`]); nothing else makes sense without an
    /// exchange.
    pub ops: &'a mut Ops,
    /// Keeps other instances of the same configuration from doing the same at the same time.
    pub leases: &'a dyn Leases,
}

/// Leases among all instances of a configuration: in proxy-wasm each worker has one of its own, and they share nothing
/// else. A lease is a name and a time, never what was fetched: with an empty `vm_id`, as Istio leaves it, every plugin
/// of the same module could read that.
pub trait Leases {
    /// Takes a lease for some time; `false` if another instance has it.
    fn take(&self, name: u64, time: Duration) -> bool;

    /// Gives a lease back.
    fn give_back(&self, name: u64);
}
