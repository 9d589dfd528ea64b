//! Load-balancing policies, beside the filters and in the same layers: `hooks` are the functions that Envoy calls,
//! `envoy` wraps the functions of `abi`, and `registry` configures the policies of the module.

mod abi;
mod envoy;
mod hooks;
mod registry;

#[cfg(test)]
pub(crate) use abi::{ACTIVE_REQUESTS, HEALTHY};
pub use registry::PolicyEntry;
