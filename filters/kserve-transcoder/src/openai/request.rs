//! A request of OpenAI's as a `ModelInferRequest`, for `ModelInfer` or for `ModelStreamInfer`.

use super::answer::{Answered, Response};
use super::chunks::Chunks;
use super::document::{Document, Form, Inputs, Member};
use super::streams::{is_stream, wants_usage};
use super::tensors::{Scalar, Tensor};
use super::{Model, OpenAi, Operation, Setup, error};
use crate::codec::{self, Progress, RequestCodec, ResponseCodec};
use crate::problem::Problem;
use crate::tensor::number::decimal::f64_of;
use crate::tensor::{AnswerForm, ChargedList, Options, ReadyInput, message_of};
use filter_api::{Charge, OverBudget, Rope, Sink};
use std::fmt::Write as _;
use std::sync::Arc;

/// Reads the body of a request.
#[derive(Debug)]
pub(crate) struct Request {
    openai: Arc<OpenAi>,
    operation: Operation,
    options: Options,
    stamp: Stamp,
    document: Document,
    /// How many bytes have come.
    taken: usize,
    charge: Charge,
}

/// What an answer says of the exchange that it belongs to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stamp {
    /// The end of the answer's `id`.
    pub(crate) id: String,
    /// When the request came, in seconds since 1970.
    pub(crate) created: u64,
}

impl Request {
    pub(crate) fn new(
        openai: Arc<OpenAi>,
        operation: Operation,
        stamp: Stamp,
        options: Options,
        charge: Charge,
    ) -> Box<Self> {
        let document = Document::new(operation, charge.sibling());
        // What the model server answers is read in one form, whatever the configuration says of other answers.
        let options = Options { answer_form: AnswerForm::Kserve, ..options };
        Box::new(Self { openai, operation, options, stamp, document, taken: 0, charge })
    }
}

impl RequestCodec for Request {
    fn write(&mut self, bytes: &[u8]) -> Result<Progress, Problem> {
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > self.options.max_request_bytes {
            let limit = self.options.max_request_bytes;
            return Err(Problem::too_large(format!("the body is larger than {limit} bytes")));
        }
        self.document.read(bytes)?;
        Ok(Progress::complete_if(self.document.is_done()))
    }

    fn finish(self: Box<Self>) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        self.finish_described(&mut codec::Inputs::default())
    }

    fn finish_described(
        self: Box<Self>,
        described: &mut codec::Inputs,
    ) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        let Self { openai, operation, options, stamp, document, charge, .. } = *self;
        let (inputs, members) = document.finish()?;
        let model = model(&openai, &members)?;
        let Some(setup) = model.setup(operation) else {
            let (id, what) = (&model.id, operation.name());
            return Err(error::invalid("model", format!("the model '{id}' is not set up for {what}")));
        };
        let mut building = Building { setup, operation, options, charge: &charge, ready: Vec::new() };
        let counted = building.inputs(inputs)?;
        let base64 = building.parameters(&members, counted.inputs)?;
        let ready = building.ready;
        let stream = is_stream(operation, setup, &members)?;
        let usage = wants_usage(stream, &members)?;
        if usage
            && counted.tokens.is_none()
            && setup.prompt_tokens.is_none()
            && setup.completion_tokens.is_none()
        {
            let what = "stream_options.include_usage: this model does not say how many tokens there are";
            return Err(error::unsupported("stream_options", what));
        }
        described.model = Some(model.target.clone());
        described.stream = stream;
        described.elements = ready.iter().fold(0, |sum, input| sum.saturating_add(input.elements));
        if described.describe {
            described.first = ready.first().map(description);
        }
        let inputs: Vec<ReadyInput<'_>> = ready.into_iter().map(Ready::borrowed).collect();
        let message = message_of(&model.target, inputs, setup.outputs(), options.encoding, &charge)?;
        let (inputs, prompt_tokens) = (counted.inputs, counted.tokens);
        let answered = Answered { operation, stamp, base64, inputs, prompt_tokens, usage };
        let model = model.clone();
        Ok(match openai.messages {
            Some(messages) if stream => {
                (message, Box::new(Chunks::new(model, answered, messages, options, charge)?))
            }
            _ => (message, Box::new(Response::new(model, answered, options, charge))),
        })
    }
}

/// The model that is named.
fn model<'o>(openai: &'o OpenAi, members: &[Member]) -> Result<&'o Arc<Model>, Problem> {
    let member = members.iter().find(|member| member.name.as_slice() == b"model");
    match member.map(|member| (member.form, member.value())) {
        Some((_, Some(Scalar::Text(id)))) => openai.model(id).ok_or_else(|| error::unknown_model(id)),
        None | Some((Form::Null, _)) => Err(error::invalid("model", "model is missing: it must be a string")),
        Some(_) => Err(error::invalid("model", "model must be a string")),
    }
}

/// How many inputs a request has, and how many tokens if they are lists of such.
struct Counted {
    inputs: u64,
    tokens: Option<u64>,
}

/// An input that is filled. Its name and datatype are the configuration's.
struct Ready<'s> {
    tensor: &'s Tensor,
    shape: Vec<u64>,
    elements: u64,
    raw: Rope,
}

/// The inputs of a message, as they are made.
struct Building<'s, 'c> {
    setup: &'s Setup,
    operation: Operation,
    options: Options,
    charge: &'c Charge,
    ready: Vec<Ready<'s>>,
}

impl<'s> Building<'s, '_> {
    /// Makes the input for what the model is asked about.
    fn inputs(&mut self, inputs: Inputs) -> Result<Counted, Problem> {
        let name = self.operation.inputs();
        let count = match &inputs {
            Inputs::None => {
                let what = "a string, a list of strings, a list of tokens or a list of such lists";
                return Err(error::invalid(name, format!("{name} is missing: it must be {what}")));
            }
            Inputs::Texts { count, .. } => *count,
            Inputs::Tokens { lengths, .. } => lengths.len() as u64,
        };
        if count > self.setup.max_inputs {
            let most = self.setup.max_inputs;
            let what = format!("{name} has {count} inputs, but this model takes at most {most} at once");
            return Err(error::invalid(name, what));
        }
        match inputs {
            Inputs::None => Ok(Counted { inputs: count, tokens: None }),
            Inputs::Texts { raw, .. } => {
                let tensor = self.setup.text.as_ref().ok_or_else(|| {
                    error::invalid(name, format!("{name}: this model takes tokens, and no texts"))
                })?;
                let (shape, elements) = self.shape(tensor, count, 1, count)?;
                self.ready.push(Ready { tensor, shape, elements, raw });
                Ok(Counted { inputs: count, tokens: None })
            }
            Inputs::Tokens { raw, lengths } => {
                let tokens = self.tokens(raw, &lengths)?;
                Ok(Counted { inputs: count, tokens: Some(tokens) })
            }
        }
    }

    /// The shape of a tensor that must have so many elements.
    fn shape(
        &self,
        tensor: &Tensor,
        inputs: u64,
        values: u64,
        elements: u64,
    ) -> Result<(Vec<u64>, u64), Problem> {
        let name = self.operation.inputs();
        let shape = tensor.shape(inputs, values).filter(|(_, found)| *found == elements);
        shape.ok_or_else(|| {
            let what = match inputs {
                1 => format!("{name} does not fit the input that this model has for it"),
                _ => format!("{name} has {inputs} inputs, but this model takes one at a time"),
            };
            error::invalid(name, what)
        })
    }

    /// Makes the input for lists of tokens, and the one that says which of them were there; says how many were.
    fn tokens(&mut self, mut raw: Rope, lengths: &[u32]) -> Result<u64, Problem> {
        let name = self.operation.inputs();
        let tensor =
            self.setup.tokens.as_ref().ok_or_else(|| {
                error::invalid(name, format!("{name}: this model takes texts, and no tokens"))
            })?;
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let other = lengths.iter().position(|length| *length != longest);
        if let (Some(other), None) = (other, self.setup.pad) {
            let length = lengths[other];
            let what = format!(
                "{name}[{other}]: its number of tokens is {length}, and the longest list's {longest}; this model takes lists of \
                 one length"
            );
            return Err(error::invalid(name, what));
        }
        let (count, values) = (lengths.len() as u64, u64::from(longest));
        // Few long lists among many short ones could make a small body a large tensor.
        let (elements, most) = (count.saturating_mul(values), self.options.max_request_bytes);
        let is_padded = other.is_some();
        if is_padded && elements.saturating_mul(8) > most as u64 {
            return Err(error::too_large(most));
        }
        let (shape, elements) = self.shape(tensor, count, values, elements)?;
        let mut padded = Padded {
            lengths,
            at: 0,
            taken: 0,
            longest,
            pad: self.setup.pad.unwrap_or_default(),
            size: tensor.datatype.size().unwrap_or_default(),
            tokens: Rope::new(self.charge.sibling()),
            mask: self
                .setup
                .mask
                .as_ref()
                .map(|mask| (Rope::new(self.charge.sibling()), mask.datatype.size().unwrap_or_default())),
            part: [0; 4],
            have: 0,
            result: Ok(()),
        };
        raw.drain_to(&mut padded);
        padded.result?;
        self.ready.push(Ready { tensor, shape: shape.clone(), elements, raw: padded.tokens });
        if let (Some(tensor), Some((raw, _))) = (&self.setup.mask, padded.mask) {
            let (shape, elements) = self.shape(tensor, count, values, elements)?;
            self.ready.push(Ready { tensor, shape, elements, raw });
        }
        Ok(lengths.iter().map(|length| u64::from(*length)).sum())
    }

    /// Makes the inputs for parameters and constants; says whether embeddings are wanted as base64.
    fn parameters(&mut self, members: &ChargedList<Member>, inputs: u64) -> Result<bool, Problem> {
        let mut base64 = false;
        for member in members.iter() {
            // A name has at most a hundred bytes, and the reader has checked that it is UTF-8.
            let name = String::from_utf8_lossy(member.name.as_slice());
            match &*name {
                "model" => {}
                name if name == self.operation.inputs() => {}
                "encoding_format" if self.operation == Operation::Embeddings => base64 = is_base64(member)?,
                // Both are read for themselves.
                "stream" | "stream_options" if self.operation == Operation::Completions => {}
                name if self.setup.parameter(name).is_some() => {}
                name if asks_for_nothing(name, member) => {}
                name => {
                    let what = format!("{name} is not supported: this model is not set up for it");
                    return Err(error::unsupported(name, what));
                }
            }
        }
        let most = self.options.max_request_bytes;
        for parameter in &self.setup.parameters {
            let own = members.iter().find(|member| member.name.as_slice() == parameter.name.as_bytes());
            let values: Vec<Scalar<'_>> = match own.map(|member| (member.form, member)) {
                Some((Form::Other | Form::Object, _)) => {
                    let name = &parameter.name;
                    let what = format!("{name} must be a number, a string, a boolean or a list of such");
                    return Err(error::invalid(name, what));
                }
                Some((Form::One | Form::List, member)) => member.values().collect(),
                Some((Form::Null, _)) | None => {
                    parameter.default.iter().map(|value| value.scalar()).collect()
                }
            };
            if !values.is_empty() {
                self.fill(&parameter.tensor, &parameter.name, &values, inputs, most)?;
            }
        }
        for (tensor, value) in &self.setup.constants {
            self.fill(tensor, &tensor.name, &[value.scalar()], inputs, most)?;
        }
        Ok(base64)
    }

    fn fill(
        &mut self,
        tensor: &'s Tensor,
        name: &str,
        values: &[Scalar<'_>],
        inputs: u64,
        most: usize,
    ) -> Result<(), Problem> {
        let (shape, elements, raw) = tensor.fill(name, values, inputs, most, self.charge)?;
        self.ready.push(Ready { tensor, shape, elements, raw });
        Ok(())
    }
}

impl<'s> Ready<'s> {
    fn borrowed(self) -> ReadyInput<'s> {
        let Self { tensor, shape, elements, raw } = self;
        ReadyInput { name: &tensor.name, datatype: tensor.datatype, shape, elements, raw }
    }
}

/// What an input is, for those who may not see it.
fn description(ready: &Ready<'_>) -> codec::Tensor {
    let mut shape = String::new();
    for size in &ready.shape {
        let between = if shape.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ok = write!(shape, "{between}{size}");
    }
    codec::Tensor { datatype: ready.tensor.datatype.name(), shape }
}

/// Reads `encoding_format`.
fn is_base64(member: &Member) -> Result<bool, Problem> {
    match (member.form, member.value()) {
        (Form::Null, _) | (_, Some(Scalar::Text(b"float"))) => Ok(false),
        (_, Some(Scalar::Text(b"base64"))) => Ok(true),
        _ => Err(error::invalid("encoding_format", "encoding_format must be \"float\" or \"base64\"")),
    }
}

/// Whether a parameter that the model has no input for has the value with which it changes nothing: OpenAI's defaults, which
/// some clients write out.
fn asks_for_nothing(name: &str, member: &Member) -> bool {
    let number = |wanted: f64| match member.value() {
        Some(Scalar::Number(token)) => f64_of(token).is_ok_and(|found| found == wanted),
        _ => false,
    };
    match (name, member.form) {
        // Who asks is for the gateway to know.
        ("user", _) | (_, Form::Null) => true,
        ("stop", Form::List) => member.values().next().is_none(),
        ("n" | "best_of" | "temperature" | "top_p", _) => number(1.0),
        ("presence_penalty" | "frequency_penalty", _) => number(0.0),
        ("stream" | "echo", _) => member.value() == Some(Scalar::Bool(false)),
        ("suffix", _) => member.value() == Some(Scalar::Text(b"")),
        _ => false,
    }
}

/// Writes tokens at the datatype's size, each list as long as the longest.
struct Padded<'l> {
    lengths: &'l [u32],
    /// The list that is being written.
    at: usize,
    /// How many of its tokens have been.
    taken: u32,
    longest: u32,
    pad: u32,
    size: usize,
    tokens: Rope,
    mask: Option<(Rope, usize)>,
    part: [u8; 4],
    have: usize,
    result: Result<(), OverBudget>,
}

impl Padded<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), OverBudget> {
        for byte in bytes {
            self.part[self.have] = *byte;
            self.have += 1;
            if self.have < 4 {
                continue;
            }
            self.have = 0;
            self.put(u32::from_le_bytes(self.part), 1)?;
            self.taken += 1;
            if Some(&self.taken) == self.lengths.get(self.at) {
                for _ in self.taken..self.longest {
                    self.put(self.pad, 0)?;
                }
                (self.at, self.taken) = (self.at + 1, 0);
            }
        }
        Ok(())
    }

    fn put(&mut self, token: u32, is_there: u64) -> Result<(), OverBudget> {
        self.tokens.push(&u64::from(token).to_le_bytes()[..self.size])?;
        match &mut self.mask {
            Some((mask, size)) => mask.push(&is_there.to_le_bytes()[..*size]),
            None => Ok(()),
        }
    }
}

impl Sink for Padded<'_> {
    fn write(&mut self, bytes: &[u8]) {
        if self.result.is_ok() {
            self.result = self.take(bytes);
        }
    }
}
