//! What is in the module that Envoy has loaded.

use crate::balancer::PolicyEntry;
use crate::registry::FilterEntry;
use std::sync::OnceLock;

/// A module as [`module!`](crate::module!) lists it.
pub struct Module {
    /// What lines that belong to no filter are logged for.
    pub name: &'static str,
    /// An operator chooses one by `filter_name`, with `-` or `_` between its words.
    pub filters: &'static [FilterEntry],
    /// An operator chooses one by `lb_policy_name`, with `-` or `_` between its words.
    pub policies: &'static [PolicyEntry],
}

static LOADED: OnceLock<&Module> = OnceLock::new();

/// Keeps what [`loaded`] returns from now on.
pub(crate) fn load(module: &'static Module) {
    // An Envoy that loads the same library again, for another configuration, finds the same list.
    let _ = LOADED.set(module);
}

/// The module that runs here: an empty one before Envoy has loaded it.
pub(crate) fn loaded() -> &'static Module {
    const NONE: &Module = &Module { name: "dynamic_module", filters: &[], policies: &[] };
    LOADED.get().copied().unwrap_or(NONE)
}

/// Whether a configuration that says `given` means the filter or policy of that name. `-` and `_` count as the same:
/// names of Kubernetes resources allow only the one, and names of metrics only the other, so operators write both.
pub(crate) fn is_meant(name: &str, given: &[u8]) -> bool {
    let plain = |byte: &u8| if *byte == b'-' { b'_' } else { *byte };
    name.as_bytes().iter().map(plain).eq(given.iter().map(plain))
}
