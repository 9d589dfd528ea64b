//! What the path and the query say, put into the message that the body made.

use super::{Options, normal, quoted, weight};
use crate::problem::Problem;
use crate::rows::{Parameter, Row, Variables};
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use filter_api::Charge;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde::de::IntoDeserializer;
use serde::de::value::Error as TextError;
use std::collections::HashSet;
use std::str::FromStr;

/// Base64 with or without padding, as protobuf's JSON takes it.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Sets all that the path and the query of a request for a row say, and what the row itself does.
///
/// # Errors
/// As [`assign`] and [`bind`], or the budget has no room: 503.
pub(super) fn all(
    message: &mut DynamicMessage,
    row: &Row,
    variables: &Variables,
    options: Options,
    charge: &mut Charge,
) -> Result<(), Problem> {
    let any_case = options.case_insensitive_enums;
    for (name, path, value) in variables.iter() {
        assign(message, name, path, value, any_case)?;
    }
    let weigh = |parameter: &Parameter| parameter.path.len() * weight::MESSAGE_BYTES + parameter.value.len();
    charge.grow(variables.parameters.iter().map(weigh).sum())?;
    bind(message, &variables.parameters, any_case)?;
    for (field, value) in &row.preset {
        message.set_field(field, value.clone());
    }
    Ok(())
}

/// Sets the field at `path` (`name` is the same, dotted) to what the URL says.
///
/// The URL decides what a request is about, and access rules in front of this filter see only the URL. So a body
/// that names the same field must agree with it.
///
/// # Errors
/// The body says something else, or the text is not a value of the field's type: 400.
fn assign(
    message: &mut DynamicMessage,
    name: &str,
    path: &[FieldDescriptor],
    text: &str,
    any_case: bool,
) -> Result<(), Problem> {
    let Some((field, through)) = path.split_last() else { return Ok(()) };
    let mut holder = message;
    for step in through {
        // Rows are read so that each step is one message.
        let Some(inner) = holder.get_field_mut(step).as_message_mut() else { return Ok(()) };
        holder = inner;
    }
    let value = read(&field.kind(), text, any_case).ok_or_else(|| {
        Problem::bad_request(quoted(&format!("path: {name} '{text}' is not a valid {}", kind_name(field))))
    })?;
    if holder.has_field(field) && *holder.get_field(field) != value {
        let body = show(&holder.get_field(field));
        let (url, body) = (quoted(text), quoted(&body));
        return Err(Problem::bad_request(format!("{name} is '{url}' in the URL but '{body}' in the body")));
    }
    if let Some(other) = rival(holder, field) {
        let reason = format!("{name} in the URL and {} in the body exclude each other", other.name());
        return Err(Problem::bad_request(reason));
    }
    holder.set_field(field, value);
    Ok(())
}

/// Sets the fields that query parameters name, in their order. A list's parameter may be repeated.
///
/// # Errors
/// A value that its field cannot have, a parameter that is there twice, and two that exclude each other: 400.
fn bind(message: &mut DynamicMessage, parameters: &[Parameter], any_case: bool) -> Result<(), Problem> {
    // What parameters have set, and the messages that they have gone through on the way.
    let (mut seen, mut opened) = (HashSet::new(), HashSet::new());
    for parameter in parameters {
        let refused = |why: String| {
            Problem::bad_request(format!("query parameter '{}': {}", quoted(&parameter.name), quoted(&why)))
        };
        let excluded =
            |other: FieldDescriptor| refused(format!("it and {} exclude each other", other.name()));
        let Some((field, through)) = parameter.path.split_last() else { continue };
        let numbers: Vec<u32> = parameter.path.iter().map(FieldDescriptor::number).collect();
        let holders = (1..numbers.len()).map(|length| &numbers[..length]);
        // A wrapper and its `value`, or a timestamp and its `seconds`, are one field as well.
        let overlaps = opened.contains(&numbers) || holders.clone().any(|holder| seen.contains(holder));
        opened.extend(holders.map(<[u32]>::to_vec));
        let is_new = seen.insert(numbers);
        if overlaps || !(is_new || field.is_list()) {
            return Err(refused("it is there twice".into()));
        }
        let mut holder = &mut *message;
        for step in through {
            if let Some(other) = rival(holder, step) {
                return Err(excluded(other));
            }
            // Parameters are bound so that each step is one message.
            let Some(inner) = holder.get_field_mut(step).as_message_mut() else { return Ok(()) };
            holder = inner;
        }
        if let Some(other) = rival(holder, field) {
            return Err(excluded(other));
        }
        let text = &parameter.value;
        let value = match field.kind() {
            Kind::Message(kind) => read_message(kind, text),
            kind => read(&kind, text, any_case),
        };
        let value = value.ok_or_else(|| refused(format!("'{text}' is not a valid {}", kind_name(field))))?;
        match holder.get_field_mut(field) {
            Value::List(values) => values.push(value),
            single => *single = value,
        }
    }
    Ok(())
}

/// The member of a field's `oneof` that is set in its place.
fn rival(holder: &DynamicMessage, field: &FieldDescriptor) -> Option<FieldDescriptor> {
    let oneof = field.containing_oneof()?;
    oneof.fields().find(|other| other != field && holder.has_field(other))
}

/// Reads a message that protobuf's JSON writes as one value. `None` if the text is not one.
fn read_message(kind: MessageDescriptor, text: &str) -> Option<Value> {
    match kind.full_name() {
        "google.protobuf.Timestamp" | "google.protobuf.Duration" => {
            let text = IntoDeserializer::<TextError>::into_deserializer(text);
            DynamicMessage::deserialize(kind, text).ok().map(Value::Message)
        }
        "google.protobuf.FieldMask" => {
            let paths = kind.get_field_by_name("paths")?;
            let written = text.split(',').map(str::trim).filter(|path| !path.is_empty());
            let values = written.map(|path| Value::String(snake_case(path))).collect();
            let mut message = DynamicMessage::new(kind);
            message.set_field(&paths, Value::List(values));
            Some(Value::Message(message))
        }
        // A wrapper: its one field has the value.
        _ => {
            let field = kind.get_field_by_name("value")?;
            let value = read(&field.kind(), text, false)?;
            let mut message = DynamicMessage::new(kind);
            message.set_field(&field, value);
            Some(Value::Message(message))
        }
    }
}

/// A path of a field mask, whose names may be in either of protobuf's spellings, with those of the `.proto` file.
fn snake_case(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 4);
    for char in path.chars() {
        if char.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(char.to_ascii_lowercase());
    }
    out
}

/// Base64 in either alphabet (RFC 4648, sections 4 and 5).
fn read_bytes(text: &str) -> Option<Vec<u8>> {
    let decode = |alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text).ok();
    decode(&STANDARD).or_else(|| decode(&URL_SAFE))
}

/// Reads a scalar as a URL has it; an enum's name in any case, if that may be.
fn read(kind: &Kind, text: &str, any_case: bool) -> Option<Value> {
    match kind {
        Kind::String => Some(Value::String(text.to_owned())),
        Kind::Bool => read_bool(text).map(Value::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => read_integer(text).map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => read_integer(text).map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => read_integer(text).map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => read_integer(text).map(Value::U64),
        Kind::Float => read_single(text).map(Value::F32),
        Kind::Double => read_float(text).map(Value::F64),
        Kind::Enum(values) => {
            let named = values.get_value_by_name(text).map(|value| value.number());
            let otherwise = || if any_case { normal::enum_number(values, text) } else { None };
            named.or_else(otherwise).or_else(|| read_integer(text)).map(Value::EnumNumber)
        }
        Kind::Bytes => read_bytes(text).map(|bytes| Value::Bytes(bytes.into())),
        Kind::Message(_) => None,
    }
}

/// Reads a truth value in the words that Envoy's own transcoder takes in a URL.
fn read_bool(text: &str) -> Option<bool> {
    let is = |words: [&str; 5]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match (is(["true", "t", "yes", "y", "1"]), is(["false", "f", "no", "n", "0"])) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

/// Reads digits with or without a minus; [`str::parse`] takes a plus as well.
fn read_integer<T: FromStr>(text: &str) -> Option<T> {
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// Reads a number as protobuf's JSON has it. [`str::parse`] takes more words, and makes an infinity of a number that is
/// too large.
pub(super) fn read_float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if text.starts_with('+') => None,
        number => number.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

/// As [`read_float`], for a float of 32 bits.
pub(super) fn read_single(text: &str) -> Option<f32> {
    let number = read_float(text)?;
    let single = number as f32;
    (single.is_finite() || !number.is_finite()).then_some(single)
}

fn kind_name(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Enum(values) => values.full_name().to_owned(),
        Kind::Message(message) => message.full_name().to_owned(),
        kind => format!("{kind:?}").to_ascii_lowercase(),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::I32(number) | Value::EnumNumber(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::U32(number) => number.to_string(),
        Value::U64(number) => number.to_string(),
        Value::F32(number) => number.to_string(),
        Value::F64(number) => number.to_string(),
        // A path has no variables of these kinds.
        Value::Bytes(_) | Value::Message(_) | Value::List(_) | Value::Map(_) => String::new(),
    }
}
