//! Base64 (RFC 4648 sections 4 and 5) in pieces. Both alphabets are read, padded or not, as protobuf's JSON
//! mapping asks for; the standard one is written, padded.

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

/// The bits of a character at each of four places in 24, or [`NOT_BITS`].
static PLACES: [[u32; 256]; 4] = {
    let mut places = [[NOT_BITS; 256]; 4];
    let mut at = 0;
    while at < 4 * 256 {
        let value = VALUES[at % 256];
        if value != NONE {
            places[at / 256][at % 256] = (value as u32) << (18 - 6 * (at / 256));
        }
        at += 1;
    }
    places
};

const NOT_BITS: u32 = 1 << 31;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes of one text, appended to `out`, which has room for as many bytes as the text has; `false`, and nothing
/// appended, if it is not base64.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let bare = match text {
        [bare @ .., b'=', b'='] | [bare @ .., b'='] if text.len().is_multiple_of(4) => bare,
        _ => text,
    };
    let (eights, rest) = bare.as_chunks::<8>();
    let mut all = 0;
    for [a, b, c, d, e, f, g, h] in eights {
        let (first, second) = (bits([*a, *b, *c, *d]), bits([*e, *f, *g, *h]));
        all |= first | second;
        // Six bytes, and two that are written over.
        let six = u64::from(first) << 40 | u64::from(second) << 16;
        out.extend_from_slice(&six.to_be_bytes());
        out.truncate(out.len() - 2);
    }
    let (fours, rest) = rest.as_chunks::<4>();
    for four in fours {
        let bits = bits(*four);
        all |= bits;
        out.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
    let mut good = rest.len() != 1;
    if rest.len() > 1 {
        let mut four = [b'A'; 4];
        four[..rest.len()].copy_from_slice(rest);
        let bits = bits(four);
        all |= bits;
        let bytes = bits.to_be_bytes();
        let (own, spare) = bytes[1..].split_at(rest.len() - 1);
        // Bits beyond the last byte must be zero, so that bytes have one spelling only.
        good = spare.iter().all(|byte| *byte == 0);
        out.extend_from_slice(own);
    }
    good &= all & NOT_BITS == 0;
    if !good {
        out.truncate(before);
    }
    good
}

/// The 24 bits of four characters, or [`NOT_BITS`] among them.
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
                three.copy_from_slice(&bits.to_be_bytes()[1..]);
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
                for ([a, b, c], four) in piece.iter().zip(text.as_chunks_mut::<4>().0) {
                    *four = characters(u32::from_be_bytes([0, *a, *b, *c]));
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
    [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift) as usize & 63])
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

    #[test]
    fn a_text_at_once_gives_the_bytes_that_it_gives_in_pieces() {
        let bytes: Vec<u8> = (0..100_u8).map(|at| at.wrapping_mul(37)).collect();
        for len in 0..bytes.len() {
            let mut text = Vec::new();
            let mut encoder = Encoder::default();
            encoder.push(&bytes[..len], |piece| text.extend_from_slice(piece));
            encoder.end(|piece| text.extend_from_slice(piece));
            let bare = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(&text);
            for text in [&text[..], bare] {
                let mut out = Vec::with_capacity(text.len());
                assert!(super::decode(text, &mut out));
                assert_eq!(out, bytes[..len]);
                assert_eq!(decode(text, 5).as_deref(), Some(&bytes[..len]));
            }
            // A wrong character in every place.
            for place in 0..text.len() {
                let mut wrong = text.clone();
                wrong[place] = b'*';
                assert!(!super::decode(&wrong, &mut Vec::new()));
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
            let mut out = b"before".to_vec();
            assert!(!super::decode(text.as_bytes(), &mut out), "{text}");
            assert_eq!(out, b"before");
        }
    }
}
