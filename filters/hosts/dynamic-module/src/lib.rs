//! Runs all filter cores in one native Envoy dynamic module.
//!
//! The layers, from Envoy inwards: `hooks` are the functions that Envoy calls, `adapter` turns them into calls
//! on a filter's [`Stream`](filter_api::Stream) and applies what comes back (`operations`: besides the verdict), `envoy` wraps the functions of
//! `abi` so that the adapter needs no `unsafe`, and `registry` knows the filters by name.
//!
//! `balancer` does the same for load-balancing policies, which are no filters.

mod abi;
mod adapter;
mod balancer;
mod envoy;
mod events;
mod hooks;
mod operations;
mod registry;

#[cfg(feature = "probe")]
mod probe;
