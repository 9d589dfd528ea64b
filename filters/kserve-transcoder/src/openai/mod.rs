//! OpenAI's API in front of models that speak KServe v2: the key `openai`.
//!
//! `GET models` and `GET models/{id}` are answered from the configuration. `POST embeddings` and `POST completions` become
//! `ModelInfer`, by the configuration's mapping of inputs and outputs, and completions in pieces `ModelStreamInfer`
//! ([`streams`]). A client names a model in the body, when the path has long been changed in a host that cannot hold headers; so
//! the RPC is the same for all models there, and only what the configuration lists can be named.
//!
//! What cannot be served is refused, and never left out: a client must not take an answer for another than it is. Every error
//! has OpenAI's own form.

mod answer;
mod chunks;
mod config;
mod document;
mod error;
mod read;
mod request;
mod streams;
mod tensors;
#[cfg(test)]
mod tests;

pub use config::{
    OpenAi as OpenAiConfig, OpenAiConstant, OpenAiInput, OpenAiModel, OpenAiOperation, OpenAiParameter,
    OpenAiStream,
};
pub(crate) use error::body as error_body;
pub(crate) use read::check_beside_kserve_v1;
pub(crate) use request::{Request, Stamp};
pub(crate) use streams::Around;

use crate::problem::Problem;
use crate::rows::split_query;
use crate::tensor::{StreamMessages, Target};
use filter_api::{EscapedSlash, PathPrefixes, Reply, decode_segment};
use std::sync::Arc;
use streams::Methods;
use tensors::{Fixed, Tensor};

/// A configuration, as it is worked with.
#[derive(Debug)]
pub(crate) struct OpenAi {
    prefix: String,
    prefixes: PathPrefixes,
    models: Vec<Arc<Model>>,
    /// The answer to `GET models`.
    list: Vec<u8>,
    /// The header that says the model's name on its server.
    pub(crate) model_header: Option<String>,
    /// Where completions go.
    methods: Methods,
    /// What the messages of a stream are.
    messages: Option<StreamMessages>,
}

/// A model.
#[derive(Debug)]
pub(crate) struct Model {
    id: String,
    target: Target,
    /// The answer to `GET models/{id}`.
    entry: Vec<u8>,
    embeddings: Option<Setup>,
    completions: Option<Setup>,
}

/// Which tensors a model has for an operation.
#[derive(Debug)]
struct Setup {
    text: Option<Tensor>,
    tokens: Option<Tensor>,
    pad: Option<u32>,
    mask: Option<Tensor>,
    output: String,
    finish_reason: Option<String>,
    prompt_tokens: Option<String>,
    completion_tokens: Option<String>,
    parameters: Vec<Parameter>,
    constants: Vec<(Tensor, Fixed)>,
    max_inputs: u64,
    stream: Option<OpenAiStream>,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    tensor: Tensor,
    default: Option<Fixed>,
}

/// What a model is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Embeddings,
    Completions,
}

/// What a request is to OpenAI's API.
#[derive(Debug)]
pub(crate) enum Found {
    /// A model is asked.
    Ask(Operation),
    /// The answer is known.
    Known(Reply),
    Refused(Problem),
    MethodNotAllowed {
        allow: &'static str,
    },
}

impl OpenAi {
    /// What a request's `:method` and `:path` mean; `None` for a path that is not OpenAI's.
    pub(crate) fn find(&self, method: &[u8], path: &[u8]) -> Option<Found> {
        let (path, _) = split_query(path);
        let rest = self.prefixes.forms(path).find_map(|form| form.strip_prefix(self.prefix.as_bytes()))?;
        if !matches!(rest.first(), None | Some(b'/')) {
            return None;
        }
        let get = |found: Found| match method {
            b"GET" | b"HEAD" => found,
            _ => Found::MethodNotAllowed { allow: "GET" },
        };
        let post = |operation| match method {
            b"POST" => Found::Ask(operation),
            _ => Found::MethodNotAllowed { allow: "POST" },
        };
        Some(match rest {
            b"/models" => get(Found::Known(known(&self.list))),
            b"/embeddings" => post(Operation::Embeddings),
            b"/completions" => post(Operation::Completions),
            b"/chat/completions" => Found::Refused(error::unknown_path(
                "chat/completions is not served here: a chat's messages become a prompt by the model's own template, which \
                 only the model's server knows. Send the prompt to completions",
            )),
            rest => match rest.strip_prefix(b"/models/") {
                Some(id) => get(self.entry(id)),
                None => {
                    let path = String::from_utf8_lossy(path);
                    Found::Refused(error::unknown_path(format!("unknown path {path} of OpenAI's API")))
                }
            },
        })
    }

    /// The entry of a model whose name is at the end of a path, where it may be escaped.
    fn entry(&self, segment: &[u8]) -> Found {
        let id = decode_segment(segment, EscapedSlash::Decode);
        match id.as_deref().ok().and_then(|id| self.model(id)) {
            Some(model) => Found::Known(known(&model.entry)),
            None => Found::Refused(error::unknown_model(segment)),
        }
    }

    /// What its paths begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn model(&self, id: &[u8]) -> Option<&Arc<Model>> {
        self.models.iter().find(|model| model.id.as_bytes() == id)
    }
}

fn known(body: &[u8]) -> Reply {
    Reply::new(200, "openai_models").header("content-type", "application/json").body(body.to_vec())
}

impl Model {
    fn setup(&self, operation: Operation) -> Option<&Setup> {
        match operation {
            Operation::Embeddings => self.embeddings.as_ref(),
            Operation::Completions => self.completions.as_ref(),
        }
    }
}

impl Setup {
    fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// The outputs that are asked for.
    fn outputs(&self) -> impl Iterator<Item = &str> {
        let others = [&self.finish_reason, &self.prompt_tokens, &self.completion_tokens];
        std::iter::once(self.output.as_str()).chain(others.into_iter().flatten().map(String::as_str))
    }
}

impl Operation {
    /// Its name, as the end of its path.
    fn name(self) -> &'static str {
        match self {
            Self::Embeddings => "embeddings",
            Self::Completions => "completions",
        }
    }

    /// The member of its body that has the inputs.
    fn inputs(self) -> &'static str {
        match self {
            Self::Embeddings => "input",
            Self::Completions => "prompt",
        }
    }
}
