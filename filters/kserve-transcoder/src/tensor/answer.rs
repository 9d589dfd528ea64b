//! Checking an answer, and writing it.

use super::datatype::{Datatype, elements};
use super::held::Held;
use super::print::Printer;
use super::render;
use super::response::{Message, Output, Wanted};
use super::untyped::{BytesCheck, narrow};
use super::{AnswerForm, Options};
use crate::problem::Problem;
use filter_api::{Charge, Rope, SEGMENT_BYTES, Sink};

/// An answer that has been checked in full and only has to be written.
#[derive(Debug)]
pub(crate) struct Answer {
    document: Document,
    /// The body's JSON part, where its length must be known first.
    written: Option<Rope>,
    /// Whether an output is binary.
    binary: bool,
    buffer: Vec<u8>,
    /// What the list of outputs and the buffer cost.
    _charge: Charge,
}

#[derive(Debug)]
struct Document {
    options: Options,
    /// Everything up to the outputs.
    head: Held,
    outputs: Vec<Tensor>,
}

/// An output that has been checked.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) output: Output,
    pub(super) datatype: Datatype,
    pub(super) data: Form,
    pub(super) raw: Rope,
}

/// How an output's elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    /// JSON strings of BYTES that are not UTF-8.
    Base64,
    /// Behind the document.
    Binary,
    /// In protobuf's JSON, as the typed contents that they came in.
    Contents,
    /// In protobuf's JSON, as `raw_output_contents`.
    Raw,
    /// Not at all: the output is in shared memory, or protobuf's JSON has nothing to say of it.
    Elsewhere,
}

/// Checks the message, and makes ready what it takes to write it.
pub(super) fn check(
    mut message: Message,
    wanted: &Wanted,
    options: Options,
    mut charge: Charge,
) -> Result<Answer, Problem> {
    let form = options.answer_form;
    message.parameters.settle()?;
    let head = head(&message, form, &charge)?;
    let (outputs, outputs_held) = message.outputs.into_items();
    let shared = outputs.iter().filter(|output| output.shared_memory).count();
    let (raws, raws_held) = message.raw.into_items();
    if !raws.is_empty() && raws.len() != outputs.len() && raws.len() + shared != outputs.len() {
        return Err(Problem::bad_answer(format!(
            "the server's answer has {} outputs but {} raw_output_contents",
            outputs.len(),
            raws.len()
        )));
    }
    // Servers leave out the entry of an output in shared memory, or leave it empty.
    let skips_shared = raws.len() != outputs.len();
    let mut raws = raws.into_iter();
    let tensors_len = outputs.len() * size_of::<Tensor>();
    charge.grow(tensors_len)?;
    let mut tensors = Vec::new();
    tensors
        .try_reserve_exact(outputs.len())
        .map_err(|_| filter_api::OverBudget::allocation_failed(tensors_len))?;
    for output in outputs {
        let raw = if output.shared_memory && skips_shared { None } else { raws.next() };
        tensors.push(tensor(output, raw, wanted, form, &charge)?);
    }
    drop((raws, raws_held, outputs_held));
    let binary = tensors.iter().any(|tensor| tensor.data == Form::Binary);
    let size: usize = tensors.iter().map(|tensor| tensor.raw.len()).sum();
    // A tiny answer needs no large buffer.
    let buffer_len = size.saturating_mul(4).clamp(1024, SEGMENT_BYTES);
    charge.grow(buffer_len)?;
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(buffer_len)
        .map_err(|_| filter_api::OverBudget::allocation_failed(buffer_len))?;
    buffer.resize(buffer_len, 0);
    let mut document = Document { options, head, outputs: tensors };
    let written = if wanted.any() {
        let mut sink = Collect { rope: Rope::new(charge.sibling()), result: Ok(()) };
        document.write(&mut sink, &mut buffer);
        sink.result?;
        Some(sink.rope)
    } else {
        None
    };
    Ok(Answer { document, written, binary, buffer, _charge: charge })
}

/// Keeps what is written.
struct Collect {
    rope: Rope,
    result: Result<(), filter_api::OverBudget>,
}

impl Sink for Collect {
    fn write(&mut self, bytes: &[u8]) {
        if self.result.is_ok() {
            self.result = self.rope.push(bytes);
        }
    }
}

impl Wanted {
    fn any(&self) -> bool {
        self.binary || self.outputs.iter().any(|(_, binary)| *binary)
    }

    fn of(&self, name: &[u8]) -> bool {
        let own = self.outputs.iter().find(|(output, _)| output.as_slice() == name);
        own.map_or(self.binary, |(_, binary)| *binary)
    }
}

/// The document up to its outputs. The order of the keys is Triton's, or that of the fields.
fn head(message: &Message, form: AnswerForm, charge: &Charge) -> Result<Held, Problem> {
    let mut head = Held::new(charge.sibling());
    head.push(b"{")?;
    let mut texts =
        [("id", &message.id), ("model_name", &message.model_name), ("model_version", &message.model_version)];
    if form == AnswerForm::Proto {
        texts.rotate_left(1);
    }
    for (key, text) in texts {
        if text.len() == 0 && key != "model_name" {
            continue;
        }
        if head.len() > 1 {
            head.push(b",")?;
        }
        head.push(b"\"")?;
        head.push(key.as_bytes())?;
        head.push(b"\":\"")?;
        let mut result = Ok(());
        super::print::escape(text.as_slice(), |piece| {
            if result.is_ok() {
                result = head.push(piece);
            }
        });
        result?;
        head.push(b"\"")?;
    }
    if !message.parameters.as_slice().is_empty() {
        head.push(b",\"parameters\":{")?;
        head.push(without_comma(message.parameters.as_slice()))?;
        head.push(b"}")?;
    }
    head.push(b",\"outputs\":[")?;
    Ok(head)
}

fn without_comma(list: &[u8]) -> &[u8] {
    list.strip_suffix(b",").unwrap_or(list)
}

fn tensor(
    mut output: Output,
    raw: Option<Rope>,
    wanted: &Wanted,
    form: AnswerForm,
    charge: &Charge,
) -> Result<Tensor, Problem> {
    output.parameters.settle()?;
    output.content_type.settle()?;
    let problem = |what: String| {
        let name = String::from_utf8_lossy(output.name.as_slice());
        Problem::bad_answer(format!("the server's answer is wrong for output {name}: {what}"))
    };
    let datatype = Datatype::from_name(output.datatype.as_slice()).ok_or_else(|| {
        problem(format!("datatype {} is unknown", String::from_utf8_lossy(output.datatype.as_slice())))
    })?;
    let shape = &*output.shape;
    let expected =
        elements(shape).ok_or_else(|| problem(format!("shape {shape:?} has too many elements")))?;
    let typed = output.typed.take();
    let proto = match (&raw, &typed) {
        (Some(_), _) => Form::Raw,
        (None, Some(_)) => Form::Contents,
        (None, None) => Form::Elsewhere,
    };
    let raw = match (raw, typed) {
        // Servers that mirror raw inputs leave an empty `contents`; where both are filled, raw wins.
        (Some(raw), _) => raw,
        (None, Some((field, rope, count))) => {
            if datatype.typed() != Some(field) {
                return Err(problem(format!("{} in {}", datatype.name(), field.name())));
            }
            if count != expected {
                return Err(problem(format!("shape {shape:?} has {expected} elements, but {count} came")));
            }
            narrow(datatype, rope, charge)?
                .ok_or_else(|| problem(format!("an element is out of range for {}", datatype.name())))?
        }
        (None, None) if output.shared_memory => {
            let raw = Rope::new(charge.sibling());
            return Ok(Tensor { output, datatype, data: Form::Elsewhere, raw });
        }
        (None, None) => Rope::new(charge.sibling()),
    };
    let mut data = match form {
        AnswerForm::Proto => proto,
        AnswerForm::Kserve if wanted.of(output.name.as_slice()) => Form::Binary,
        AnswerForm::Kserve => Form::Json,
    };
    match datatype.size() {
        Some(size) if expected.checked_mul(size as u64) != Some(raw.len() as u64) => {
            let len = raw.len();
            let name = datatype.name();
            return Err(problem(format!("{len} bytes are not {name} elements of shape {shape:?}")));
        }
        Some(_) => {}
        None => {
            let check = BytesCheck::of(&raw);
            if !check.is_whole() || check.elements() != expected {
                return Err(problem(format!("its BYTES are not elements of shape {shape:?}")));
            }
            if data == Form::Json && !check.is_text() {
                data = Form::Base64;
            }
        }
    }
    Ok(Tensor { output, datatype, data, raw })
}

impl Answer {
    /// How long the JSON part is, if binary tensors follow it: `Inference-Header-Content-Length`.
    pub(crate) fn inference_header_length(&self) -> Option<usize> {
        if self.binary { self.written.as_ref().map(Rope::len) } else { None }
    }

    /// Whether [`Self::render_padded`] can make the JSON part `json_length` bytes long. Only for an answer to
    /// a request that wants binary outputs.
    pub(crate) fn fits(&self, json_length: usize) -> bool {
        self.written.as_ref().is_some_and(|written| written.len() <= json_length)
    }

    /// Writes the body in pieces of at most [`SEGMENT_BYTES`].
    pub(crate) fn render(self, out: &mut dyn Sink) {
        self.render_padded(0, out);
    }

    /// As [`Self::render`], with blanks behind the JSON part of an answer to a request that wants binary
    /// outputs, so that it has `json_length` bytes if it [fits](Self::fits).
    pub(crate) fn render_padded(mut self, json_length: usize, out: &mut dyn Sink) {
        let Some(mut written) = self.written.take() else {
            self.document.write(out, &mut self.buffer);
            return;
        };
        let mut blanks = json_length.saturating_sub(written.len());
        written.drain_to(out);
        while blanks > 0 {
            const BLANKS: [u8; 1024] = [b' '; 1024];
            let now = blanks.min(BLANKS.len());
            out.write(&BLANKS[..now]);
            blanks -= now;
        }
        for mut tensor in self.document.outputs {
            if tensor.data == Form::Binary {
                tensor.raw.drain_to(out);
            }
        }
    }
}

impl Document {
    /// Writes the JSON part, and frees the tensors that it has written.
    fn write(&mut self, out: &mut dyn Sink, buffer: &mut [u8]) {
        let mut printer = Printer::new(out, buffer);
        printer.text(self.head.as_slice());
        for (index, tensor) in self.outputs.iter_mut().enumerate() {
            if index > 0 {
                printer.text(b",");
            }
            render::tensor(tensor, &self.options, &mut printer);
        }
        printer.text(b"]");
        if self.outputs.iter().any(|tensor| tensor.data == Form::Raw) {
            printer.text(b",\"raw_output_contents\":[");
            for tensor in self.outputs.iter_mut().filter(|tensor| tensor.data == Form::Raw) {
                render::base64(&mut tensor.raw, &mut printer);
            }
            printer.drop_comma();
            printer.text(b"]");
        }
        printer.text(b"}");
        printer.flush();
    }
}
