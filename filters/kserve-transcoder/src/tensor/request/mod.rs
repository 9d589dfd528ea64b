//! A request's body: the JSON document, and the binary tails behind it.

mod deferred;
mod document;
mod element;
mod elements;
mod encode;
mod gap;
mod generate;
mod input;
mod keys;
pub(crate) mod lexer;
mod message;
mod parameters;
mod predict;
pub(crate) mod ready;
mod source;
mod strings;
#[cfg(test)]
mod tests;
mod typed_contents;

use crate::codec::{Inputs, Progress, RequestCodec, ResponseCodec, Rest};
use crate::problem::Problem;
use crate::tensor::charged::ChargedList;
use crate::tensor::response::{Response, StreamResponse, Wanted};
use crate::tensor::{AnswerForm, BodyModelName, Options, StreamMessages, Target};
use document::Document;
pub(crate) use element::raw_element;
use filter_api::{Charge, Rope};
pub(crate) use generate::{Answers, Generate};
use input::{Contents, Input};
pub(crate) use predict::Predict;

/// Reads the body of an inference request.
#[derive(Debug)]
pub(crate) struct Request {
    target: Target,
    options: Options,
    charge: Charge,
    document: Document,
    /// How many bytes of the document are still to come, if the client said how long it is.
    json_left: Option<usize>,
    /// How many bytes have come.
    taken: usize,
    tails: Tails,
    /// The answer is a stream of these messages.
    stream: Option<StreamMessages>,
}

/// The binary part of the body.
#[derive(Debug, Default)]
struct Tails {
    /// The input whose bytes come next, or one after the last.
    next: usize,
    /// The bytes of that input that have come.
    open: Option<Rope>,
    /// The document has ended, and the binary part begun.
    begun: bool,
}

impl Request {
    /// A reader of a body. `json_length` is `Inference-Header-Content-Length`.
    pub(crate) fn new(
        target: Target,
        options: Options,
        json_length: Option<usize>,
        charge: Charge,
    ) -> Box<Self> {
        Box::new(Self {
            target,
            options,
            document: Document::new(charge.sibling()),
            charge,
            json_left: json_length,
            taken: 0,
            tails: Tails::default(),
            stream: None,
        })
    }

    /// The answer is a stream of these messages, and each of them is JSON.
    pub(crate) fn answered_by(mut self: Box<Self>, stream: Option<StreamMessages>) -> Box<Self> {
        self.stream = stream;
        self
    }

    fn write_tail(&mut self, mut bytes: &[u8]) -> Result<Progress, Problem> {
        if !self.tails.begun {
            self.document.end()?;
            self.tails.begun = true;
        }
        while let Some(Input { contents, .. }) = self.document.inputs.get_mut(self.tails.next) {
            if let Contents::Tail(size) = contents {
                let rope = self.tails.open.get_or_insert_with(|| Rope::new(self.charge.sibling()));
                let left = *size - rope.len() as u64;
                let now = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                rope.push(&bytes[..now])?;
                bytes = &bytes[now..];
                if left > now as u64 {
                    return Ok(Progress::More);
                }
                if let Some(rope) = self.tails.open.take() {
                    *contents = Contents::Raw(rope);
                }
            }
            self.tails.next += 1;
        }
        if bytes.is_empty() { Ok(Progress::Complete) } else { Err(goes_on()) }
    }

    /// The URL names the model; the body may only say the same, unless it is not heard.
    fn check_target(&self) -> Result<(), Problem> {
        let pairs = [
            ("model_name", Some(&self.target.model), &self.document.model_name),
            ("model_version", self.target.version.as_ref(), &self.document.model_version),
        ];
        for (key, url, body) in pairs {
            if let (Some(url), Some(body)) = (url, body) {
                let same = url.as_bytes() == body.as_slice() || body.is_empty();
                let ignored = key == "model_name" && self.options.body_model_name == BodyModelName::Ignore;
                if !same && !ignored {
                    let body = String::from_utf8_lossy(body.as_slice());
                    return Err(Problem::bad_request(format!(
                        "{key} is {body} in the body, but {url} in the URL"
                    )));
                }
            }
        }
        Ok(())
    }
}

impl RequestCodec for Request {
    fn write(&mut self, bytes: &[u8]) -> Result<Progress, Problem> {
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > self.options.max_request_bytes {
            let limit = self.options.max_request_bytes;
            return Err(Problem::too_large(format!("the body is larger than {limit} bytes")));
        }
        let Some(left) = self.json_left else {
            self.document.read(bytes)?;
            return Ok(Progress::complete_if(self.document.is_done()));
        };
        let (json, tail) = bytes.split_at(left.min(bytes.len()));
        self.document.read(json)?;
        self.json_left = Some(left - json.len());
        if left > json.len() { Ok(Progress::More) } else { self.write_tail(tail) }
    }

    /// Binary tensors end a body: not even white space may follow them.
    fn rest(&self) -> Rest {
        if self.json_left.is_some() { Rest::Nothing } else { Rest::Blanks }
    }

    fn finish(self: Box<Self>) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        self.finish_described(&mut Inputs::default())
    }

    fn finish_described(
        mut self: Box<Self>,
        inputs: &mut Inputs,
    ) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        match self.json_left {
            None => self.document.end()?,
            Some(0) => {
                let _complete = self.write_tail(&[])?;
            }
            Some(left) => {
                return Err(Problem::bad_request(format!(
                    "the body ends {left} bytes before the JSON length in Inference-Header-Content-Length"
                )));
            }
        }
        self.check_target()?;
        for (index, input) in self.document.inputs.iter().enumerate() {
            if let Contents::Tail(size) = input.contents {
                let what = match self.json_left {
                    None => {
                        "has binary_data_size, but there is no Inference-Header-Content-Length".to_owned()
                    }
                    Some(_) => format!("the body ends before all of its {size} binary bytes have come"),
                };
                return Err(Problem::bad_request(format!("inputs[{index}]: {what}")));
            }
        }
        let outputs = std::mem::replace(&mut self.document.wanted, ChargedList::new(self.charge.sibling()));
        inputs.elements =
            self.document.inputs.iter().fold(0, |sum, input| sum.saturating_add(input.elements));
        if inputs.describe {
            inputs.first = self.document.inputs.iter().next().map(Input::description);
        }
        let wanted = match self.options.answer_form {
            _ if self.stream.is_some() => Wanted::nothing(&self.charge),
            AnswerForm::Kserve => {
                Wanted::new(self.document.parameters.binary == Some(true), outputs, &self.charge)?
            }
            AnswerForm::Proto => Wanted::nothing(&self.charge),
        };
        let Self { document, target, options, charge, stream, .. } = *self;
        let message = message::assemble(document, &target, options.encoding, &charge)?;
        let answer = Response::new(options, wanted, charge);
        Ok(match stream {
            Some(StreamMessages::Triton) => (message, Box::new(StreamResponse::new(answer))),
            Some(StreamMessages::Mlserver) | None => (message, Box::new(answer)),
        })
    }
}

/// What is wrong with a body that goes on after its last binary tensor.
pub(crate) fn goes_on() -> Problem {
    Problem::bad_request("the body goes on after the last binary tensor")
}
