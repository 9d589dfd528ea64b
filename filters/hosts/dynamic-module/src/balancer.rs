//! Load-balancing policies, beside the filters and in the same layers: `hooks` are the functions that Envoy calls,
//! `envoy` wraps the functions of `abi`, and `registry` knows the policies by name.

mod abi;
mod envoy;
mod hooks;
mod registry;

#[cfg(feature = "probe")]
mod probe;
