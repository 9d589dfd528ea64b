//! Protobuf's wire format and gRPC's framing, written and read by hand.
//!
//! Nothing here knows a schema, so a test can write what no generated code would: fields in any order,
//! repeated scalars one by one, a length that lies.
//! Source: <https://protobuf.dev/programming-guides/encoding/> and gRPC over HTTP/2.

use std::fmt;

use crate::record::Grpc;

/// A message under construction: fields appear in the order they are added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// The encoded bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A varint field: bool, enum, uint32, uint64, and (as two's complement) int32 and int64.
    #[must_use]
    pub fn varint(mut self, field: u32, value: u64) -> Self {
        self.tag(field, 0);
        put_varint(&mut self.0, value);
        self
    }

    /// A fixed64 field, such as a double's bits.
    #[must_use]
    pub fn fixed64(mut self, field: u32, bits: u64) -> Self {
        self.tag(field, 1);
        self.0.extend_from_slice(&bits.to_le_bytes());
        self
    }

    /// A length-delimited field: string, bytes, message, packed numbers.
    #[must_use]
    pub fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.tag(field, 2);
        put_varint(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A submessage field.
    #[must_use]
    pub fn message(self, field: u32, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }

    /// A fixed32 field, such as a float's bits.
    #[must_use]
    pub fn fixed32(mut self, field: u32, bits: u32) -> Self {
        self.tag(field, 5);
        self.0.extend_from_slice(&bits.to_le_bytes());
        self
    }

    /// Repeated varints, in one packed field.
    #[must_use]
    pub fn packed_varints(self, field: u32, values: impl IntoIterator<Item = u64>) -> Self {
        let mut packed = Vec::new();
        for value in values {
            put_varint(&mut packed, value);
        }
        self.bytes(field, packed)
    }

    /// Everything of another message, after what is here: protobuf merges messages by concatenation.
    #[must_use]
    pub fn append(mut self, other: &Message) -> Self {
        self.0.extend_from_slice(&other.0);
        self
    }

    fn tag(&mut self, field: u32, wire_type: u8) {
        put_varint(&mut self.0, u64::from(field) << 3 | u64::from(wire_type));
    }
}

/// Appends a base-128 varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// One field of an encoded message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// The field's number.
    pub number: u32,
    /// What it holds.
    pub value: Value<'a>,
}

/// A field's value by wire type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

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

/// The fields of an encoded message, in the order they appear.
///
/// # Errors
/// If the bytes are not a well-formed message.
pub fn fields(mut bytes: &[u8]) -> Result<Vec<Field<'_>>, WireError> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let tag = take_varint(&mut bytes)?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n));
        let number = number.ok_or(WireError::FieldNumber(tag >> 3))?;
        let value = match (tag & 7) as u8 {
            0 => Value::Varint(take_varint(&mut bytes)?),
            1 => Value::Fixed64(u64::from_le_bytes(take_array(&mut bytes)?)),
            2 => {
                let len = take_varint(&mut bytes)?;
                let len = usize::try_from(len).map_err(|_| WireError::Truncated)?;
                Value::Bytes(take(&mut bytes, len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(take_array(&mut bytes)?)),
            other => return Err(WireError::WireType(other)),
        };
        out.push(Field { number, value });
    }
    Ok(out)
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

fn take_varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let [byte] = take_array(bytes)?;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(WireError::LongVarint)
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
    fn every_cut_of_a_message_inside_a_field_is_told() {
        let message = Message::new().bytes(2, "testing").into_bytes();
        for cut in 1..message.len() {
            assert_eq!(fields(&message[..cut]), Err(WireError::Truncated), "cut at {cut}");
        }
    }

    #[test]
    fn bytes_that_are_no_message_say_why() {
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
