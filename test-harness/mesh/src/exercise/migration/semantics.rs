//! The table of what the vendor documents, and requests made of it.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use e2e::{Protocol, Request};
use odd_server::wire;
use serde::Deserialize;

/// The table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Semantics {
    pub(super) inference: Inference,
    pub(super) users: Users,
    pub(super) inside: Inside,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inference {
    pub(super) headers: Vec<Line>,
    pub(super) requests: Vec<Asked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Users {
    pub(super) tokens: Vec<Token>,
    pub(super) forged: Vec<Vec<String>>,
    pub(super) requests: Vec<Plain>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inside {
    pub(super) classes: Vec<Line>,
    pub(super) requests: Vec<Plain>,
}

/// Headers, as `name: value`, and where a request with them goes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) send: Vec<String>,
    pub(super) goes: String,
}

/// A user's token, and where the user's requests go.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub(super) user: String,
    pub(super) goes: String,
}

/// A request for a model server, and the RPC that it gets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) over: Over,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) rpc: String,
}

/// What a client speaks.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Over {
    Json,
    Grpc,
}

/// A request for the application.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plain {
    pub(super) method: String,
    pub(super) path: String,
}

impl Semantics {
    /// Reads the table.
    pub(super) fn read() -> Result<Self> {
        let path = e2e::repository().join("test-harness/mesh/src/exercise/migration/semantics.yaml");
        let read = istio_lint::yaml(&path)?.pop();
        read.with_context(|| format!("{} is empty", PathBuf::from(&path).display()))
    }
}

impl Asked {
    /// Over which versions of HTTP it can be sent.
    pub(super) fn protocols(&self) -> &'static [Protocol] {
        if self.over == Over::Grpc { &[Protocol::Http2] } else { &Protocol::BOTH }
    }

    pub(super) fn request(&self) -> Request {
        let body =
            r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"contents":{"fp32_contents":[1.5]}}]}"#;
        let message = if self.rpc.starts_with("Model") {
            wire::Message::new().bytes(1, "any")
        } else {
            wire::Message::new()
        };
        match (self.over, self.method.as_str()) {
            (Over::Grpc, _) => Request::grpc(&self.path, message.as_bytes()),
            (Over::Json, "POST") => {
                Request::post(&self.path, body).header("content-type", "application/json")
            }
            (Over::Json, method) => Request::new(method, &self.path),
        }
    }
}

impl Plain {
    pub(super) fn request(&self) -> Request {
        match self.method.as_str() {
            "POST" => Request::post(&self.path, "a picture"),
            method => Request::new(method, &self.path),
        }
    }
}

/// A request with headers of the table.
pub(super) fn with(request: Request, headers: &[String]) -> Result<Request> {
    headers.iter().try_fold(request, |request, header| match header.split_once(':') {
        Some((name, value)) => Ok(request.header(name, value.trim_start())),
        None => bail!("{header:?} in the table is not `name: value`"),
    })
}
