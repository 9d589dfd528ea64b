//! Percent escapes; above all in segments of a URL's path, which are decoded so that a reader of the path as it is
//! reads the same.
//!
//! Access rules in front of a filter (Envoy's RBAC, an Istio `AuthorizationPolicy`) compare the path's own text. So
//! a segment that could be written in a plainer way, or that another reader takes for something else, is refused and
//! never interpreted: `%73ecret` is not `secret` to such a rule.
//!
//! Two differences are left, because clients write both forms: an escape of another character that may also stand as it
//! is (`%3A` and `:`), and the case of an escape's digits (`%2f` and `%2F`). A rule that denies a name with such a
//! character must name every form of it.

use std::fmt::Write as _;

/// What happens to an escaped slash (`%2F`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapedSlash {
    /// It becomes a slash: data within one segment.
    Decode,
    /// It stays as it is, because it could not be told from the slash between two segments.
    Keep,
}

/// Why a segment is refused. The text begins with what was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSegment {
    /// A percent sign without two hexadecimal digits behind it (RFC 3986, section 2.1).
    #[error("'{0}' is not a percent escape")]
    NotAnEscape(String),
    /// An escape of a letter, a digit or one of `-._~`, which never need one (RFC 3986, section 2.3).
    #[error("'{0}' must be written as '{1}'")]
    Needless(String, char),
    /// An escaped percent sign that makes another escape.
    #[error("'{0}' is escaped twice")]
    Twice(String),
    /// A semicolon, behind which some servers read parameters of the segment (RFC 3986, section 3.3).
    #[error("';' begins path parameters, which are not supported; a ';' in a name is written as '%3B'")]
    Parameters,
    /// A backslash, escaped or not, which some servers take for a slash.
    #[error("'{0}' is a backslash, which some servers read as a slash")]
    Backslash(String),
    /// A control character.
    #[error("'{0}' is a control character")]
    Control(String),
    /// `.` or `..`, which say something about the path around them, or nothing between two slashes. Behind an
    /// escaped slash, too.
    #[error("'{0}' is not a name: '.', '..' and empty parts are not allowed")]
    NotAName(String),
}

/// Decodes a segment of a path: what stands between two slashes. An empty one is empty.
///
/// # Errors
/// It is badly escaped, or could mean something else to another reader of the path ([`BadSegment`]).
pub fn decode_segment(segment: &[u8], slashes: EscapedSlash) -> Result<Vec<u8>, BadSegment> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment;
    let mut part = 0;
    let mut slash = false;
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, length) = if byte == b'%' { (escaped(rest)?, 3) } else { (byte, 1) };
        let found = || text(&rest[..length]);
        match byte {
            b';' if length == 1 => return Err(BadSegment::Parameters),
            b'\\' => return Err(BadSegment::Backslash(found())),
            0..=0x1f | 0x7f => return Err(BadSegment::Control(found())),
            b'%' if hex(after.get(2)).and(hex(after.get(3))).is_some() => {
                return Err(BadSegment::Twice(text(&rest[..5])));
            }
            b'/' => {
                check_part(segment, &decoded[part..])?;
                slash = true;
                match slashes {
                    EscapedSlash::Decode => decoded.push(byte),
                    EscapedSlash::Keep => decoded.extend_from_slice(&rest[..length]),
                }
                part = decoded.len();
            }
            byte => decoded.push(byte),
        }
        rest = &rest[length..];
    }
    if slash || !segment.is_empty() {
        check_part(segment, &decoded[part..])?;
    }
    Ok(decoded)
}

/// A byte of a text with percent escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Octet {
    /// It stands as it is. A percent sign does only if it begins no escape.
    Plain(u8),
    /// It is escaped.
    Escaped(u8),
}

impl Octet {
    /// The byte itself.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Plain(byte) | Self::Escaped(byte) => byte,
        }
    }
}

/// The bytes of a text, its percent escapes decoded (RFC 3986, section 2.1). What is done with a percent sign that
/// begins no escape, and with a `+`, is for the caller to say; for segments of a path see [`decode_segment`].
///
/// ```
/// # use filter_api::octets;
/// let lenient: Vec<u8> = octets(b"50% of %7Ex%7e").map(|octet| octet.byte()).collect();
/// assert_eq!(lenient, b"50% of ~x~");
/// ```
pub fn octets(text: &[u8]) -> impl Iterator<Item = Octet> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        let escaped = hex(after.first()).zip(hex(after.get(1))).filter(|_| byte == b'%');
        match escaped {
            Some((high, low)) => {
                rest = &after[2..];
                Some(Octet::Escaped(high << 4 | low))
            }
            None => {
                rest = after;
                Some(Octet::Plain(byte))
            }
        }
    })
}

/// The byte of the escape that a text begins with.
fn escaped(from_here: &[u8]) -> Result<u8, BadSegment> {
    let found = || text(&from_here[..from_here.len().min(3)]);
    let digits = hex(from_here.get(1)).zip(hex(from_here.get(2)));
    let byte = digits.map(|(high, low)| high << 4 | low).ok_or_else(|| BadSegment::NotAnEscape(found()))?;
    match byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
            Err(BadSegment::Needless(found(), char::from(byte)))
        }
        byte => Ok(byte),
    }
}

/// What stands between two slashes, escaped or not, must be a name.
fn check_part(segment: &[u8], part: &[u8]) -> Result<(), BadSegment> {
    match part {
        b"" | b"." | b".." => Err(BadSegment::NotAName(text(segment))),
        _ => Ok(()),
    }
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    char::from(*digit?).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Bytes of a path for a message, in visible ASCII.
fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte == b' ' || byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn decode(segment: &str) -> Result<String, String> {
        let decoded = decode_segment(segment.as_bytes(), EscapedSlash::Decode);
        decoded.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_needs_an_escape_is_decoded() {
        for (segment, name) in [
            ("tf-1", "tf-1"),
            ("a.b_c~d..e", "a.b_c~d..e"),
            ("%e2%82%ac+%25", "\u{20ac}+%"),
            ("org%2Fmodel:latest", "org/model:latest"),
            ("a%20b%3Bc%3f", "a b;c?"),
            ("100%25z", "100%z"),
            ("...", "..."),
            ("", ""),
        ] {
            assert_eq!(decode(segment).as_deref(), Ok(name), "{segment}");
        }
        let kept = decode_segment(b"a%2fb%20c", EscapedSlash::Keep).unwrap();
        assert_eq!(kept, b"a%2fb c");
    }

    #[test]
    fn what_another_reader_of_the_path_could_take_for_another_name_is_refused() {
        for (segment, why) in [
            ("%zzb", "'%zz' is not a percent escape"),
            ("a%2", "'%2' is not a percent escape"),
            ("%", "'%' is not a percent escape"),
            ("%+1", "'%+1' is not a percent escape"),
            ("%73ecret", "'%73' must be written as 's'"),
            ("secre%54", "'%54' must be written as 'T'"),
            ("%30", "'%30' must be written as '0'"),
            ("%2e%2e", "'%2e' must be written as '.'"),
            ("a%2Db", "'%2D' must be written as '-'"),
            ("a%5Fb%7e", "'%5F' must be written as '_'"),
            ("%7e", "'%7e' must be written as '~'"),
            ("%2573ecret", "'%2573' is escaped twice"),
            ("%252e%252e", "'%252e' is escaped twice"),
            ("public;x=", "';' begins path parameters"),
            (";", "';' begins path parameters"),
            ("a\\b", "'\\' is a backslash"),
            ("a%5cb", "'%5c' is a backslash"),
            ("secret%00", "'%00' is a control character"),
            ("secret%0d%0a", "'%0d' is a control character"),
            ("secret%7F", "'%7F' is a control character"),
            (".", "'.' is not a name"),
            ("..", "'..' is not a name"),
            ("a%2F..%2Fsecret", "'a%2F..%2Fsecret' is not a name"),
            ("%2Fsecret", "'%2Fsecret' is not a name"),
            ("a%2F%2Fb", "'a%2F%2Fb' is not a name"),
            ("a%2F", "'a%2F' is not a name"),
            ("..%2Fsecret", "'..%2Fsecret' is not a name"),
        ] {
            let error = decode(segment).expect_err(segment);
            assert!(error.starts_with(why), "{segment}: {error}");
        }
        assert!(decode_segment(b"..%2Fsecret", EscapedSlash::Keep).is_err());
    }

    /// So a rule on the text of a path cannot be passed by writing a model's name in another way. (Escapes here have
    /// digits in upper case only.)
    #[test]
    fn no_name_of_letters_digits_dots_and_percent_signs_can_be_written_in_two_ways() {
        const ALPHABET: &[u8] = b"a%25FE.";
        let mut written = HashMap::new();
        for length in 1..=6 {
            for number in 0..ALPHABET.len().pow(length) {
                let digit = |place| ALPHABET[number / ALPHABET.len().pow(place) % ALPHABET.len()];
                let segment: Vec<u8> = (0..length).map(digit).collect();
                if let Ok(name) = decode_segment(&segment, EscapedSlash::Decode) {
                    let other = written.insert(name, segment.clone());
                    assert_eq!(other, None, "{} is the same", text(&segment));
                }
            }
        }
        assert!(written.len() > 1000);
    }
}
