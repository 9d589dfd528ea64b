//! Istio's ambient control plane in one process tree, and our resources exercised on it.
pub mod authority;
pub mod registry;
pub mod names;
pub mod hbone;
pub mod redirect;
