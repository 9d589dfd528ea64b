//! One element of a tensor: from a JSON token to raw bytes.

use crate::tensor::datatype::Datatype;
use crate::tensor::number::decimal::{Decimal, NumberError, WINDOW, ends_number, f32_of, f64_of, integer_of};
use crate::tensor::number::float16;
use std::marker::PhantomData;

/// How the elements of a datatype are read.
pub(super) trait Element {
    /// The size in raw contents, in bytes.
    const SIZE: usize;

    /// Whether there are elements that are not numbers: NaN and the infinities.
    const FLOAT: bool = false;

    /// Whether protobuf's JSON has its elements in quotes.
    const OFTEN_QUOTED: bool = false;

    /// The element at the front of `text`, if it is a simple one and [`WINDOW`] bytes are there: its raw bytes as the low
    /// bytes of an integer, the length of its text and the byte behind that.
    fn fast(text: &[u8]) -> Option<(u64, usize, u8)>;

    /// The element that a whole token is, in the same way.
    fn slow(token: &[u8]) -> Result<u64, NumberError>;
}

pub(super) struct Fp32;
pub(super) struct Fp64;
pub(super) struct Fp16;
pub(super) struct Bf16;
pub(super) struct Bool;
pub(super) struct Integer<T>(PhantomData<T>);

/// The same in quotes.
pub(super) struct InQuotes<E>(PhantomData<E>);

/// The element that a token is, as the low bytes of an integer. BYTES has no such elements.
pub(crate) fn raw_element(datatype: Datatype, token: &[u8]) -> Result<u64, NumberError> {
    match datatype {
        Datatype::Bool => Bool::slow(token),
        Datatype::Uint8 => Integer::<u8>::slow(token),
        Datatype::Uint16 => Integer::<u16>::slow(token),
        Datatype::Uint32 => Integer::<u32>::slow(token),
        Datatype::Uint64 => Integer::<u64>::slow(token),
        Datatype::Int8 => Integer::<i8>::slow(token),
        Datatype::Int16 => Integer::<i16>::slow(token),
        Datatype::Int32 => Integer::<i32>::slow(token),
        Datatype::Int64 => Integer::<i64>::slow(token),
        Datatype::Fp16 => Fp16::slow(token),
        Datatype::Bf16 => Bf16::slow(token),
        Datatype::Fp32 => Fp32::slow(token),
        Datatype::Fp64 => Fp64::slow(token),
        Datatype::Bytes => Err(NumberError::NotANumber),
    }
}

fn low(bits: impl Into<u64>) -> u64 {
    bits.into()
}

impl Element for Fp32 {
    const SIZE: usize = 4;
    const FLOAT: bool = true;

    #[inline(always)]
    fn fast(text: &[u8]) -> Option<(u64, usize, u8)> {
        let (number, length, end) = Decimal::scan(text.first_chunk()?)?;
        Some((low(number.fast_f32()?.to_bits()), length, end))
    }

    fn slow(token: &[u8]) -> Result<u64, NumberError> {
        Ok(low(f32_of(token)?.to_bits()))
    }
}

impl Element for Fp64 {
    const SIZE: usize = 8;
    const FLOAT: bool = true;

    #[inline(always)]
    fn fast(text: &[u8]) -> Option<(u64, usize, u8)> {
        let (number, length, end) = Decimal::scan(text.first_chunk()?)?;
        let value = match number.fast_f64() {
            Some(value) => value,
            None => fast_float2::parse(&text[..length]).ok().filter(|value: &f64| value.is_finite())?,
        };
        Some((low(value.to_bits()), length, end))
    }

    fn slow(token: &[u8]) -> Result<u64, NumberError> {
        Ok(low(f64_of(token)?.to_bits()))
    }
}

impl Element for Fp16 {
    const SIZE: usize = 2;
    const FLOAT: bool = true;

    #[inline(always)]
    fn fast(text: &[u8]) -> Option<(u64, usize, u8)> {
        let (number, length, end) = Decimal::scan(text.first_chunk()?)?;
        Some((low(float16::FP16.fast(number)?), length, end))
    }

    fn slow(token: &[u8]) -> Result<u64, NumberError> {
        Ok(low(float16::FP16.of(token)?))
    }
}

impl Element for Bf16 {
    const SIZE: usize = 2;
    const FLOAT: bool = true;

    #[inline(always)]
    fn fast(text: &[u8]) -> Option<(u64, usize, u8)> {
        let (number, length, end) = Decimal::scan(text.first_chunk()?)?;
        Some((low(float16::BF16.fast(number)?), length, end))
    }

    fn slow(token: &[u8]) -> Result<u64, NumberError> {
        Ok(low(float16::BF16.of(token)?))
    }
}

/// The first four letters of `true` and `false`, and how many there are.
const WORDS: [([u8; 4], usize); 2] = [(*b"true", 4), (*b"fals", 5)];

impl Element for Bool {
    const SIZE: usize = 1;

    #[inline(always)]
    fn fast(text: &[u8]) -> Option<(u64, usize, u8)> {
        let window: &[u8; WINDOW] = text.first_chunk()?;
        let [first, second, third, fourth, ..] = *window;
        // Which of the words it is cannot be guessed, so a bit of the first letter is made use of, and not branched on.
        let is_false = first >> 1 & 1;
        let (word, word_length) = WORDS[usize::from(is_false)];
        let (value, length) = if [first, second, third, fourth] == word && window[word_length - 1] == b'e' {
            (low(is_false ^ 1), word_length)
        } else if matches!(first, b'0' | b'1') {
            (low(first - b'0'), 1)
        } else {
            return None;
        };
        let end = window[length];
        ends_number(end).then_some((value, length, end))
    }

    fn slow(token: &[u8]) -> Result<u64, NumberError> {
        match token {
            b"true" => Ok(low(1_u8)),
            b"false" => Ok(low(0_u8)),
            number => Ok(low(integer_of(number, 0, 1)? as u8)),
        }
    }
}

impl<E: Element> Element for InQuotes<E> {
    const SIZE: usize = E::SIZE;
    const FLOAT: bool = E::FLOAT;

    #[inline(always)]
    fn fast(text: &[u8]) -> Option<(u64, usize, u8)> {
        let (b'"', inner) = text.split_first()? else { return None };
        let (raw, length, b'"') = E::fast(inner)? else { return None };
        let end = *inner.get(length + 1)?;
        Some((raw, length + 2, end))
    }

    fn slow(token: &[u8]) -> Result<u64, NumberError> {
        E::slow(token)
    }
}

/// The integer datatypes, all in one.
pub(super) trait Whole {
    const SIZE: usize;
    const MIN: i128;
    const MAX: i128;
}

macro_rules! whole {
    ($($type:ty)*) => { $(
        impl Whole for $type {
            const SIZE: usize = size_of::<$type>();
            const MIN: i128 = <$type>::MIN as i128;
            const MAX: i128 = <$type>::MAX as i128;
        }
    )* };
}

whole!(u8 u16 u32 u64 i8 i16 i32 i64);

impl<T: Whole> Element for Integer<T> {
    const SIZE: usize = T::SIZE;
    const OFTEN_QUOTED: bool = T::SIZE == 8;

    #[inline(always)]
    fn fast(text: &[u8]) -> Option<(u64, usize, u8)> {
        let (number, length, end) = Decimal::scan(text.first_chunk()?)?;
        // Beyond this only UINT64 goes, and that the slow way.
        let size = i64::try_from(number.mantissa).ok()?;
        let value = if number.negative { -size } else { size };
        let (low, high) = (T::MIN.max(i64::MIN.into()) as i64, T::MAX.min(i64::MAX.into()) as i64);
        let fits = number.exponent == 0 && (low..=high).contains(&value);
        fits.then_some((value as u64, length, end))
    }

    fn slow(token: &[u8]) -> Result<u64, NumberError> {
        // The low bytes of the two's complement are the raw element for every width and sign.
        Ok(integer_of(token, T::MIN, T::MAX)? as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn integers_reach_to_the_ends_of_their_ranges_and_no_further() {
        assert_eq!(Integer::<u8>::slow(b"255"), Ok(low(255_u8)));
        assert_eq!(Integer::<u8>::slow(b"256"), Err(NumberError::OutOfRange));
        assert_eq!(Integer::<u8>::slow(b"-0"), Ok(low(0_u8)));
        assert_eq!(Integer::<u8>::slow(b"-1"), Err(NumberError::OutOfRange));
        assert_eq!(Integer::<i8>::slow(b"-128").unwrap() as u8, 0x80);
        assert_eq!(Integer::<u64>::slow(b"18446744073709551615"), Ok(low(u64::MAX)));
        assert_eq!(Integer::<u64>::slow(b"18446744073709551616"), Err(NumberError::OutOfRange));
        assert_eq!(Integer::<i64>::slow(b"-9223372036854775808"), Ok(i64::MIN as u64));
        assert_eq!(Integer::<i64>::slow(b"9223372036854775808"), Err(NumberError::OutOfRange));
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_float() {
        assert_eq!(Integer::<i32>::slow(b"1.0"), Ok(low(1_u8)));
        assert_eq!(Integer::<i32>::slow(b"12.5e1"), Ok(low(125_u8)));
        assert_eq!(Integer::<i32>::slow(b"1e400"), Err(NumberError::OutOfRange));
        assert_eq!(Integer::<i32>::slow(b"0e400"), Ok(low(0_u8)));
        assert_eq!(Integer::<i32>::slow(b"1.5"), Err(NumberError::NotWhole));
        assert_eq!(Integer::<i32>::slow(b"1e-400"), Err(NumberError::NotWhole));
        assert_eq!(Integer::<i32>::slow(b"true"), Err(NumberError::NotANumber));
        assert_eq!(Integer::<i32>::slow(b"NaN"), Err(NumberError::NotANumber));
    }

    #[test]
    fn a_boolean_is_a_word_or_a_bit() {
        for (token, value) in [(&b"true"[..], 1_u8), (b"false", 0), (b"1", 1), (b"0", 0), (b"1.0", 1)] {
            assert_eq!(Bool::slow(token), Ok(low(value)));
        }
        let fast = |token: &[u8]| {
            let mut window = [b' '; WINDOW];
            window[..token.len()].copy_from_slice(token);
            Bool::fast(&window)
        };
        for (token, value) in [(&b"true"[..], 1), (b"false", 0), (b"1", 1), (b"0", 0)] {
            assert_eq!(fast(token), Some((value, token.len(), b' ')));
        }
        for token in ["tru", "truf", "truee", "fals", "falst", "frue", "talse", "2", "10", "True", "\"", ""] {
            assert_eq!(fast(token.as_bytes()), None, "{token}");
        }
        assert_eq!(Bool::slow(b"2"), Err(NumberError::OutOfRange));
        assert_eq!(Bool::slow(b"True"), Err(NumberError::NotANumber));
    }

    #[test]
    fn what_json_does_not_call_a_number_is_none() {
        for token in
            ["", "-", "01", "-01", "1.", ".5", "+1", "1e", "1e+", "0x1", "1_0", "nan", "inf", "--1", "1-"]
        {
            assert_eq!(Fp32::slow(token.as_bytes()), Err(NumberError::NotANumber), "{token}");
            let mut window = [b' '; WINDOW];
            window[..token.len()].copy_from_slice(token.as_bytes());
            assert!(Fp32::fast(&window).is_none(), "{token}");
        }
    }
}
