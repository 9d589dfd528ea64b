//! Reading a `ModelInferResponse`.

mod answer;
mod bytes;
mod check;
mod entries;
mod flow;
mod generated;
mod in_stream;
mod model;
mod narrow;
mod outputs;
mod packed;
mod predictions;
mod print;
mod render;
mod repeated;
mod values;
mod varints;
mod wanted;

pub(crate) use generated::Generated;
pub(crate) use in_stream::StreamResponse;
pub(crate) use outputs::{OutputTensor, Outputs};
pub(crate) use predictions::Predictions;
pub(crate) use print::escape;
pub(crate) use wanted::Wanted;

use crate::codec::{Answer, Beginning, ResponseCodec};
use crate::problem::Problem;
use crate::tensor::datatype::{MAX_RANK, Typed};
use crate::tensor::{AnswerForm, Options};
use entries::Value;
use filter_api::{Buffer, Charge, Rope, Sink};
use flow::{Binary, Flow, next_raw_fits, raw_contents_fit, typed_contents_fit};
use kserve_proto::wire::{Item, Reader, take_varint};
use model::{Message, Output};
use std::fmt::Display;

/// Reads the message of an answer.
#[derive(Debug)]
pub(crate) struct Response {
    options: Options,
    charge: Charge,
    wanted: Wanted,
    taken: usize,
    wire: Reader,
    /// The messages that are open, innermost last.
    places: Vec<Place>,
    /// Where the bytes that come go.
    target: Target,
    message: Message,
    parameter: Parameter,
    /// Where the answer may be written while the message comes.
    streaming: Option<Streaming>,
}

/// What it takes to write the answer while the message comes.
#[derive(Debug)]
struct Streaming {
    message_bytes: u64,
    /// Whether an output could be binary.
    binary: bool,
    /// Contents have begun that settle enough of the rest of the message for the answer to begin.
    ready: Option<Contents>,
    /// Once it has begun.
    flow: Option<Flow>,
}

/// The ways in which a message carries elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    Raw,
    Typed,
}

/// An element of BYTES that is there as a whole is taken at once, if it is no longer than this, in bytes.
const SHORT_BYTES: u64 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Parameter,
    Value,
    Output,
    Contents,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Nowhere,
    ModelName,
    ModelVersion,
    Id,
    ParameterName,
    ParameterText,
    OutputName,
    Datatype,
    Typed,
    Raw,
}

/// The map entry that is being read.
#[derive(Debug)]
struct Parameter {
    name: Buffer,
    text: Buffer,
    value: Value,
}

impl Response {
    pub(crate) fn new(options: Options, wanted: Wanted, charge: Charge) -> Self {
        let held = || Buffer::new(charge.sibling());
        Self {
            options,
            wanted,
            taken: 0,
            wire: Reader::default(),
            places: Vec::new(),
            target: Target::Nowhere,
            message: Message::new(&charge),
            parameter: Parameter { name: held(), text: held(), value: Value::None },
            streaming: None,
            charge,
        }
    }

    /// A reader of another message of the same stream.
    fn sibling(&self) -> Self {
        let charge = self.charge.sibling();
        Self::new(self.options, Wanted::nothing(&charge), charge)
    }

    fn place(&self) -> Option<Place> {
        self.places.last().copied()
    }

    /// A length-delimited field begins.
    fn length(&mut self, field: u32, length: u64) -> Result<(), Problem> {
        let place = self.place();
        if self.streaming.is_some() {
            self.foresee(place, field, length)?;
        }
        let message = match (place, field) {
            (None, 4) | (Some(Place::Output), 4) => Place::Parameter,
            (None, 5) => {
                let output = Output::new(&self.charge);
                self.message.outputs.push(output)?;
                Place::Output
            }
            (Some(Place::Parameter), 2) => Place::Value,
            (Some(Place::Output), 5) => Place::Contents,
            (Some(Place::Output), 3) | (Some(Place::Contents), 1..=5) => {
                self.wire.packed();
                return Ok(());
            }
            _ => return self.string(place, field, length),
        };
        if message == Place::Parameter {
            self.parameter.name.clear();
            self.parameter.value = Value::None;
        }
        self.wire.enter();
        self.places.push(message);
        Ok(())
    }

    /// A field of bytes begins; the last one of its kind counts.
    fn string(&mut self, place: Option<Place>, field: u32, length: u64) -> Result<(), Problem> {
        let target = match (place, field) {
            (None, 1) => Target::ModelName,
            (None, 2) => Target::ModelVersion,
            (None, 3) => Target::Id,
            (None, 6) => {
                self.message.raw.push(Rope::new(self.charge.sibling()))?;
                Target::Raw
            }
            (Some(Place::Parameter), 1) => Target::ParameterName,
            (Some(Place::Value), 3) => {
                self.parameter.value = Value::Text;
                Target::ParameterText
            }
            (Some(Place::Output), 1) => Target::OutputName,
            (Some(Place::Output), 2) => Target::Datatype,
            (Some(Place::Contents), 6) if length > 0 => {
                self.typed(Typed::Fp32, length / 4)?;
                Target::Typed
            }
            (Some(Place::Contents), 7) if length > 0 => {
                self.typed(Typed::Fp64, length / 8)?;
                Target::Typed
            }
            (Some(Place::Contents), 8) => {
                let Ok(length) = u32::try_from(length) else {
                    return Err(malformed("it has a string of more than 4 GiB"));
                };
                if let Some(rope) = self.typed(Typed::Bytes, 1)? {
                    rope.push(&length.to_le_bytes())?;
                }
                Target::Typed
            }
            _ => return Ok(()),
        };
        self.target = target;
        if let Some(held) = self.held() {
            held.clear();
        }
        self.wire.bytes();
        Ok(())
    }

    /// What the bytes of the target are kept in, if that is small.
    fn held(&mut self) -> Option<&mut Buffer> {
        match self.target {
            Target::ModelName => Some(&mut self.message.model_name),
            Target::ModelVersion => Some(&mut self.message.model_version),
            Target::Id => Some(&mut self.message.id),
            Target::ParameterName => Some(&mut self.parameter.name),
            Target::ParameterText => Some(&mut self.parameter.text),
            Target::OutputName => self.message.outputs.last_mut().map(|output| &mut output.name),
            Target::Datatype => self.message.outputs.last_mut().map(|output| &mut output.datatype),
            Target::Typed | Target::Raw | Target::Nowhere => None,
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let rope = match self.target {
            Target::Raw => self.message.raw.last_mut(),
            Target::Typed => match self.message.outputs.last_mut() {
                Some(Output { typed: Some((_, rope, _)), .. }) => Some(rope),
                _ => None,
            },
            _ => None,
        };
        match rope {
            Some(rope) => rope.push(bytes)?,
            None => {
                if let Some(held) = self.held() {
                    held.push(bytes)?;
                }
            }
        }
        Ok(())
    }

    /// A field of bytes or a message has ended.
    fn end(&mut self) -> Result<(), Problem> {
        if self.target != Target::Nowhere {
            let text = self.held().is_none_or(|held| std::str::from_utf8(held.as_slice()).is_ok());
            self.target = Target::Nowhere;
            return if text { Ok(()) } else { Err(malformed("it has a string that is not UTF-8")) };
        }
        if self.places.pop() == Some(Place::Parameter) {
            self.end_parameter()?;
        }
        Ok(())
    }

    fn varint(&mut self, field: u32, value: u64) -> Result<(), Problem> {
        match (self.place(), field) {
            (Some(Place::Value), 1) => self.parameter.value = Value::Bool(value != 0),
            (Some(Place::Value), 2) => self.parameter.value = Value::Int64(value as i64),
            (Some(Place::Value), 5) => self.parameter.value = Value::Uint64(value),
            (Some(Place::Output), 3) => {
                if let Some(output) = self.message.outputs.last_mut() {
                    if i64::try_from(value).is_err() || output.shape.len() >= MAX_RANK {
                        let name = String::from_utf8_lossy(output.name.as_slice());
                        return Err(Problem::bad_answer(format!(
                            "the server's answer has an impossible shape for output {name}"
                        )));
                    }
                    output.shape.push(value)?;
                }
            }
            (Some(Place::Contents), 1..=5) => {
                let Some(typed) = Typed::from_number(field) else { return Ok(()) };
                let Some(rope) = self.typed(typed, 1)? else { return Ok(()) };
                match typed {
                    Typed::Bool => rope.push(&[u8::from(value != 0)])?,
                    // Protobuf cuts longer varints to the type's width.
                    Typed::Int | Typed::Uint => rope.push(&(value as u32).to_le_bytes())?,
                    _ => rope.push(&value.to_le_bytes())?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Packed varints, each of which is whole.
    fn numbers(&mut self, field: u32, mut numbers: &[u8]) -> Result<(), Problem> {
        let typed = Typed::from_number(field).filter(|_| self.place() == Some(Place::Contents));
        let Some(typed) = typed else {
            while !numbers.is_empty() {
                self.varint(field, take_varint(&mut numbers).map_err(malformed)?)?;
            }
            return Ok(());
        };
        let Some(rope) = self.typed(typed, 0)? else { return Ok(()) };
        let count = packed::unpack(typed, numbers, rope)?.map_err(malformed)?;
        self.typed(typed, count)?;
        Ok(())
    }

    /// An element of BYTES that is there as a whole.
    fn element(&mut self, element: &[u8]) -> Result<(), Problem> {
        if let (Ok(len), Some(rope)) = (u32::try_from(element.len()), self.typed(Typed::Bytes, 1)?) {
            rope.extend_with(4 + element.len(), |out| {
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(element);
            })?;
        }
        Ok(())
    }

    /// A number of fixed size: one element of contents that are not packed.
    fn fixed(&mut self, field: u32, typed: Typed, value: &[u8]) -> Result<(), Problem> {
        if self.place() == Some(Place::Contents)
            && field == typed as u32
            && let Some(rope) = self.typed(typed, 1)?
        {
            rope.push(value)?;
        }
        Ok(())
    }

    /// An element that is a field of its own has been taken: takes those that follow it, as far as they are simple and here.
    fn repeated(&mut self, field: u32, bytes: &mut &[u8]) -> Result<(), Problem> {
        if self.place() != Some(Place::Contents) {
            return Ok(());
        }
        let output = self.message.outputs.last_mut();
        if let Some((found, rope, count)) = output.and_then(|output| output.typed.as_mut())
            && *found as u32 == field
        {
            let run = repeated::take(*found, self.wire.here(bytes), rope)?;
            *count += run.elements;
            self.wire.took(run.bytes, bytes);
        }
        Ok(())
    }

    /// The elements of the current output's typed contents, after counting `more` of them.
    fn typed(&mut self, field: Typed, more: u64) -> Result<Option<&mut Rope>, Problem> {
        let Some(output) = self.message.outputs.last_mut() else { return Ok(None) };
        let empty = || (field, Rope::new(self.charge.sibling()), 0);
        let (found, rope, count) = output.typed.get_or_insert_with(empty);
        if *found != field {
            let name = String::from_utf8_lossy(output.name.as_slice());
            return Err(Problem::bad_answer(format!(
                "the server's answer has both {} and {} for output {name}",
                found.name(),
                field.name()
            )));
        }
        *count += more;
        Ok(Some(rope))
    }

    /// Sees what a field that begins says of the rest of the message.
    fn foresee(&mut self, place: Option<Place>, field: u32, length: u64) -> Result<(), Problem> {
        let Some(Streaming { message_bytes, binary, ready, flow }) = &mut self.streaming else {
            return Ok(());
        };
        let binary = Binary { is_possible: *binary, wanted: &self.wanted };
        let begins = self.wire.offset();
        match (place, field, &flow) {
            (None, _, Some(flow)) => flow.admit(&self.message, field, length)?,
            (None, 6, None) if self.message.raw.is_empty() => {
                let fits =
                    raw_contents_fit(&self.message, length, message_bytes.saturating_sub(begins), binary);
                *ready = fits.then_some(Contents::Raw);
            }
            // What does not go on as it must is held.
            (None, 6, None) if *ready == Some(Contents::Raw) && !next_raw_fits(&self.message, length) => {
                *ready = None;
            }
            (None, 1..=4, None) => *ready = None,
            (None, 5, None) if *ready == Some(Contents::Raw) => *ready = None,
            (Some(Place::Output), 5, _) => {
                let end = begins.saturating_add(length);
                let fits = end == self.wire.end_of_message()
                    && typed_contents_fit(&self.message, length, end == *message_bytes, binary);
                if let Some(output) = self.message.outputs.last_mut() {
                    output.fits = fits;
                }
                if fits {
                    *ready = Some(Contents::Typed);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether an output is being read.
    fn is_in_output(&self) -> bool {
        self.places.first() == Some(&Place::Output)
    }

    /// Writes the parameter that has been read as JSON.
    fn end_parameter(&mut self) -> Result<(), Problem> {
        let Parameter { name, text, value } = &self.parameter;
        let name = name.as_slice();
        let entries = match (self.places.last(), self.message.outputs.last_mut()) {
            (Some(Place::Output), Some(output)) => {
                // A server's own; a client would look for as many bytes behind the document.
                if name == b"binary_data_size" {
                    return Ok(());
                }
                output.shared_memory |= name == b"shared_memory_region";
                if name == b"content_type" {
                    output.content_type.clear();
                    &mut output.content_type
                } else {
                    &mut output.parameters
                }
            }
            _ => &mut self.message.parameters,
        };
        entries.push(name, *value, text.as_slice(), &self.options)?;
        Ok(())
    }
}

impl ResponseCodec for Response {
    fn for_message(&self) -> Option<Box<dyn ResponseCodec>> {
        Some(Box::new(self.sibling()))
    }

    fn wants_binary_answer(&self) -> bool {
        self.wanted.any()
    }

    fn stream(&mut self, message_bytes: usize) {
        let binary = self.options.answer_form == AnswerForm::Kserve && self.wanted.any();
        self.streaming =
            Some(Streaming { message_bytes: message_bytes as u64, binary, ready: None, flow: None });
    }

    fn begin(&mut self, promised: Option<usize>) -> Result<Beginning, Problem> {
        let is_open = self.is_in_output();
        let (message, wanted, options) = (&mut self.message, &self.wanted, self.options);
        let Some(Streaming { ready, flow: place, .. }) = &mut self.streaming else {
            return Ok(Beginning::NotYet);
        };
        let mut flow = match ready {
            Some(Contents::Raw) => Flow::of_raw_contents(message, wanted, options, &self.charge)?,
            // Once the first of the elements, or what says how many there are, has come as well.
            Some(Contents::Typed)
                if message.outputs.iter().any(|output| output.fits && output.typed.is_some()) =>
            {
                Flow::of_typed_contents(message, is_open, wanted, options, &self.charge)?
            }
            _ => return Ok(Beginning::NotYet),
        };
        let beginning = flow.begin(message, promised)?;
        *place = Some(flow);
        Ok(beginning)
    }

    fn flow(&mut self, out: &mut dyn Sink) -> Result<(), Problem> {
        let is_open = self.is_in_output();
        match &mut self.streaming {
            Some(Streaming { flow: Some(flow), .. }) => {
                flow.write(&mut self.message, is_open, &self.wanted, out)
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > self.options.max_response_bytes {
            let limit = self.options.max_response_bytes;
            return Err(Problem::bad_answer(format!("the server's answer is larger than {limit} bytes")));
        }
        loop {
            if let Some((field, numbers)) = self.wire.numbers(&mut bytes) {
                self.numbers(field, numbers)?;
            }
            let Some(item) = self.wire.next(&mut bytes).map_err(malformed)? else { break };
            match item {
                Item::Bytes(bytes) => self.bytes(bytes)?,
                Item::End => self.end()?,
                Item::Length(field @ 8, length @ 0..=SHORT_BYTES)
                    if self.place() == Some(Place::Contents) =>
                {
                    match self.wire.whole(&mut bytes) {
                        Some(element) => {
                            self.element(element)?;
                            self.repeated(field, &mut bytes)?;
                        }
                        None => self.length(field, length)?,
                    }
                }
                Item::Length(field, length) => self.length(field, length)?,
                Item::Varint(field, value) => {
                    self.varint(field, value)?;
                    self.repeated(field, &mut bytes)?;
                }
                Item::Fixed32(field, value) => {
                    self.fixed(field, Typed::Fp32, &value)?;
                    self.repeated(field, &mut bytes)?;
                }
                Item::Fixed64(4, value) if self.place() == Some(Place::Value) => {
                    self.parameter.value = Value::Double(f64::from_le_bytes(value));
                }
                Item::Fixed64(field, value) => {
                    self.fixed(field, Typed::Fp64, &value)?;
                    self.repeated(field, &mut bytes)?;
                }
                // Groups are refused.
                Item::GroupStart(_) | Item::GroupEnd(_) => {}
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Answer>, Problem> {
        if !self.wire.is_whole() {
            return Err(malformed("it is cut"));
        }
        if let Some(Streaming { flow: Some(flow), .. }) = self.streaming {
            return Ok(Box::new(flow.finish(&self.message)?));
        }
        let answer = check::check(self.message, &self.wanted, self.options, self.charge)?;
        Ok(Box::new(answer))
    }
}

#[cold]
fn malformed(what: impl Display) -> Problem {
    Problem::bad_answer(format!("the server's answer is not a ModelInferResponse: {what}"))
}
