//! An answer that is written while its message comes.
//!
//! Messages are nearly always written in the order of their fields' numbers: what the answer says of itself, its outputs,
//! their raw contents. So the document can begin before the contents have come, if what is known by then settles what
//! may follow ([`raw_contents_fit`], [`typed_contents_fit`]):
//!
//! - *Raw contents*: all outputs are known when the first contents begin. They are as long as datatypes and shapes say, so
//!   the rest of the message has one length. A message of another one has fields that are not expected, and is held.
//! - *Typed contents* come within their output, and the next output behind them. The length of the contents must be one
//!   that datatype and shape can have, and nothing may follow them in their output.
//! - *BYTES* have no known length, and may be base64: raw ones have the whole message held, typed ones their output.
//! - *Binary outputs* stand behind a document whose length the headers tell, so that must be known: all outputs are
//!   binary, and the last of them has begun.
//!
//! What cannot be seen at that point shows when it comes: contents of another length than expected, at their beginning; a
//! number out of range, or one too many, before it is written; fields that should have come earlier. Then the answer has
//! begun, and all that is left is to cut it off.

use super::answer::{BLANKS, Collect};
use super::check;
use super::model::{Form, Message, Output, Tensor};
use super::narrow::narrow;
use super::print::{Part, Printer};
use super::render;
use super::wanted::Wanted;
use crate::codec::{Answer, Beginning};
use crate::problem::Problem;
use crate::tensor::charged::ChargedList;
use crate::tensor::datatype::Typed;
use crate::tensor::text::base64::Encoder;
use crate::tensor::{AnswerForm, Options};
use filter_api::{Charge, OverBudget, Rope, Sink};

/// How much text is collected before it is handed on, in bytes. A wasm host passes as much on without another copy.
const BUFFER_BYTES: usize = 32 * 1024;

/// At so many outputs that wait to be written they are written, though more are complete.
const WAITING_OUTPUTS: usize = 64;

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Flow {
    source: Source,
    writer: Writer,
    charge: Charge,
}

/// Where elements come from.
#[derive(Debug)]
enum Source {
    /// `raw_output_contents`, of outputs that are all known.
    Raw,
    /// The outputs themselves.
    Typed(TypedSource),
}

#[derive(Debug, Default)]
struct TypedSource {
    /// So many of the message's outputs have been taken in full.
    taken: usize,
    /// The output behind those, if it has been taken in part.
    open: Option<Open>,
}

/// How much of an output has been taken.
#[derive(Debug)]
struct Open {
    elements: u64,
    bytes: u64,
}

impl Flow {
    /// Begins an answer whose outputs are all known, and whose raw contents [fit](raw_contents_fit).
    pub(super) fn of_raw_contents(
        message: &mut Message,
        wanted: &Wanted,
        options: Options,
        charge: &Charge,
    ) -> Result<Self, Problem> {
        let mut flow = Self::new(Source::Raw, options, charge)?;
        let none = ChargedList::new(charge.sibling());
        let (outputs, _held) = std::mem::replace(&mut message.outputs, none).into_items();
        for mut output in outputs {
            // Servers that mirror inputs fill both, and then the raw contents count.
            output.typed = None;
            let data = match options.answer_form {
                AnswerForm::Proto => Form::Raw,
                AnswerForm::Kserve => check::kserve_form(&output, wanted),
            };
            flow.writer.push(described(output, data, charge)?, false)?;
        }
        flow.take_raw(message);
        Ok(flow)
    }

    /// Begins an answer with those outputs that are complete, and with one whose typed contents
    /// [fit](typed_contents_fit).
    pub(super) fn of_typed_contents(
        message: &mut Message,
        is_open: bool,
        wanted: &Wanted,
        options: Options,
        charge: &Charge,
    ) -> Result<Self, Problem> {
        let mut flow = Self::new(Source::Typed(TypedSource::default()), options, charge)?;
        while flow.take_next(message, is_open, wanted)? {}
        Ok(flow)
    }

    fn new(source: Source, options: Options, charge: &Charge) -> Result<Self, OverBudget> {
        Ok(Self { source, writer: Writer::new(options, charge)?, charge: charge.sibling() })
    }

    /// Makes ready what goes out before any contents. `promised` is the length that the JSON part of a binary answer must
    /// have.
    pub(super) fn begin(
        &mut self,
        message: &mut Message,
        promised: Option<usize>,
    ) -> Result<Beginning, Problem> {
        message.parameters.settle()?;
        let head = check::head(message, self.writer.options.answer_form, &self.charge)?;
        let json_bytes = self.writer.prepare(head.as_slice(), &self.charge)?;
        if let (Some(promised), Some(json_bytes)) = (promised, json_bytes) {
            let Some(blanks) = promised.checked_sub(json_bytes) else { return Ok(Beginning::TooLong) };
            self.writer.pad(blanks)?;
        }
        Ok(Beginning::Now { json_bytes })
    }

    /// A field begins at the message's top level, and is `length` bytes long.
    pub(super) fn admit(&self, message: &Message, field: u32, length: u64) -> Result<(), Problem> {
        match (&self.source, field) {
            (Source::Raw, 6) => match self.writer.outputs.get(message.raw.len()) {
                Some(output) if output.left == length => Ok(()),
                Some(Written { tensor: Tensor { output, .. }, left, .. }) => {
                    Err(check::wrong(output, format_args!("it has {length} bytes instead of {left}")))
                }
                None => {
                    Err(Problem::bad_answer("the server's answer has more raw_output_contents than outputs"))
                }
            },
            (Source::Typed(_), 5) | (_, 7..) => Ok(()),
            _ => Err(Problem::bad_answer(format!(
                "the server's answer has field {field} where it cannot be taken any more"
            ))),
        }
    }

    /// Writes what the message has told since. `is_open` says that its last output is still being read.
    pub(super) fn write(
        &mut self,
        message: &mut Message,
        is_open: bool,
        wanted: &Wanted,
        out: &mut dyn Sink,
    ) -> Result<(), Problem> {
        self.take_raw(message);
        let mut more = true;
        while more {
            while more && self.writer.waiting() < WAITING_OUTPUTS {
                more = self.take_next(message, is_open, wanted)?;
            }
            self.writer.write(out);
        }
        if let Source::Typed(typed) = &mut self.source {
            message.outputs.drop_front(std::mem::take(&mut typed.taken));
        }
        Ok(())
    }

    /// The message has ended: what ends the answer, if it is complete.
    pub(super) fn finish(self, message: &Message) -> Result<Tail, Problem> {
        let all = match self.source {
            Source::Raw => true,
            Source::Typed(typed) => typed.open.is_none() && message.outputs.is_empty(),
        };
        match all && self.writer.waiting() == 0 {
            true => Ok(Tail(self.writer.tail)),
            false => Err(Problem::bad_answer("the server's answer lacks contents of an output")),
        }
    }

    /// Takes what has come of raw contents. Their lengths have been checked.
    fn take_raw(&mut self, message: &mut Message) {
        if !matches!(self.source, Source::Raw) {
            return;
        }
        let outputs = self.writer.outputs.iter_mut().zip(message.raw.iter_mut());
        for (output, raw) in outputs.skip(self.writer.at) {
            output.is_here = true;
            output.tensor.raw.append(std::mem::replace(raw, Rope::new(self.charge.sibling())));
        }
    }

    /// Takes the next output, or what has come of it; `false` if there is nothing more to take.
    fn take_next(&mut self, message: &mut Message, is_open: bool, wanted: &Wanted) -> Result<bool, Problem> {
        let Source::Typed(typed) = &mut self.source else { return Ok(false) };
        let count = message.outputs.len();
        let ended = typed.taken + 1 < count || !is_open;
        let Some(output) = message.outputs.get_mut(typed.taken) else { return Ok(false) };
        if typed.open.is_none() && ended {
            let output = std::mem::replace(output, Output::new(&self.charge));
            let form = self.writer.options.answer_form;
            self.writer.push(check::tensor(output, None, wanted, form, &self.charge)?, true)?;
            typed.taken += 1;
            return Ok(true);
        }
        if typed.open.is_none() && output.fits && output.typed.is_some() {
            // What is still to come of the contents goes to a stand-in.
            let mut known = std::mem::replace(output, Output::new(&self.charge));
            output.typed = known.typed.take();
            let (_, elements) = check::described(&known)?;
            let data = match self.writer.options.answer_form {
                AnswerForm::Proto => Form::Contents,
                AnswerForm::Kserve => check::kserve_form(&known, wanted),
            };
            self.writer.push(described(known, data, &self.charge)?, true)?;
            typed.open = Some(Open { elements, bytes: 0 });
        }
        let (Some(open), Some(tensor)) = (&mut typed.open, self.writer.last()) else { return Ok(false) };
        open.take(output, tensor, ended, &self.charge)?;
        if ended {
            typed.open = None;
            typed.taken += 1;
        }
        Ok(ended)
    }
}

impl Open {
    /// Takes what has come of the contents, as raw contents of `tensor`; with `ended` that must be the last of them.
    fn take(
        &mut self,
        stand_in: &mut Output,
        tensor: &mut Tensor,
        ended: bool,
        charge: &Charge,
    ) -> Result<(), Problem> {
        let Some((field, rope, count)) = &mut stand_in.typed else { return Ok(()) };
        let Tensor { output, datatype, raw, .. } = tensor;
        let rope = std::mem::replace(rope, Rope::new(charge.sibling()));
        let Some(rope) = narrow(*datatype, rope, charge)? else {
            return Err(check::wrong(output, "an element is out of range"));
        };
        let size = datatype.size().unwrap_or(1) as u64;
        self.bytes = self.bytes.saturating_add(rope.len() as u64);
        let complete = (*count, self.bytes) == (self.elements, self.elements.saturating_mul(size));
        let too_many = *count > self.elements || self.bytes > self.elements.saturating_mul(size);
        if datatype.typed() != Some(*field) || too_many || (ended && !complete) {
            let elements = self.elements;
            return Err(check::wrong(output, format_args!("it has not {elements} elements")));
        }
        raw.append(rope);
        Ok(())
    }
}

/// An output of which no elements are here yet.
fn described(mut output: Output, data: Form, charge: &Charge) -> Result<Tensor, Problem> {
    output.parameters.settle()?;
    output.content_type.settle()?;
    let (datatype, _) = check::described(&output)?;
    Ok(Tensor { output, datatype, data, raw: Rope::new(charge.sibling()), part: Part::default() })
}

/// Whether raw contents, of which the first begins and is `length` bytes long, are sure to be those of the outputs that
/// are known, and to be all that follows in `left` bytes of the message.
pub(super) fn raw_contents_fit(message: &Message, length: u64, left: u64, binary: Binary<'_>) -> bool {
    let mut rest = left;
    for (index, output) in message.outputs.iter().enumerate() {
        let Some(bytes) = raw_bytes(output).filter(|_| !output.shared_memory) else { return false };
        let prefix = if index == 0 { 0 } else { 1 + varint_bytes(bytes) };
        let Some(behind) = rest.checked_sub(bytes).and_then(|rest| rest.checked_sub(prefix)) else {
            return false;
        };
        if index == 0 && bytes != length {
            return false;
        }
        rest = behind;
    }
    !message.outputs.is_empty() && rest == 0 && binary.all_or_none(&message.outputs)
}

/// Whether raw contents that begin behind those that are here are as long as they must be.
pub(super) fn next_raw_fits(message: &Message, length: u64) -> bool {
    message.outputs.get(message.raw.len()).and_then(raw_bytes) == Some(length)
}

/// Whether the typed contents that begin in the last output are sure to be those of its datatype and shape; they are
/// `length` bytes long. `is_last` says that the message ends with them.
pub(super) fn typed_contents_fit(message: &Message, length: u64, is_last: bool, binary: Binary<'_>) -> bool {
    let Some(output) = message.outputs.last().filter(|output| output.typed.is_none()) else { return false };
    let Ok((datatype, elements)) = check::described(output) else { return false };
    let (Some(field), Some(size)) = (datatype.typed(), datatype.size()) else { return false };
    let fits = match field {
        Typed::Fp32 | Typed::Fp64 => {
            let bytes = elements.saturating_mul(size as u64);
            let packed = bytes.saturating_add(1 + varint_bytes(bytes));
            length == packed || length == bytes.saturating_add(elements)
        }
        // Each takes one to ten bytes, and a key of its own if they are not packed.
        _ => length > elements && length <= elements.saturating_add(1).saturating_mul(11),
    };
    fits && elements > 0
        && message.raw.is_empty()
        && (is_last || !binary.is_possible)
        && binary.all_or_none(&message.outputs)
}

/// Which outputs are binary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binary<'a> {
    /// Whether any could be.
    pub(super) is_possible: bool,
    pub(super) wanted: &'a Wanted,
}

impl Binary<'_> {
    /// Whether all of these outputs are binary, or none could be. If some are, or are wanted and not here, the document's
    /// length must be known, and that is known only with all of the elements.
    fn all_or_none(self, outputs: &[Output]) -> bool {
        !self.is_possible || outputs.iter().all(|output| self.wanted.of(output.name.as_slice()))
    }
}

/// How long an output's raw contents must be, if that is known.
fn raw_bytes(output: &Output) -> Option<u64> {
    let (datatype, elements) = check::described(output).ok()?;
    elements.checked_mul(datatype.size()? as u64)
}

/// How many bytes a varint takes.
fn varint_bytes(value: u64) -> u64 {
    u64::from((64 - (value | 1).leading_zeros()).div_ceil(7))
}

/// Writes outputs whose elements come bit by bit.
#[derive(Debug)]
struct Writer {
    options: Options,
    /// What is in front of all contents.
    front: Rope,
    tail: &'static [u8],
    outputs: ChargedList<Written>,
    /// So many of them have been written.
    at: usize,
    /// Something has been written that the next output follows.
    follows: bool,
    encoder: Encoder,
    buffer: Vec<u8>,
    /// For the buffer.
    _charge: Charge,
}

/// An output, and how far it has been written.
#[derive(Debug)]
struct Written {
    tensor: Tensor,
    /// How many bytes of its raw contents are still to be written.
    left: u64,
    begun: bool,
    /// Its contents have begun to come.
    is_here: bool,
}

impl Writer {
    fn new(options: Options, charge: &Charge) -> Result<Self, OverBudget> {
        let mut held = charge.sibling();
        held.grow(BUFFER_BYTES)?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(BUFFER_BYTES).map_err(|_| OverBudget::allocation_failed(BUFFER_BYTES))?;
        buffer.resize(BUFFER_BYTES, 0);
        Ok(Self {
            options,
            front: Rope::new(charge.sibling()),
            tail: b"]}",
            outputs: ChargedList::new(charge.sibling()),
            at: 0,
            follows: false,
            encoder: Encoder::default(),
            buffer,
            _charge: held,
        })
    }

    fn push(&mut self, tensor: Tensor, is_here: bool) -> Result<(), Problem> {
        if self.waiting() == 0 {
            self.outputs.clear();
            self.at = 0;
        }
        let left = if tensor.data == Form::Elsewhere { 0 } else { tensor.raw_bytes() };
        Ok(self.outputs.push(Written { tensor, left, begun: false, is_here })?)
    }

    fn last(&mut self) -> Option<&mut Tensor> {
        self.outputs.last_mut().map(|output| &mut output.tensor)
    }

    /// How many outputs have not been written in full.
    fn waiting(&self) -> usize {
        self.outputs.len() - self.at
    }

    /// Makes what goes out before any contents; gives its length if that is a document of its own.
    fn prepare(&mut self, head: &[u8], charge: &Charge) -> Result<Option<usize>, Problem> {
        let binary = self.outputs.iter().any(|output| output.tensor.data == Form::Binary);
        let raw = self.outputs.iter().any(|output| output.tensor.data == Form::Raw);
        let mut front = Collect::new(charge.sibling());
        let mut printer = Printer::new(&mut front, &mut self.buffer);
        printer.text(head);
        if binary || raw {
            for (index, Written { tensor, .. }) in self.outputs.iter().enumerate() {
                if index > 0 {
                    printer.text(b",");
                }
                render::begin(tensor, &self.options, &mut printer);
                render::end(tensor, &mut printer);
            }
        }
        if binary {
            printer.text(b"]}");
            self.tail = b"";
        } else if raw {
            printer.text(b"],\"raw_output_contents\":[");
        }
        printer.flush();
        self.front = front.finish()?;
        Ok(binary.then(|| self.front.len()))
    }

    fn pad(&mut self, mut blanks: usize) -> Result<(), OverBudget> {
        while blanks > 0 {
            let now = blanks.min(BLANKS.len());
            self.front.push(&BLANKS[..now])?;
            blanks -= now;
        }
        Ok(())
    }

    /// Writes all that is here.
    fn write(&mut self, out: &mut dyn Sink) {
        let mut printer = Printer::new(out, &mut self.buffer);
        self.front.drain_to(&mut printer);
        while let Some(output) = self.outputs.get_mut(self.at).filter(|output| output.is_here) {
            let Written { tensor, left, begun, .. } = output;
            if !std::mem::replace(begun, true) {
                begin(tensor, &self.options, std::mem::replace(&mut self.follows, true), &mut printer);
            }
            *left = left.saturating_sub(tensor.raw.len() as u64);
            match tensor.data {
                Form::Binary => tensor.raw.drain_to(&mut printer),
                Form::Raw => render::base64(&mut tensor.raw, &mut self.encoder, &mut printer),
                _ => render::elements(tensor, &self.options, &mut printer),
            }
            if *left > 0 {
                break;
            }
            end(tensor, &mut self.encoder, &mut printer);
            self.at += 1;
        }
        printer.flush();
    }
}

fn begin(tensor: &Tensor, options: &Options, follows: bool, printer: &mut Printer<'_>) {
    if follows && tensor.data != Form::Binary {
        printer.text(b",");
    }
    match tensor.data {
        Form::Binary => {}
        Form::Raw => printer.text(b"\""),
        _ => render::begin(tensor, options, printer),
    }
}

fn end(tensor: &Tensor, encoder: &mut Encoder, printer: &mut Printer<'_>) {
    match tensor.data {
        Form::Binary => {}
        Form::Raw => {
            encoder.end(|text| printer.text(text));
            printer.text(b"\"");
        }
        _ => render::end(tensor, printer),
    }
}

/// What ends an answer that has been written but for this.
#[derive(Debug)]
pub(super) struct Tail(&'static [u8]);

impl Answer for Tail {
    fn render(self: Box<Self>, out: &mut dyn Sink) {
        out.write(self.0);
    }

    /// The document has been padded, if it had to be.
    fn render_padded(self: Box<Self>, _json_length: usize, out: &mut dyn Sink) {
        self.render(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_varint_takes_a_byte_for_each_seven_bits() {
        for (value, bytes) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX, 10)] {
            assert_eq!(varint_bytes(value), bytes, "{value}");
        }
    }
}
