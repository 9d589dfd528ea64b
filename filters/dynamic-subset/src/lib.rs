//! Request headers and model names become the subset keys by which a load balancer picks endpoints.
//!
//! For each request the rules of the configuration make one set of pairs, such as `model.format=tensorflow`. A host
//! that can gives them to the load balancer (Envoy's `envoy.lb` metadata); elsewhere stock filters do, from the
//! headers and the property that this filter sets. A cluster's `lb_subset_config` does the rest.
//!
//! [`config`] is what an operator writes, `settings` and `rules` are what the filter works with, `model` and `message` find the name of the
//! model that a request is for, and [`DynamicSubset`] is the filter.

pub mod config;
mod exchange;
mod message;
pub mod metrics;
mod model;
mod pattern;
mod rules;
mod settings;
mod text;

pub use exchange::{DynamicSubset, Exchange};
