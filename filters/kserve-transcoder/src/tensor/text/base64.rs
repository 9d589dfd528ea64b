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

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes of one text, appended to `out`, which has room for them; `false`, and nothing appended, if it is not base64.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let mut decoder = Decoder::default();
    for piece in text.chunks(PIECE) {
        let mut bytes = [0; PIECE / 4 * 3 + 2];
        let len = decoder.push(piece, &mut bytes);
        out.extend_from_slice(&bytes[..len]);
    }
    let mut rest = [0; 4];
    let end = decoder.end(&mut rest);
    match end {
        Some(len) => out.extend_from_slice(&rest[..len]),
        None => out.truncate(before),
    }
    end.is_some()
}

/// How much of a text is decoded at a time.
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
                let [a, b, c, d] = four.map(|byte| VALUES[usize::from(byte)]);
                if a | b | c | d == NONE {
                    break;
                }
                let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
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
        for text in ["Z", "Zg=", "Zh==", "Zg==Zg==", "Zm9v=", "Zm 9v", "====", "Zm9vZ"] {
            assert_eq!(decode(text.as_bytes(), 3), None, "{text}");
        }
    }
}
