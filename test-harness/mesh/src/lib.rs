//! Istio's ambient control plane in one process tree, and our resources exercised on it.
//!
//! No Kubernetes node, no container engine and no root: [`place`] is a network namespace in which the programs of
//! [`control_plane`] run, and in it [`world`] plays kubelet to them. [`proxy`] runs Istio's own agent with stock Envoy,
//! for which [`shims`] holds all that stock Envoy lacks. [`hbone`] and [`redirect`] stand in for ztunnel at the caller's
//! end and at the pods'. [`exercise`] applies our resources and sends requests.

pub mod api;
pub mod authority;
pub mod hbone;
mod https;
pub mod idp;
pub mod image;
pub mod names;
pub mod redirect;
pub mod registry;
mod task;
