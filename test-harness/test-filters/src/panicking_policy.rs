//! A policy that panics when it is told to, for tests of what the host makes of that.

use filter_api::{Balancer, Choice, ConfigError, HostIndex, HostList, Hosts, LbRequest, Policy};
use std::sync::Arc;

/// Takes the first healthy endpoint. Panics while it is configured, if the configuration is `panic`, and while it
/// chooses, if the request has the header `x-panic`.
pub struct PanickingPolicy;

impl Policy for PanickingPolicy {
    type Balancer = Worker;
    const NAME: &'static str = "panicking-policy";

    fn configure(json: &[u8]) -> Result<Self, ConfigError> {
        assert!(json != b"panic", "told to panic");
        Ok(Self)
    }

    fn balancer(self: &Arc<Self>, _seed: u64) -> Worker {
        Worker
    }
}

/// The policy in one worker.
pub struct Worker;

impl Balancer for Worker {
    fn hosts(&mut self, _all: &dyn Hosts) {}

    fn choose(&mut self, request: &dyn LbRequest, hosts: &dyn Hosts) -> Choice {
        assert!(request.header("x-panic", 0).is_none(), "told to panic");
        let host = (hosts.count(HostList::Healthy, 0) > 0).then_some(HostIndex { priority: 0, index: 0 });
        Choice { host, ..Choice::default() }
    }
}
