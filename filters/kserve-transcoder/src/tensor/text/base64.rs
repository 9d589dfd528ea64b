//! Base64 (RFC 4648 sections 4 and 5) in pieces. Both alphabets are read, padded or not, as protobuf's JSON
//! mapping asks for; the standard one is written, padded.

use super::words::equal;

/// What a character stands for; [`NONE`] for all that are in neither alphabet.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < 64 {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    (values[b'-' as usize], values[b'_' as usize]) = (62, 63);
    values
};

const NONE: u8 = 0xff;

/// What a character at each of four places adds to three bytes, the first of them lowest, or [`NOT_BITS`].
static PLACES: [[u32; 256]; 4] = {
    let mut places = [[NOT_BITS; 256]; 4];
    let mut at = 0;
    while at < 4 * 256 {
        let value = VALUES[at % 256];
        if value != NONE {
            let [_, first, second, third] = ((value as u32) << (18 - 6 * (at / 256))).to_be_bytes();
            places[at / 256][at % 256] = u32::from_le_bytes([first, second, third, 0]);
        }
        at += 1;
    }
    places
};

const NOT_BITS: u32 = 1 << 31;

/// The two characters of twelve bits.
static PAIRS: [[u8; 2]; 4096] = {
    let mut pairs = [[0; 2]; 4096];
    let mut bits = 0;
    while bits < 4096 {
        pairs[bits] = [ALPHABET[bits >> 6], ALPHABET[bits & 63]];
        bits += 1;
    }
    pairs
};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// How much longer than the text the place must be to which its bytes are decoded, in bytes.
pub(crate) const ROOM: usize = 8;

/// Writes the bytes of one text to the front of `out`, which is at least [`ROOM`] longer than the text, and may write something
/// behind them; says how many there are, or `None` if the text is not base64.
#[inline(always)]
pub(crate) fn decode(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let (taken, len) = decode_eights(text, out)?;
    Some(len + decode_end(&text[taken..], out.get_mut(len..)?)?)
}

/// As [`decode`], with a text that a quote ends; says as well how long it is without the quote. `None` also says that the
/// text is longer than `out` has room for.
#[inline(always)]
pub(crate) fn decode_to_quote(text: &[u8], out: &mut [u8]) -> Option<(usize, usize)> {
    let (taken, len) = decode_eights(text, out)?;
    let tail = &text[taken..];
    let quote = match tail.first_chunk() {
        // Mostly it stands among the next eight, or right behind them.
        Some(eight) => equal(u64::from_le_bytes(*eight), b'"').trailing_zeros() as usize / 8,
        None => tail.iter().position(|byte| *byte == b'"')?,
    };
    if tail.get(quote) != Some(&b'"') {
        return None;
    }
    Some((taken + quote, len + decode_end(&tail[..quote], out.get_mut(len..)?)?))
}

/// Decodes the end of a text, at most eight characters. Almost every text is padded, and so ends with four or with eight: what
/// has a fixed length is copied as a word.
#[inline(always)]
fn decode_end(tail: &[u8], out: &mut [u8]) -> Option<usize> {
    match tail {
        [] => Some(0),
        [a, b, c, d] => decode_last([*a, *b, *c, *d], out),
        [a, b, c, d, last @ ..] if let Ok(last) = <[u8; 4]>::try_from(last) => {
            let three = bits([*a, *b, *c, *d]);
            if three & NOT_BITS != 0 {
                return None;
            }
            *out.first_chunk_mut()? = three.to_le_bytes();
            Some(3 + decode_last(last, out.get_mut(3..)?)?)
        }
        _ => decode_tail(tail, out),
    }
}

/// Decodes the last four characters of a padded text.
#[inline(always)]
fn decode_last([a, b, c, d]: [u8; 4], out: &mut [u8]) -> Option<usize> {
    let one_less = d == b'=';
    let two_less = one_less & (c == b'=');
    let three = bits([a, b, if two_less { b'A' } else { c }, if one_less { b'A' } else { d }]);
    let len = 3 - usize::from(one_less) - usize::from(two_less);
    *out.first_chunk_mut()? = three.to_le_bytes();
    // Bits beyond the last byte must be zero, so that bytes have one spelling only. That also finds what is no bits.
    (three >> (8 * len) == 0).then_some(len)
}

/// Decodes groups of eight characters as long as all of them are base64; says how many characters, and how many bytes.
#[inline(always)]
fn decode_eights(text: &[u8], out: &mut [u8]) -> Option<(usize, usize)> {
    let (mut taken, mut len) = (0, 0);
    let (eights, _) = text.as_chunks::<8>();
    for [a, b, c, d, e, f, g, h] in eights {
        let (first, second) = (bits([*a, *b, *c, *d]), bits([*e, *f, *g, *h]));
        if (first | second) & NOT_BITS != 0 {
            break;
        }
        let six = u64::from(first) | u64::from(second) << 24;
        *out.get_mut(len..)?.first_chunk_mut()? = six.to_le_bytes();
        taken += 8;
        len += 6;
    }
    Some((taken, len))
}

/// Decodes the end of a text, at most eight characters.
fn decode_tail(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let bare = match text {
        [bare @ .., b'=', b'='] | [bare @ .., b'='] if text.len().is_multiple_of(4) => bare,
        _ => text,
    };
    // Missing characters count as zeros.
    let mut eight = [b'A'; 8];
    eight.get_mut(..bare.len())?.copy_from_slice(bare);
    let [a, b, c, d, e, f, g, h] = eight;
    let (first, second) = (bits([a, b, c, d]), bits([e, f, g, h]));
    let six = u64::from(first) | u64::from(second) << 24;
    *out.first_chunk_mut()? = six.to_le_bytes();
    let len = match bare.len() % 4 {
        1 => return None,
        _ => bare.len() * 3 / 4,
    };
    // Bits beyond the last byte must be zero, so that bytes have one spelling only.
    let spare = (six & ((1 << 48) - 1)) >> (8 * len);
    (spare == 0 && (first | second) & NOT_BITS == 0).then_some(len)
}

/// Writes the base64 of some bytes, padded, to the front of `out`; says how long it is. Of more bytes than there is room for it
/// writes only a part: [`encoded_len`] says how much it takes.
pub(crate) fn encode(bytes: &[u8], out: &mut [u8]) -> usize {
    let (threes, rest) = bytes.as_chunks::<3>();
    let (fours, _) = out.as_chunks_mut::<4>();
    for (three, four) in threes.iter().zip(fours.iter_mut()) {
        *four = four_of(*three);
    }
    if let (false, Some(four)) = (rest.is_empty(), fours.get_mut(threes.len())) {
        let mut three = [0; 3];
        three[..rest.len()].copy_from_slice(rest);
        *four = four_of(three);
        four[rest.len() + 1..].fill(b'=');
    }
    encoded_len(bytes.len())
}

/// How long the base64 of so many bytes is, padded.
pub(crate) fn encoded_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// The characters of three bytes.
#[inline(always)]
fn four_of(three: [u8; 3]) -> [u8; 4] {
    let [a, b, c] = three.map(usize::from);
    let [first, second] = PAIRS[a << 4 | b >> 4];
    let [third, fourth] = PAIRS[(b & 15) << 8 | c];
    [first, second, third, fourth]
}

/// The three bytes of four characters, the first of them lowest, or [`NOT_BITS`] among them.
#[inline(always)]
fn bits([a, b, c, d]: [u8; 4]) -> u32 {
    let [first, second, third, fourth] = &PLACES;
    first[usize::from(a)] | second[usize::from(b)] | third[usize::from(c)] | fourth[usize::from(d)]
}

/// How many characters are encoded at a time.
const PIECE: usize = 96;

/// Reads base64 that comes in pieces cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bits: u32,
    /// How many characters are in `bits`.
    count: u32,
    padding: u32,
    bad: bool,
}

impl Decoder {
    /// Decodes `text` into `out`, which must be two bytes longer; says how many bytes came out.
    pub(crate) fn push(&mut self, text: &[u8], out: &mut [u8]) -> usize {
        let mut len = 0;
        let mut text = text;
        if self.count == 0 && self.padding == 0 {
            let (fours, _) = text.as_chunks::<4>();
            let mut taken = 0;
            for (four, three) in fours.iter().zip(out.chunks_exact_mut(3)) {
                let bits = bits(*four);
                if bits & NOT_BITS != 0 {
                    break;
                }
                three.copy_from_slice(&bits.to_le_bytes()[..3]);
                taken += 1;
            }
            len = 3 * taken;
            text = &text[4 * taken..];
        }
        for byte in text {
            let value = VALUES[usize::from(*byte)];
            if *byte == b'=' {
                self.padding += 1;
                continue;
            }
            if value == NONE {
                self.bad = true;
                continue;
            }
            self.bad |= self.padding > 0;
            self.bits = self.bits << 6 | u32::from(value);
            self.count += 1;
            if self.count == 4 {
                out[len..len + 3].copy_from_slice(&self.bits.to_be_bytes()[1..]);
                len += 3;
                (self.bits, self.count) = (0, 0);
            }
        }
        len
    }

    /// Writes the last bytes to `out`; says how many, or `None` if the text as a whole was no base64.
    pub(crate) fn end(self, out: &mut [u8; 4]) -> Option<usize> {
        let (len, bits, padding) = match self.count {
            0 => (0, 0, 0),
            2 => (1, self.bits << 12, 2),
            3 => (2, self.bits << 6, 1),
            _ => return None,
        };
        // Bits beyond the last byte must be zero, so that bytes have one spelling only.
        let spare = bits.to_be_bytes()[1 + len..].iter().any(|byte| *byte != 0);
        if self.bad || spare || (self.padding != 0 && self.padding != padding) {
            return None;
        }
        out[..len].copy_from_slice(&bits.to_be_bytes()[1..1 + len]);
        Some(len)
    }
}

/// Writes base64 of bytes that come in pieces, padded.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    bits: u32,
    /// How many bytes are in `bits`.
    count: u32,
}

impl Encoder {
    /// Encodes `bytes`; gives `write` a piece at a time.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut write: impl FnMut(&[u8])) {
        if self.count == 0 {
            let (threes, rest) = bytes.as_chunks::<3>();
            for piece in threes.chunks(PIECE / 4) {
                let mut text = [0; PIECE];
                for (three, four) in piece.iter().zip(text.as_chunks_mut::<4>().0) {
                    *four = four_of(*three);
                }
                write(&text[..4 * piece.len()]);
            }
            bytes = rest;
        }
        for byte in bytes {
            self.bits = self.bits << 8 | u32::from(*byte);
            self.count += 1;
            if self.count == 3 {
                write(&characters(self.bits));
                *self = Self::default();
            }
        }
    }

    /// Writes the last characters and begins anew.
    pub(crate) fn end(&mut self, mut write: impl FnMut(&[u8])) {
        let Self { bits, count } = std::mem::take(self);
        if count > 0 {
            let mut text = characters(bits << (8 * (3 - count)));
            text[count as usize + 1..].fill(b'=');
            write(&text);
        }
    }
}

/// The four characters of 24 bits.
fn characters(bits: u32) -> [u8; 4] {
    let [_, three @ ..] = bits.to_be_bytes();
    four_of(three)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn decode(text: &[u8], step: usize) -> Option<Vec<u8>> {
        let mut decoder = Decoder::default();
        let mut all = Vec::new();
        for piece in text.chunks(step) {
            let mut out = vec![0; piece.len() + 2];
            let len = decoder.push(piece, &mut out);
            all.extend_from_slice(&out[..len]);
        }
        let mut rest = [0; 4];
        let len = decoder.end(&mut rest)?;
        all.extend_from_slice(&rest[..len]);
        Some(all)
    }

    fn at_once(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; text.len() + ROOM];
        let len = super::decode(text, &mut out);
        let quoted = [text, b"\",\"AAAAAAAA"].concat();
        let to_quote = super::decode_to_quote(&quoted, &mut vec![0; quoted.len() + ROOM]);
        assert_eq!(to_quote, len.map(|len| (text.len(), len)));
        out.truncate(len?);
        Some(out)
    }

    #[test]
    fn a_text_at_once_gives_the_bytes_that_it_gives_in_pieces() {
        let bytes: Vec<u8> = (0..100_u8).map(|at| at.wrapping_mul(37)).collect();
        for len in 0..bytes.len() {
            let mut text = Vec::new();
            let mut encoder = Encoder::default();
            encoder.push(&bytes[..len], |piece| text.extend_from_slice(piece));
            encoder.end(|piece| text.extend_from_slice(piece));
            let mut whole = [b'-'; 200];
            let whole_len = encode(&bytes[..len], &mut whole);
            assert_eq!((whole_len, &whole[..whole_len]), (text.len(), &text[..]));
            let bare = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(&text);
            for text in [&text[..], bare] {
                assert_eq!(at_once(text).as_deref(), Some(&bytes[..len]));
                assert_eq!(decode(text, 5).as_deref(), Some(&bytes[..len]));
            }
            // A wrong character in every place.
            for place in 0..text.len() {
                let mut wrong = text.clone();
                wrong[place] = b'*';
                assert_eq!(at_once(&wrong), None);
                assert_eq!(decode(&wrong, 7), None);
            }
        }
    }

    #[test]
    fn the_vectors_of_the_rfc_come_out_however_they_are_cut() {
        let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (len, text) in vectors.iter().enumerate() {
            for step in 1..=8 {
                assert_eq!(decode(text.as_bytes(), step).unwrap(), b"foobar"[..len]);
                let bare = text.trim_end_matches('=');
                assert_eq!(decode(bare.as_bytes(), step).unwrap(), b"foobar"[..len]);
                let mut encoder = Encoder::default();
                let mut encoded = Vec::new();
                for piece in b"foobar"[..len].chunks(step) {
                    encoder.push(piece, |text| encoded.extend_from_slice(text));
                }
                encoder.end(|text| encoded.extend_from_slice(text));
                assert_eq!(encoded, text.as_bytes());
            }
        }
        assert_eq!(decode(b"-_8", 2), decode(b"+/8=", 3));
    }

    #[test]
    fn what_is_no_base64_is_none() {
        for text in
            ["Z", "Zg=", "Zh==", "Zg==Zg==", "Zm9v=", "Zm 9v", "====", "Zm9vZ", "Z===", "=", "Zm9v===="]
        {
            assert_eq!(decode(text.as_bytes(), 3), None, "{text}");
            assert_eq!(at_once(text.as_bytes()), None, "{text}");
        }
    }
}
