//! Times that JSON has no form for: those that protobuf says are out of range.

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage, Value};
use std::collections::HashSet;

const TIMESTAMP: &str = "google.protobuf.Timestamp";
const DURATION: &str = "google.protobuf.Duration";

/// The seconds of a timestamp: from 0001-01-01 to 9999-12-31 (`google/protobuf/timestamp.proto`).
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// The most seconds of a duration, some 10,000 years (`google/protobuf/duration.proto`).
const DURATION_SECONDS: u64 = 315_576_000_000;
const SECOND_NANOS: i32 = 1_000_000_000;

/// Whether a message, or one in it, can be a time.
pub(crate) fn has_times(message: &MessageDescriptor) -> bool {
    has(message, &[TIMESTAMP, DURATION])
}

/// Whether a message, or one in it, can be of one of these types.
pub(crate) fn has(message: &MessageDescriptor, names: &[&str]) -> bool {
    fn look(message: &MessageDescriptor, names: &[&str], seen: &mut HashSet<String>) -> bool {
        if !seen.insert(message.full_name().to_owned()) {
            return false;
        }
        let is_one = names.contains(&message.full_name());
        is_one
            || message.fields().any(|field| inner(&field).is_some_and(|message| look(&message, names, seen)))
    }
    look(message, names, &mut HashSet::new())
}

fn inner(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    field.kind().as_message().cloned()
}

/// Looks for a time that is out of range; what it is, if there is one.
pub(super) fn out_of_range(message: &DynamicMessage) -> Option<&'static str> {
    let number = |number| message.get_field_by_number(number);
    let seconds = || number(1).and_then(|seconds| seconds.as_i64()).unwrap_or_default();
    let nanos = || number(2).and_then(|nanos| nanos.as_i32()).unwrap_or_default();
    match message.descriptor().full_name() {
        TIMESTAMP => {
            let fits = TIMESTAMP_SECONDS.contains(&seconds()) && (0..SECOND_NANOS).contains(&nanos());
            (!fits).then_some("it has a timestamp that is out of range")
        }
        DURATION => {
            let fits = seconds().unsigned_abs() <= DURATION_SECONDS
                && nanos().unsigned_abs() < SECOND_NANOS.unsigned_abs()
                && seconds().signum() * i64::from(nanos().signum()) >= 0;
            (!fits).then_some("it has a duration that is out of range")
        }
        _ => message.fields().find_map(|(_, value)| in_value(value)),
    }
}

fn in_value(value: &Value) -> Option<&'static str> {
    match value {
        Value::Message(message) => out_of_range(message),
        Value::List(items) => items.iter().find_map(in_value),
        Value::Map(entries) => entries.values().find_map(in_value),
        _ => None,
    }
}
