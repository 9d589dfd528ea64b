//! KServe v2 (Open Inference Protocol) JSON over HTTP in, gRPC out, and back: the pure core.
//!
//! Requests are recognised by method and path, never by content type. `POST .../infer` goes through a streaming
//! codec of its own that turns tensor data from text to bytes as it arrives; every other call goes by protobuf
//! descriptors with `google.api.http` rules. See the README beside this crate for the configuration.

mod codec;
mod compressed;
mod config;
mod exchange;
mod frame;
mod generic;
pub mod metrics;
mod problem;
mod rows;
mod settings;
mod status;
mod tensor;

pub use config::{Config, PathMode};
pub use exchange::{Exchange, KserveTranscoder};
