//! Verified claims of OIDC tokens become request headers that no client can forge: the pure core.
//!
//! A route, or the application, can then trust a header such as `x-user-class`. Whoever verified the token, another
//! filter in front or this one, the rest is the same: a client's own headers of that name are removed in every
//! spelling, at most one value is set, and the route is selected again. See the README beside this crate for the
//! configuration.
//!
//! [`config`] is what an operator writes, `settings` is what is made of it. `token`, `keys`, `signature` and `json` are the
//! strict layer under `builtin`; `metadata` is the other source;
//! `mapping` makes values of claims, and [`ClaimHeaders`] is the filter.

#[cfg(test)]
mod attacks;
mod builtin;
mod cache;
pub mod config;
mod cookies;
mod exchange;
mod failed;
#[cfg(test)]
mod fetching_stories;
mod guard;
mod header;
mod json;
mod keys;
mod mapping;
mod metadata;
mod meter;
mod metrics;
mod place;
#[cfg(test)]
mod providers;
mod remove;
mod settings;
mod signature;
#[cfg(test)]
mod stories;
mod token;
#[cfg(test)]
mod vectors;

pub use config::Config;
pub use exchange::{ClaimHeaders, Exchange};
pub use token::Algorithm;
