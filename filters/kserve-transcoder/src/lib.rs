//! KServe v2 (Open Inference Protocol) JSON over HTTP in, gRPC out, and back: the pure core.
//!
//! Requests are recognised by method and path, never by content type. `POST .../infer` goes through a streaming
//! codec of its own that turns tensor data from text to bytes as it arrives; every other call goes by protobuf
//! descriptors with `google.api.http` rules. See the README beside this crate for the configuration.
//!
//! [`KserveTranscoder`] is the filter. What it makes of one exchange, written as a golden case and run by the host of
//! the tests:
//!
//! ```
//! use kserve_transcoder::KserveTranscoder;
//! use testkit::{Case, Chunking, Column, run_on_core};
//!
//! let case = Case::parse("a flat tensor", r#"
//!     story = "numbers go up as bytes, and bytes come back as numbers"
//!
//!     [request]
//!     method = "POST"
//!     path = "/v2/models/affine/infer"
//!     body = '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1.5,-2]}]}'
//!
//!     [upstream]
//!     rpc = "/inference.GRPCInferenceService/ModelInfer"
//!     message = """
//!       model_name: "affine"
//!       inputs { name: "x" datatype: "FP32" shape: [1, 2] }
//!       raw_input_contents: "\\x00\\x00\\xc0\\x3f\\x00\\x00\\x00\\xc0" """
//!
//!     [answer]
//!     message = """
//!       model_name: "affine"
//!       outputs { name: "y" datatype: "FP32" shape: [1, 1] }
//!       raw_output_contents: "\\x00\\x00\\xc0\\x3f" """
//!
//!     [expect]
//!     status = 200
//!     headers = [["content-type", "application/json"]]
//!     body = '{"model_name":"affine","outputs":[{"name":"y","datatype":"FP32","shape":[1,1],"data":[1.5]}]}'
//! "#)?;
//!
//! // The body may be cut anywhere, here between any two bytes.
//! let outcome = run_on_core::<KserveTranscoder>(&case, Column::Native, Chunking::Bytes)?;
//! case.check(Column::Native, &outcome)?;
//! # Ok::<(), String>(())
//! ```

mod codec;
mod compressed;
mod config;
mod error_form;
mod exchange;
mod frame;
mod generic;
mod kserve_v1;
pub mod metrics;
mod models;
mod openai;
mod problem;
mod rows;
mod settings;
mod signatures;
mod status;
mod stream;
mod tensor;

pub use config::{CompressAnswers, Config, PathMode};
pub use exchange::{Exchange, KserveTranscoder};
pub use kserve_v1::{KserveV1, ModelInput, ModelInputs};
pub use openai::{
    OpenAiConfig, OpenAiConstant, OpenAiInput, OpenAiModel, OpenAiOperation, OpenAiParameter, OpenAiStream,
};
