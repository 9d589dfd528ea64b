//! Eight bytes at a time, as the bytes of a word.

/// The top bit of each byte.
pub(crate) const TOPS: u64 = 0x8080_8080_8080_8080;

const ONES: u64 = 0x0101_0101_0101_0101;

/// The top bits of the bytes of `word` that are `byte`, and no others.
#[inline(always)]
pub(crate) fn equal(word: u64, byte: u8) -> u64 {
    let other = word ^ (ONES * u64::from(byte));
    !(((other & !TOPS) + !TOPS) | other) & TOPS
}

/// How many bytes at the front are blanks, as JSON has them.
pub(crate) fn blanks(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(eight) = text[at..].first_chunk() {
        let word = u64::from_le_bytes(*eight);
        let blanks = equal(word, b' ') | equal(word, b'\n') | equal(word, b'\r') | equal(word, b'\t');
        if blanks != TOPS {
            return at + (!blanks & TOPS).trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + text[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_bytes_that_are_equal_are_found_and_no_others() {
        for byte in 0..=255 {
            for other in 0..=255 {
                let word = u64::from_le_bytes([byte, other, byte, byte, other, 0, byte, other]);
                let found = equal(word, byte).to_le_bytes();
                let expected = word.to_le_bytes().map(|own| if own == byte { 0x80 } else { 0 });
                assert_eq!(found, expected, "{byte:#x} in {word:#x}");
            }
        }
    }

    #[test]
    fn blanks_end_at_every_other_byte_in_every_place() {
        for other in (0..=255).filter(|byte| !b" \n\r\t".contains(byte)) {
            for place in 0..20 {
                let mut text = *b" \n\r\t  \t\t\n\n  \r\r      ";
                text[place] = other;
                assert_eq!(blanks(&text), place, "{other:#x} at {place}");
            }
        }
        assert_eq!(blanks(&[b' '; 21]), 21);
    }
}
