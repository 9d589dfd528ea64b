//! Completions in pieces: what a configuration and a client say of them, and which of the server's methods a request goes to.
//!
//! The path of a request leaves before its body is read, unless its headers are held. Then one method serves all completions,
//! and what asks for another one is refused: by the configuration where a mapping does, by a 400 where a client does.

use super::config::OpenAiStream;
use super::document::{Form, Member};
use super::tensors::Scalar;
use super::{OpenAi, OpenAiConfig, OpenAiOperation, Operation, Setup, error};
use crate::config::PathMode;
use crate::problem::Problem;
use crate::tensor::StreamMessages;
use filter_api::{Caps, ConfigError, Dir, PathPrefixes};
use kserve_proto::{MODEL_INFER, MODEL_STREAM_INFER};

/// What the host and the rest of the configuration say.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    pub(crate) prefixes: PathPrefixes,
    /// The operator has said that inferences' headers are held.
    pub(crate) holds_request_headers: bool,
    /// What the messages of a stream are.
    pub(crate) stream_messages: Option<StreamMessages>,
    pub(crate) path: PathMode,
    pub(crate) caps: Caps,
}

/// Which methods completions go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Methods {
    /// `ModelInfer`.
    Unary,
    /// `ModelStreamInfer`.
    Stream,
    /// Either, as the body says.
    Either,
}

impl Methods {
    /// Reads what the models of a configuration have.
    ///
    /// # Errors
    /// A stream that could not be read or written, or methods between which nothing could choose in time.
    pub(super) fn read(config: &OpenAiConfig, around: &Around) -> Result<Self, ConfigError> {
        let mut first = None;
        let mut all = Self::Unary;
        for (index, model) in config.models.iter().enumerate() {
            let Some(completions) = &model.completions else { continue };
            let path = format!("openai.models[{index}].completions");
            check(completions, &path, around)?;
            let own = match completions.stream {
                None => Self::Unary,
                Some(OpenAiStream::Required) => Self::Stream,
                Some(OpenAiStream::Optional) => Self::Either,
            };
            let (other, of_first) = *first.get_or_insert((index, own));
            all = if own == of_first && all != Self::Either { own } else { Self::Either };
            if let (Self::Either, Some(why)) = (all, around.cannot_choose()) {
                let reason = match own {
                    Self::Either => format!("optional {why}"),
                    _ => format!("openai.models[{other}] has another value, which {why}"),
                };
                return Err(ConfigError::at(format!("{path}.stream"), reason));
            }
        }
        Ok(all)
    }
}

fn check(config: &OpenAiOperation, path: &str, around: &Around) -> Result<(), ConfigError> {
    if config.stream.is_none() {
        return Ok(());
    }
    if around.stream_messages.is_none() {
        let reason = "needs stream_messages, which says what the server's messages are";
        return Err(ConfigError::at(format!("{path}.stream"), reason));
    }
    if config.finish_reason.is_none() && !around.caps.emit_in_trailers {
        let reason = "stream needs it here: a proxy-wasm filter can write what ends the client's stream only if the last message \
                      says that it is the last";
        return Err(ConfigError::at(format!("{path}.finish_reason"), reason));
    }
    Ok(())
}

impl Around {
    /// Why a body cannot say which method its request goes to.
    fn cannot_choose(&self) -> Option<&'static str> {
        if !(self.holds_request_headers || self.caps.hold[Dir::Request as usize]) {
            return Some(
                "needs hold_request_headers: true: otherwise the request goes to one of ModelInfer and ModelStreamInfer before its \
                 body is read",
            );
        }
        (self.path == PathMode::Route).then_some(
            "needs path: rewrite: a route sends all completions to one of ModelInfer and ModelStreamInfer",
        )
    }
}

impl OpenAi {
    /// The method that a request goes to, unless its body says otherwise.
    pub(crate) fn rpc(&self, operation: Operation) -> &'static str {
        match (operation, self.methods) {
            (Operation::Completions, Methods::Stream) => MODEL_STREAM_INFER,
            _ => MODEL_INFER,
        }
    }

    /// Whether the body of a request says which method it goes to, so that its headers have to wait for it.
    pub(crate) fn chooses_by_body(&self, operation: Operation) -> bool {
        operation == Operation::Completions && self.methods == Methods::Either
    }
}

/// Whether a text is wanted in pieces, which the model must have so.
pub(super) fn is_stream(operation: Operation, setup: &Setup, members: &[Member]) -> Result<bool, Problem> {
    if operation != Operation::Completions {
        return Ok(false);
    }
    let member = members.iter().find(|member| member.name.as_slice() == b"stream");
    let wanted = match member.map(|member| (member.form, member.value())) {
        None | Some((Form::Null, _)) => false,
        Some((_, Some(Scalar::Bool(wanted)))) => wanted,
        Some(_) => return Err(error::invalid("stream", "stream must be true or false")),
    };
    match (setup.stream, wanted) {
        (None, true) => Err(error::unsupported(
            "stream",
            "stream: this model answers in one piece: leave it out, or set it to false",
        )),
        (Some(OpenAiStream::Required), false) => {
            Err(error::invalid("stream", "stream: this model answers in pieces only: set it to true"))
        }
        _ => Ok(wanted),
    }
}

/// Reads `stream_options`: whether a stream is to say how many tokens there were.
pub(super) fn wants_usage(stream: bool, members: &[Member]) -> Result<bool, Problem> {
    const NAME: &str = "stream_options";
    let member = members.iter().find(|member| member.name.as_slice() == NAME.as_bytes());
    let Some(member) = member.filter(|member| member.form != Form::Null) else { return Ok(false) };
    if member.form != Form::Object {
        return Err(error::invalid(NAME, "stream_options must be an object with include_usage"));
    }
    if !stream {
        return Err(error::invalid(NAME, "stream_options is for streams: it needs stream: true"));
    }
    let mut usage = None;
    for (name, value) in member.pairs() {
        match (name, value) {
            (b"include_usage", Scalar::Bool(wanted)) if usage.is_none() => usage = Some(wanted),
            (b"include_usage", Scalar::Bool(_)) => {
                return Err(error::invalid(NAME, "stream_options.include_usage is given twice"));
            }
            (b"include_usage", _) => {
                return Err(error::invalid(NAME, "stream_options.include_usage must be true or false"));
            }
            // Nothing is added to a chunk to hide its length.
            (b"include_obfuscation", Scalar::Bool(false)) => {}
            (name, _) => {
                let what = format!("stream_options.{} is not supported", String::from_utf8_lossy(name));
                return Err(error::unsupported(NAME, what));
            }
        }
    }
    Ok(usage.unwrap_or_default())
}
