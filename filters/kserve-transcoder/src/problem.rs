//! What can go wrong in an exchange, as the client will see it.

use crate::status::{self, Status};
use filter_api::{OverBudget, Reply};
use std::borrow::Cow;

/// A failure with its HTTP status. The client gets it as `{"error": "..."}`, the error object of the Open
/// Inference Protocol's REST interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Problem {
    /// The HTTP status.
    pub(crate) status: u16,
    /// What is wrong, specific enough to mend it: the JSON path, what was found, what was expected.
    pub(crate) message: Cow<'static, str>,
    /// Envoy's response code details, in `lower_snake_case`.
    pub(crate) details: &'static str,
    /// The server's own status, if that is what it comes from.
    pub(crate) grpc: Option<Box<Status>>,
}

impl Problem {
    pub(crate) fn new(status: u16, message: impl Into<Cow<'static, str>>, details: &'static str) -> Self {
        Self { status, message: message.into(), details, grpc: None }
    }

    /// The client sent something that cannot be understood.
    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, message, "kserve_bad_request")
    }

    /// The body is larger than what the configuration allows.
    pub(crate) fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(413, message, "kserve_too_large")
    }

    /// The server answered with something that is not a valid answer.
    pub(crate) fn bad_answer(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(502, message, "kserve_bad_answer")
    }

    /// The method streams in a way that cannot be served here.
    pub(crate) fn streaming_method(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(501, message, "kserve_streaming_method")
    }

    /// The local reply that tells the client, with this body.
    #[must_use]
    pub(crate) fn reply(&self, body: Vec<u8>) -> Reply {
        Reply::new(self.status, self.details).header("content-type", "application/json").body(body)
    }

    /// Makes what is told of it shorter by so many bytes at least, if there is so much of it.
    pub(crate) fn shorten(&mut self, bytes: usize) {
        match &mut self.grpc {
            Some(status) if !status.details().is_empty() => return status.shorten(bytes),
            Some(status) => status.shorten(bytes),
            None => {}
        }
        status::cut(self.message.to_mut(), bytes);
    }

    /// The error object.
    #[must_use]
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::json!({ "error": self.message }).to_string().into_bytes()
    }
}

impl From<OverBudget> for Problem {
    fn from(error: OverBudget) -> Self {
        Self::new(503, error.to_string(), "kserve_memory_budget")
    }
}
