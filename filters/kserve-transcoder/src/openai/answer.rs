//! A `ModelInferResponse` as an answer of OpenAI's.

use super::request::Stamp;
use super::{Model, Operation, Setup};
use crate::codec::{Answer, ResponseCodec};
use crate::problem::Problem;
use crate::tensor::number::float16::{BF16, FP16};
use crate::tensor::number::float32;
use crate::tensor::number::slot::SLOT;
use crate::tensor::text::base64::Encoder;
use crate::tensor::{self, Datatype, Options, OutputTensor, Wanted, escape};
use filter_api::{Charge, OverBudget, Rope, Sink};
use std::sync::Arc;

/// What an answer has to know of its request.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) operation: Operation,
    pub(super) stamp: Stamp,
    /// Embeddings are wanted as base64.
    pub(super) base64: bool,
    /// How many inputs there were.
    pub(super) inputs: u64,
    /// How many tokens they had, if they were lists of such.
    pub(super) prompt_tokens: Option<u64>,
    /// A stream is to say at its end how many tokens there were.
    pub(super) usage: bool,
}

/// Reads the message of an answer.
#[derive(Debug)]
pub(super) struct Response {
    model: Arc<Model>,
    answered: Answered,
    message: Box<tensor::Response>,
}

impl Response {
    pub(super) fn new(model: Arc<Model>, answered: Answered, options: Options, charge: Charge) -> Self {
        let wanted = Wanted::nothing(&charge);
        Self { model, answered, message: Box::new(tensor::Response::new(options, wanted, charge)) }
    }
}

impl ResponseCodec for Response {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.message.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Answer>, Problem> {
        let Self { model, answered, message } = *self;
        let mut outputs = Outputs::from(message.into_outputs()?);
        let Some(setup) = model.setup(answered.operation) else {
            return Err(Problem::bad_answer("an answer to what was not asked"));
        };
        let usage = Usage::read(setup, &answered, &mut outputs)?;
        let output = outputs.take(&setup.output)?;
        match answered.operation {
            Operation::Embeddings => {
                let vectors = Vectors::of(output, answered.inputs, &outputs.charge)?;
                Ok(Box::new(Embeddings { model, vectors, base64: answered.base64, usage }))
            }
            Operation::Completions => {
                let texts = outputs.texts(output, answered.inputs)?;
                let reasons = match &setup.finish_reason {
                    Some(name) => {
                        let output = outputs.take(name)?;
                        outputs.texts(output, answered.inputs)?
                    }
                    None => Vec::new(),
                };
                Ok(Box::new(Completions {
                    model,
                    texts,
                    reasons,
                    usage,
                    stamp: answered.stamp,
                    _held: outputs.charge,
                }))
            }
        }
    }
}

/// The outputs of a message.
pub(super) struct Outputs {
    tensors: Vec<OutputTensor>,
    /// Holds them, and what is made of them.
    pub(super) charge: Charge,
}

impl From<tensor::Outputs> for Outputs {
    fn from(tensor::Outputs { tensors, charge }: tensor::Outputs) -> Self {
        Self { tensors, charge }
    }
}

impl Outputs {
    fn take(&mut self, name: &str) -> Result<OutputTensor, Problem> {
        let found = self.take_if_there(name);
        found.ok_or_else(|| Problem::bad_answer(format!("the server's answer has no output {name}")))
    }

    fn take_if_there(&mut self, name: &str) -> Option<OutputTensor> {
        let at = self.tensors.iter().position(|output| output.name.as_slice() == name.as_bytes());
        at.map(|at| self.tensors.swap_remove(at))
    }

    /// As [`texts`](Self::texts) of an output that a message of a stream may lack; none then.
    pub(super) fn texts_if_there(&mut self, name: Option<&str>, inputs: u64) -> Result<Vec<String>, Problem> {
        match name.and_then(|name| self.take_if_there(name)) {
            Some(output) => self.texts(output, inputs),
            None => Ok(Vec::new()),
        }
    }

    /// As [`sum`](Self::sum) of an output that a message of a stream may lack.
    pub(super) fn sum_if_there(&mut self, name: Option<&str>) -> Result<Option<u64>, Problem> {
        match name.and_then(|name| self.take_if_there(name)) {
            Some(output) => self.sum(output).map(Some),
            None => Ok(None),
        }
    }

    /// The bytes of an output in one piece.
    fn flat(&mut self, output: &mut OutputTensor) -> Result<Vec<u8>, OverBudget> {
        let length = output.raw.len();
        self.charge.grow(length)?;
        let mut flat = Vec::new();
        flat.try_reserve_exact(length).map_err(|_| OverBudget::allocation_failed(length))?;
        output.raw.drain_to(&mut flat);
        Ok(flat)
    }

    /// The texts of an output that has one for each input.
    fn texts(&mut self, mut output: OutputTensor, inputs: u64) -> Result<Vec<String>, Problem> {
        if output.datatype != Datatype::Bytes {
            return Err(wrong(&output, &format!("its datatype is {}, not BYTES", output.datatype.name())));
        }
        let mut texts = Vec::new();
        let flat = self.flat(&mut output)?;
        let mut rest = flat.as_slice();
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            let Some((text, behind)) = behind.split_at_checked(length) else { break };
            rest = behind;
            // A model may stop within a character, which then stands for itself as U+FFFD.
            let text = String::from_utf8_lossy(text).into_owned();
            self.charge.grow(text.capacity() + size_of::<String>())?;
            texts.push(text);
        }
        let found = texts.len() as u64;
        if found == inputs {
            return Ok(texts);
        }
        Err(wrong(&output, &format!("it has {found} texts for {inputs} inputs")))
    }

    /// The sum of an output of integers.
    fn sum(&mut self, mut output: OutputTensor) -> Result<u64, Problem> {
        let (signed, size) = match output.datatype {
            Datatype::Int8 | Datatype::Int16 | Datatype::Int32 | Datatype::Int64 => {
                (true, output.datatype.size())
            }
            Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 | Datatype::Uint64 => {
                (false, output.datatype.size())
            }
            other => {
                return Err(wrong(
                    &output,
                    &format!("its datatype is {}, not one of integers", other.name()),
                ));
            }
        };
        let flat = self.flat(&mut output)?;
        let mut sum = 0_u64;
        for element in flat.chunks_exact(size.unwrap_or(1)) {
            let mut eight = [0; 8];
            eight[..element.len()].copy_from_slice(element);
            if signed && element.last().is_some_and(|top| *top >= 0x80) {
                return Err(wrong(&output, "it has a number below 0"));
            }
            sum = sum.saturating_add(u64::from_le_bytes(eight));
        }
        Ok(sum)
    }
}

#[cold]
fn wrong(output: &OutputTensor, what: &str) -> Problem {
    let name = String::from_utf8_lossy(output.name.as_slice());
    Problem::bad_answer(format!("the server's answer is wrong for output {name}: {what}"))
}

/// How many tokens there were, as far as that is known.
#[derive(Clone, Copy, Debug)]
struct Usage {
    prompt: Option<u64>,
    completion: Option<u64>,
}

impl Usage {
    fn read(setup: &Setup, answered: &Answered, outputs: &mut Outputs) -> Result<Self, Problem> {
        let mut sum = |name: Option<&str>| {
            name.map(|name| outputs.take(name).and_then(|output| outputs.sum(output))).transpose()
        };
        let prompt = sum(setup.prompt_tokens.as_deref())?.or(answered.prompt_tokens);
        Ok(Self { prompt, completion: sum(setup.completion_tokens.as_deref())? })
    }
}

/// Vectors of one length, as FP32 one behind the other.
#[derive(Debug)]
struct Vectors {
    count: u64,
    /// How many numbers each of them has.
    length: u64,
    values: Rope,
}

impl Vectors {
    /// Reads an output with a vector for each input.
    fn of(mut output: OutputTensor, inputs: u64, charge: &Charge) -> Result<Self, Problem> {
        let shape = &*output.shape;
        let of_inputs = match shape.split_first() {
            Some((first, rest)) if *first == inputs => Some(rest),
            _ if inputs == 1 => Some(shape),
            _ => None,
        };
        // Dimensions of one say nothing. Two that are longer are no vector: those of all tokens, say, before they are pooled.
        let of_inputs = of_inputs.filter(|rest| rest.iter().filter(|size| **size != 1).count() <= 1);
        let Some(length) = of_inputs.and_then(tensor::elements).filter(|length| *length > 0) else {
            let what = format!("shape {shape:?} is not that of one vector for each of {inputs} inputs");
            return Err(wrong(&output, &what));
        };
        let size = match output.datatype {
            Datatype::Fp16 | Datatype::Bf16 => 2,
            Datatype::Fp32 => 4,
            Datatype::Fp64 => 8,
            other => {
                return Err(wrong(&output, &format!("its datatype is {}, not one of floats", other.name())));
            }
        };
        let mut reader = ToFp32 {
            datatype: output.datatype,
            size,
            part: [0; 8],
            have: 0,
            values: Rope::new(charge.sibling()),
            finite: true,
            result: Ok(()),
        };
        let mut raw = std::mem::replace(&mut output.raw, Rope::new(charge.sibling()));
        raw.drain_to(&mut reader);
        reader.result?;
        if !reader.finite {
            return Err(wrong(&output, "it has NaN or an infinity, which is not a number to JSON"));
        }
        Ok(Self { count: inputs, length, values: reader.values })
    }
}

/// Turns floats of any datatype into FP32.
struct ToFp32 {
    datatype: Datatype,
    size: usize,
    part: [u8; 8],
    have: usize,
    values: Rope,
    finite: bool,
    result: Result<(), OverBudget>,
}

/// How many numbers are written to the rope at once.
const AT_ONCE: usize = 256;

impl ToFp32 {
    fn value(&self, raw: [u8; 8]) -> f32 {
        let [a, b, c, d, ..] = raw;
        match self.datatype {
            Datatype::Fp16 => FP16.value(u16::from_le_bytes([a, b])),
            Datatype::Bf16 => BF16.value(u16::from_le_bytes([a, b])),
            Datatype::Fp64 => f64::from_le_bytes(raw) as f32,
            _ => f32::from_le_bytes([a, b, c, d]),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), OverBudget> {
        let mut some = [[0; 4]; AT_ONCE];
        let mut len = 0;
        for byte in bytes {
            self.part[self.have] = *byte;
            self.have += 1;
            if self.have < self.size {
                continue;
            }
            self.have = 0;
            let value = self.value(self.part);
            self.finite &= value.is_finite();
            some[len] = value.to_le_bytes();
            len += 1;
            if len == AT_ONCE {
                self.values.push(some.as_flattened())?;
                len = 0;
            }
        }
        self.values.push(some[..len].as_flattened())
    }
}

impl Sink for ToFp32 {
    fn write(&mut self, bytes: &[u8]) {
        if self.result.is_ok() {
            self.result = self.take(bytes);
        }
    }
}

/// An answer to `embeddings`.
#[derive(Debug)]
struct Embeddings {
    model: Arc<Model>,
    vectors: Vectors,
    base64: bool,
    usage: Usage,
}

impl Answer for Embeddings {
    fn render(self: Box<Self>, out: &mut dyn Sink) {
        let Self { model, vectors: Vectors { count, length, mut values }, base64, usage } = *self;
        let mut text = Text::new(out);
        text.put(br#"{"object":"list","data":["#);
        let mut written = Written {
            text,
            base64,
            encoder: Encoder::default(),
            length,
            left: length,
            index: 0,
            count,
            part: [0; 4],
            have: 0,
        };
        written.begin();
        values.drain_to(&mut written);
        let mut text = written.text;
        text.put(br#"],"model":"#);
        text.string(&model.id);
        // Clients expect it, so what is not known is none.
        let tokens = usage.prompt.unwrap_or_default();
        text.put(format!(r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#).as_bytes());
        text.flush();
    }

    fn render_padded(self: Box<Self>, _json_length: usize, out: &mut dyn Sink) {
        self.render(out);
    }
}

/// Writes vectors as they come, cut anywhere.
struct Written<'a> {
    text: Text<'a>,
    base64: bool,
    encoder: Encoder,
    /// How many numbers a vector has.
    length: u64,
    /// How many of the current one are still to come.
    left: u64,
    index: u64,
    count: u64,
    /// The first bytes of a number that is cut.
    part: [u8; 4],
    have: usize,
}

impl Written<'_> {
    fn begin(&mut self) {
        if self.index > 0 {
            self.text.put(b",");
        }
        self.text.put(format!(r#"{{"object":"embedding","index":{},"embedding":"#, self.index).as_bytes());
        self.text.put(if self.base64 { b"\"" } else { b"[" });
    }

    fn end(&mut self) {
        if self.base64 {
            self.encoder.end(|piece| self.text.put(piece));
        }
        self.text.put(if self.base64 { b"\"}" } else { b"]}" });
        self.index += 1;
        self.left = self.length;
        if self.index < self.count {
            self.begin();
        }
    }
}

impl Written<'_> {
    fn values(&mut self, mut rest: &[[u8; 4]]) {
        while !rest.is_empty() && self.index < self.count {
            let now = rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let (these, others) = rest.split_at(now);
            rest = others;
            if self.base64 {
                self.encoder.push(these.as_flattened(), |piece| self.text.put(piece));
            } else {
                for (at, value) in these.iter().enumerate() {
                    let is_first = at == 0 && self.left == self.length;
                    self.text.number(f32::from_le_bytes(*value), is_first);
                }
            }
            self.left -= now as u64;
            if self.left == 0 {
                self.end();
            }
        }
    }
}

impl Sink for Written<'_> {
    fn write(&mut self, mut bytes: &[u8]) {
        while self.have > 0 {
            let Some((byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.part[self.have] = *byte;
            self.have = (self.have + 1) % 4;
            if self.have == 0 {
                self.values(&[self.part]);
            }
        }
        let (values, rest) = bytes.as_chunks::<4>();
        self.values(values);
        self.part[..rest.len()].copy_from_slice(rest);
        self.have = rest.len();
    }
}

/// An answer to `completions`.
#[derive(Debug)]
struct Completions {
    model: Arc<Model>,
    texts: Vec<String>,
    /// Why each text has ended; empty where the model does not say.
    reasons: Vec<String>,
    usage: Usage,
    stamp: Stamp,
    _held: Charge,
}

impl Answer for Completions {
    fn render(self: Box<Self>, out: &mut dyn Sink) {
        let Self { model, texts, reasons, usage, stamp, .. } = *self;
        let mut text = Text::new(out);
        begin_completion(&stamp, &model, &mut text);
        for (index, choice) in texts.iter().enumerate() {
            if index > 0 {
                text.put(b",");
            }
            text.put(br#"{"text":"#);
            text.string(choice);
            text.put(format!(r#","index":{index},"logprobs":null,"finish_reason":"#).as_bytes());
            text.string(reasons.get(index).map_or("stop", String::as_str));
            text.put(b"}");
        }
        text.put(b"]");
        if usage.prompt.is_some() || usage.completion.is_some() {
            text.put(b",");
            text.put(usage_object(usage.prompt, usage.completion).as_bytes());
        }
        text.put(b"}");
        text.flush();
    }

    fn render_padded(self: Box<Self>, _json_length: usize, out: &mut dyn Sink) {
        self.render(out);
    }
}

/// What every completion and every chunk of one begins with, up to its choices.
pub(super) fn begin_completion(stamp: &Stamp, model: &Model, text: &mut Text<'_>) {
    text.put(br#"{"id":"#);
    text.string(&format!("cmpl-{}", stamp.id));
    text.put(format!(r#","object":"text_completion","created":{},"model":"#, stamp.created).as_bytes());
    text.string(&model.id);
    text.put(br#","choices":["#);
}

/// The member `usage` of a completion; what is not known is none.
pub(super) fn usage_object(prompt: Option<u64>, completion: Option<u64>) -> String {
    let (prompt, completion) = (prompt.unwrap_or_default(), completion.unwrap_or_default());
    let total = prompt.saturating_add(completion);
    format!(r#""usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total}}}"#)
}

/// Collects text, and hands it on in pieces.
pub(super) struct Text<'a> {
    out: &'a mut dyn Sink,
    buffer: Vec<u8>,
}

/// How large the pieces are, in bytes.
const PIECE_BYTES: usize = 16 * 1024;

impl<'a> Text<'a> {
    pub(super) fn new(out: &'a mut dyn Sink) -> Self {
        Self { out, buffer: Vec::with_capacity(PIECE_BYTES + SLOT) }
    }

    pub(super) fn put(&mut self, text: &[u8]) {
        for piece in text.chunks(PIECE_BYTES) {
            if self.buffer.len() + piece.len() > PIECE_BYTES {
                self.flush();
            }
            self.buffer.extend_from_slice(piece);
        }
    }

    /// A string in quotes.
    pub(super) fn string(&mut self, text: &str) {
        self.put(b"\"");
        escape(text.as_bytes(), |piece| self.put(piece));
        self.put(b"\"");
    }

    /// A finite number; with a comma in front if it is not the first.
    fn number(&mut self, value: f32, is_first: bool) {
        let mut slot = [0; SLOT];
        let len = float32::print(value, &mut slot);
        if !is_first {
            self.put(b",");
        }
        self.put(&slot[..len]);
    }

    pub(super) fn flush(&mut self) {
        if !self.buffer.is_empty() {
            self.out.write(&self.buffer);
            self.buffer.clear();
        }
    }
}
