//! What the policy counts.

filter_api::metrics! {
    /// The counters of `runtime_group`.
    pub(crate) const ALL;
    /// requests without any of the headers, or with empty ones only
    NO_GROUP: Counter "no_group";
    /// requests that name a value, or values together, that no endpoint of the cluster has, and requests with two different
    /// values of one header
    UNKNOWN_GROUP: Counter "unknown_group";
    /// requests whose group has endpoints, but none that is healthy
    UNHEALTHY_GROUP: Counter "unhealthy_group";
}
