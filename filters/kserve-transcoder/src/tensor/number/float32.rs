//! The shortest decimal text of an FP32, fast for the values that tensors are made of.
//!
//! First come numbers of at most three decimal places below 1,000, whole ones among them: six digits never
//! stand for more than one FP32, so if such a decimal reads back as the value, it is the shortest that does.
//!
//! In general, the decimals that read back as a value lie within half a unit of its last place. Scaled by a
//! power of ten that makes this interval at least one and less than ten integers wide, the shortest of them is
//! either the multiple of ten inside, if there is one, or the nearest integer (so Raffaello Giulietti, "The
//! Schubfach way to render doubles", 2020). An FP32 is so much shorter than an f64 that one multiplication of
//! f64 finds that place with many bits to spare; the few values so near to an end of the interval, or to the
//! middle of two decimals, that these bits do not decide are left to a general printer. So are very large
//! and very small ones, and the powers of two, below which the interval is narrower.

use super::decimal::power_of_ten;
use super::slot::SLOT;

/// How many bits behind the binary point the scaled value has.
const FRACTION_BITS: u32 = 24;

/// By how many units of the scaled value's last place the calculation may be off; it never is by half as much.
const SLACK: i64 = 8;

/// The exponents, as they are stored, that the fast way covers: from 2^-16 to below 2^43.
const EXPONENTS: std::ops::RangeInclusive<u32> = 111..=169;

/// What belongs to an exponent.
#[derive(Clone, Copy)]
struct Scale {
    /// Ten to the minus `exponent`, times two to the [`FRACTION_BITS`].
    factor: f64,
    /// Half a unit of the last place, scaled.
    half: i64,
    exponent: i32,
}

const SCALES: [Scale; 256] = scales();

const fn scales() -> [Scale; 256] {
    let mut scales = [Scale { factor: 0.0, half: 0, exponent: 0 }; 256];
    let mut biased = *EXPONENTS.start();
    while biased <= *EXPONENTS.end() {
        let power = biased as i32 - 150;
        // The decimal logarithm of the last place, rounded down; exact in fixed point for all exponents.
        let exponent = (power * 1_262_611) >> 22;
        let factor = power_of_ten(-exponent) * (1_u64 << FRACTION_BITS) as f64;
        let half_unit = f64::from_bits(((power - 1 + 1023) as u64) << 52);
        scales[biased as usize] = Scale { factor, half: (factor * half_unit) as i64, exponent };
        biased += 1;
    }
    scales
}

const TENS: [u32; 10] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Adding this to a float below 2^51 leaves its nearest integer in the low bits.
const TO_INTEGER: f64 = (1_u64 << 52) as f64;

/// Whole numbers below 1,000: three bytes of text, and its length.
const WHOLE: [[u8; 4]; 1000] = whole();

/// The point and three decimal places.
const PLACES: [[u8; 4]; 1000] = places();

const fn whole() -> [[u8; 4]; 1000] {
    let mut table = [[b'0'; 4]; 1000];
    let mut number = 0;
    while number < 1000 {
        let (hundreds, tens, ones) = (number / 100, number / 10 % 10, number % 10);
        let (h, t, o) = (b'0' + hundreds as u8, b'0' + tens as u8, b'0' + ones as u8);
        table[number] = match (hundreds, tens) {
            (0, 0) => [o, 0, 0, 1],
            (0, _) => [t, o, 0, 2],
            _ => [h, t, o, 3],
        };
        number += 1;
    }
    table
}

const fn places() -> [[u8; 4]; 1000] {
    let mut table = [[b'.'; 4]; 1000];
    let mut number = 0;
    while number < 1000 {
        table[number][1] = b'0' + (number / 100) as u8;
        table[number][2] = b'0' + (number / 10 % 10) as u8;
        table[number][3] = b'0' + (number % 10) as u8;
        number += 1;
    }
    table
}

/// Room for a number without its sign.
type Slot = [u8; SLOT - 1];

/// Prints a finite value to the front of `slot`, and says how many bytes that took. Always with a point or an
/// exponent: `1.0`, `0.00123`, `1.5e-7`.
#[inline(always)]
pub(crate) fn print(value: f32, slot: &mut [u8; SLOT]) -> usize {
    print_of::<false>(value, slot)
}

/// As [`print`], for the values of the 16-bit formats. They have so few digits that many lie in the very middle of two
/// decimals, and none lies near it but not in it.
#[inline(always)]
pub(crate) fn print_of_16_bits(value: f32, slot: &mut [u8; SLOT]) -> usize {
    print_of::<true>(value, slot)
}

#[inline(always)]
fn print_of<const OF_16_BITS: bool>(value: f32, slot: &mut [u8; SLOT]) -> usize {
    let sign = (value.to_bits() >> 31) as usize;
    slot[0] = b'-';
    let Some(rest) = slot.get_mut(sign..).and_then(|rest| rest.first_chunk_mut()) else { return 0 };
    let value = value.abs();
    sign + match print_short(value, rest) {
        Some(len) => len,
        None => match shortest::<OF_16_BITS>(value) {
            Some((digits, exponent)) => lay_out(digits, exponent, rest),
            None => print_any(value, rest),
        },
    }
}

#[cold]
#[inline(never)]
fn print_any(value: f32, slot: &mut Slot) -> usize {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value).as_bytes();
    slot[..text.len()].copy_from_slice(text);
    text.len()
}

/// Prints a number of at most three decimal places below 1,000; `None` if it is another number.
#[inline(always)]
fn print_short(value: f32, slot: &mut Slot) -> Option<usize> {
    let scaled = f64::from(value) * 1000.0;
    if scaled >= 999_999.0 {
        return None;
    }
    let thousandths = (scaled + TO_INTEGER).to_bits() as u32;
    // Six digits are never so near to the middle between two FP32 that the error of this f64 counts.
    if (f64::from(thousandths) * 0.001) as f32 != value {
        return None;
    }
    let [text @ .., len] = *WHOLE.get((thousandths / 1000) as usize)?;
    let places = PLACES.get((thousandths % 1000) as usize)?;
    slot[..3].copy_from_slice(&text);
    let len = usize::from(len & 3);
    slot[len..len + 4].copy_from_slice(places);
    // Zeros at the end, but the first, are not needed.
    let zeros = (u32::from_le_bytes(*places) ^ 0x3030_3000).leading_zeros() as usize / 8;
    Some(len + 4 - zeros.min(2))
}

/// The shortest digits and the power of ten that read back as `value`; of several, the nearest. There may be
/// zeros at the end.
#[inline(always)]
fn shortest<const OF_16_BITS: bool>(value: f32) -> Option<(u32, i32)> {
    let bits = value.to_bits();
    let biased = bits >> 23;
    if !EXPONENTS.contains(&biased) || bits & 0x7f_ffff == 0 {
        return None;
    }
    // Whole numbers that are exact are their own digits.
    if (127..150).contains(&biased) && bits << (biased - 118) == 0 {
        return Some((value as u32, 0));
    }
    let Scale { factor, half, exponent } = *SCALES.get(biased as usize)?;
    let near = |place: i64| ((place + SLACK) & ((1 << FRACTION_BITS) - 1)) <= 2 * SLACK;
    let middle = (f64::from(value) * factor + TO_INTEGER).to_bits() as i64 & ((1 << 52) - 1);
    let (low, high) = (middle - half, middle + half);
    let upper = middle + (1 << (FRACTION_BITS - 1));
    let in_middle = near(upper);
    if near(low) | near(high) | (in_middle && !OF_16_BITS) {
        return None;
    }
    // None of the ends is an integer, so the first integer inside is the one after the lower end. The interval
    // is at least one wide, so the nearest integer lies inside.
    let inside = |place: i64| (place >> FRACTION_BITS) as u32;
    let (first, last) = (inside(low) + 1, inside(high));
    // Of two that are as near, the even one.
    let nearest = if in_middle { inside(upper + SLACK) & !1 } else { inside(upper) };
    // This is as good as random, so it is selected from and not branched on.
    let tens = last / 10;
    let is_shorter = tens * 10 >= first;
    let mask = u32::from(is_shorter).wrapping_neg();
    Some(((tens & mask) | (nearest & !mask), exponent + i32::from(is_shorter)))
}

/// Writes digits times ten to the exponent.
#[inline(always)]
fn lay_out(digits: u32, exponent: i32, slot: &mut Slot) -> usize {
    let count = if exponent == 0 { decimal_length(digits) } else { long_decimal_length(digits) };
    // Nine digits, the first of them not zero; the value is 0.DDDDDDDDD times ten to the `point`.
    let digits = digits * TENS.get(9 - count).copied().unwrap_or(1);
    let point = count as i32 + exponent;
    let first = b'0' + (digits / 100_000_000) as u8;
    let rest = eight_digits(digits % 100_000_000);
    let significant = 9 - zero_bytes_at_end(rest);
    let rest = rest | 0x3030_3030_3030_3030;
    if point <= 0 {
        // At most four zeros.
        let zeros = point.unsigned_abs() as usize & 7;
        slot[..8].copy_from_slice(b"0.000000");
        slot[2 + zeros] = first;
        slot[3 + zeros..11 + zeros].copy_from_slice(&rest.to_le_bytes());
        return 2 + zeros + significant;
    }
    let whole = point as usize & 15;
    slot[0] = first;
    slot[1..9].copy_from_slice(&rest.to_le_bytes());
    if whole > 8 {
        // At most 13 digits before the point, and none of them behind it.
        slot[9..17].copy_from_slice(b"00000000");
        slot[whole] = b'.';
        return whole + 2;
    }
    let fraction = rest >> (8 * (whole - 1));
    slot[whole] = b'.';
    slot[whole + 1..whole + 9].copy_from_slice(&fraction.to_le_bytes());
    1 + significant.max(whole + 1)
}

/// How many digits a number from 100,000 to 999,999,999 has. [`shortest`] gives no smaller ones but whole
/// numbers: the scaled value is 2^23 at least, and a tenth of it is the least that is taken.
#[inline(always)]
fn long_decimal_length(value: u32) -> usize {
    6 + usize::from(value >= TENS[6]) + usize::from(value >= TENS[7]) + usize::from(value >= TENS[8])
}

/// How many of the last bytes are zero.
#[inline(always)]
fn zero_bytes_at_end(bytes: u64) -> usize {
    // Baseline x86-64 has no fast way to count from the upper end.
    let zeros = if cfg!(target_arch = "x86_64") {
        bytes.swap_bytes().trailing_zeros()
    } else {
        bytes.leading_zeros()
    };
    zeros as usize / 8
}

/// How many digits a number from 1 to 999,999,999 has.
#[inline(always)]
fn decimal_length(value: u32) -> usize {
    let guess = ((32 - value.leading_zeros()) * 1233) >> 12;
    (guess + u32::from(value >= TENS.get(guess as usize).copied().unwrap_or(u32::MAX))) as usize
}

/// Eight digits, one per byte, the first in the lowest.
#[inline(always)]
fn eight_digits(value: u32) -> u64 {
    let value = u64::from(value);
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((pairs - tens * 10) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn text(value: f32) -> String {
        let mut slot = [0; SLOT];
        let len = print(value, &mut slot);
        String::from_utf8(slot[..len].to_vec()).unwrap()
    }

    #[test]
    fn values_look_as_people_write_them() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.0, "-2.0"),
            (0.1, "0.1"),
            (-0.5, "-0.5"),
            (255.0, "255.0"),
            (100.0, "100.0"),
            (1234.5, "1234.5"),
            (0.001, "0.001"),
            (0.00002, "0.00002"),
            (1.5e-7, "1.5e-7"),
            (16_777_216.0, "16777216.0"),
            (123_456_790.0, "123456790.0"),
            (1e12, "1000000000000.0"),
            (f32::MAX, "3.4028235e+38"),
            (f32::MIN_POSITIVE, "1.1754944e-38"),
            (1e-45, "1e-45"),
            (0.333_333_34, "0.33333334"),
            (12.345_678, "12.345678"),
            (9.999_999e9, "9999999000.0"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn samples_of_all_values_have_the_shortest_digits_and_read_back() {
        let digits = |text: &str| {
            let mantissa = text.split('e').next().unwrap_or(text).trim_start_matches('-');
            let digits: String = mantissa.chars().filter(|char| *char != '.').collect();
            digits.trim_matches('0').len()
        };
        let edges =
            (1..=254_u32).flat_map(|biased| [0, 1, 0x7f_ffff].map(|mantissa| biased << 23 | mantissa));
        let inner = (EXPONENTS.start() << 23..EXPONENTS.end() << 23).step_by(9_973);
        for bits in (1..0x7f80_0000).step_by(140_009).chain(edges).chain(inner) {
            let value = f32::from_bits(bits);
            let text = text(value);
            assert_eq!(text.parse::<f32>().unwrap().to_bits(), bits, "{text}");
            // The standard library prints the shortest, and of those the nearest.
            let other = format!("{value:e}");
            assert_eq!(digits(&text), digits(&other), "{text} and {other}");
            let distance = |text: &str| (text.parse::<f64>().unwrap() - f64::from(value)).abs();
            assert!(
                (distance(&text) - distance(&other)).abs() <= f64::from(value) * 1e-15,
                "{text} and {other}"
            );
        }
    }

    #[test]
    fn all_short_decimals_are_printed_as_such() {
        for thousandths in 0..1_100_000_u32 {
            let value = (f64::from(thousandths) / 1000.0) as f32;
            let expected = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            let expected = expected.trim_end_matches('0');
            let expected = if expected.ends_with('.') { format!("{expected}0") } else { expected.to_owned() };
            assert_eq!(text(value), expected);
            let mut slot = [0; SLOT - 1];
            assert_eq!(print_short(value, &mut slot).is_some(), thousandths < 999_999);
        }
    }

    #[test]
    fn all_values_of_the_16_bit_formats_are_printed_as_a_general_printer_does() {
        for bits in 0..=u16::MAX {
            for value in [half::f16::from_bits(bits).to_f32(), half::bf16::from_bits(bits).to_f32()] {
                if value.is_finite() {
                    let mut slot = [0; SLOT];
                    let len = print_of_16_bits(value, &mut slot);
                    let text = String::from_utf8(slot[..len].to_vec()).unwrap();
                    assert_eq!(text, zmij::Buffer::new().format_finite(value));
                }
            }
        }
        let fast = (0x3800..0x3c00).filter(|bits| {
            shortest::<true>(half::f16::from_bits(*bits).to_f32()).is_some()
                && shortest::<true>(half::bf16::from_bits(*bits).to_f32()).is_some()
        });
        assert!(fast.count() > 1000);
    }

    #[test]
    fn almost_all_values_of_a_usual_tensor_go_the_fast_way() {
        let fast =
            (1..100_000).filter(|value| shortest::<false>(*value as f32 / 100_003.0).is_some()).count();
        assert!(fast > 99_900, "{fast}");
    }
}
