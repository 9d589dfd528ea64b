//! Numbers against the standard library's own reading and writing.

use super::element::{Element, Fp32, Fp64};
use crate::tensor::number::decimal::{WINDOW, f32_of, f64_of};
use proptest::prelude::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The element that the fast path gives for a token, if it takes it.
fn fast<E: Element>(token: &str) -> Option<[u8; 8]> {
    let mut window = [b','; WINDOW];
    window.get_mut(..token.len())?.copy_from_slice(token.as_bytes());
    let (raw, length, _) = E::fast(&window)?;
    assert_eq!(length, token.len(), "{token}");
    Some(raw.to_le_bytes())
}

fn check(token: &str) {
    let expected: f32 = token.parse().unwrap();
    match f32_of(token.as_bytes()) {
        Ok(value) => assert_eq!(value.to_bits(), expected.to_bits(), "{token}"),
        Err(_) => assert!(expected.is_infinite(), "{token}"),
    }
    if let Some(bytes) = fast::<Fp32>(token) {
        assert_eq!(bytes[..4], expected.to_le_bytes(), "{token}");
    }
    let expected: f64 = token.parse().unwrap();
    match f64_of(token.as_bytes()) {
        Ok(value) => assert_eq!(value.to_bits(), expected.to_bits(), "{token}"),
        Err(_) => assert!(expected.is_infinite(), "{token}"),
    }
    if let Some(bytes) = fast::<Fp64>(token) {
        assert_eq!(bytes, expected.to_le_bytes(), "{token}");
    }
}

#[test]
fn samples_of_all_fp32_come_back_from_every_way_to_write_them() {
    for bits in (0..=u32::MAX).step_by(404_729) {
        let value = f32::from_bits(bits);
        if value.is_finite() {
            for text in [
                format!("{value}"),
                format!("{value:e}"),
                format!("{}", f64::from(value)),
                format!("{value:.9e}"),
                format!("{:.17e}", f64::from(value)),
            ] {
                assert_eq!(f32_of(text.as_bytes()).map(f32::to_bits), Ok(bits), "{text}");
                if let Some(bytes) = fast::<Fp32>(&text) {
                    assert_eq!(bytes[..4], value.to_le_bytes(), "{text}");
                }
            }
        }
    }
}

#[test]
fn the_middle_between_two_fp32_goes_to_the_even_one() {
    for bits in (0x3000_0000..0x5000_0000_u32).step_by(7_368_787) {
        let (low, high) = (f32::from_bits(bits), f32::from_bits(bits + 1));
        let middle = format!("{:.60}", (f64::from(low) + f64::from(high)) / 2.0);
        check(&middle);
        check(&format!("{middle}1"));
        check(middle.trim_end_matches('0').trim_end_matches('.'));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn decimals_of_up_to_25_digits_are_read_as_the_standard_library_reads_them(
        text in "-?(0|[1-9][0-9]{0,11})(\\.[0-9]{1,13})?([eE][+-]?[0-9]{1,2})?"
    ) {
        check(&text);
    }

    #[test]
    fn what_fp64_prints_is_read_back(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        if value.is_finite() {
            check(&format!("{value:e}"));
            check(&format!("{value:.20e}"));
        }
    }
}
