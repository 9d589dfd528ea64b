//! Raw contents as the typed contents of a request.

use super::encode::{Varint, head};
use crate::problem::Problem;
use crate::tensor::datatype::Datatype;
use filter_api::{Charge, OverBudget, Rope, Sink};

/// The `InferTensorContents` of one input, from its raw contents.
///
/// # Errors
/// The datatype has no typed contents, or the raw ones (a client's own bytes) are not what they should be.
pub(super) fn contents(
    datatype: Datatype,
    elements: u64,
    mut raw: Rope,
    charge: &Charge,
) -> Result<Rope, Fault> {
    let field = datatype.typed().ok_or(Fault::What("has no typed contents"))?;
    let mut out = Rope::new(charge.sibling());
    match datatype {
        // Their packed form is the raw one.
        Datatype::Fp32 | Datatype::Fp64 => {
            if !raw.is_empty() {
                head(&mut out, field as u32, raw.len())?;
                out.append(raw);
            }
            return Ok(out);
        }
        Datatype::Bytes => {
            let mut writer = BytesWriter {
                out,
                field: field as u32,
                left: 0,
                length: [0; 4],
                have: 0,
                count: 0,
                result: Ok(()),
            };
            raw.drain_to(&mut writer);
            writer.result?;
            if writer.left != 0 || writer.have != 0 || writer.count != elements {
                return Err(Fault::What("raw contents of BYTES do not have as many elements as the shape"));
            }
            return Ok(writer.out);
        }
        _ => {}
    }
    let packed = Rope::new(charge.sibling());
    let size = datatype.size().unwrap_or(1);
    let signed = matches!(datatype, Datatype::Int8 | Datatype::Int16 | Datatype::Int32 | Datatype::Int64);
    let boolean = datatype == Datatype::Bool;
    let mut writer = Integers { out: packed, size, signed, boolean, part: [0; 8], have: 0, result: Ok(()) };
    raw.drain_to(&mut writer);
    writer.result?;
    if !writer.out.is_empty() {
        head(&mut out, field as u32, writer.out.len())?;
        out.append(writer.out);
    }
    Ok(out)
}

/// Why there are no typed contents.
#[derive(Debug)]
pub(super) enum Fault {
    What(&'static str),
    Budget(OverBudget),
}

impl Fault {
    /// The problem, where the input is known.
    pub(super) fn in_input(self, index: usize) -> Problem {
        match self {
            Self::What(what) => Problem::bad_request(format!("inputs[{index}]: {what}")),
            Self::Budget(error) => error.into(),
        }
    }
}

impl From<OverBudget> for Fault {
    fn from(error: OverBudget) -> Self {
        Self::Budget(error)
    }
}

/// Writes integers of a fixed size as varints.
struct Integers {
    out: Rope,
    size: usize,
    signed: bool,
    /// A client's own bytes: what is not 0 is true.
    boolean: bool,
    part: [u8; 8],
    have: usize,
    result: Result<(), OverBudget>,
}

impl Sink for Integers {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.part[self.have] = *byte;
            self.have += 1;
            if self.have == self.size {
                let unused = 64 - 8 * self.size as u32;
                let value = u64::from_le_bytes(self.part) << unused;
                // Negative numbers are ten bytes long in protobuf, whatever their type.
                let value = if self.signed { (value as i64 >> unused) as u64 } else { value >> unused };
                let value = if self.boolean { value.min(1) } else { value };
                if self.result.is_ok() {
                    self.result = self.out.push(Varint::new(value).as_slice());
                }
                (self.part, self.have) = ([0; 8], 0);
            }
        }
    }
}

/// Writes elements with lengths in front as a repeated field.
struct BytesWriter {
    out: Rope,
    field: u32,
    /// How many bytes of the current element are still to come.
    left: usize,
    length: [u8; 4],
    have: usize,
    count: u64,
    result: Result<(), OverBudget>,
}

impl BytesWriter {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), OverBudget> {
        while let Some(byte) = bytes.first() {
            if self.left > 0 {
                let (now, later) = bytes.split_at(self.left.min(bytes.len()));
                self.out.push(now)?;
                self.left -= now.len();
                bytes = later;
                continue;
            }
            self.length[self.have] = *byte;
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == 4 {
                self.have = 0;
                self.left = u32::from_le_bytes(self.length) as usize;
                self.count += 1;
                head(&mut self.out, self.field, self.left)?;
            }
        }
        Ok(())
    }
}

impl Sink for BytesWriter {
    fn write(&mut self, bytes: &[u8]) {
        if self.result.is_ok() {
            self.result = self.take(bytes);
        }
    }
}
