//! Numbers in JSON text and what they are in a datatype, the slow and simple way.

/// A value that a token has, or why it has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Read<T> {
    Value(T),
    Refused,
    /// It lies between two values, and only its exact text says which is nearer.
    Unknown,
}

impl<T> Read<T> {
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Read<U> {
        match self {
            Self::Value(value) => Read::Value(f(value)),
            Self::Refused => Read::Refused,
            Self::Unknown => Read::Unknown,
        }
    }
}

impl<T> From<Option<T>> for Read<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Refused, Self::Value)
    }
}

/// The longest number that is read, in bytes.
const MAX_BYTES: usize = 2048;

/// Whether a token is a number by RFC 8259 and not too long.
pub(crate) fn is_number(token: &str) -> bool {
    let number = token.trim_start_matches('-');
    token.len() <= MAX_BYTES
        && token.len() - number.len() <= 1
        && number.starts_with(|digit: char| digit.is_ascii_digit())
        && serde_json::from_str::<&serde_json::value::RawValue>(token).is_ok()
        && !token.ends_with([' ', '\n', '\r', '\t'])
}

fn special(token: &str) -> Option<f64> {
    match token {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// A token as an FP32, rounded by the standard library.
pub(crate) fn fp32(token: &str) -> Option<f32> {
    match special(token) {
        Some(value) => Some(value as f32),
        None if !is_number(token) => None,
        None => token.parse().ok().filter(|value: &f32| value.is_finite()),
    }
}

/// A token as an FP64, rounded by the standard library.
pub(crate) fn fp64(token: &str) -> Option<f64> {
    match special(token) {
        Some(value) => Some(value),
        None if !is_number(token) => None,
        None => token.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

/// The value of the bits of an FP16.
pub(crate) fn value_of_fp16(bits: u16) -> f32 {
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = match exponent {
        31 if mantissa == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        0 => mantissa * 2_f32.powi(-24),
        _ => (1024.0 + mantissa) * 2_f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// The value of the bits of a BF16.
pub(crate) fn value_of_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// A token as the bits of a format of 16 bits, found among all of its values.
pub(crate) fn half(token: &str, value_of: fn(u16) -> f32) -> Read<u16> {
    let Some(number) = fp64(token) else { return Read::Refused };
    let sign = if number.is_sign_negative() && !number.is_nan() { 0x8000 } else { 0 };
    let mut infinity = 0;
    while value_of(infinity).is_finite() {
        infinity = if infinity == 0 { 0x7c00 } else { 0x7f80 };
    }
    if number.is_nan() {
        // Quiet, with the highest bit of its mantissa.
        return Read::Value(if infinity == 0x7c00 { 0x7e00 } else { 0x7fc0 });
    }
    if number.is_infinite() {
        return Read::Value(sign | infinity);
    }
    let size = number.abs();
    // The sizes grow with the bits: find the largest that is not above the number.
    let (mut low, mut high) = (0, infinity);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if f64::from(value_of(middle)) <= size { low = middle } else { high = middle }
    }
    let below = f64::from(value_of(low));
    let above = match f64::from(value_of(high)) {
        above if above.is_finite() => above,
        // As if the format went on.
        _ => 2.0 * below - f64::from(value_of(low - 1)),
    };
    let middle = below + (above - below) / 2.0;
    let nearest = match size {
        _ if size == middle => return Read::Unknown,
        _ if size < middle => low,
        _ => high,
    };
    if nearest == infinity { Read::Refused } else { Read::Value(sign | nearest) }
}

/// A token as an integer, if it is one: `1`, but also `1.0` and `1e3`.
pub(crate) fn integer(token: &str, low: i128, high: i128) -> Option<i128> {
    if !is_number(token) {
        return None;
    }
    let (negative, size) = token.strip_prefix('-').map_or((false, token), |size| (true, size));
    let (mantissa, exponent) = size.split_once(['e', 'E']).unwrap_or((size, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some(0).filter(|zero| (low..=high).contains(zero));
    }
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    // An exponent that no i64 holds puts the number out of any range.
    let exponent = exponent.parse::<i64>().ok()? - fraction.len() as i64 + trailing as i64;
    let zeros = usize::try_from(exponent).ok().filter(|zeros| significant.len() + zeros <= 38)?;
    let size: i128 = format!("{significant}{}", "0".repeat(zeros)).parse().ok()?;
    Some(if negative { -size } else { size }).filter(|value| (low..=high).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_however_they_are_written() {
        let of = |token: &str| integer(token, i64::MIN.into(), u64::MAX.into());
        assert_eq!(of("18446744073709551615"), Some(u64::MAX.into()));
        assert_eq!(of("1.0"), Some(1));
        assert_eq!(of("-12.50e1"), Some(-125));
        assert_eq!(of("100000000000000000000000e-20"), Some(1000));
        assert_eq!(of("0e99999999999999999999"), Some(0));
        for none in [
            "1.5",
            "1e-1",
            "01",
            "+1",
            "1e99999999999999999999",
            "18446744073709551616",
            "",
            "-",
            "1 ",
            "--1",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn halves_are_the_nearest_of_all() {
        assert_eq!(half("1", value_of_fp16), Read::Value(0x3c00));
        assert_eq!(half("-65504", value_of_fp16), Read::Value(0xfbff));
        assert_eq!(half("65520", value_of_fp16), Read::Unknown);
        assert_eq!(half("65521", value_of_fp16), Read::Refused);
        assert_eq!(half("1e-9", value_of_fp16), Read::Value(0));
        assert_eq!(half("0.1", value_of_bf16), Read::Value(0x3dcd));
        assert_eq!(half("NaN", value_of_bf16), Read::Value(0x7fc0));
        assert_eq!(half("Infinity", value_of_bf16), Read::Value(0x7f80));
        assert!(value_of_fp16(0x7e00).is_nan());
    }
}
