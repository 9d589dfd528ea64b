//! Packed varints as elements of a fixed size.

use crate::tensor::datatype::Typed;
use crate::tensor::text::words::TOPS;
use filter_api::{OverBudget, Rope};
use kserve_proto::wire::{WireError, take_varint};

/// How many elements are written at a time.
const AT_ONCE: usize = 64;

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
        if have > AT_ONCE - 8 {
            out.push(some[..have].as_flattened())?;
            count += have as u64;
            have = 0;
        }
        let (value, len) = match numbers.first_chunk::<10>() {
            Some(ten) => {
                let [eight @ .., ninth, tenth] = *ten;
                let word = u64::from_le_bytes(eight);
                // Small numbers are one byte each.
                if word & TOPS == 0 {
                    if let Some(place) = some[have..].first_chunk_mut() {
                        *place = eight.map(|byte| element(byte.into()));
                    }
                    have += 8;
                    numbers = &numbers[8..];
                    continue;
                }
                match number(word, ninth, tenth) {
                    Some(number) => number,
                    None => return Ok(Err(WireError::LongVarint)),
                }
            }
            None => {
                let mut rest = numbers;
                match take_varint(&mut rest) {
                    Ok(value) => (value, numbers.len() - rest.len()),
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        some[have] = element(value);
        have += 1;
        numbers = &numbers[len..];
    }
    out.push(some[..have].as_flattened())?;
    Ok(Ok(count + have as u64))
}

/// The varint at the front of ten bytes, and its length; `None` if it has more than 64 bits.
///
/// Small numbers are of one byte, or of ten if they are negative, and which of the two comes next cannot be guessed. Nor how
/// long a number is that is neither. So neither is branched on, but only whether it is one of the former.
#[inline(always)]
pub(super) fn number(word: u64, ninth: u8, tenth: u8) -> Option<(u64, usize)> {
    let last = !word & TOPS;
    let is_longer = word >> 7 & 1;
    let is_ten = is_longer & u64::from(last == 0) & u64::from(ninth >> 7);
    if is_longer == is_ten {
        if is_ten & u64::from(tenth > 1) != 0 {
            return None;
        }
        let ten = seven_bits(word) | u64::from(ninth & 0x7f) << 56 | u64::from(tenth) << 63;
        return Some(((word & 0x7f) | (ten & is_ten.wrapping_neg()), 1 + 9 * is_longer as usize));
    }
    if last == 0 {
        return Some((seven_bits(word) | u64::from(ninth) << 56, 9));
    }
    // All bits up to the top one of the last byte.
    let own = last ^ last.wrapping_sub(1);
    Some((seven_bits(word & own), (last.trailing_zeros() as usize + 1) >> 3))
}

/// Puts the low seven bits of each byte next to each other.
#[inline(always)]
fn seven_bits(word: u64) -> u64 {
    let word = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x3fff_0000_3fff_0000) >> 2;
    (word & 0x0fff_ffff) | (word & 0x0fff_ffff_0000_0000) >> 4
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
