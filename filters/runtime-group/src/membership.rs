//! Who is in which group.
//!
//! An endpoint's metadata and load are read by its place among *all* endpoints, and one is chosen by its place among
//! the *healthy* ones. With one endpoint unhealthy, all later ones have other places. So the two lists are joined by
//! address whenever one of them changes.

use crate::config::{IstioWorkload, Reading, Source};
use fastrand::Rng;
use filter_api::{HostList, HostMetadata, Hosts};
use std::collections::HashMap;

/// Envoy's default `overprovisioning_factor`, in percent: a priority is full as long as its healthy share, times
/// this, is at least 100 %.
const OVERPROVISIONING_PERCENT: usize = 140;
/// Where Istio says what an endpoint is.
const ISTIO: (&str, &str) = ("istio", "workload");

/// A value of one of the keys, numbered in the order of its appearance.
pub(crate) type Value = u32;

/// A cluster's endpoints and their groups, at one moment.
#[derive(Default)]
pub(crate) struct Membership {
    members: Vec<Member>,
    /// For each key, the values that endpoints have.
    values: Vec<HashMap<Box<[u8]>, Value>>,
    /// Groups that were asked for and have members, by a value, or none, for each key.
    groups: HashMap<Box<[Option<Value>]>, Group>,
}

/// An endpoint.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) priority: u32,
    /// Its place among all endpoints of its priority.
    pub(crate) all: usize,
    /// Its place among the healthy ones, if it is there.
    pub(crate) healthy: Option<usize>,
    pub(crate) address: Box<[u8]>,
    pub(crate) weight: u32,
    values: Box<[Option<Value>]>,
}

/// The endpoints that a request may go to.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The priorities that serve requests, highest first. Their shares are 100 % together.
    levels: Vec<Level>,
}

/// The healthy endpoints of one priority in one group.
#[derive(Debug)]
pub(crate) struct Level {
    /// The share of the group's requests that it serves, in percent.
    share: u32,
    /// Indexes of members.
    pub(crate) members: Vec<usize>,
    /// Whether all members have the same weight.
    pub(crate) even: bool,
}

impl Group {
    /// The priority that serves a request: by their shares, at random. None where no endpoint is healthy.
    pub(crate) fn level(&self, rng: &mut Rng) -> Option<&Level> {
        let (first, others) = self.levels.split_first()?;
        let mut left = if others.is_empty() { 0 } else { rng.u32(..100) };
        for level in &self.levels {
            if left < level.share {
                return Some(level);
            }
            left -= level.share;
        }
        Some(first)
    }
}

impl Membership {
    /// Reads a cluster's endpoints.
    pub(crate) fn read(keys: &[Reading], hosts: &dyn Hosts) -> Self {
        let mut read = Self { values: vec![HashMap::new(); keys.len()], ..Self::default() };
        for priority in 0..hosts.priorities() {
            for (all, healthy) in join(hosts, priority).into_iter().enumerate() {
                let values = keys.iter().zip(&mut read.values).map(|(key, known)| {
                    let value = value(&key.source, hosts, priority, all)?;
                    let next = Value::try_from(known.len()).ok()?;
                    Some(*known.entry(value).or_insert(next))
                });
                let member = Member {
                    priority,
                    all,
                    healthy,
                    address: hosts.address(HostList::All, priority, all).into(),
                    weight: hosts.weight(priority, all).max(1),
                    values: values.collect(),
                };
                read.members.push(member);
            }
        }
        read
    }

    /// The values that endpoints have for a key, sorted.
    pub(crate) fn values(&self, key: usize) -> Vec<&[u8]> {
        let mut values: Vec<&[u8]> =
            self.values.get(key).into_iter().flat_map(|known| known.keys().map(|value| &**value)).collect();
        values.sort_unstable();
        values
    }

    /// Whether endpoints have the same values as before, whichever endpoints have them.
    pub(crate) fn has_values_of(&self, before: &Self) -> bool {
        let same = |(now, before): (&HashMap<_, _>, &HashMap<_, _>)| {
            now.len() == before.len() && now.keys().all(|value| before.contains_key(value))
        };
        self.values.len() == before.values.len() && self.values.iter().zip(&before.values).all(same)
    }

    /// The number of a key's value, if an endpoint has it.
    pub(crate) fn value(&self, key: usize, value: &[u8]) -> Option<Value> {
        self.values.get(key)?.get(value).copied()
    }

    /// The group of the endpoints with these values, one for each key, where `None` asks for nothing; with the members
    /// that it speaks of. No group where no endpoint has them.
    pub(crate) fn group(&mut self, wanted: &[Option<Value>]) -> Option<(&[Member], &Group)> {
        // Groups without members are not remembered: requests would decide how many there are.
        if !self.groups.contains_key(wanted) {
            let group = self.gather(wanted)?;
            self.groups.insert(wanted.into(), group);
        }
        Some((&self.members, self.groups.get(wanted)?))
    }

    fn gather(&self, wanted: &[Option<Value>]) -> Option<Group> {
        let within = |member: &Member| {
            wanted.iter().zip(&member.values).all(|(wanted, value)| wanted.is_none() || wanted == value)
        };
        let mut priorities: Vec<Priority> = Vec::new();
        for (index, member) in self.members.iter().enumerate().filter(|(_, member)| within(member)) {
            if priorities.last().is_none_or(|last| last.number != member.priority) {
                priorities.push(Priority { number: member.priority, total: 0, healthy: Vec::new() });
            }
            if let Some(last) = priorities.last_mut() {
                last.total += 1;
                last.healthy.extend(member.healthy.map(|_| index));
            }
        }
        if priorities.is_empty() {
            return None;
        }
        let shares = shares(&priorities);
        let levels = priorities.into_iter().zip(shares).filter(|(_, share)| *share > 0);
        let levels = levels.map(|(priority, share)| {
            let mut weights = priority.healthy.iter().map(|&index| self.members[index].weight);
            let first = weights.next();
            Level { share, even: weights.all(|weight| Some(weight) == first), members: priority.healthy }
        });
        Some(Group { levels: levels.collect() })
    }
}

/// A group's endpoints of one priority.
struct Priority {
    number: u32,
    total: usize,
    /// Indexes of the healthy members.
    healthy: Vec<usize>,
}

/// How the requests of a group are spread over its priorities, in percent, as Envoy does it for a cluster ("Priority
/// levels" in its documentation of load balancing): the highest serves all while enough of its endpoints are
/// healthy, and what it cannot serve goes to the next. All zero where nothing is healthy.
fn shares(priorities: &[Priority]) -> Vec<u32> {
    let health = |priority: &Priority| {
        (priority.healthy.len() * OVERPROVISIONING_PERCENT / priority.total.max(1)).min(100)
    };
    let total = priorities.iter().map(health).sum::<usize>().min(100);
    let mut left = 100;
    let mut shares: Vec<usize> = Vec::with_capacity(priorities.len());
    for priority in priorities {
        let share = (health(priority) * 100).checked_div(total).unwrap_or(0).min(left);
        left -= share;
        shares.push(share);
    }
    // What rounding left over, to the highest that serves at all. An endpoint among very many rounds to no health.
    let serving = shares.iter().position(|&share| share > 0);
    let serving = serving.or_else(|| priorities.iter().position(|priority| !priority.healthy.is_empty()));
    if let Some(serving) = serving {
        shares[serving] += left;
    }
    shares.into_iter().map(|share| share as u32).collect()
}

/// For each of a priority's endpoints, its place among the healthy ones.
///
/// Addresses need not be unique (in a static cluster one server may stand for two groups). Endpoints of one address
/// keep their order in the healthy list; if only some of them are there, their health tells which, and if that has
/// changed since, they are left out until the update that will tell.
fn join(hosts: &dyn Hosts, priority: u32) -> Vec<Option<usize>> {
    let all = places(hosts, HostList::All, priority);
    let mut joined = vec![None; hosts.count(HostList::All, priority)];
    for (address, healthy) in places(hosts, HostList::Healthy, priority) {
        let Some(all) = all.get(address) else { continue };
        let mut candidates = all.clone();
        if candidates.len() != healthy.len() {
            candidates.retain(|&index| hosts.is_healthy(priority, index));
        }
        if candidates.len() == healthy.len() {
            for (index, healthy) in candidates.into_iter().zip(healthy) {
                joined[index] = Some(healthy);
            }
        }
    }
    joined
}

/// The places of each address in a list.
fn places(hosts: &dyn Hosts, list: HostList, priority: u32) -> HashMap<&[u8], Vec<usize>> {
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for index in 0..hosts.count(list, priority) {
        places.entry(hosts.address(list, priority, index)).or_default().push(index);
    }
    places
}

/// An endpoint's value for a key.
fn value(source: &Source, hosts: &dyn Hosts, priority: u32, index: usize) -> Option<Box<[u8]>> {
    match source {
        Source::Metadata { namespace, key } => match hosts.metadata(priority, index, namespace, key)? {
            HostMetadata::Text(text) => Some(text.into()),
            HostMetadata::Flag(flag) => Some(flag.to_string().into_bytes().into()),
            // Up to 2^53 every whole number is exact.
            HostMetadata::Number(number)
                if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 =>
            {
                Some((number as i64).to_string().into_bytes().into())
            }
            HostMetadata::Number(_) => None,
        },
        Source::IstioWorkload(part) => {
            let HostMetadata::Text(text) = hosts.metadata(priority, index, ISTIO.0, ISTIO.1)? else {
                return None;
            };
            let place = match part {
                IstioWorkload::Workload => 0,
                IstioWorkload::Namespace => 1,
                IstioWorkload::CanonicalName => 2,
                IstioWorkload::CanonicalRevision => 3,
                IstioWorkload::Cluster => 4,
            };
            let part = text.split(|&byte| byte == b';').nth(place)?;
            (!part.is_empty()).then(|| part.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Cluster, Endpoint};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn shares_of(priorities: &[(usize, usize)]) -> Vec<u32> {
        let priority =
            |&(healthy, total): &(usize, usize)| Priority { number: 0, total, healthy: vec![0; healthy] };
        shares(&priorities.iter().map(priority).collect::<Vec<_>>())
    }

    #[test]
    fn priorities_share_requests_as_envoy_documents_it() {
        // Rows of "Priority levels" in Envoy's documentation; what the last one's rounding leaves goes to the first.
        for (healthy, expected) in [
            ([100, 100, 100], [100, 0, 0]),
            ([72, 72, 100], [100, 0, 0]),
            ([71, 71, 100], [99, 1, 0]),
            ([50, 60, 100], [70, 30, 0]),
            ([25, 100, 100], [35, 65, 0]),
            ([25, 25, 100], [35, 35, 30]),
            ([25, 25, 20], [37, 35, 28]),
        ] {
            let priorities = healthy.map(|healthy| (healthy, 100));
            assert_eq!(shares_of(&priorities), expected, "{healthy:?}");
        }
        assert_eq!(shares_of(&[(0, 3), (1, 3)]), [0, 100]);
        assert_eq!(shares_of(&[(0, 3), (0, 3)]), [0, 0]);
        assert_eq!(shares_of(&[(1, 1000), (0, 3)]), [100, 0]);
    }

    #[test]
    fn endpoints_of_one_address_are_told_apart_by_their_health() {
        let (up, down) = (Endpoint::new("a"), Endpoint::new("a").unhealthy());
        let cluster = Cluster::new(vec![down.clone(), up.clone(), Endpoint::new("b"), down]);
        assert_eq!(join(&cluster, 0), [None, Some(0), Some(1), None]);

        let both = Cluster::new(vec![up.clone(), Endpoint::new("b"), up]);
        assert_eq!(join(&both, 0), [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn an_address_whose_endpoints_cannot_be_told_apart_is_left_out() {
        let up = Endpoint::new("a");
        let mut cluster = Cluster::new(vec![up.clone().unhealthy(), up, Endpoint::new("b")]);
        // The first one has recovered, but the healthy list does not say so yet.
        cluster.recovers_unnoticed(0, 0);
        assert_eq!(join(&cluster, 0), [None, None, Some(1)]);
    }

    #[test]
    fn values_are_compared_as_text() {
        let read = |value: HostMetadata<'static>| {
            let source = Source::Metadata { namespace: "n".into(), key: "k".into() };
            let endpoint = Endpoint::new("a").metadata("n", "k", value);
            value_text(&source, endpoint)
        };
        assert_eq!(read(HostMetadata::Text(b"\xff x")).unwrap(), b"\xff x");
        assert_eq!(read(HostMetadata::Flag(true)).unwrap(), b"true");
        assert_eq!(read(HostMetadata::Number(-2.0)).unwrap(), b"-2");
        assert_eq!(read(HostMetadata::Number(2.5)), None);
        assert_eq!(read(HostMetadata::Number(f64::INFINITY)), None);
        assert_eq!(read(HostMetadata::Number(f64::NAN)), None);
    }

    #[test]
    fn istios_workload_has_five_parts_of_which_some_may_be_missing() {
        let read = |part, text: &'static [u8]| {
            let endpoint = Endpoint::new("a").metadata("istio", "workload", HostMetadata::Text(text));
            value_text(&Source::IstioWorkload(part), endpoint)
        };
        let text = b"modelmesh-serving-triton-2.x;modelmesh-serving;modelmesh-controller;;Kubernetes";
        assert_eq!(read(IstioWorkload::Workload, text).unwrap(), b"modelmesh-serving-triton-2.x");
        assert_eq!(read(IstioWorkload::Namespace, text).unwrap(), b"modelmesh-serving");
        assert_eq!(read(IstioWorkload::CanonicalName, text).unwrap(), b"modelmesh-controller");
        assert_eq!(read(IstioWorkload::CanonicalRevision, text), None);
        assert_eq!(read(IstioWorkload::Cluster, text).unwrap(), b"Kubernetes");
        assert_eq!(read(IstioWorkload::Cluster, b"a;b;c;d"), None);
    }

    fn value_text(source: &Source, endpoint: Endpoint) -> Option<Vec<u8>> {
        value(source, &Cluster::new(vec![endpoint]), 0, 0).map(|value| value.to_vec())
    }
}
