//! JSON as a tree that loses nothing: numbers keep their text, objects their order and their repeated keys.
//!
//! `serde_json` does the reading. What is not JSON but is read all the same, a bare `NaN`, `Infinity` or `-Infinity`,
//! is hidden from it in a string that no one else writes.

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// In front of what was a bare word: the last code point of all, a noncharacter.
const MARK: char = '\u{10ffff}';
/// Deeper than anything that is accepted.
const MAX_DEPTH: usize = 160;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// Its text.
    Number(String),
    /// `NaN`, `Infinity` or `-Infinity`, without quotes.
    Bare(String),
    /// What it says, and whether it has escapes.
    Text(String, bool),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Why a text could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTree {
    /// It is not JSON.
    Invalid,
    /// It may be, but this reader cannot tell.
    Unknown,
}

impl Json {
    /// Reads a document.
    pub(crate) fn read(text: &[u8]) -> Result<Self, NoTree> {
        // The mark itself, however it is written.
        let lower = text.to_ascii_lowercase();
        if [&b"\xf4\x8f\xbf\xbf"[..], b"udbff"].iter().any(|mark| contains(&lower, mark)) {
            return Err(NoTree::Unknown);
        }
        let marked = mark_bare_words(text);
        let raw: &RawValue = serde_json::from_slice(&marked).map_err(|_| NoTree::Invalid)?;
        Self::of(raw, 0)
    }

    /// What a key of an object has, the last if it comes more than once.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    fn of(raw: &RawValue, depth: usize) -> Result<Self, NoTree> {
        if depth > MAX_DEPTH {
            return Err(NoTree::Invalid);
        }
        let text = raw.get();
        Ok(match text.as_bytes().first() {
            Some(b'{') => {
                let Fields(fields) = serde_json::from_str(text).map_err(|_| NoTree::Invalid)?;
                let field = |(name, value): (String, &RawValue)| {
                    if name.starts_with(MARK) {
                        Err(NoTree::Invalid)
                    } else {
                        Ok((name, Self::of(value, depth + 1)?))
                    }
                };
                Self::Object(fields.into_iter().map(field).collect::<Result<_, _>>()?)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| NoTree::Invalid)?;
                Self::Array(
                    items.into_iter().map(|item| Self::of(item, depth + 1)).collect::<Result<_, _>>()?,
                )
            }
            Some(b'"') => {
                let said: String = serde_json::from_str(text).map_err(|_| NoTree::Invalid)?;
                match said.strip_prefix(MARK) {
                    Some(word) => Self::Bare(word.to_owned()),
                    None => Self::Text(said, text.contains('\\')),
                }
            }
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'n') => Self::Null,
            _ => Self::Number(text.to_owned()),
        })
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Puts bare words into marked strings.
fn mark_bare_words(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'"' {
            let start = at;
            at += 1;
            while at < text.len() && text[at] != b'"' {
                at += 1 + usize::from(text[at] == b'\\');
            }
            at = (at + 1).min(text.len());
            out.extend_from_slice(&text[start..at]);
            continue;
        }
        let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let length = text[at..].iter().take_while(|byte| in_word(byte)).count();
        match &text[at..at + length] {
            word @ (b"NaN" | b"Infinity" | b"-Infinity") => {
                out.push(b'"');
                out.extend_from_slice(MARK.to_string().as_bytes());
                out.extend_from_slice(word);
                out.push(b'"');
            }
            word => out.extend_from_slice(word),
        }
        if length == 0 {
            out.push(text[at]);
        }
        at += length.max(1);
    }
    out
}

/// The fields of an object in order.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(InOrder).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_keeps_numbers_order_and_repeated_keys() {
        let read = Json::read(br#" {"b":[1.50,-0, 1e400 ],"a":"x\u0041","b":NaN,"c":"NaN"} "#).unwrap();
        let number = |text: &str| Json::Number(text.to_owned());
        let expected = Json::Object(vec![
            ("b".into(), Json::Array(vec![number("1.50"), number("-0"), number("1e400")])),
            ("a".into(), Json::Text("xA".into(), true)),
            ("b".into(), Json::Bare("NaN".into())),
            ("c".into(), Json::Text("NaN".into(), false)),
        ]);
        assert_eq!(read, expected);
        assert_eq!(read.get("b"), Some(&Json::Bare("NaN".into())));
    }

    #[test]
    fn what_is_no_json_has_no_tree() {
        for text in
            ["", "{NaN:1}", "[NaNx]", "[- Infinity]", "{\"a\" 1}", "[01]", "[1]]", "\"\\ud800\"", "\"a\n\""]
        {
            assert_eq!(Json::read(text.as_bytes()), Err(NoTree::Invalid), "{text}");
        }
        assert_eq!(Json::read("\"\u{10ffff}\"".as_bytes()), Err(NoTree::Unknown));
        assert_eq!(Json::read(b"\"\\uDBFF\\udfff\""), Err(NoTree::Unknown));
    }
}
