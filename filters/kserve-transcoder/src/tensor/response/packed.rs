//! Packed varints as elements of a fixed size.

use super::varints::Block;
use crate::tensor::datatype::Typed;
use filter_api::{OverBudget, Rope};
use kserve_proto::wire::{WireError, take_varint};

/// How many elements are written at a time.
const AT_ONCE: usize = 2 * Block::LEN;

/// Writes varints, each of which is whole, as the elements of a field: booleans as one byte, integers of up to 32 bits as
/// four, the others as eight; says how many. The inner error is that of a number of more than 64 bits.
pub(super) fn unpack(
    field: Typed,
    numbers: &[u8],
    out: &mut Rope,
) -> Result<Result<u64, WireError>, OverBudget> {
    match field {
        Typed::Bool => elements(numbers, out, |value| [u8::from(value != 0)]),
        // Protobuf cuts longer varints to the type's width.
        Typed::Int | Typed::Uint => elements(numbers, out, |value| (value as u32).to_le_bytes()),
        _ => elements(numbers, out, u64::to_le_bytes),
    }
}

fn elements<const SIZE: usize>(
    mut numbers: &[u8],
    out: &mut Rope,
    element: impl Fn(u64) -> [u8; SIZE],
) -> Result<Result<u64, WireError>, OverBudget> {
    let mut some = [[0; SIZE]; AT_ONCE];
    let mut have = 0;
    let mut count = 0;
    while !numbers.is_empty() {
        if have > AT_ONCE - Block::LEN {
            out.push(some[..have].as_flattened())?;
            count += have as u64;
            have = 0;
        }
        let Some(block) = Block::new(numbers) else {
            let mut rest = numbers;
            match take_varint(&mut rest) {
                Ok(value) => some[have] = element(value),
                Err(error) => return Ok(Err(error)),
            }
            have += 1;
            numbers = rest;
            continue;
        };
        // Small numbers are one byte each.
        if let Some(bytes) = block.all_of_one_byte() {
            for (place, byte) in some[have..].iter_mut().zip(bytes) {
                *place = element((*byte).into());
            }
            have += Block::LEN;
            numbers = &numbers[Block::LEN..];
            continue;
        }
        let mut ends = block.ends();
        let mut start = 0;
        while let Some(end) = ends.next() {
            let Some(value) = block.number(start, end) else { return Ok(Err(WireError::LongVarint)) };
            some[have] = element(value);
            have += 1;
            start = end + 1;
        }
        if start == 0 {
            return Ok(Err(WireError::LongVarint));
        }
        numbers = &numbers[start..];
    }
    out.push(some[..have].as_flattened())?;
    Ok(Ok(count + have as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use filter_api::Memory;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn unpacked(field: Typed, numbers: &[u8]) -> Result<Vec<u8>, WireError> {
        let mut out = Rope::new(Memory::new(1 << 30).account(usize::MAX).charge());
        let count = unpack(field, numbers, &mut out).unwrap()?;
        assert_eq!(count, numbers.iter().filter(|byte| **byte < 0x80).count() as u64);
        let mut bytes = Vec::new();
        out.drain_to(&mut bytes);
        Ok(bytes)
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    #[test]
    fn numbers_of_every_length_come_out_whatever_stands_around_them() {
        let edges = (0..64).flat_map(|shift| [(1 << shift) - 1, 1 << shift, !0 << shift, u64::MAX >> shift]);
        for edge in edges {
            for others in 0..20 {
                let mut values = vec![1; others];
                values.push(edge);
                values.extend(vec![0; 20 - others]);
                let numbers: Vec<u8> = values.iter().flat_map(|value| varint(*value)).collect();
                let long: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                let short: Vec<u8> = values.iter().flat_map(|value| (*value as u32).to_le_bytes()).collect();
                let bools: Vec<u8> = values.iter().map(|value| u8::from(*value != 0)).collect();
                assert_eq!(unpacked(Typed::Int64, &numbers), Ok(long.clone()), "{edge:#x} at {others}");
                assert_eq!(unpacked(Typed::Uint64, &numbers), Ok(long));
                assert_eq!(unpacked(Typed::Int, &numbers), Ok(short.clone()));
                assert_eq!(unpacked(Typed::Uint, &numbers), Ok(short));
                assert_eq!(unpacked(Typed::Bool, &numbers), Ok(bools));
            }
        }
    }

    #[test]
    fn a_number_that_is_written_longer_than_it_must_be_is_the_same_number() {
        for len in 1..10 {
            let mut number = vec![0x85];
            number.extend(vec![0x80; len - 1]);
            number.extend([0, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
            let expected = [5, 7, 7, 7, 7, 7, 7, 7, 7, 7].map(u32::to_le_bytes).concat();
            assert_eq!(unpacked(Typed::Uint, &number), Ok(expected), "{len} more bytes");
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused_wherever_it_stands() {
        for others in 0..20 {
            for end in [&[2, 1][..], &[0x7f, 1], &[0x81, 1]] {
                let numbers = [&vec![1; others][..], &[0xff; 9], end, &[1; 9]].concat();
                assert_eq!(unpacked(Typed::Int64, &numbers), Err(WireError::LongVarint));
            }
        }
    }
}
