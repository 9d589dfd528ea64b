//! JSON that the reader of protobuf's JSON does not take although it may be meant: names of enums in another case, and whole
//! numbers in quotes with an exponent. Such a document is read whole, and rewritten.

use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

/// The number of an enum's name in any case, in which `-` may stand for `_`, as Envoy's own transcoder reads it with
/// `case_insensitive_enum_parsing`.
pub(super) fn enum_number(values: &EnumDescriptor, text: &str) -> Option<i32> {
    let same = |name: &str| {
        name.len() == text.len()
            && name.bytes().zip(text.bytes()).all(|(name, byte)| {
                let byte = if byte == b'-' { b'_' } else { byte };
                name.eq_ignore_ascii_case(&byte)
            })
    };
    values.values().find(|value| same(value.name())).map(|value| value.number())
}

/// The whole number that a text with an exponent or a fraction is, as digits; `None` if it is not such a number.
fn whole_number(text: &str) -> Option<String> {
    if !text.contains(['e', 'E', '.']) || text.contains(char::is_whitespace) {
        return None;
    }
    // By JSON's grammar, which Rust's own goes beyond.
    let number = serde_json::from_str::<f64>(text).ok()?;
    /// Up to here a float has every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then(|| (number as i64).to_string())
}

/// Whether a text that is a value of this kind has to be rewritten; names of enums only if they may have any case.
pub(super) fn must_be_rewritten(kind: &Kind, text: &str, any_case: bool) -> bool {
    match kind {
        Kind::Enum(values) => any_case && values.get_value_by_name(text).is_none(),
        kind => is_whole(kind) && whole_number(text).is_some(),
    }
}

/// Rewrites what is the JSON of a message.
pub(super) fn rewrite(message: &MessageDescriptor, json: &mut Value) {
    let Value::Object(members) = json else { return };
    // Wrappers and the like are written as other things than objects.
    for (key, value) in members {
        let field = message.get_field_by_json_name(key).or_else(|| message.get_field_by_name(key));
        let Some(field) = field else { continue };
        match (field.kind(), value) {
            (Kind::Message(entry), Value::Object(entries)) if field.is_map() => {
                let kind = entry.map_entry_value_field().kind();
                entries.values_mut().for_each(|value| rewrite_value(&kind, value));
            }
            (kind, Value::Array(items)) if field.is_list() => {
                items.iter_mut().for_each(|item| rewrite_value(&kind, item));
            }
            (kind, value) => rewrite_value(&kind, value),
        }
    }
}

fn rewrite_value(kind: &Kind, value: &mut Value) {
    match (kind, &*value) {
        (Kind::Message(message), _) => rewrite(message, value),
        (Kind::Enum(values), Value::String(text)) if values.get_value_by_name(text).is_none() => {
            if let Some(number) = enum_number(values, text) {
                *value = number.into();
            }
        }
        (kind, Value::String(text)) if is_whole(kind) => {
            if let Some(digits) = whole_number(text) {
                *value = digits.into();
            }
        }
        _ => {}
    }
}

fn is_whole(kind: &Kind) -> bool {
    !matches!(
        kind,
        Kind::Double
            | Kind::Float
            | Kind::Bool
            | Kind::String
            | Kind::Bytes
            | Kind::Message(_)
            | Kind::Enum(_)
    )
}
