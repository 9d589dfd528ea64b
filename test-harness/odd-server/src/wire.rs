//! Protobuf's wire format and gRPC's framing, written and read by hand.
//!
//! Nothing here knows a schema, so a test can write what no generated code would: fields in any order,
//! repeated scalars one by one, a length that lies.
//! Source: <https://protobuf.dev/programming-guides/encoding/> and gRPC over HTTP/2.

use std::fmt;

use kserve_proto::wire::{self, Fields, take_varint};
pub use kserve_proto::wire::{Field, Message, Value};

/// Why bytes are not a message, or not a sequence of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end inside something.
    Truncated,
    /// A varint of more than ten bytes.
    LongVarint,
    /// A group or an unknown wire type.
    WireType(u8),
    /// A field number of zero, or one too large.
    FieldNumber(u64),
    /// A gRPC flag byte other than 0 and 1.
    Flag(u8),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the bytes end inside a field or frame"),
            Self::LongVarint => write!(f, "a varint of more than ten bytes"),
            Self::WireType(t) => write!(f, "wire type {t}"),
            Self::FieldNumber(n) => write!(f, "field number {n}"),
            Self::Flag(b) => write!(f, "gRPC flag byte {b}"),
        }
    }
}

impl std::error::Error for WireError {}

impl From<wire::WireError> for WireError {
    fn from(error: wire::WireError) -> Self {
        match error {
            wire::WireError::Cut | wire::WireError::CutNumber | wire::WireError::Longer => Self::Truncated,
            wire::WireError::LongVarint => Self::LongVarint,
            wire::WireError::WireType(wire_type) => Self::WireType(wire_type),
            wire::WireError::FieldNumber(number) => Self::FieldNumber(number),
        }
    }
}

/// The fields of an encoded message, in the order they appear.
///
/// # Errors
/// If the bytes are not a well-formed message.
pub fn fields(bytes: &[u8]) -> Result<Vec<Field<'_>>, WireError> {
    Ok(Fields::of(bytes).collect::<Result<_, _>>()?)
}

/// The varints of a packed field.
///
/// # Errors
/// If the bytes do not end with a varint's end.
pub fn packed_varints(mut bytes: &[u8]) -> Result<Vec<u64>, WireError> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        out.push(take_varint(&mut bytes)?);
    }
    Ok(out)
}

/// One length-prefixed gRPC message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grpc {
    /// Whether the compressed flag is set.
    pub compressed: bool,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// A gRPC message with its five-byte prefix, uncompressed.
pub fn frame(message: &[u8]) -> Vec<u8> {
    frame_with(0, u32::try_from(message.len()).unwrap_or(u32::MAX), message)
}

/// A gRPC prefix of any flag and length before any payload.
pub fn frame_with(flag: u8, length: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 5);
    out.push(flag);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// The gRPC messages of a body.
///
/// # Errors
/// If the body is not a whole number of messages.
pub fn unframe(mut body: &[u8]) -> Result<Vec<Grpc>, WireError> {
    let mut out = Vec::new();
    while !body.is_empty() {
        let [flag] = take_array(&mut body)?;
        let len = u32::from_be_bytes(take_array(&mut body)?);
        if flag > 1 {
            return Err(WireError::Flag(flag));
        }
        out.push(Grpc { compressed: flag == 1, bytes: take(&mut body, len as usize)?.to_vec() });
    }
    Ok(out)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], WireError> {
    let (head, tail) = bytes.split_at_checked(len).ok_or(WireError::Truncated)?;
    *bytes = tail;
    Ok(head)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (head, tail) = bytes.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
    *bytes = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_guides_own_examples_come_out() {
        // The three messages shown in the protobuf encoding guide.
        assert_eq!(Message::new().varint(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::new().bytes(2, "testing").into_bytes(), b"\x12\x07testing");
        let packed = Message::new().packed_varints(6, [3, 270, 86942]);
        assert_eq!(packed.into_bytes(), [0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05]);
    }

    #[test]
    fn a_written_message_reads_back_in_the_same_order() {
        let inner = Message::new().bytes(1, "x");
        let message = Message::new()
            .fixed32(6, 1.5f32.to_bits())
            .varint(3, u64::MAX)
            .message(5, &inner)
            .fixed64(7, 2.5f64.to_bits())
            .varint(3, 0);
        let read = fields(message.as_bytes()).unwrap();
        assert_eq!(
            read,
            [
                Field { number: 6, value: Value::Fixed32(1.5f32.to_bits()) },
                Field { number: 3, value: Value::Varint(u64::MAX) },
                Field { number: 5, value: Value::Bytes(b"\x0a\x01x") },
                Field { number: 7, value: Value::Fixed64(2.5f64.to_bits()) },
                Field { number: 3, value: Value::Varint(0) },
            ]
        );
    }

    #[test]
    fn a_message_cut_inside_a_field_is_reported() {
        let message = Message::new().bytes(2, "testing").into_bytes();
        for cut in 1..message.len() {
            assert_eq!(fields(&message[..cut]), Err(WireError::Truncated), "cut at {cut}");
        }
    }

    #[test]
    fn bytes_that_are_not_a_message_say_why() {
        assert_eq!(fields(&[0x00, 0x00]), Err(WireError::FieldNumber(0)));
        assert_eq!(fields(&[0x0b]), Err(WireError::WireType(3)));
        assert_eq!(
            fields(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]),
            Err(WireError::LongVarint)
        );
    }

    #[test]
    fn frames_come_apart_as_they_were_put_together() {
        let mut body = frame(b"one");
        body.extend(frame_with(1, 0, b""));
        let messages = unframe(&body).unwrap();
        assert_eq!(messages[0], Grpc { compressed: false, bytes: b"one".to_vec() });
        assert_eq!(messages[1], Grpc { compressed: true, bytes: vec![] });
        assert_eq!(unframe(&body[..4]), Err(WireError::Truncated));
        assert_eq!(unframe(&frame_with(2, 0, b"")), Err(WireError::Flag(2)));
    }
}
