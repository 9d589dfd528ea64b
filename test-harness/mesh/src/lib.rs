//! Istio's ambient control plane in one process tree, and our resources exercised on it.
//!
//! No Kubernetes node, no container engine and no root: [`place`] is a network namespace in which the programs of
//! [`control_plane`] run, and in it [`world`] plays kubelet to them. [`proxy`] runs Istio's own agent with stock Envoy,
//! for which [`shims`] holds all that stock Envoy lacks. [`hbone`] and [`redirect`] stand in for ztunnel at the caller's
//! end and at the pods'. [`exercise`] applies our resources and sends requests. [`envoy_gateway`] does the same with Envoy
//! Gateway, which needs none of this but the place.

pub mod api;
pub mod authority;
pub mod control_plane;
pub mod envoy_gateway;
pub mod exercise;
pub mod front;
pub mod hbone;
mod https;
pub mod names;
pub mod pipe;
pub mod place;
pub mod proxy;
pub mod redirect;
pub mod registry;
pub mod report;
mod requests;
pub mod setup;
pub mod shims;
mod task;
mod tls_relay;
pub mod world;
