//! Writing protobuf, as far as a `ModelInferRequest` needs it.

use filter_api::{Buffer, OverBudget, Rope};

/// A varint, on the stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Varint {
    bytes: [u8; 10],
    len: usize,
}

impl Varint {
    pub(super) fn new(mut value: u64) -> Self {
        let mut varint = Self { bytes: [0; 10], len: 0 };
        while value >= 0x80 {
            varint.bytes[varint.len] = value as u8 | 0x80;
            varint.len += 1;
            value >>= 7;
        }
        varint.bytes[varint.len] = value as u8;
        varint.len += 1;
        varint
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
    out.put(Varint::key(field).as_slice())?;
    out.put(Varint::new(len as u64).as_slice())
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
