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

/// The top bits of the bytes of `word` that are ASCII from `first` to `last`, and no others.
#[inline(always)]
pub(crate) fn within(word: u64, first: u8, last: u8) -> u64 {
    let low = word & !TOPS;
    let from_first = low + ONES * u64::from(0x80 - first);
    let behind_last = low + ONES * u64::from(0x7f - last);
    from_first & !(behind_last | word) & TOPS
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

/// How much longer than its text the place must be to which [`put_short`] copies, in bytes.
pub(crate) const ROOM: usize = 32;

/// Copies `len` bytes from the front of `from` to the front of `to`, which is at least [`ROOM`] longer than that, and may
/// write something behind them. Most texts are so short that copies of a fixed length, which are a few instructions each, cost
/// less than one that asks how long they are.
#[inline(always)]
pub(crate) fn put_short(from: &[u8], len: usize, to: &mut [u8]) {
    match (from.first_chunk::<ROOM>(), to.first_chunk_mut::<ROOM>()) {
        (Some(from), Some(to)) if len <= ROOM => *to = *from,
        _ => put_exactly(&from[..len], &mut to[..len]),
    }
}

/// Copies one text to another of the same length: of a short one the ends, which overlap.
#[inline(always)]
fn put_exactly(from: &[u8], to: &mut [u8]) {
    match from.len() {
        16..=32 => put_ends::<16>(from, to),
        8..16 => put_ends::<8>(from, to),
        _ => to.copy_from_slice(from),
    }
}

#[inline(always)]
fn put_ends<const SIZE: usize>(from: &[u8], to: &mut [u8]) {
    if let (Some(first), Some(place)) = (from.first_chunk::<SIZE>(), to.first_chunk_mut()) {
        *place = *first;
    }
    if let (Some(last), Some(place)) = (from.last_chunk::<SIZE>(), to.last_chunk_mut()) {
        *place = *last;
    }
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
    fn the_bytes_that_are_within_a_range_are_found_and_no_others() {
        for byte in 0..=255 {
            for other in [0, b'Z', b'[', b']', b'^', 0x7f, 0x80, 0xdb, 0xff] {
                let word = u64::from_le_bytes([byte, other, byte, byte, other, 0, byte, other]);
                let expected =
                    word.to_le_bytes().map(|own| if (b'['..=b']').contains(&own) { 0x80 } else { 0 });
                assert_eq!(within(word, b'[', b']').to_le_bytes(), expected, "{byte:#x}, {other:#x}");
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

    #[test]
    fn a_text_of_any_length_is_copied_whatever_follows_it() {
        let text: Vec<u8> = (0..100).collect();
        for len in 0..=text.len() {
            for follows in 0..=text.len() - len {
                let mut to = [0xff; 100 + ROOM];
                put_short(&text[..len + follows], len, &mut to);
                assert_eq!(to[..len], text[..len]);
            }
        }
    }
}
