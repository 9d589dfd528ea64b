//! KServe v1 in front of v2: what its paths need beside the rows and the codecs.
//!
//! The body of `POST /v1/models/M:predict` says nothing of datatypes, shapes or, where the model has one input, names. They
//! are the model's own: its [`Signature`](crate::tensor::Signature) comes from the configuration, or from the model server's `ModelMetadata`, which
//! is asked once and remembered ([`Signatures`]). The body is read by [`Predict`](crate::tensor::Predict).

mod config;
mod metadata;
mod signatures;

pub use config::{KserveV1, ModelInput, ModelInputs};
pub(crate) use metadata::{MODEL_METADATA, cannot_be_had, metadata_request};
pub(crate) use signatures::{Fetch, Flight, Lookup, Outcome, Place, Signatures};
