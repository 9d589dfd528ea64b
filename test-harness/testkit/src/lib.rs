//! What tests of filters are made of.
//!
//! A [`Case`] is one HTTP exchange: what the client sends, what the model server must see and answers, and what
//! the client must get, column by column of the table of hosts ([`Column`]). It says nothing of how the bytes
//! are cut or which host runs: a [`Subject`] takes a case, a column and a [`Chunking`], and returns an [`Outcome`]
//! that [`Case::check`] compares with the case. `Trials` is the `main` of a test target in which each case on each
//! subject is a test of its own. This crate's own subject, [`OnCore`], is a small host in plain Rust that applies
//! verdicts as `filter-api` documents them.
//!
//! The module `captures` has exchanges of a real client with a real server in the form of cases, and `docs` keeps what is
//! written about a filter's configuration true; each is a feature.

#[cfg(feature = "captures")]
pub mod captures;
mod case;
mod check;
mod chunking;
mod core_host;
#[cfg(feature = "docs")]
pub mod docs;
mod headers;
mod local_reply;
mod message;
mod outcome;
mod part;
mod rules;
mod subject;
#[cfg(not(target_family = "wasm"))]
mod trials;

pub use case::{
    Answer, Body, Case, Column, Expect, FirstCall, LoadError, Request, Upstream, golden_cases, load_dir,
};
pub use chunking::Chunking;
pub use core_host::{Core, MEMORY_BYTES, UNKNOWN_CLUSTER, run_on_core};
pub use headers::{Headers, Pairs};
pub use local_reply::{grpc_local_reply, grpc_status_of, is_grpc};
pub use message::{frame, unframe};
pub use outcome::{Got, Outcome, Seen};
pub use part::Part;
pub use rules::{KNOWN_CLUSTER, Observed, RULES, Rule};
pub use subject::{OnCore, Run, Subject, assert_all_hold};
#[cfg(not(target_family = "wasm"))]
pub use trials::{Trials, unless_missing};
