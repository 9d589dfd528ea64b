//! JSON numbers as decimals, and what they are in a tensor's datatype.
//!
//! Floats are rounded correctly: to nearest, ties to even, from the text and not by way of another float.
//! Most never need more than one multiplication. For FP32, FP16 and BF16 the text's mantissa (up to 19
//! digits) times a power of ten, both rounded to an f64, is off by at most 3 units in the last place of that
//! f64; rounding it to the shorter format can go wrong only within so many units of the middle between two
//! values, and only those few numbers take the long way. An FP64 is exact in one operation if mantissa and
//! power are (Clinger's fast path).

/// The longest number that is read, in bytes. The exact decimal expansion of any f64 fits.
pub(crate) const MAX_NUMBER_BYTES: usize = 2048;

/// How many bytes the fast paths look at. A number and the byte behind it fit, if it has no more digits than
/// a shortest f64.
pub(crate) const WINDOW: usize = 32;

/// Why a token is not a value of the datatype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberError {
    NotANumber,
    OutOfRange,
    NotWhole,
}

/// A number as JSON writes it: `mantissa` times ten to the `exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) negative: bool,
    pub(crate) mantissa: u64,
    pub(crate) exponent: i32,
}

const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Up to here a mantissa can take so many more digits without overflow. (A checked multiplication of 64 bits
/// is a call of 128-bit arithmetic in wasm.)
const ROOM: [u64; 9] = {
    let mut room = [0; 9];
    let mut digits = 0;
    while digits < 9 {
        room[digits] = u64::MAX / TENS[digits] - 1;
        digits += 1;
    }
    room
};

/// The largest exponent in [`POWERS`], up and down.
const MAX_POWER: i32 = 64;

/// Powers of ten, each the nearest f64; exact from 1e0 to 1e22.
const POWERS: [f64; 2 * MAX_POWER as usize + 1] = [
    1e-64, 1e-63, 1e-62, 1e-61, 1e-60, 1e-59, 1e-58, 1e-57, 1e-56, 1e-55, 1e-54, 1e-53, 1e-52, 1e-51, 1e-50,
    1e-49, 1e-48, 1e-47, 1e-46, 1e-45, 1e-44, 1e-43, 1e-42, 1e-41, 1e-40, 1e-39, 1e-38, 1e-37, 1e-36, 1e-35,
    1e-34, 1e-33, 1e-32, 1e-31, 1e-30, 1e-29, 1e-28, 1e-27, 1e-26, 1e-25, 1e-24, 1e-23, 1e-22, 1e-21, 1e-20,
    1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4,
    1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30, 1e31, 1e32,
    1e33, 1e34, 1e35, 1e36, 1e37, 1e38, 1e39, 1e40, 1e41, 1e42, 1e43, 1e44, 1e45, 1e46, 1e47, 1e48, 1e49,
    1e50, 1e51, 1e52, 1e53, 1e54, 1e55, 1e56, 1e57, 1e58, 1e59, 1e60, 1e61, 1e62, 1e63, 1e64,
];

/// A power of ten from -64 to 64, the nearest f64.
pub(crate) const fn power_of_ten(exponent: i32) -> f64 {
    POWERS[(exponent + MAX_POWER) as usize]
}

/// The digits at the front of eight bytes: how many, and their value. No branch depends on their number.
#[inline(always)]
fn leading_digits(eight: &[u8; 8]) -> (usize, u64) {
    let word = u64::from_le_bytes(*eight) ^ 0x3030_3030_3030_3030;
    // The top bit of a byte is set if it is not a digit; after the first of those, carries may set others.
    let others = (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
    let digits = others.trailing_zeros() as usize / 8;
    // Digits to the end of the word, zeros in front of them; in two steps, as a shift by 64 does nothing.
    let word = word.wrapping_shl(32 - 4 * digits as u32).wrapping_shl(32 - 4 * digits as u32);
    // Pairs, then fours, then all eight.
    let pairs = word.wrapping_mul(10).wrapping_add(word >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    (digits, low.wrapping_add(high) >> 32 & 0xffff_ffff)
}

/// A mantissa with some more digits, at most eight, of this value.
#[inline(always)]
fn longer(mantissa: u64, digits: usize, value: u64) -> Option<u64> {
    let (room, tens) = (*ROOM.get(digits)?, *TENS.get(digits)?);
    if mantissa <= room { Some(mantissa * tens + value) } else { None }
}

/// Whether a byte may follow a number: in protobuf's JSON also a quote.
#[inline(always)]
pub(crate) fn ends_number(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b' ' | b'\n' | b'\r' | b'\t' | b'"')
}

impl Decimal {
    /// Reads the number at the front of `window` if it is short and simple enough; its length and the byte
    /// behind it come with it. `None` says nothing about it: [`Self::parse`] does.
    ///
    /// Where the next number begins is what the next step waits for. So the usual forms (a sign, one digit
    /// before the point, full groups of eight) are told by branches, which are predicted, and only the last
    /// group of digits is counted.
    #[inline(always)]
    pub(crate) fn scan(window: &[u8; WINDOW]) -> Option<(Self, usize, u8)> {
        if window[0] == b'-' { Self::scan_from::<1>(window) } else { Self::scan_from::<0>(window) }
    }

    #[inline(always)]
    fn scan_from<const START: usize>(window: &[u8; WINDOW]) -> Option<(Self, usize, u8)> {
        let (mut mantissa, mut at);
        let first = window[START].wrapping_sub(b'0');
        if window[START + 1] == b'.' && first < 10 {
            mantissa = u64::from(first);
            at = START + 1;
        } else {
            let digits;
            (digits, mantissa) = leading_digits(window[START..].first_chunk()?);
            at = START + digits;
            if digits == 0 || (digits > 1 && first == 0) {
                return None;
            }
            if digits == 8 {
                let (digits, value) = leading_digits(window[START + 8..].first_chunk()?);
                if digits == 8 {
                    return None;
                }
                mantissa = mantissa * TENS[digits] + value;
                at += digits;
            }
        }
        let mut exponent = 0;
        let mut end = *window.get(at)?;
        if end == b'.' {
            let point = at + 1;
            let (digits, value) = leading_digits(window.get(point..)?.first_chunk()?);
            if digits == 0 {
                return None;
            }
            mantissa = longer(mantissa, digits, value)?;
            at = point + digits;
            if digits == 8 {
                let (digits, value) = leading_digits(window.get(point + 8..)?.first_chunk()?);
                mantissa = longer(mantissa, digits, value)?;
                at = point + 8 + digits;
                if digits == 8 {
                    let (digits, value) = leading_digits(window.get(point + 16..)?.first_chunk()?);
                    mantissa = longer(mantissa, digits, value)?;
                    at = point + 16 + digits;
                }
            }
            exponent = -((at - point) as i32);
            end = *window.get(at)?;
        }
        let negative = START == 1;
        if end == b',' {
            return Some((Self { negative, mantissa, exponent }, at, end));
        }
        if end | 0x20 == b'e' {
            let sign = *window.get(at + 1)?;
            at += 1 + usize::from(sign == b'-' || sign == b'+');
            let (digits, value) = leading_digits(window.get(at..)?.first_chunk()?);
            if digits == 0 || digits > 4 {
                return None;
            }
            exponent += if sign == b'-' { -(value as i32) } else { value as i32 };
            at += digits;
            end = *window.get(at)?;
        }
        ends_number(end).then_some((Self { negative, mantissa, exponent }, at, end))
    }

    /// Reads a whole token by the grammar of RFC 8259 section 6. The flag says that digits beyond the
    /// mantissa were dropped, and not all of them zeros.
    pub(crate) fn parse(token: &[u8]) -> Option<(Self, bool)> {
        let mut rest = token;
        let negative = skip(&mut rest, b'-');
        let mut number = Self { negative, mantissa: 0, exponent: 0 };
        let mut dropped = false;
        let whole = take_digits(&mut rest);
        if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
            return None;
        }
        number.add_digits(whole, false, &mut dropped);
        if skip(&mut rest, b'.') {
            let fraction = take_digits(&mut rest);
            if fraction.is_empty() {
                return None;
            }
            number.add_digits(fraction, true, &mut dropped);
        }
        if skip(&mut rest, b'e') || skip(&mut rest, b'E') {
            let down = skip(&mut rest, b'-');
            let _plus = !down && skip(&mut rest, b'+');
            let digits = take_digits(&mut rest);
            if digits.is_empty() {
                return None;
            }
            let add = |sum: i32, digit: &u8| sum.saturating_mul(10).saturating_add(i32::from(digit - b'0'));
            // No mantissa that fits in a token brings an exponent beyond this back into any range.
            let power = digits.iter().fold(0, add).min(1_000_000);
            number.exponent += if down { -power } else { power };
        }
        rest.is_empty().then_some((number, dropped))
    }

    fn add_digits(&mut self, digits: &[u8], fraction: bool, dropped: &mut bool) {
        for digit in digits {
            let digit = u64::from(digit - b'0');
            let longer = self.mantissa.checked_mul(10).and_then(|mantissa| mantissa.checked_add(digit));
            match longer {
                Some(mantissa) if !*dropped => {
                    self.mantissa = mantissa;
                    self.exponent -= i32::from(fraction);
                }
                _ => {
                    *dropped |= digit != 0;
                    self.exponent += i32::from(!fraction);
                }
            }
        }
    }

    /// The number as an f64 that is at most 3 units in the last place off, if it is in the range where that
    /// is easy to say.
    #[inline(always)]
    fn nearly(self) -> Option<f64> {
        let power = POWERS.get(usize::try_from(self.exponent + MAX_POWER).ok()?)?;
        let mantissa = i64::try_from(self.mantissa).ok()?;
        let value = mantissa as f64 * power;
        Some(if self.negative { -value } else { value })
    }

    /// The number as an f32, unless that takes the long way.
    #[inline(always)]
    pub(crate) fn fast_f32(self) -> Option<f32> {
        let value = self.nearly()?;
        let size = value.abs();
        // Below lie the subnormals, which have fewer bits; above is overflow. Zero is fine.
        if size >= f64::from(f32::MAX) || (size < f64::from(f32::MIN_POSITIVE) && self.mantissa != 0) {
            return None;
        }
        far_from_middle(value, f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS).then_some(value as f32)
    }

    /// The number as an f64, if one exact operation gives it.
    #[inline(always)]
    pub(crate) fn fast_f64(self) -> Option<f64> {
        if self.mantissa >> 53 != 0 || !(-22..=22).contains(&self.exponent) {
            return None;
        }
        let power = POWERS.get((self.exponent.unsigned_abs() as i32 + MAX_POWER) as usize)?;
        let mantissa = self.mantissa as f64;
        let value = if self.exponent < 0 { mantissa / power } else { mantissa * power };
        Some(if self.negative { -value } else { value })
    }

    /// The number as an integer, if it is one: `1`, but also `1.0` and `1e3`.
    pub(crate) fn whole(self) -> Result<i128, NumberError> {
        let Self { negative, mut mantissa, mut exponent } = self;
        while exponent < 0 && mantissa != 0 {
            if mantissa % 10 != 0 {
                return Err(NumberError::NotWhole);
            }
            mantissa /= 10;
            exponent += 1;
        }
        let mut value = i128::from(mantissa);
        if mantissa != 0 {
            if exponent > 19 {
                return Err(NumberError::OutOfRange);
            }
            for _ in 0..exponent {
                value = value.saturating_mul(10);
            }
        }
        Ok(if negative { -value } else { value })
    }
}

/// Whether `value`, at most 8 units in the last place off, is on the right side of the middle between two
/// values of a format whose mantissa is `dropped` bits shorter.
#[inline(always)]
fn far_from_middle(value: f64, dropped: u32) -> bool {
    const SLACK: u64 = 8;
    let below = value.to_bits() & ((1 << dropped) - 1);
    below.wrapping_sub((1 << (dropped - 1)) - SLACK) > 2 * SLACK
}

/// A token as FP32. Bare `NaN`, `Infinity` and `-Infinity` are what real clients send for such values.
pub(crate) fn f32_of(token: &[u8]) -> Result<f32, NumberError> {
    match special(token) {
        Some(value) => Ok(value as f32),
        None => {
            let (number, dropped) = Decimal::parse(token).ok_or(NumberError::NotANumber)?;
            let value = if dropped { None } else { number.fast_f32() };
            let value = value.or_else(|| fast_float2::parse(token).ok()).ok_or(NumberError::NotANumber)?;
            if value.is_finite() { Ok(value) } else { Err(NumberError::OutOfRange) }
        }
    }
}

/// A token as FP64.
pub(crate) fn f64_of(token: &[u8]) -> Result<f64, NumberError> {
    if let Some(value) = special(token) {
        return Ok(value);
    }
    let (number, dropped) = Decimal::parse(token).ok_or(NumberError::NotANumber)?;
    let value = if dropped { None } else { number.fast_f64() };
    let value = value.or_else(|| fast_float2::parse(token).ok()).ok_or(NumberError::NotANumber)?;
    if value.is_finite() { Ok(value) } else { Err(NumberError::OutOfRange) }
}

/// A token as an integer between two bounds, both included.
pub(crate) fn integer_of(token: &[u8], low: i128, high: i128) -> Result<i128, NumberError> {
    let (number, dropped) = Decimal::parse(token).ok_or(NumberError::NotANumber)?;
    if dropped {
        // More than 19 digits: either far out of range, or with a fraction.
        return Err(if number.exponent < 0 { NumberError::NotWhole } else { NumberError::OutOfRange });
    }
    let value = number.whole()?;
    if (low..=high).contains(&value) { Ok(value) } else { Err(NumberError::OutOfRange) }
}

/// What is not a number: in JSON tensor data a bare word, or a string as protobuf's JSON has it.
pub(crate) fn special(token: &[u8]) -> Option<f64> {
    match token {
        b"NaN" => Some(f64::NAN),
        b"Infinity" => Some(f64::INFINITY),
        b"-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn skip(rest: &mut &[u8], byte: u8) -> bool {
    match rest.split_first() {
        Some((first, tail)) if *first == byte => {
            *rest = tail;
            true
        }
        _ => false,
    }
}

fn take_digits<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, tail) = rest.split_at(count);
    *rest = tail;
    digits
}
