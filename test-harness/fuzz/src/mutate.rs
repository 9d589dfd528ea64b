//! Pseudo-random changes of inputs, the same for the same seed.

/// Pieces of JSON and of protobuf that mean something to the readers.
const PIECES: &[&[u8]] = &[
    b",",
    b"[",
    b"]",
    b"{",
    b"}",
    b":",
    b"\"",
    b"\\",
    b"null",
    b"true",
    b"false",
    b"NaN",
    b"-Infinity",
    b"\x01",
    b"\x02",
    b"Bearer ",
    b";id=",
    b"&id%5ftoken=",
    b"\"exp\":1e9",
    b"\"kid\":\"a\"",
    b"\"alg\":null",
    b" ",
    b"\n",
    b"\x0c",
    b"\"data\":",
    b"\"shape\":[0]",
    b"\"datatype\":\"INT8\"",
    b"\"contents\":{}",
    b"\"parameters\":{}",
    b"\"inputs\":[]",
    b"\"raw_input_contents\":[]",
    b"\"binary_data_size\":4",
    b"\"id\":\"x\"",
    b"\\u0000",
    b"\\ud83d\\ude00",
    b"\xf0\x9f\x98\x80",
    b"\xff",
    b"1e400",
    b"0.1",
    b"-0",
    b"9007199254740993",
    b"1e-320",
    b"65519.99",
    b"0.00000000000000000000000001",
    b"00",
    b"\x0a\x00",
    b"\x1a\x01\x05",
    b"\x2a\x02\x0a\x00",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\x32\x04\x00\x00\x80\x7f",
];

/// Changes inputs.
#[derive(Clone, Debug)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// A mutator that does the same each time.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// Changes `input` in one to four places; `other` is another input, of which a part may be taken.
    pub fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            let end = (at + self.below(12)).min(input.len());
            match self.below(8) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = self.below(256) as u8,
                2 => drop(input.drain(at..end)),
                3 => {
                    let copy = input[at..end].to_vec();
                    input.splice(at..at, copy);
                }
                4 => input.truncate(at),
                5 => {
                    let from = self.below(other.len() + 1);
                    let part = &other[from..(from + self.below(40)).min(other.len())];
                    input.splice(at..end, part.iter().copied());
                }
                6 => {
                    let digit = b'0' + self.below(10) as u8;
                    input.splice(at..at, [digit]);
                }
                _ => {
                    let piece = PIECES[self.below(PIECES.len())];
                    input.splice(at..at, piece.iter().copied());
                }
            }
        }
    }

    /// A number below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        ((self.state >> 33) % limit as u64) as usize
    }
}
