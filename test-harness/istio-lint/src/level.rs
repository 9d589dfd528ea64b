//! How sure a problem is, for those who check resources without their cluster.

use crate::Problem;

/// How sure a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A matter of taste or of caution.
    Note,
    /// So it is unless something that is not among the resources makes up for it.
    Warning,
    /// So it is.
    Error,
}

/// Phrases of reasons that are about something missing, which may be in the cluster, or about what may be meant so.
const UNSURE: [&str; 16] = [
    "whose waypoint ignores selectors",
    "phase must come after authorisation",
    "among these resources",
    "these resources have no",
    "of these resources",
    "is not in its namespace",
    "no DestinationRule for",
    "whether the pods have the module",
    "no policy at the pods",
    "no DENY policy",
    "no policy limits who",
    "does not trust the gateway",
    "no ServiceEntry has",
    "are fetched from an unverified server",
    "no instance with",
    "requests go past",
];

/// Phrases of reasons that name a better way, where the other works.
const ADVICE: [&str; 9] = [
    "among those it declares",
    "only the other entries count",
    "nothing in these resources names",
    "nothing in these resources discovers",
    "is not the full name of a Service",
    "has no priority",
    "needs no EnvoyFilter",
    "it would apply to every proxy except waypoints",
    "has conditional routes only",
];

/// Rules of the same: what they find may be mended elsewhere, or be meant so.
const UNSURE_RULES: [&str; 9] = [
    "endpoints-without-socket",
    "gateway-module-fetched",
    "ingress-past-plugin",
    "missing-service",
    "parameters-elsewhere",
    "pull-secret",
    "reference-grant",
    "two-transcoders",
    "unknown-filter",
];
/// Rules that say what a cluster must be told besides.
const ADVISING_RULES: [&str; 1] = ["inference-pool-off"];

impl Problem {
    /// How sure it is, when all that is known are the resources.
    #[must_use]
    pub fn level(&self) -> Level {
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| self.reason.contains(phrase));
        if says(&ADVICE) || ADVISING_RULES.contains(&self.rule) {
            Level::Note
        } else if says(&UNSURE) || UNSURE_RULES.contains(&self.rule) {
            Level::Warning
        } else {
            Level::Error
        }
    }
}
