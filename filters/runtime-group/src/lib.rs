//! A load-balancing policy that keeps each request in its group of endpoints, on the least loaded of them: the pure
//! core.
//!
//! A request names its group in a header, an endpoint in its metadata. See the README beside this crate for the
//! configuration.

mod config;
mod header;
mod load;
mod membership;
mod policy;
mod unknown;

#[cfg(test)]
mod fake;

pub use config::{Config, Fallback, IstioWorkload, Key};
pub use policy::{RuntimeGroup, Worker};
