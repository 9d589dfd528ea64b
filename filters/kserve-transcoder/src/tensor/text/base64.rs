//! Base64 (RFC 4648 sections 4 and 5) in pieces. Both alphabets are read, padded or not, as protobuf's JSON
//! mapping asks for; the standard one is written, padded.

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
        for byte in text {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                b'=' => {
                    self.padding += 1;
                    continue;
                }
                _ => {
                    self.bad = true;
                    continue;
                }
            };
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
    /// Encodes `bytes`; gives `write` four characters at a time.
    pub(crate) fn push(&mut self, bytes: &[u8], mut write: impl FnMut(&[u8])) {
        for byte in bytes {
            self.bits = self.bits << 8 | u32::from(*byte);
            self.count += 1;
            if self.count == 3 {
                write(&four(self.bits));
                *self = Self::default();
            }
        }
    }

    /// Writes the last characters and begins anew.
    pub(crate) fn end(&mut self, mut write: impl FnMut(&[u8])) {
        let Self { bits, count } = std::mem::take(self);
        if count > 0 {
            let mut text = four(bits << (8 * (3 - count)));
            text[count as usize + 1..].fill(b'=');
            write(&text);
        }
    }
}

/// The four characters of 24 bits.
fn four(bits: u32) -> [u8; 4] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
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
