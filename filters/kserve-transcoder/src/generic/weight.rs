//! How much memory a message may take once it is decoded.

use prost_reflect::prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// What a value takes in a list or map that doubles as it grows, with a map's key, in bytes.
const VALUE_BYTES: usize = 3 * size_of::<Value>();

/// What a message takes, in bytes: itself, and a node of the tree that holds its fields.
pub(super) const MESSAGE_BYTES: usize = size_of::<DynamicMessage>() + 12 * (size_of::<Value>() + 8);

/// As deep as messages nest before decoders refuse them: protobuf's own limit, in prost as in C++, Java and Python.
pub(super) const MAX_DEPTH: usize = 100;

/// A bound on what a message takes once it is decoded, in bytes. It can be hundreds of times the encoded length:
/// a packed flag is one byte on the wire and a whole [`Value`] after it.
///
/// What cannot be decoded is weighed as far as it is understood; the decoder stops there too.
pub(super) fn of_message(message: &MessageDescriptor, bytes: &[u8]) -> usize {
    weigh(message, bytes, MAX_DEPTH)
}

/// How many messages are nested in a message, the entries of maps included, which are messages where they are encoded.
pub(super) fn depth(message: &DynamicMessage) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::Message(message) => 1 + depth(message),
            Value::List(items) => items.iter().map(of).max().unwrap_or(0),
            Value::Map(entries) => entries.values().map(|value| 1 + of(value)).max().unwrap_or(0),
            _ => 0,
        }
    }
    message.fields().map(|(_, value)| of(value)).max().unwrap_or(0)
}

fn weigh(message: &MessageDescriptor, mut bytes: &[u8], depth: usize) -> usize {
    let mut total = MESSAGE_BYTES;
    while let Some((field, rest)) = weigh_field(message, bytes, depth) {
        total = total.saturating_add(field);
        bytes = rest;
    }
    total
}

/// The weight of the first field, and what follows it.
fn weigh_field<'b>(
    message: &MessageDescriptor,
    mut bytes: &'b [u8],
    depth: usize,
) -> Option<(usize, &'b [u8])> {
    let (number, wire_type) = decode_key(&mut bytes).ok()?;
    match wire_type {
        WireType::Varint => {
            decode_varint(&mut bytes).ok()?;
            Some((VALUE_BYTES, bytes))
        }
        WireType::SixtyFourBit => Some((VALUE_BYTES, bytes.get(8..)?)),
        WireType::ThirtyTwoBit => Some((VALUE_BYTES, bytes.get(4..)?)),
        WireType::LengthDelimited => {
            let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
            let (content, rest) = bytes.split_at_checked(length)?;
            let inner = match message.get_field(number).as_ref().map(FieldDescriptor::kind) {
                Some(Kind::Message(message)) if depth > 0 => weigh(&message, content, depth - 1),
                Some(Kind::String | Kind::Bytes | Kind::Message(_)) | None => length,
                Some(_) => length.saturating_mul(VALUE_BYTES),
            };
            Some((inner.saturating_add(VALUE_BYTES), rest))
        }
        // Groups are long out of use: all that is left, at the worst rate.
        WireType::StartGroup | WireType::EndGroup => Some((bytes.len().saturating_mul(MESSAGE_BYTES), &[])),
    }
}
