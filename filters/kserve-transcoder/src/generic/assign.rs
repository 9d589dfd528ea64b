//! What the path says, put into the message that the body made.

use super::quoted;
use crate::problem::Problem;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};

/// Sets the field at `path` (`name` is the same, dotted) to what the URL says.
///
/// The URL decides what a request is about, and access rules in front of this filter see only the URL. So a body
/// that names the same field must agree with it.
///
/// # Errors
/// The body says something else, or the text is no value of the field's type: 400.
pub(super) fn assign(
    message: &mut DynamicMessage,
    name: &str,
    path: &[FieldDescriptor],
    text: &str,
) -> Result<(), Problem> {
    let Some((field, through)) = path.split_last() else { return Ok(()) };
    let mut holder = message;
    for step in through {
        // Rows are read so that each step is one message.
        let Some(inner) = holder.get_field_mut(step).as_message_mut() else { return Ok(()) };
        holder = inner;
    }
    let value = read(&field.kind(), text).ok_or_else(|| {
        Problem::bad_request(quoted(&format!("path: {name} '{text}' is no {}", kind_name(field))))
    })?;
    if holder.has_field(field) && *holder.get_field(field) != value {
        let body = show(&holder.get_field(field));
        let (url, body) = (quoted(text), quoted(&body));
        return Err(Problem::bad_request(format!("{name} is '{url}' in the URL but '{body}' in the body")));
    }
    let others = field.containing_oneof().into_iter().flat_map(|oneof| oneof.fields().collect::<Vec<_>>());
    for other in others.filter(|other| other != field) {
        if holder.has_field(&other) {
            let reason = format!("{name} in the URL and {} in the body exclude each other", other.name());
            return Err(Problem::bad_request(reason));
        }
    }
    holder.set_field(field, value);
    Ok(())
}

/// Reads a scalar as a URL has it.
fn read(kind: &Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::String => Some(Value::String(text.to_owned())),
        Kind::Bool => text.parse().ok().map(Value::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => text.parse().ok().map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => text.parse().ok().map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => text.parse().ok().map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => text.parse().ok().map(Value::U64),
        Kind::Float => text.parse().ok().map(Value::F32),
        Kind::Double => text.parse().ok().map(Value::F64),
        Kind::Enum(values) => {
            let named = values.get_value_by_name(text).map(|value| value.number());
            named.or_else(|| text.parse().ok()).map(Value::EnumNumber)
        }
        Kind::Bytes | Kind::Message(_) => None,
    }
}

fn kind_name(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Enum(values) => values.full_name().to_owned(),
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
