//! Bodies that are no JSON: `google.api.HttpBody`, a message with a body's content type and its bytes.
//!
//! A rule's `body` or `response_body` that is such a message (or `*`, or nothing, where the message itself is one) takes the
//! body as it is. Nothing is decoded: a request's bytes go into the message as they come, and an answer's come out of it.

use super::assign;
use crate::codec::{Answer, Beginning, Progress, RequestCodec, ResponseCodec};
use crate::problem::Problem;
use crate::rows::{Row, Variables};
use filter_api::{Buffer, Charge, Rope, Sink};
use kserve_proto::wire::{Item, Reader};
use prost_reflect::prost::Message as _;
use prost_reflect::prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage as _};
use std::fmt::Display;
use std::sync::Arc;

/// The message's name.
const NAME: &str = "google.api.HttpBody";

// Its fields; the third one, `extensions`, has no place in HTTP.
const CONTENT_TYPE: u32 = 1;
const DATA: u32 = 2;

/// The content type of an answer whose message names none: one that nobody guesses at.
const UNNAMED: &str = "application/octet-stream";

/// The longest content type of an answer, in bytes.
const CONTENT_TYPE_BYTES: usize = 1024;

/// Whether a message is a body that is no JSON.
pub(crate) fn is_http_body(message: &MessageDescriptor) -> bool {
    message.full_name() == NAME
}

/// A request whose body is not JSON.
#[derive(Debug)]
pub(super) struct Request {
    row: Arc<Row>,
    variables: Variables,
    /// The field that the body is in; without one it is the message.
    field: Option<FieldDescriptor>,
    content_type: String,
    data: Rope,
    options: super::Options,
    charge: Charge,
}

impl Request {
    /// A request for a row, with the value of its `content-type`.
    pub(super) fn new(
        row: &Arc<Row>,
        variables: Variables,
        field: Option<FieldDescriptor>,
        content_type: String,
        options: super::Options,
        charge: Charge,
    ) -> Box<Self> {
        let data = Rope::new(charge.sibling());
        Box::new(Self { row: row.clone(), variables, field, content_type, data, options, charge })
    }
}

impl RequestCodec for Request {
    /// Only its end says that such a body is complete.
    fn write(&mut self, bytes: &[u8]) -> Result<Progress, Problem> {
        super::check_length(self.data.len().saturating_add(bytes.len()), self.options.max_request_bytes)?;
        self.data.push(bytes)?;
        Ok(Progress::More)
    }

    fn finish(self: Box<Self>) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        let Self { row, variables, field, content_type, data, options, charge } = *self;
        let mut rest = DynamicMessage::new(row.input.clone());
        let mut held = charge.sibling();
        assign::all(&mut rest, &row, &variables, options, &mut held)?;
        held.grow(rest.encoded_len())?;
        let number = field.as_ref().map_or(0, FieldDescriptor::number);
        let (before, behind) = around(rest, number);

        let mut head = before;
        let mut body_head = Vec::new();
        if !content_type.is_empty() {
            encode_length_delimited(CONTENT_TYPE, content_type.len(), &mut body_head);
            body_head.extend_from_slice(content_type.as_bytes());
        }
        if !data.is_empty() {
            encode_length_delimited(DATA, data.len(), &mut body_head);
        }
        if field.is_some() {
            encode_length_delimited(number, body_head.len() + data.len(), &mut head);
        }
        head.append(&mut body_head);
        let mut message = Rope::new(charge.sibling());
        message.push(&head)?;
        message.append(data);
        message.push(&behind)?;
        Ok((message, super::answer_codec(row, variables, options.print, charge)))
    }
}

/// The encodings of a message's fields before and behind a number.
fn around(message: DynamicMessage, number: u32) -> (Vec<u8>, Vec<u8>) {
    let (mut before, mut behind) = (message.clone(), message);
    for field in before.descriptor().fields() {
        let other = if field.number() < number { &mut behind } else { &mut before };
        other.clear_field(&field);
    }
    (before.encode_to_vec(), behind.encode_to_vec())
}

fn encode_length_delimited(number: u32, bytes: usize, out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes as u64, out);
}

/// An answer whose body is not JSON.
#[derive(Debug)]
pub(super) struct Response {
    /// The number of the field that the body is in; without one it is the message.
    field: Option<u32>,
    /// The message's type, for errors.
    name: String,
    wire: Reader,
    /// Whether the fields that come are the body's.
    within: bool,
    target: Target,
    content_type: Buffer,
    data: Rope,
    streaming: Streaming,
    charge: Charge,
}

/// Where the bytes that come go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Nowhere,
    ContentType,
    Data,
}

/// Whether the body goes out while the message comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streaming {
    No,
    /// As soon as the rest of a message of so many bytes is known to be data.
    Possible(u64),
    /// All that is still to come is data.
    Ready,
    Begun,
}

impl Response {
    pub(super) fn new(
        output: &MessageDescriptor,
        field: Option<&FieldDescriptor>,
        charge: Charge,
    ) -> Box<Self> {
        Box::new(Self {
            field: field.map(FieldDescriptor::number),
            name: output.full_name().to_owned(),
            wire: Reader::default(),
            within: field.is_none(),
            target: Target::Nowhere,
            content_type: Buffer::new(charge.sibling()),
            data: Rope::new(charge.sibling()),
            streaming: Streaming::No,
            charge,
        })
    }

    fn bad(&self, why: &dyn Display) -> Problem {
        Problem::bad_answer(format!("the model server's answer is not a valid {}: {why}", self.name))
    }

    /// A length-delimited field begins.
    fn length(&mut self, field: u32, length: u64) {
        match (self.within, field) {
            (false, field) if Some(field) == self.field => {
                self.wire.enter();
                self.within = true;
            }
            (true, CONTENT_TYPE) => {
                self.content_type.clear();
                self.target = Target::ContentType;
                self.wire.bytes();
            }
            (true, DATA) => {
                // Of several, the last one counts.
                self.data = Rope::new(self.charge.sibling());
                self.target = Target::Data;
                self.wire.bytes();
                if let Streaming::Possible(message) = self.streaming
                    && self.wire.offset().saturating_add(length) == message
                {
                    self.streaming = Streaming::Ready;
                }
            }
            _ => {}
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        match self.target {
            Target::Nowhere => {}
            Target::ContentType if self.content_type.len() + bytes.len() > CONTENT_TYPE_BYTES => {
                let why = format!("its content_type is longer than {CONTENT_TYPE_BYTES} bytes");
                return Err(self.bad(&why));
            }
            Target::ContentType => self.content_type.push(bytes)?,
            Target::Data => self.data.push(bytes)?,
        }
        Ok(())
    }

    /// A field of bytes, or the body, has ended.
    fn end(&mut self) -> Result<(), Problem> {
        match self.target {
            Target::Nowhere => self.within = false,
            Target::ContentType if !self.content_type.as_slice().iter().all(is_of_a_header) => {
                return Err(self.bad(&"its content_type cannot stand in a header"));
            }
            Target::ContentType | Target::Data => {}
        }
        self.target = Target::Nowhere;
        Ok(())
    }
}

/// Whether a byte may be in a content type (RFC 9110 sections 5.5 and 8.3.1), which is visible ASCII and blanks.
fn is_of_a_header(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t')
}

/// Text that has been checked to be [of a header](is_of_a_header).
fn named(content_type: &[u8]) -> &str {
    match std::str::from_utf8(content_type.trim_ascii()) {
        Ok("") | Err(_) => UNNAMED,
        Ok(named) => named,
    }
}

impl ResponseCodec for Response {
    fn decides_content_type(&self) -> bool {
        true
    }

    fn content_type(&self) -> Option<&str> {
        Some(named(self.content_type.as_slice()))
    }

    fn stream(&mut self, message_bytes: usize) {
        self.streaming = Streaming::Possible(message_bytes as u64);
    }

    fn begin(&mut self, _promised: Option<usize>) -> Result<Beginning, Problem> {
        if self.streaming != Streaming::Ready {
            return Ok(Beginning::NotYet);
        }
        self.streaming = Streaming::Begun;
        Ok(Beginning::Now { json_bytes: None })
    }

    fn flow(&mut self, out: &mut dyn Sink) -> Result<(), Problem> {
        self.data.drain_to(out);
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        while let Some(item) = self.wire.next(&mut bytes).map_err(|why| self.bad(&why))? {
            match item {
                Item::Length(field, length) => self.length(field, length),
                Item::Bytes(bytes) => self.bytes(bytes)?,
                Item::End => self.end()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Box<dyn Answer>, Problem> {
        // An empty field or message ends with the next look.
        self.write(b"")?;
        if !self.wire.is_whole() {
            return Err(self.bad(&"it is cut"));
        }
        let Self { content_type, data, .. } = *self;
        Ok(Box::new(RawAnswer { content_type, data }))
    }
}

/// The body as it is.
#[derive(Debug)]
struct RawAnswer {
    content_type: Buffer,
    data: Rope,
}

impl Answer for RawAnswer {
    fn content_type(&self) -> Option<&str> {
        Some(named(self.content_type.as_slice()))
    }

    fn render(mut self: Box<Self>, out: &mut dyn Sink) {
        self.data.drain_to(out);
    }

    fn render_padded(self: Box<Self>, _json_length: usize, out: &mut dyn Sink) {
        self.render(out);
    }
}
