//! Messages written field by field.

/// A message under construction: fields appear in the order they are added. It knows no schema, so a test can write
/// what no generated code would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The encoded bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The encoded bytes.
    #[must_use]
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
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
