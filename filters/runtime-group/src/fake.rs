//! A cluster and requests as a proxy would show them, for tests.

use filter_api::{HostList, HostMetadata, Hosts, LbRequest};

/// An endpoint with all that the proxy knows of it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) healthy: bool,
    pub(crate) weight: u32,
    pub(crate) active: u64,
    metadata: Vec<(&'static str, &'static str, HostMetadata<'static>)>,
}

impl Endpoint {
    /// A healthy, idle one of weight 1.
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.into(), healthy: true, weight: 1, active: 0, metadata: Vec::new() }
    }

    /// One whose `envoy.lb` metadata says `group`.
    pub(crate) fn of(group: &'static str, address: &str) -> Self {
        Self::new(address).metadata("envoy.lb", "group", HostMetadata::Text(group.as_bytes()))
    }

    pub(crate) fn metadata(
        mut self,
        namespace: &'static str,
        key: &'static str,
        value: HostMetadata<'static>,
    ) -> Self {
        self.metadata.push((namespace, key, value));
        self
    }

    pub(crate) fn unhealthy(self) -> Self {
        Self { healthy: false, ..self }
    }

    pub(crate) fn weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    pub(crate) fn active(self, active: u64) -> Self {
        Self { active, ..self }
    }

    /// Its group, as [`Endpoint::of`] wrote it.
    pub(crate) fn group(&self) -> Option<&'static [u8]> {
        self.metadata.iter().find_map(|(_, key, value)| match value {
            HostMetadata::Text(text) if *key == "group" => Some(*text),
            _ => None,
        })
    }
}

/// A cluster: endpoints by priority, and the healthy lists as they were when it was last told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) priorities: Vec<Vec<Endpoint>>,
    healthy: Vec<Vec<usize>>,
}

impl Cluster {
    pub(crate) fn new(endpoints: Vec<Endpoint>) -> Self {
        Self::with_priorities(vec![endpoints])
    }

    pub(crate) fn with_priorities(priorities: Vec<Vec<Endpoint>>) -> Self {
        let mut cluster = Self { priorities, healthy: Vec::new() };
        cluster.update();
        cluster
    }

    /// Makes the healthy lists say what is so.
    pub(crate) fn update(&mut self) {
        let healthy = |endpoints: &Vec<Endpoint>| {
            let healthy = endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.healthy);
            healthy.map(|(index, _)| index).collect()
        };
        self.healthy = self.priorities.iter().map(healthy).collect();
    }

    /// An endpoint becomes healthy, and the healthy list does not say so yet.
    pub(crate) fn recovers_unnoticed(&mut self, priority: usize, index: usize) {
        self.priorities[priority][index].healthy = true;
    }

    /// Where in the list of all a place in the healthy list is.
    pub(crate) fn chosen(&self, host: filter_api::HostIndex) -> &Endpoint {
        let priority = host.priority as usize;
        &self.priorities[priority][self.healthy[priority][host.index]]
    }

    fn endpoint(&self, list: HostList, priority: u32, index: usize) -> Option<&Endpoint> {
        let priority = priority as usize;
        let index = match list {
            HostList::All => index,
            HostList::Healthy => *self.healthy.get(priority)?.get(index)?,
        };
        self.priorities.get(priority)?.get(index)
    }
}

impl Hosts for Cluster {
    fn priorities(&self) -> u32 {
        self.priorities.len() as u32
    }

    fn count(&self, list: HostList, priority: u32) -> usize {
        match list {
            HostList::All => self.priorities[priority as usize].len(),
            HostList::Healthy => self.healthy[priority as usize].len(),
        }
    }

    fn address(&self, list: HostList, priority: u32, index: usize) -> &[u8] {
        self.endpoint(list, priority, index).map_or(b"", |endpoint| endpoint.address.as_bytes())
    }

    fn is_healthy(&self, priority: u32, index: usize) -> bool {
        self.endpoint(HostList::All, priority, index).is_some_and(|endpoint| endpoint.healthy)
    }

    fn weight(&self, priority: u32, index: usize) -> u32 {
        self.endpoint(HostList::All, priority, index).map_or(0, |endpoint| endpoint.weight)
    }

    fn active_requests(&self, priority: u32, index: usize) -> u64 {
        self.endpoint(HostList::All, priority, index).map_or(0, |endpoint| endpoint.active)
    }

    fn metadata(&self, priority: u32, index: usize, namespace: &str, key: &str) -> Option<HostMetadata<'_>> {
        let endpoint = self.endpoint(HostList::All, priority, index)?;
        let mut all = endpoint.metadata.iter();
        all.find_map(|entry| ((entry.0, entry.1) == (namespace, key)).then_some(entry.2))
    }
}

/// A request: its headers, and the places in the list of all of priority 0 that it should avoid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) headers: Vec<(&'static str, &'static [u8])>,
    pub(crate) avoided: Vec<usize>,
}

impl Request {
    /// One with a single header.
    pub(crate) fn with(name: &'static str, value: &'static str) -> Self {
        Self { headers: vec![(name, value.as_bytes())], avoided: Vec::new() }
    }
}

impl LbRequest for Request {
    fn header(&self, name: &str, index: usize) -> Option<&[u8]> {
        self.headers.iter().filter(|(header, _)| *header == name).nth(index).map(|(_, value)| *value)
    }

    fn avoids(&self, priority: u32, index: usize) -> bool {
        priority == 0 && self.avoided.contains(&index)
    }
}
