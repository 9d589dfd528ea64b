//! FP16 and BF16, which Rust has no types for.
//!
//! What their bits are worth is `half`'s to say. It has no way from a decimal to the nearest of them: by way of `f32` it
//! would round twice.

use super::decimal::{Decimal, NumberError, f64_of};
use half::{bf16, f16};
use std::cmp::Ordering;

/// One of the two 16-bit formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Float16 {
    /// Bits of the mantissa that are stored.
    mantissa_bits: u32,
    /// The exponent of the largest values; the smallest normal ones have 1 minus this.
    max_exponent: i32,
}

/// IEEE 754 float16.
pub(crate) const FP16: Float16 = Float16 { mantissa_bits: 10, max_exponent: 15 };

/// The upper half of binary32.
pub(crate) const BF16: Float16 = Float16 { mantissa_bits: 7, max_exponent: 127 };

impl Float16 {
    /// A token, rounded correctly.
    pub(crate) fn of(self, token: &[u8]) -> Result<u16, NumberError> {
        let value = f64_of(token)?;
        let bits = self.round(value, |middle| compare(token, &format!("{middle:.140}")));
        if self.is_infinite(bits) && value.is_finite() { Err(NumberError::OutOfRange) } else { Ok(bits) }
    }

    /// A decimal, unless that takes the long way.
    #[inline(always)]
    pub(crate) fn fast(self, number: Decimal) -> Option<u16> {
        // FP32 has all values of both formats and all middles between them. So the number lies on the same
        // side of every middle as its FP32, unless that is the middle.
        let value = number.fast_f32()?;
        let size = value.to_bits() & 0x7fff_ffff;
        let dropped = 23 - self.mantissa_bits;
        if size & ((1 << dropped) - 1) == 1 << (dropped - 1) {
            return None;
        }
        let sign = (value.to_bits() >> 16) as u16 & 0x8000;
        let least = (128 - self.max_exponent as u32) << 23;
        if size < least {
            return if size == 0 { Some(sign) } else { self.fast_subnormal(value) };
        }
        // Exponents are counted from another one here; a carry goes into them by itself.
        let bits = (size - (least - (1 << 23)) + (1 << (dropped - 1))) >> dropped;
        (bits < u32::from(self.infinity())).then_some(sign | bits as u16)
    }

    #[cold]
    fn fast_subnormal(self, value: f32) -> Option<u16> {
        let mut in_middle = false;
        let bits = self.round(value.into(), |_| {
            in_middle = true;
            Ordering::Equal
        });
        (!in_middle).then_some(bits)
    }

    /// The value of some bits; exact.
    pub(crate) fn value(self, bits: u16) -> f32 {
        if self == FP16 { f16::from_bits(bits).to_f32() } else { bf16::from_bits(bits).to_f32() }
    }

    fn is_infinite(self, bits: u16) -> bool {
        bits & 0x7fff == self.infinity()
    }

    fn infinity(self) -> u16 {
        ((2 * self.max_exponent + 1) as u16) << self.mantissa_bits
    }

    /// `value` to the nearest. Where it lies in the middle of two, `side` says on which side of it (without
    /// its sign) the number lies that was rounded to `value`.
    fn round(self, value: f64, side: impl FnOnce(f64) -> Ordering) -> u16 {
        let sign = ((value.to_bits() >> 63) as u16) << 15;
        let size = value.abs();
        if size.is_nan() {
            return sign | self.infinity() | 1 << (self.mantissa_bits - 1);
        }
        if size.is_infinite() {
            return sign | self.infinity();
        }
        let exponent = ((size.to_bits() >> 52) as i32 - 1023).max(1 - self.max_exponent);
        if exponent > self.max_exponent {
            return sign | self.infinity();
        }
        // In units of the last place; exact, because it only moves the exponent. An f64 too small for that
        // is far below half a unit.
        let units = size * power_of_two(self.mantissa_bits as i32 - exponent);
        let below = units.floor();
        let up = match (units - below).partial_cmp(&0.5) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => match side(size) {
                Ordering::Greater => true,
                Ordering::Equal => below % 2.0 == 1.0,
                Ordering::Less => false,
            },
            _ => false,
        };
        // The units include the hidden bit, so a carry goes into the exponent by itself, also to infinity.
        let units = below as u16 + u16::from(up);
        let exponent = (exponent + self.max_exponent - 1) as u16;
        sign | ((exponent << self.mantissa_bits) + units)
    }
}

/// Two to a power that a normal f64 holds.
fn power_of_two(power: i32) -> f64 {
    f64::from_bits(((power + 1023) as u64) << 52)
}

/// Compares two JSON numbers by size, without their signs, exactly.
fn compare(token: &[u8], other: &str) -> Ordering {
    let (digits, first) = significant(token);
    let (other_digits, other_first) = significant(other.as_bytes());
    match (digits.is_empty(), other_digits.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => first.cmp(&other_first).then_with(|| digits.cmp(&other_digits)),
    }
}

/// The digits of a number without the zeros around them, and the power of ten of the first.
fn significant(token: &[u8]) -> (Vec<u8>, i64) {
    let (mantissa, exponent) = match token.iter().position(|byte| byte | 0x20 == b'e') {
        Some(place) => (&token[..place], &token[place + 1..]),
        None => (token, &b"0"[..]),
    };
    let exponent: i64 = std::str::from_utf8(exponent).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let digits: Vec<u8> = mantissa.iter().copied().filter(u8::is_ascii_digit).collect();
    let point = mantissa.iter().filter(|byte| **byte != b'-').position(|byte| *byte == b'.');
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let end = digits.iter().rposition(|digit| *digit != b'0').map_or(zeros, |last| last + 1);
    let first = exponent + point.unwrap_or(digits.len()) as i64 - zeros as i64;
    (digits[zeros..end].to_vec(), first)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn every_finite_value_comes_back_from_its_own_text() {
        for half in [FP16, BF16] {
            for bits in 0..=u16::MAX {
                let value = half.value(bits);
                if value.is_finite() {
                    assert_eq!(half.of(format!("{value:e}").as_bytes()), Ok(bits), "{half:?} {bits:#x}");
                } else if value.is_nan() {
                    assert!(half.value(half.of(b"NaN").unwrap()).is_nan());
                }
            }
        }
    }

    #[test]
    fn the_middle_goes_to_the_even_neighbour_and_a_hair_beside_it_to_the_near_one() {
        for half in [FP16, BF16] {
            for bits in (0..0x7b00_u16).step_by(37) {
                let (low, high) = (f64::from(half.value(bits)), f64::from(half.value(bits + 1)));
                let middle = format!("{:.140}", (low + high) / 2.0);
                let even = bits + bits % 2;
                assert_eq!(half.of(middle.as_bytes()), Ok(even), "{half:?} {bits:#x}");
                assert_eq!(half.of(format!("{middle}1").as_bytes()), Ok(bits + 1), "{half:?} {bits:#x}");
                assert_eq!(half.of(format!("-{middle}1").as_bytes()), Ok(0x8000 | (bits + 1)));
                // One below the middle, in the last of 140 decimal places.
                let mut below = middle.into_bytes();
                for digit in below.iter_mut().rev().filter(|digit| **digit != b'.') {
                    if *digit == b'0' {
                        *digit = b'9';
                    } else {
                        *digit -= 1;
                        break;
                    }
                }
                assert_eq!(half.of(&below), Ok(bits), "{half:?} {bits:#x}");
            }
        }
    }

    #[test]
    fn what_rounds_to_infinity_is_out_of_range() {
        assert_eq!(FP16.of(b"65504"), Ok(0x7bff));
        assert_eq!(FP16.of(b"65519.999"), Ok(0x7bff));
        assert_eq!(FP16.of(b"65520"), Err(NumberError::OutOfRange));
        assert_eq!(FP16.of(b"-1e400"), Err(NumberError::OutOfRange));
        assert_eq!(FP16.of(b"-Infinity"), Ok(0xfc00));
        assert_eq!(BF16.of(b"3.39e38"), Ok(0x7f7f));
        assert_eq!(BF16.of(b"3.4e38"), Err(NumberError::OutOfRange));
        assert_eq!(FP16.of(b"1e-400"), Ok(0));
    }

    #[test]
    fn the_fast_way_agrees_with_the_slow_one() {
        for half in [FP16, BF16] {
            for step in 0..20_000_u64 {
                let mantissa = step * step * 2_654_435_761 % 1_000_000_007;
                let number = Decimal { negative: step % 2 == 1, mantissa, exponent: -(step as i32 % 13) };
                let sign = if number.negative { "-" } else { "" };
                let text = format!("{sign}{mantissa}e{}", number.exponent);
                if let Some(bits) = half.fast(number) {
                    assert_eq!(half.of(text.as_bytes()), Ok(bits), "{half:?} {text}");
                }
            }
        }
    }
}
