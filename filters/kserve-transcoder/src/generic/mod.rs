//! Every call but inference: JSON to a message and back by descriptors.
//!
//! Messages of these calls are small, so a body is collected whole and read at once, in the JSON form of
//! protobuf (field names in either spelling, bytes as base64, enums by name), with unknown fields refused if they are not to
//! be ignored. An
//! answer is printed with the names of the `.proto` file, 64-bit integers as numbers, and every field without
//! presence, as the REST interface of the Open Inference Protocol has it. Where a definition says that its JSON looks
//! different ([`shape`]), it does. With [`AnswerForm::Proto`] an answer is protobuf's own JSON instead: 64-bit integers
//! as text, and no field that has its default, or as [`PrintOptions`] say.

mod assign;
mod http_body;
mod normal;
mod packed;
mod print;
mod rpc_status;
mod scan;
mod shape;
#[cfg(test)]
mod tests;
mod times;
mod twice;
mod weight;
mod writer;

use crate::codec::{Answer, Progress, RequestCodec, ResponseCodec, is_blank};
use crate::problem::Problem;
use crate::rows::{self, Body, Form, Row, Variables};
use crate::tensor::AnswerForm;
use filter_api::{Buffer, Charge, Rope, Sink};
pub(crate) use http_body::is_http_body;
pub(crate) use print::{Print, PrintOptions};
use prost_reflect::prost::Message as _;
use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, MessageDescriptor, SerializeOptions, Value,
};
pub(crate) use rpc_status::Statuses;
use scan::Scanner;
use serde::de::{Deserializer, IgnoredAny};
use serde::ser::{Serialize, Serializer};
use shape::{PrintedMap, Shaped};
use std::collections::HashSet;
use std::sync::Arc;
pub(crate) use times::{has, has_times};
use writer::RopeWriter;

/// How many bytes of a client's text come back in an error at most.
const QUOTED_BYTES: usize = 300;

/// What an operator configures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// How answers are printed.
    pub(crate) print: Print,
    /// Members of a body that name no field are left out, and not refused.
    pub(crate) ignore_unknown_fields: bool,
    /// Names of enums may be in any case.
    pub(crate) case_insensitive_enums: bool,
    /// The longest body of a request, in bytes.
    pub(crate) max_request_bytes: usize,
}

/// A request that is being read.
#[derive(Debug)]
pub(crate) struct Request {
    row: Arc<Row>,
    variables: Variables,
    body: Buffer,
    scanner: Scanner,
    /// How many bytes have come.
    taken: usize,
    options: Options,
    charge: Charge,
}

/// An answer that is being read.
#[derive(Debug)]
struct Response {
    row: Arc<Row>,
    variables: Variables,
    print: Print,
    message: Buffer,
    charge: Charge,
}

/// An answer, printed.
#[derive(Debug)]
struct PrintedAnswer {
    status: u16,
    body: Rope,
}

/// A reader of a request for a row, with what its path and its query say. Whatever is held is charged as `charge` is.
/// `content_type` gives the value of that header.
pub(crate) fn request(
    row: &Arc<Row>,
    variables: Variables,
    options: Options,
    content_type: impl FnOnce() -> Option<Vec<u8>>,
    charge: Charge,
) -> Result<Box<dyn RequestCodec>, Problem> {
    let Body::Raw(field) = &row.body else { return Ok(Request::new(row, variables, options, charge)) };
    let content_type = String::from_utf8(content_type().unwrap_or_default());
    let content_type = content_type.map_err(|_| Problem::bad_request("content-type is not valid UTF-8"))?;
    Ok(http_body::Request::new(row, variables, field.clone(), content_type, options, charge))
}

/// What reads the answer to a request for a row.
fn answer_codec(row: Arc<Row>, variables: Variables, print: Print, charge: Charge) -> Box<dyn ResponseCodec> {
    match &row.answer {
        rows::ResponseBody::Raw(field) => http_body::Response::new(&row.output, field.as_ref(), charge),
        _ => {
            let message = Buffer::new(charge.sibling());
            Box::new(Response { row, variables, print, message, charge })
        }
    }
}

/// Checks the length of what has come of a body.
fn check_length(bytes: usize, limit: usize) -> Result<(), Problem> {
    match bytes > limit {
        true => Err(Problem::too_large(format!("the body is larger than max_request_bytes ({limit})"))),
        false => Ok(()),
    }
}

impl Request {
    fn new(row: &Arc<Row>, variables: Variables, options: Options, charge: Charge) -> Box<Self> {
        let body = Buffer::new(charge.sibling());
        let scanner = Scanner::default();
        Box::new(Self { row: row.clone(), variables, body, scanner, taken: 0, options, charge })
    }

    fn read_body(&mut self) -> Result<DynamicMessage, Problem> {
        let body = self.body.as_slice();
        let read = |json: &[u8]| parse(&self.row.input, &self.row.forms, self.options, json);
        if body.iter().all(is_blank) {
            return Ok(DynamicMessage::new(self.row.input.clone()));
        }
        match &self.row.body {
            Body::None | Body::Raw(_) => Ok(DynamicMessage::new(self.row.input.clone())),
            Body::Whole => read(body),
            Body::Field(field) => {
                // A member of an object made around the body, which therefore must be one whole document first.
                serde_json::from_slice::<IgnoredAny>(body).map_err(|error| bad_body("", &error))?;
                let mut object = Buffer::new(self.charge.sibling());
                for part in [b"{\"", field.name().as_bytes(), b"\":", body, b"}"] {
                    object.push(part)?;
                }
                read(object.as_slice())
            }
        }
    }
}

impl RequestCodec for Request {
    /// The body is complete if the row takes none, or once its JSON document has been closed.
    fn write(&mut self, bytes: &[u8]) -> Result<Progress, Problem> {
        self.taken = self.taken.saturating_add(bytes.len());
        check_length(self.taken, self.options.max_request_bytes)?;
        if self.row.body == Body::None {
            return match bytes.iter().all(is_blank) {
                true => Ok(Progress::Complete),
                false => Err(Problem::bad_request("this path takes no body")),
            };
        }
        self.scanner.write(bytes)?;
        self.body.push(bytes)?;
        Ok(Progress::complete_if(self.scanner.is_closed()))
    }

    fn finish(mut self: Box<Self>) -> Result<(Rope, Box<dyn ResponseCodec>), Problem> {
        let mut charge = self.charge.sibling();
        charge.grow(self.scanner.weight())?;
        if !self.row.forms.is_empty() {
            // Fields with a form are held as JSON values on their way.
            charge.grow(self.body.len())?;
        }
        let mut message = self.read_body()?;
        assign::all(&mut message, &self.row, &self.variables, self.options, &mut charge)?;
        if weight::depth(&message) > weight::MAX_DEPTH {
            let limit = weight::MAX_DEPTH;
            return Err(Problem::bad_request(format!("body: its messages are nested deeper than {limit}")));
        }
        charge.grow(message.encoded_len())?;
        let mut rope = Rope::new(self.charge.sibling());
        rope.push(&message.encode_to_vec())?;
        let Self { row, variables, options: Options { print, .. }, charge, .. } = *self;
        Ok((rope, answer_codec(row, variables, print, charge)))
    }
}

impl ResponseCodec for Response {
    fn for_message(&self) -> Option<Box<dyn ResponseCodec>> {
        let charge = self.charge.sibling();
        let message = Buffer::new(charge.sibling());
        let (row, print) = (self.row.clone(), self.print.of_stream());
        Some(Box::new(Self { row, variables: Variables::default(), print, message, charge }))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.message.push(bytes)?;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Answer>, Problem> {
        let output = &self.row.output;
        let bad = |why: &dyn std::fmt::Display| {
            Problem::bad_answer(format!(
                "the model server's answer is not a valid {}: {why}",
                output.full_name()
            ))
        };
        let mut charge = self.charge.sibling();
        charge.grow(weight::of_message(output, self.message.as_slice()))?;
        let message =
            DynamicMessage::decode(output.clone(), self.message.as_slice()).map_err(|why| bad(&why))?;
        if let Some(why) = Some(&message).filter(|_| self.row.has_times).and_then(times::out_of_range) {
            return Err(bad(&why));
        }
        if self.row.has_any {
            packed::check(&message, weight::MAX_DEPTH, &mut charge).map_err(|fault| match fault {
                packed::Fault::Budget(over) => over.into(),
                packed::Fault::Bad(why) => bad(&why),
            })?;
        }
        let mut body = RopeWriter::new(Rope::new(self.charge.sibling()));
        let mut status = 200;
        let readiness = Readiness::of(self.row.rpc_path());
        if let Some(Readiness { flag, .. }) = readiness
            && message.get_field_by_name(flag).as_deref() == Some(&Value::Bool(false))
        {
            status = 503;
        }
        let (print, form) = (self.print, self.print.form());
        let options = &print.serialize_options();
        let whole = Printed(&message, options);
        let printed = match (&self.row.answer, readiness, form) {
            (rows::ResponseBody::Names { list, name }, ..) => {
                print.write(&mut body, &PrintedNames { message: &message, list, name })
            }
            (rows::ResponseBody::Field(field, shape), ..) => {
                let form = shape.as_ref().filter(|_| form == AnswerForm::Kserve);
                let value = &*message.get_field(field);
                print.write(&mut body, &PrintedField { value, form, options })
            }
            (_, _, AnswerForm::Proto) => print.write(&mut body, &whole),
            (_, Some(Readiness { of_model, .. }), AnswerForm::Kserve) => {
                let says = |field| self.variables.get(field).filter(|_| of_model);
                let named = Named { name: says("name"), version: says("version"), message: whole };
                print.write(&mut body, &named)
            }
            // The second has a reader of its own.
            (rows::ResponseBody::Empty | rows::ResponseBody::Raw(_), None, AnswerForm::Kserve) => Ok(()),
            (rows::ResponseBody::Whole, None, AnswerForm::Kserve) => print.write(&mut body, &whole),
        };
        let body = body.finish()?;
        printed.map_err(|why| bad(&why))?;
        Ok(Box::new(PrintedAnswer { status, body }))
    }
}

impl Answer for PrintedAnswer {
    /// 200, or 503 where the server says that it or the model is not ready.
    fn status(&self) -> u16 {
        self.status
    }

    fn render(mut self: Box<Self>, out: &mut dyn Sink) {
        self.body.drain_to(out);
    }

    fn render_padded(self: Box<Self>, _json_length: usize, out: &mut dyn Sink) {
        self.render(out);
    }
}

/// A call whose answer is a flag, which REST clients read from the status.
#[derive(Clone, Copy)]
struct Readiness {
    /// The answer's field.
    flag: &'static str,
    /// The answer repeats which model the URL named, which the gRPC message does not say.
    of_model: bool,
}

impl Readiness {
    fn of(rpc_path: &str) -> Option<Self> {
        match rpc_path {
            kserve_proto::SERVER_LIVE => Some(Self { flag: "live", of_model: false }),
            kserve_proto::SERVER_READY => Some(Self { flag: "ready", of_model: false }),
            kserve_proto::MODEL_READY => Some(Self { flag: "ready", of_model: true }),
            _ => None,
        }
    }
}

#[derive(serde::Serialize)]
struct Named<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(flatten)]
    message: Printed<'a>,
}

struct Printed<'a>(&'a DynamicMessage, &'a SerializeOptions);

impl Serialize for Printed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_with_options(serializer, self.1)
    }
}

/// A field that holds a message, a list of them, or a map of them.
struct PrintedField<'a> {
    value: &'a Value,
    form: Option<&'a Form>,
    options: &'a SerializeOptions,
}

impl Serialize for PrintedField<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options = self.options;
        match (self.value, self.form) {
            (Value::List(items), _) => {
                let messages = items.iter().filter_map(Value::as_message);
                serializer.collect_seq(messages.map(|message| Printed(message, options)))
            }
            (Value::Message(message), _) => Printed(message, options).serialize(serializer),
            (Value::Map(entries), Some(form)) => PrintedMap { entries, form }.serialize(serializer),
            (Value::Map(entries), None) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                let messages =
                    entries.into_iter().filter_map(|(key, value)| Some((key, value.as_message()?)));
                serializer.collect_map(
                    messages.map(|(key, message)| (shape::key_text(key), Printed(message, options))),
                )
            }
            // Rows are read so that there is nothing else.
            _ => serializer.serialize_none(),
        }
    }
}

/// The names in a list of messages, each once, as the one member of an object.
struct PrintedNames<'a> {
    message: &'a DynamicMessage,
    list: &'a FieldDescriptor,
    name: &'a FieldDescriptor,
}

impl Serialize for PrintedNames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let list = self.message.get_field(self.list);
        let messages = list.as_list().unwrap_or_default().iter().filter_map(Value::as_message);
        let mut seen = HashSet::new();
        let mut names = Vec::new();
        for message in messages {
            let name = message.get_field(self.name).as_str().unwrap_or_default().to_owned();
            if seen.insert(name.clone()) {
                names.push(name);
            }
        }
        serializer.collect_map([(self.list.name(), names)])
    }
}

/// Reads a message from its JSON form.
fn parse(
    input: &MessageDescriptor,
    forms: &[(FieldDescriptor, Form)],
    options: Options,
    json: &[u8],
) -> Result<DynamicMessage, Problem> {
    let must_be_rewritten = twice::check(input, options.case_insensitive_enums, json)?;
    let mut track = serde_path_to_error::Track::new();
    let message = if must_be_rewritten {
        serde_json::from_slice(json).and_then(|mut json| {
            normal::rewrite(input, &mut json);
            message_of(input, forms, options, serde_path_to_error::Deserializer::new(json, &mut track))
        })
    } else {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
        let message = message_of(input, forms, options, tracked);
        message.and_then(|message| reader.end().map(|()| message))
    };
    message.map_err(|error| {
        // The path ends in a question mark where a name is not known yet, and is a dot for the whole document.
        let path = track.path().to_string();
        match path.trim_end_matches(['.', '?']) {
            "" => bad_body("", &error),
            path => bad_body(&format!("{}: ", quoted(path)), &error),
        }
    })
}

/// Reads a message from JSON, in whichever form that is there.
fn message_of<'de, D: Deserializer<'de>>(
    input: &MessageDescriptor,
    forms: &[(FieldDescriptor, Form)],
    options: Options,
    json: D,
) -> Result<DynamicMessage, D::Error> {
    let options = DeserializeOptions::new().deny_unknown_fields(!options.ignore_unknown_fields);
    match forms {
        [] => DynamicMessage::deserialize_with_options(input.clone(), json, &options),
        forms => {
            let shaped = Shaped { object: json, forms };
            DynamicMessage::deserialize_with_options(input.clone(), shaped, &options)
        }
    }
}

fn bad_body(place: &str, error: &serde_json::Error) -> Problem {
    Problem::bad_request(format!("body: {place}{}", quoted(&error.to_string())))
}

/// Cuts a text that quotes what a client sent.
fn quoted(text: &str) -> String {
    match text.char_indices().find(|(at, _)| *at >= QUOTED_BYTES) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
