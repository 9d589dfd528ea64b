//! What can go wrong in an exchange, as the client will see it.

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
}

impl Problem {
    /// The client sent something that cannot be understood.
    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 400, message: message.into(), details: "kserve_bad_request" }
    }

    /// The body is larger than what the configuration allows.
    pub(crate) fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 413, message: message.into(), details: "kserve_too_large" }
    }

    /// The server answered with something that is not a valid answer.
    pub(crate) fn bad_answer(message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 502, message: message.into(), details: "kserve_bad_answer" }
    }

    /// The method streams in a way that cannot be served here.
    pub(crate) fn streaming_method(message: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 501, message: message.into(), details: "kserve_streaming_method" }
    }

    /// The local reply that tells the client.
    #[must_use]
    pub(crate) fn reply(&self) -> Reply {
        Reply::new(self.status, self.details).header("content-type", "application/json").body(self.body())
    }

    /// The error object.
    #[must_use]
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::json!({ "error": self.message }).to_string().into_bytes()
    }
}

impl From<OverBudget> for Problem {
    fn from(error: OverBudget) -> Self {
        Self { status: 503, message: error.to_string().into(), details: "kserve_memory_budget" }
    }
}
