//! The policy: from a request's headers to an endpoint.

use crate::config::{Config, Fallback, Reading};
use crate::header::{Header, header};
use crate::load;
use crate::membership::{Membership, Value};
use crate::metrics;
use crate::unknown::Unknown;
use fastrand::Rng;
use filter_api::{Balancer, Choice, ConfigError, HostIndex, HostList, Hosts, LbRequest, Metric, Policy};
use std::sync::Arc;

/// The policy `runtime-group` with its configuration.
pub struct RuntimeGroup {
    config: Config,
    keys: Vec<Reading>,
}

impl Policy for RuntimeGroup {
    type Balancer = Worker;

    const NAME: &'static str = "runtime-group";

    const METRICS: &'static [Metric] = metrics::ALL;

    fn configure(json: &[u8]) -> Result<Self, ConfigError> {
        let config = Config::read(json)?;
        Ok(Self { keys: config.readings()?, config })
    }

    fn balancer(self: &Arc<Self>, seed: u64) -> Worker {
        Worker {
            policy: self.clone(),
            membership: Membership::default(),
            wanted: Vec::with_capacity(self.keys.len()),
            unknown: Unknown::default(),
            rng: Rng::with_seed(seed),
        }
    }
}

/// The policy at work for one cluster in one worker.
pub struct Worker {
    policy: Arc<RuntimeGroup>,
    membership: Membership,
    /// The values that the request at hand asks for, one for each key.
    wanted: Vec<Option<Value>>,
    unknown: Unknown,
    rng: Rng,
}

impl Balancer for Worker {
    fn hosts(&mut self, all: &dyn Hosts) {
        let before = std::mem::replace(&mut self.membership, Membership::read(&self.policy.keys, all));
        if !self.membership.has_values_of(&before) {
            self.unknown = Unknown::default();
        }
    }

    fn choose(&mut self, request: &dyn LbRequest, hosts: &dyn Hosts) -> Choice {
        let (mut choice, current) = self.choose_from_what_is_known(request, hosts);
        if !current {
            // The lists have changed without an update. A request in the wrong group would be worse than reading them
            // once more.
            self.hosts(hosts);
            choice = self.choose_from_what_is_known(request, hosts).0;
        }
        if choice.count == Some(metrics::UNKNOWN_GROUP) {
            choice.warning =
                self.unknown.warning(&self.policy.config, &self.policy.keys, request, &self.membership);
        }
        choice
    }
}

/// Why a request's own group does not serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unserved {
    Unnamed,
    Unknown,
    Unhealthy,
}

impl Unserved {
    fn counter(self) -> usize {
        match self {
            Self::Unnamed => metrics::NO_GROUP,
            Self::Unknown => metrics::UNKNOWN_GROUP,
            Self::Unhealthy => metrics::UNHEALTHY_GROUP,
        }
    }
}

/// An endpoint that was picked.
#[derive(Clone, Copy)]
struct Picked {
    host: HostIndex,
    /// Whether it still is at that place.
    current: bool,
}

impl Worker {
    /// A choice, and whether the endpoint still is at the place where it was.
    fn choose_from_what_is_known(&mut self, request: &dyn LbRequest, hosts: &dyn Hosts) -> (Choice, bool) {
        let served = self.read(request).and_then(|()| self.pick(request, hosts));
        let (picked, count) = match served {
            Ok(picked) => (Some(picked), None),
            Err(unserved) => (self.fall_back(unserved, request, hosts), Some(unserved.counter())),
        };
        let choice = Choice { host: picked.map(|picked| picked.host), count, warning: None };
        (choice, picked.is_none_or(|picked| picked.current))
    }

    /// Reads what the request asks for.
    fn read(&mut self, request: &dyn LbRequest) -> Result<(), Unserved> {
        let (mut named, mut known) = (false, true);
        self.wanted.clear();
        for (index, key) in self.policy.keys.iter().enumerate() {
            let header = header(request, &key.header);
            let value = match header {
                Header::One(value) => self.membership.value(index, value),
                Header::None | Header::Several => None,
            };
            named |= header != Header::None;
            known &= header == Header::None || value.is_some();
            self.wanted.push(value);
        }
        match (named, known) {
            (false, _) => Err(Unserved::Unnamed),
            (true, false) => Err(Unserved::Unknown),
            (true, true) => Ok(()),
        }
    }

    /// Picks from the group that is wanted.
    fn pick(&mut self, request: &dyn LbRequest, hosts: &dyn Hosts) -> Result<Picked, Unserved> {
        let (members, group) = self.membership.group(&self.wanted).ok_or(Unserved::Unknown)?;
        let level = group.level(&mut self.rng).ok_or(Unserved::Unhealthy)?;
        let member = load::pick(members, level, request, hosts, &mut self.rng);
        let (member, index) =
            member.and_then(|member| Some((member, member.healthy?))).ok_or(Unserved::Unhealthy)?;
        let current = *hosts.address(HostList::Healthy, member.priority, index) == *member.address;
        Ok(Picked { host: HostIndex { priority: member.priority, index }, current })
    }

    fn fall_back(
        &mut self,
        unserved: Unserved,
        request: &dyn LbRequest,
        hosts: &dyn Hosts,
    ) -> Option<Picked> {
        let config = &self.policy.config;
        let fallback = match unserved {
            Unserved::Unnamed => config.no_group,
            Unserved::Unknown => config.unknown_group,
            Unserved::Unhealthy => config.unhealthy_group,
        };
        match fallback {
            Fallback::None => None,
            Fallback::Any => {
                // The group of all: nothing is asked for.
                self.wanted.fill(None);
                self.pick(request, hosts).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests;
