//! The policies of the module, by name.

use crate::module::is_meant;
use filter_api::{Balancer, ConfigError, Metric, MetricKind, Policy};
use std::sync::Arc;

/// A policy with its configuration, shared by all workers.
pub(super) struct Configured {
    pub(super) name: &'static str,
    pub(super) metrics: &'static [Metric],
    policy: Box<dyn Open>,
}

impl Configured {
    /// The state of another worker.
    pub(super) fn balancer(&self, seed: u64) -> Box<dyn Balancer> {
        self.policy.balancer(seed)
    }
}

/// Finds a policy and configures it.
///
/// # Errors
/// One line for the log: the name is unknown, or the configuration is refused.
pub(super) fn configure(policies: &[PolicyEntry], name: &[u8], json: &[u8]) -> Result<Configured, String> {
    let Some(entry) = policies.iter().find(|entry| is_meant(entry.name, name)) else {
        let known: Vec<&str> = policies.iter().map(|entry| entry.name).collect();
        let name = String::from_utf8_lossy(name);
        return Err(format!("unknown lb_policy_name {name:?}; this module has: {}", known.join(", ")));
    };
    let policy = (entry.configure)(json).map_err(|error| format!("{}: {error}", entry.name))?;
    Ok(Configured { name: entry.name, metrics: entry.metrics, policy })
}

type Configure = fn(&[u8]) -> Result<Box<dyn Open>, ConfigError>;

/// What is known of a policy before it is configured.
pub struct PolicyEntry {
    name: &'static str,
    metrics: &'static [Metric],
    configure: Configure,
}

impl PolicyEntry {
    /// That of a policy.
    pub const fn of<P: Policy>() -> Self {
        const { assert!(are_counters(P::METRICS), "a policy can only have counters") };
        Self {
            name: P::NAME,
            metrics: P::METRICS,
            configure: |json| Ok(Box::new(Arc::new(P::configure(json)?))),
        }
    }
}

const fn are_counters(metrics: &[Metric]) -> bool {
    match metrics {
        [] => true,
        [first, rest @ ..] => matches!(first.kind, MetricKind::Counter) && are_counters(rest),
    }
}

/// A [`Policy`] whose type is forgotten.
trait Open: Send + Sync {
    fn balancer(&self, seed: u64) -> Box<dyn Balancer>;
}

impl<P: Policy> Open for Arc<P> {
    fn balancer(&self, seed: u64) -> Box<dyn Balancer> {
        Box::new(Policy::balancer(self, seed))
    }
}
