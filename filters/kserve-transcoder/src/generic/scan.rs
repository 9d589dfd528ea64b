//! Where a JSON document ends, found byte by byte.

use super::weight::MESSAGE_BYTES;
use crate::problem::Problem;

/// Finds the end of a JSON document in bytes that come in pieces, and counts what it holds. It checks nothing
/// else: the document is parsed once it is whole.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    place: Place,
    depth: usize,
    values: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the document.
    #[default]
    Before,
    /// Within it, outside strings.
    Between,
    /// Within a string.
    String,
    /// After a backslash in a string.
    Escape,
    /// In a number or a word that is the whole document; only the end of the body ends it.
    Bare,
    /// After it.
    After,
}

impl Scanner {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// Something else than white space follows the document.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        for &byte in bytes {
            self.place = match (self.place, byte) {
                (Place::Escape, _) => Place::String,
                (Place::String, b'\\') => Place::Escape,
                (Place::String, b'"') => self.closed(),
                (Place::String, _) => Place::String,
                (Place::Bare, _) => Place::Bare,
                (place, b' ' | b'\t' | b'\n' | b'\r') => place,
                (Place::After, _) => {
                    return Err(Problem::bad_request("the body goes on after its JSON document"));
                }
                (_, b'"') => {
                    self.values += usize::from(self.depth == 0);
                    Place::String
                }
                (_, b'{' | b'[') => {
                    self.depth += 1;
                    self.values += 1;
                    Place::Between
                }
                (Place::Between, b'}' | b']') => {
                    self.depth -= 1;
                    self.closed()
                }
                (Place::Between, b',') => {
                    self.values += 1;
                    Place::Between
                }
                (Place::Between, _) => Place::Between,
                (Place::Before, _) => {
                    self.values += 1;
                    Place::Bare
                }
            };
        }
        Ok(())
    }

    /// The document has been closed.
    pub(super) fn is_closed(&self) -> bool {
        self.place == Place::After
    }

    /// A bound on what the document takes once it is parsed, in bytes, beside its own text. Every value may
    /// become a message (in a `google.protobuf.Struct` it does); each follows a comma or a bracket.
    pub(super) fn weight(&self) -> usize {
        self.values.saturating_mul(2).saturating_mul(MESSAGE_BYTES)
    }

    fn closed(&self) -> Place {
        if self.depth == 0 { Place::After } else { Place::Between }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn closes_at(json: &str) -> Option<usize> {
        let mut scanner = Scanner::default();
        for (at, byte) in json.bytes().enumerate() {
            scanner.write(&[byte]).unwrap();
            if scanner.is_closed() {
                return Some(at + 1);
            }
        }
        None
    }

    #[test]
    fn a_document_closes_with_its_last_bracket_and_no_sooner() {
        for json in ["{}", "[]", "\"text\"", r#" {"a":[{"b":"}]\"\\"},2],"\\":"{"}"#, "{]"] {
            assert_eq!(closes_at(json), Some(json.len()), "{json}");
        }
        for json in ["", " ", "{", "[[]", "\"\\\"", "12", "true", "-"] {
            assert_eq!(closes_at(json), None, "{json}");
        }
    }

    #[test]
    fn only_white_space_may_follow() {
        let mut scanner = Scanner::default();
        scanner.write(b"{} \n").unwrap();
        assert!(scanner.write(b" {").unwrap_err().message.contains("after its JSON document"));
    }

    proptest! {
        #[test]
        fn any_json_closes_exactly_at_its_end(depth in 0..5_usize, texts in proptest::collection::vec(".*", 3)) {
            let mut json = serde_json::json!({ "a": texts[0].as_str(), texts[1].as_str(): [1, null, texts[2].as_str()] });
            for _ in 0..depth {
                json = serde_json::json!([json, { "x": {} }]);
            }
            let text = json.to_string();
            prop_assert_eq!(closes_at(&text), Some(text.len()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Scanner::default().write(&bytes);
        }
    }
}
