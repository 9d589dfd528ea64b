//! Raw contents as the typed contents of a request.

use super::encode::{Varint, head};
use crate::problem::Problem;
use crate::tensor::datatype::Datatype;
use crate::tensor::lengths::{Step, Walk};
use crate::tensor::text::words::TOPS;
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
            let mut writer =
                BytesWriter { out, field: field as u32, walk: Walk::default(), count: 0, result: Ok(()) };
            raw.drain_to(&mut writer);
            writer.result?;
            if !writer.walk.is_whole() || writer.count != elements {
                return Err(Fault::What("raw contents of BYTES do not have as many elements as the shape"));
            }
            return Ok(writer.out);
        }
        _ => {}
    }
    let packed = match datatype {
        Datatype::Bool => pack::<1>(raw, Kind::Bool, charge),
        Datatype::Uint8 => pack::<1>(raw, Kind::Unsigned, charge),
        Datatype::Uint16 => pack::<2>(raw, Kind::Unsigned, charge),
        Datatype::Uint32 => pack::<4>(raw, Kind::Unsigned, charge),
        Datatype::Uint64 => pack::<8>(raw, Kind::Unsigned, charge),
        Datatype::Int8 => pack::<1>(raw, Kind::Signed, charge),
        Datatype::Int16 => pack::<2>(raw, Kind::Signed, charge),
        Datatype::Int32 => pack::<4>(raw, Kind::Signed, charge),
        _ => pack::<8>(raw, Kind::Signed, charge),
    }?;
    if !packed.is_empty() {
        head(&mut out, field as u32, packed.len())?;
        out.append(packed);
    }
    Ok(out)
}

/// Integers of `SIZE` bytes as varints.
fn pack<const SIZE: usize>(mut raw: Rope, kind: Kind, charge: &Charge) -> Result<Rope, OverBudget> {
    let out = Rope::new(charge.sibling());
    let mut writer = Integers::<SIZE> { out, kind, part: [0; SIZE], have: 0, result: Ok(()) };
    raw.drain_to(&mut writer);
    writer.result?;
    Ok(writer.out)
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A client's own bytes: what is not 0 is true.
    Bool,
    Unsigned,
    Signed,
}

/// Writes integers of a fixed size as varints.
struct Integers<const SIZE: usize> {
    out: Rope,
    kind: Kind,
    /// The first bytes of an integer that was cut.
    part: [u8; SIZE],
    have: usize,
    result: Result<(), OverBudget>,
}

/// How many integers are written at a time.
const AT_ONCE: usize = 256;

impl<const SIZE: usize> Integers<SIZE> {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), OverBudget> {
        while self.have > 0 {
            let Some((byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            self.part[self.have] = *byte;
            self.have += 1;
            if self.have == SIZE {
                self.have = 0;
                let part = self.part;
                self.write_some(&[part])?;
            }
        }
        let (whole, rest) = bytes.as_chunks::<SIZE>();
        for some in whole.chunks(AT_ONCE) {
            self.write_some(some)?;
        }
        self.part[..rest.len()].copy_from_slice(rest);
        self.have = rest.len();
        Ok(())
    }

    fn write_some(&mut self, integers: &[[u8; SIZE]]) -> Result<(), OverBudget> {
        let kind = self.kind;
        // A varint is written as sixteen bytes, of which the first ones stay.
        self.out.extend_with(10 * integers.len() + 6, |out| {
            let (eights, rest) = integers.as_chunks::<8>();
            for eight in eights {
                if kind == Kind::Bool {
                    out.extend_from_slice(&eight.map(|raw| u8::from(raw != [0; SIZE])));
                    continue;
                }
                // Small numbers are one byte each.
                let all =
                    eight.iter().fold([0; SIZE], |all, raw| std::array::from_fn(|at| all[at] | raw[at]));
                let mut low = all;
                low[0] &= 0x80;
                if low == [0; SIZE] {
                    out.extend_from_slice(&eight.map(|raw| raw[0]));
                } else {
                    eight.iter().for_each(|raw| write_varint(kind.value(*raw), out));
                }
            }
            rest.iter().for_each(|raw| write_varint(kind.value(*raw), out));
        })
    }
}

impl Kind {
    #[inline(always)]
    fn value<const SIZE: usize>(self, raw: [u8; SIZE]) -> u64 {
        let mut eight = [0; 8];
        eight[..SIZE].copy_from_slice(&raw);
        let (value, unused) = (u64::from_le_bytes(eight), 64 - 8 * SIZE as u32);
        match self {
            Self::Bool => value.min(1),
            Self::Unsigned => value,
            // Negative numbers are ten bytes long in protobuf, whatever their type.
            Self::Signed => ((value << unused) as i64 >> unused) as u64,
        }
    }
}

/// Appends a varint. How long it is cannot be guessed, so it is not branched on.
#[inline(always)]
fn write_varint(value: u64, out: &mut Vec<u8>) {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    // A seventh of that, rounded up.
    let len = (bits * 37 + 222) >> 8;
    // Seven bits to a byte: halves, quarters, eighths of 56 bits.
    let word = (value & 0x0fff_ffff) | (value & 0x00ff_ffff_f000_0000) << 4;
    let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x0fff_c000_0fff_c000) << 2;
    let word = (word & 0x007f_007f_007f_007f) | (word & 0x3f80_3f80_3f80_3f80) << 1;
    // All bytes but the last say that there is one more.
    let more = TOPS & (u64::MAX >> (64 - 8 * (len - 1).clamp(1, 8)));
    let word = if len == 1 { word } else { word | more };
    let last = value >> 56 & 0x7f | value >> 63 << 8;
    let last = last | u64::from(value >> 63 != 0) << 7;
    let both = u128::from(word) | u128::from(last) << 64;
    let before = out.len();
    out.extend_from_slice(&both.to_le_bytes());
    out.truncate(before + len);
}

impl<const SIZE: usize> Sink for Integers<SIZE> {
    fn write(&mut self, bytes: &[u8]) {
        if self.result.is_ok() {
            self.result = self.take(bytes);
        }
    }
}

/// Writes elements with lengths in front as a repeated field.
struct BytesWriter {
    out: Rope,
    field: u32,
    walk: Walk,
    count: u64,
    result: Result<(), OverBudget>,
}

/// An element that is there as a whole is written at once, if it is no longer than this, in bytes.
const SHORT_BYTES: usize = 1024;

impl BytesWriter {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), OverBudget> {
        loop {
            while let Some(element) = self.walk.whole(&mut bytes, SHORT_BYTES) {
                self.count += 1;
                let (key, len) = (Varint::key(self.field), Varint::new(element.len() as u64));
                self.out.extend_with(key.len() + len.len() + element.len(), |out| {
                    out.extend_from_slice(key.as_slice());
                    out.extend_from_slice(len.as_slice());
                    out.extend_from_slice(element);
                })?;
            }
            match self.walk.next(&mut bytes) {
                None => return Ok(()),
                Some(Step::Start) => {
                    self.count += 1;
                    head(&mut self.out, self.field, self.walk.left())?;
                }
                Some(Step::Piece(piece, _)) => self.out.push(piece)?,
            }
        }
    }
}

impl Sink for BytesWriter {
    fn write(&mut self, bytes: &[u8]) {
        if self.result.is_ok() {
            self.result = self.take(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn varints_of_every_length_are_those_of_the_plain_way() {
        for shift in 0..64 {
            for value in [(1 << shift) - 1, 1 << shift, (1 << shift) + 1, u64::MAX >> shift, !0 << shift] {
                let mut out = Vec::new();
                write_varint(value, &mut out);
                assert_eq!(out, Varint::new(value).as_slice(), "{value:#x}");
            }
        }
    }
}
