//! Request headers and model names become the subset keys by which a load balancer picks endpoints.
//!
//! For each request the rules of the configuration make one set of pairs, such as `model.format=tensorflow`. A host
//! that can gives them to the load balancer (Envoy's `envoy.lb` metadata); elsewhere stock filters do, from the
//! headers and the property that this filter sets. A cluster's `lb_subset_config` does the rest.
//!
//! [`config`] is what an operator writes, `settings` and `rules` are the form in which it is used; `model` and
//! `message` find the name of the model that a request is for; [`DynamicSubset`] is the filter. What it makes of one
//! request, written as a golden case and run by the host of the tests:
//!
//! ```
//! use dynamic_subset::DynamicSubset;
//! use testkit::{Case, Chunking, Column, run_on_core};
//!
//! let case = Case::parse("a header and a model's name", r#"
//!     story = "a header and the model's name in the path make two pairs"
//!     filter = "dynamic_subset"
//!     config = """{"rules": [
//!       {"header": "x-group", "key": "group"},
//!       {"model": ["tf-*"], "key": "model.format", "value": "tensorflow"}
//!     ]}"""
//!
//!     [request]
//!     method = "POST"
//!     path = "/v2/models/tf-1/infer"
//!     headers = [["x-group", "canary"]]
//!
//!     [upstream]
//!     rpc = "/v2/models/tf-1/infer"
//!     headers = [["x-subset-group", "canary"], ["x-subset-model.format", "tensorflow"]]
//!     subset = [["group", "canary"], ["model.format", "tensorflow"]]
//!
//!     [answer]
//!     body = "an answer"
//!
//!     [expect]
//!     status = 200
//!     body = "an answer"
//! "#)?;
//!
//! let outcome = run_on_core::<DynamicSubset>(&case, Column::Native, Chunking::Whole)?;
//! case.check(Column::Native, &outcome)?;
//! # Ok::<(), String>(())
//! ```

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
