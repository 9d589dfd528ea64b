//! The inside of a JSON string, read in pieces: escapes undone, UTF-8 checked.

use super::words::{TOPS, put_short};

/// Reads the inside of one string after the other. The opening quote has been taken; the closing one ends it.
#[derive(Debug, Default)]
pub(crate) struct StringReader {
    state: State,
    utf8: Utf8,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Plain,
    /// After a backslash.
    Escape,
    /// After `\u`: hexadecimal digits so far, and the high surrogate that waits for its second half.
    Hex {
        digits: u8,
        value: u16,
        high: Option<u16>,
    },
    /// After a high surrogate: its second half must follow as another escape.
    Low(u16),
    LowEscape(u16),
}

/// Why a string is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextError {
    Control,
    Escape,
    Surrogate,
    Utf8,
}

impl TextError {
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Control => "a control character in a string must be escaped",
            Self::Escape => "a string has an unknown escape",
            Self::Surrogate => "a string has half a surrogate pair",
            Self::Utf8 => "a string is not valid UTF-8",
        }
    }
}

/// How far a call of [`StringReader::read`] came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// These bytes are part of the string.
    Bytes(&'a [u8]),
    /// This character is part of the string.
    Char(char),
    /// The string has ended; its closing quote is taken.
    End,
    /// The input is used up.
    More,
}

impl StringReader {
    /// Takes the next piece of the string from the front of `input`.
    pub(crate) fn read<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, TextError> {
        loop {
            if let State::Plain = self.state {
                let (plain, rest) = input.split_at(plain_prefix(input));
                if !plain.is_empty() {
                    *input = rest;
                    self.utf8.check(plain)?;
                    return Ok(Piece::Bytes(plain));
                }
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(Piece::More) };
            *input = rest;
            match self.state {
                State::Plain => {
                    self.utf8.end()?;
                    match byte {
                        b'"' => return Ok(Piece::End),
                        b'\\' => self.state = State::Escape,
                        _ => return Err(TextError::Control),
                    }
                }
                State::Escape if *byte == b'u' => {
                    self.state = State::Hex { digits: 0, value: 0, high: None };
                }
                State::Escape => {
                    self.state = State::Plain;
                    return unescaped(*byte).map(Piece::Char).ok_or(TextError::Escape);
                }
                State::Hex { digits, value, high } => {
                    let digit = char::from(*byte).to_digit(16).ok_or(TextError::Escape)?;
                    let value = value << 4 | digit as u16;
                    if digits < 3 {
                        self.state = State::Hex { digits: digits + 1, value, high };
                    } else if let Some(char) = self.code_unit(value, high)? {
                        return Ok(Piece::Char(char));
                    }
                }
                State::Low(high) if *byte == b'\\' => self.state = State::LowEscape(high),
                State::LowEscape(high) if *byte == b'u' => {
                    self.state = State::Hex { digits: 0, value: 0, high: Some(high) };
                }
                State::Low(_) | State::LowEscape(_) => return Err(TextError::Surrogate),
            }
        }
    }

    /// A whole `\uXXXX` has been read.
    fn code_unit(&mut self, unit: u16, high: Option<u16>) -> Result<Option<char>, TextError> {
        let code = match (high, unit) {
            (None, 0xd800..=0xdbff) => {
                self.state = State::Low(unit);
                return Ok(None);
            }
            (Some(high), 0xdc00..=0xdfff) => {
                0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(unit) - 0xdc00)
            }
            (Some(_), _) => return Err(TextError::Surrogate),
            (None, _) => u32::from(unit),
        };
        self.state = State::Plain;
        char::from_u32(code).map(Some).ok_or(TextError::Surrogate)
    }
}

/// How long the string at the front of `text` is that begins behind its opening quote, without the closing one, if it is
/// whole and at most `most` bytes long; and where its first backslash is, or its end.
pub(crate) fn whole(text: &[u8], most: usize) -> Option<(usize, usize)> {
    let text = &text[..text.len().min(most + 1)];
    let plain = plain_prefix(text);
    let mut at = plain;
    loop {
        match text.get(at)? {
            b'"' => return Some((at, plain)),
            b'\\' => at += 2,
            _ => return None,
        }
        at += plain_prefix(text.get(at..)?);
    }
}

/// Writes a [whole](whole) string of `len` bytes, the first of `text`, to the front of `out`, which is at least as long, with its
/// escapes undone, and may write something behind it; says how long it is then. `plain` is where its first backslash is, or its
/// end. `None` if it has more than simple escapes or is not UTF-8.
pub(crate) fn unescape(text: &[u8], len: usize, plain: usize, out: &mut [u8]) -> Option<usize> {
    put_short(text, plain, out);
    let (mut at, mut done) = (plain, plain);
    while at < len {
        *out.get_mut(done)? = unescaped(*text.get(at + 1)?)? as u8;
        (at, done) = (at + 2, done + 1);
        let plain = plain_prefix(text.get(at..len)?);
        put_short(&text[at..], plain, out.get_mut(done..)?);
        (at, done) = (at + plain, done + plain);
    }
    is_utf8(&out[..done]).then_some(done)
}

/// Whether a short text is UTF-8. Most are ASCII alone.
fn is_utf8(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let other = words.iter().position(|eight| u64::from_le_bytes(*eight) & TOPS != 0);
    match other {
        None if rest.is_ascii() => true,
        // A character does not begin before the first word with a byte that is not ASCII.
        place => std::str::from_utf8(&text[8 * place.unwrap_or(words.len())..]).is_ok(),
    }
}

fn unescaped(byte: u8) -> Option<char> {
    Some(match byte {
        b'"' | b'\\' | b'/' => char::from(byte),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return None,
    })
}

/// How many bytes at the front are neither a quote, a backslash nor a control character: eight at a time.
pub(crate) fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // A byte of the result has its top bit set where the byte of `word` is zero; bytes after the first such
    // one may be wrong, and are not looked at.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let mut at = 0;
    while let Some(eight) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
        let special = quote | backslash | control;
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    at + bytes[at..].iter().take_while(|byte| plain(byte)).count()
}

/// Checks UTF-8 that comes in pieces cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Utf8 {
    /// The start of a character whose rest has not come.
    start: [u8; 4],
    len: usize,
}

impl Utf8 {
    pub(crate) fn check(&mut self, mut bytes: &[u8]) -> Result<(), TextError> {
        while self.len > 0 {
            let Some((byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            // A start of four bytes is a whole character or an error, so there is room for one more.
            self.start[self.len] = *byte;
            self.len += 1;
            match std::str::from_utf8(&self.start[..self.len]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(TextError::Utf8),
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let start = &bytes[error.valid_up_to()..];
                self.start[..start.len()].copy_from_slice(start);
                self.len = start.len();
                Ok(())
            }
            Err(_) => Err(TextError::Utf8),
        }
    }

    /// No more bytes come.
    pub(crate) fn end(&self) -> Result<(), TextError> {
        if self.len == 0 { Ok(()) } else { Err(TextError::Utf8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Reads a string that ends with its quote, in pieces of `step` bytes.
    fn read(text: &[u8], step: usize) -> Result<String, TextError> {
        let mut reader = StringReader::default();
        let mut out = Vec::new();
        for mut piece in text.chunks(step) {
            loop {
                match reader.read(&mut piece)? {
                    Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                    Piece::Char(char) => out.extend_from_slice(char.to_string().as_bytes()),
                    Piece::End => return Ok(String::from_utf8(out).unwrap()),
                    Piece::More => break,
                }
            }
        }
        panic!("the string did not end");
    }

    #[test]
    fn a_string_cut_anywhere_has_its_escapes_undone() {
        let text = "plain \\u00E9\\n\\\"\\/ \u{e9}\u{20ac}\u{1f600} \\ud83d\\uDE00\\b\\f\\r\\t\\\\\"";
        let expected = "plain \u{e9}\n\"/ \u{e9}\u{20ac}\u{1f600} \u{1f600}\u{8}\u{c}\r\t\\";
        for step in 1..=text.len() {
            assert_eq!(read(text.as_bytes(), step).unwrap(), expected, "in pieces of {step}");
        }
    }

    #[test]
    fn what_is_no_json_string_is_refused_however_it_is_cut() {
        let cases: [(&[u8], TextError); 10] = [
            (b"a\nb\"", TextError::Control),
            (b"a\\x\"", TextError::Escape),
            (b"a\\u12g4\"", TextError::Escape),
            (b"\\ud800\"", TextError::Surrogate),
            (b"\\ud800\\n\"", TextError::Surrogate),
            (b"\\ud800\\u0041\"", TextError::Surrogate),
            (b"\\udc00\"", TextError::Surrogate),
            (b"abcdefgh\xff\"", TextError::Utf8),
            (b"\xe2\x82\"", TextError::Utf8),
            (b"\xe2\x82\\n\"", TextError::Utf8),
        ];
        for (text, error) in cases {
            for step in 1..=text.len() {
                assert_eq!(read(text, step), Err(error), "{text:?} in pieces of {step}");
            }
        }
    }

    #[test]
    fn the_plain_prefix_ends_at_every_special_byte_in_every_place() {
        for special in (0..0x20_u8).chain([b'"', b'\\']) {
            for place in 0..20 {
                let mut text = [b'~'; 20];
                text[place] = special;
                assert_eq!(plain_prefix(&text), place, "{special:#x} at {place}");
            }
        }
        let others: Vec<u8> = (0x20..=0xff).filter(|byte| *byte != b'"' && *byte != b'\\').collect();
        assert_eq!(plain_prefix(&others), others.len());
    }
}
