//! Raw contents as the typed contents of a request.

use super::encode::head;
use crate::problem::Problem;
use crate::tensor::datatype::Datatype;
use crate::tensor::lengths::{Step, Walk};
use crate::tensor::text::words::{ROOM, TOPS, put_short};
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
    // Negative numbers are ten bytes long in protobuf, whatever their type.
    let packed = match datatype {
        // A client's own bytes: what is not 0 is true.
        Datatype::Bool => pack(raw, |[byte]| u64::from(byte != 0), charge),
        Datatype::Uint8 => pack(raw, |raw| u8::from_le_bytes(raw).into(), charge),
        Datatype::Uint16 => pack(raw, |raw| u16::from_le_bytes(raw).into(), charge),
        Datatype::Uint32 => pack(raw, |raw| u32::from_le_bytes(raw).into(), charge),
        Datatype::Int8 => pack(raw, |raw| i8::from_le_bytes(raw) as u64, charge),
        Datatype::Int16 => pack(raw, |raw| i16::from_le_bytes(raw) as u64, charge),
        Datatype::Int32 => pack(raw, |raw| i32::from_le_bytes(raw) as u64, charge),
        _ => pack(raw, u64::from_le_bytes, charge),
    }?;
    if !packed.is_empty() {
        head(&mut out, field as u32, packed.len())?;
        out.append(packed);
    }
    Ok(out)
}

/// Integers of `SIZE` bytes as varints of their values.
fn pack<const SIZE: usize>(
    mut raw: Rope,
    value: impl Fn([u8; SIZE]) -> u64,
    charge: &Charge,
) -> Result<Rope, OverBudget> {
    let out = Rope::new(charge.sibling());
    let mut writer = Integers { out, value, part: [0; SIZE], have: 0, result: Ok(()) };
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

/// Writes integers of a fixed size as varints.
struct Integers<F, const SIZE: usize> {
    out: Rope,
    value: F,
    /// The first bytes of an integer that was cut.
    part: [u8; SIZE],
    have: usize,
    result: Result<(), OverBudget>,
}

/// How many integers are written at a time.
const AT_ONCE: usize = 256;

impl<F: Fn([u8; SIZE]) -> u64, const SIZE: usize> Integers<F, SIZE> {
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
        let value = &self.value;
        let (mut text, mut at) = ([0; TEXT_BYTES], 0_u8);
        self.out.extend_with(10 * integers.len(), |out| {
            let (eights, rest) = integers.as_chunks::<8>();
            for eight in eights {
                let values = eight.map(value);
                // Small numbers are one byte each.
                if values.iter().fold(0, |all, value| all | value) < 0x80 {
                    if let Some(place) = text[usize::from(at)..].first_chunk_mut() {
                        *place = values.map(|value| value as u8);
                    }
                    at += 8;
                } else {
                    values.iter().for_each(|value| at += put_varint(*value, &mut text, at));
                }
                // Room for eight more, and not for sixteen.
                if at > 255 - 2 * 8 * 10 {
                    out.extend_from_slice(&text[..at.into()]);
                    at = 0;
                }
            }
            for raw in rest {
                at += put_varint(value(*raw), &mut text, at);
            }
            out.extend_from_slice(&text[..at.into()]);
        })
    }
}

/// How much is written before it is appended: as much as a byte counts, and what is written behind that.
const TEXT_BYTES: usize = 256 + 16;

/// How long a varint is, by the zeros in front of its value, and the bits that say that there is one more byte; of the first
/// eight bytes.
const LENGTHS: [(u8, u64); 64] = {
    let mut lengths = [(0, 0); 64];
    let mut zeros = 0_usize;
    while zeros < 64 {
        let len = (64 - zeros).div_ceil(7);
        let more = if len > 8 { TOPS } else { TOPS & ((1 << (8 * (len - 1))) - 1) };
        lengths[zeros] = (len as u8, more);
        zeros += 1;
    }
    lengths
};

/// Writes a varint, and something behind it, to the sixteen bytes at `at`; says how long it is. That cannot be guessed, so
/// it is not branched on.
#[inline(always)]
fn put_varint(value: u64, out: &mut [u8; TEXT_BYTES], at: u8) -> u8 {
    let (len, more) = LENGTHS[(value | 1).leading_zeros() as usize & 63];
    // Seven bits to a byte: halves, quarters, eighths of 56 bits.
    let word = (value & 0x0fff_ffff) | (value & 0x00ff_ffff_f000_0000) << 4;
    let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x0fff_c000_0fff_c000) << 2;
    let word = (word & 0x007f_007f_007f_007f) | (word & 0x3f80_3f80_3f80_3f80) << 1;
    let top = value >> 63;
    let last = value >> 56 & 0x7f | top << 7 | top << 8;
    let at = usize::from(at);
    out[at..at + 8].copy_from_slice(&(word | more).to_le_bytes());
    out[at + 8..at + 16].copy_from_slice(&last.to_le_bytes());
    len
}

impl<F: Fn([u8; SIZE]) -> u64, const SIZE: usize> Sink for Integers<F, SIZE> {
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

/// An element that is there as a whole is written at once, if it is no longer than this, in bytes: two bytes of length at
/// most.
const SHORT_BYTES: usize = 1024;

/// How many bytes of elements are written at a time.
const SOME_BYTES: usize = 1024;

impl BytesWriter {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), OverBudget> {
        let mut some = [0; SOME_BYTES + 3 + SHORT_BYTES + ROOM];
        loop {
            let mut have = 0;
            while let Some((element, len)) = self.walk.whole(&mut bytes, SHORT_BYTES) {
                self.count += 1;
                // Of the varint, what is behind its first byte is written over where it is only one.
                let [low, high] = [len as u8 & 0x7f, (len >> 7) as u8];
                let more = len >= 0x80;
                some[have..have + 3].copy_from_slice(&[
                    (self.field as u8) << 3 | 2,
                    low | u8::from(more) << 7,
                    high,
                ]);
                have += 2 + usize::from(more);
                put_short(element, len, &mut some[have..]);
                have += len;
                if have > SOME_BYTES {
                    self.out.push(&some[..std::mem::take(&mut have)])?;
                }
            }
            self.out.push(&some[..have])?;
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
    use super::super::encode::Varint;
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn varints_of_every_length_are_those_of_the_plain_way() {
        for shift in 0..64 {
            for value in [(1 << shift) - 1, 1 << shift, (1 << shift) + 1, u64::MAX >> shift, !0 << shift] {
                let mut out = [0; TEXT_BYTES];
                let len = usize::from(put_varint(value, &mut out, 0));
                assert_eq!(&out[..len], Varint::new(value).as_slice(), "{value:#x}");
            }
        }
    }
}
