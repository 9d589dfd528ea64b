//! Writing protobuf, as far as a `ModelInferRequest` needs it.

use filter_api::{Buffer, OverBudget, Rope};

/// A varint, or two of which one is a key, on the stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Varint {
    bytes: [u8; 16],
    len: usize,
}

impl Varint {
    pub(super) fn new(value: u64) -> Self {
        Self { bytes: [0; 16], len: 0 }.and(value)
    }

    /// A key, and a varint behind it.
    fn and(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.bytes[self.len] = value as u8 | 0x80;
            self.len += 1;
            value >>= 7;
        }
        self.bytes[self.len] = value as u8;
        self.len += 1;
        self
    }

    /// The key of a length-delimited field.
    pub(super) fn key(field: u32) -> Self {
        Self::new(u64::from(field) << 3 | 2)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// Where encoded bytes go.
pub(super) trait Out {
    fn put(&mut self, bytes: &[u8]) -> Result<(), OverBudget>;
}

impl Out for Buffer {
    fn put(&mut self, bytes: &[u8]) -> Result<(), OverBudget> {
        self.push(bytes)
    }
}

impl Out for Rope {
    fn put(&mut self, bytes: &[u8]) -> Result<(), OverBudget> {
        self.push(bytes)
    }
}

/// The head of a length-delimited field of `len` bytes.
pub(super) fn head(out: &mut impl Out, field: u32, len: usize) -> Result<(), OverBudget> {
    // In one piece, because most heads have two bytes, and a piece costs more than they do.
    out.put(Varint::key(field).and(len as u64).as_slice())
}

/// A string field, which proto3 leaves out if it is empty.
pub(super) fn string(out: &mut impl Out, field: u32, text: &[u8]) -> Result<(), OverBudget> {
    if text.is_empty() {
        return Ok(());
    }
    head(out, field, text.len())?;
    out.put(text)
}

/// How long a length-delimited field of `len` bytes is with its head.
pub(super) fn field_len(field: u32, len: usize) -> usize {
    Varint::key(field).len() + Varint::new(len as u64).len() + len
}
