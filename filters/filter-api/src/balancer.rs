//! The vocabulary of load-balancing policies: what picks an endpoint of a cluster for a request.
//!
//! A policy is not an HTTP filter: it sees a request's headers and the cluster's endpoints, and nothing else. It does
//! no I/O, reads no clock and knows no host, as a [`Plugin`](crate::Plugin).

use crate::{ConfigError, Metric};
use std::sync::Arc;

/// A load-balancing policy: one value per configuration, shared by all workers.
pub trait Policy: Sized + Send + Sync + 'static {
    /// The state of one worker.
    type Balancer: Balancer;

    /// The policy's name: `lb_policy_name` in Envoy's `envoy.load_balancing_policies.dynamic_modules`. Its log lines
    /// begin with it, and so do its counters, with `_` for `-`.
    const NAME: &'static str;

    /// What the policy counts, declared by [`metrics!`](crate::metrics); [`Choice::count`] names a counter by its index.
    /// A metric of any other kind does not compile into a module.
    const METRICS: &'static [Metric] = &[];

    /// Reads a configuration; `json` is what the operator wrote, empty where nothing was.
    ///
    /// # Errors
    /// A configuration that is not understood in full. The host then refuses the cluster and logs the error, which
    /// names the path of the key and the reason.
    fn configure(json: &[u8]) -> Result<Self, ConfigError>;

    /// The state of another worker. Each gets a `seed` of its own, so that their random choices differ.
    fn balancer(self: &Arc<Self>, seed: u64) -> Self::Balancer;
}

/// A policy at work for one cluster in one worker.
pub trait Balancer {
    /// The cluster's endpoints have changed: who they are, what is known of them, or their health. Called before the
    /// first [`choose`](Balancer::choose) and after every change.
    fn hosts(&mut self, all: &dyn Hosts);

    /// Picks an endpoint for a request.
    fn choose(&mut self, request: &dyn LbRequest, hosts: &dyn Hosts) -> Choice;
}

/// What a policy picked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The endpoint, by its place among the *healthy* ones of its priority. Without one the request fails (Envoy
    /// answers it with a 503 and the response flag `UH`).
    pub host: Option<HostIndex>,
    /// The counter to add one to, by its index in [`Policy::METRICS`].
    pub count: Option<usize>,
    /// What the operator should know; the host logs it as a warning. Rare: a policy says each thing once.
    pub warning: Option<String>,
}

/// An endpoint by its place in one of a priority's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostIndex {
    /// The priority; 0 is the highest.
    pub priority: u32,
    /// The place in the list.
    pub index: usize,
}

/// A list of a priority's endpoints. The same endpoint has another place in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostList {
    /// All of them. What is known of an endpoint is read by its place here.
    All,
    /// Those that may be chosen. A [`Choice`] is a place here.
    Healthy,
}

/// The endpoints of a cluster, as one worker knows them. A place that does not exist has nothing: no address, no
/// metadata, no load.
pub trait Hosts {
    /// How many priorities there are.
    fn priorities(&self) -> u32;

    /// How long a list is.
    fn count(&self, list: HostList, priority: u32) -> usize;

    /// An endpoint's address as the proxy writes it, such as `10.0.0.2:8033`. Two endpoints may have the same.
    fn address(&self, list: HostList, priority: u32, index: usize) -> &[u8];

    /// Whether an endpoint of the list of all is healthy at this moment. The healthy list may lag behind.
    fn is_healthy(&self, priority: u32, index: usize) -> bool;

    /// The weight of an endpoint of the list of all; at least 1.
    fn weight(&self, priority: u32, index: usize) -> u32;

    /// How many requests to an endpoint of the list of all are under way at this moment, from any worker.
    fn active_requests(&self, priority: u32, index: usize) -> u64;

    /// A metadata value of an endpoint of the list of all, if it is a string, a number or a boolean.
    fn metadata(&self, priority: u32, index: usize, namespace: &str, key: &str) -> Option<HostMetadata<'_>>;
}

/// A value in an endpoint's metadata.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HostMetadata<'a> {
    /// A string.
    Text(&'a [u8]),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Flag(bool),
}

/// The request that an endpoint is chosen for.
pub trait LbRequest {
    /// The value at `index` among those of a header, whose name is in lower case.
    fn header(&self, name: &str, index: usize) -> Option<&[u8]>;

    /// Whether this is a retry that should avoid an endpoint of the list of all (Envoy's
    /// `retry_host_predicate`).
    fn avoids(&self, priority: u32, index: usize) -> bool;
}
