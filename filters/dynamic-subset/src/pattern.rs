//! Names with wildcards.

/// A name in which every `*` stands for any characters, also none; nothing else is special.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<u8>);

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    /// Whether the whole name matches. Takes at most the product of both lengths in steps.
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        let (mut at, mut pattern_at) = (0, 0);
        // Where to go on if what follows the last star does not fit: the star takes one more byte.
        let mut retry = None;
        while at < name.len() {
            match self.0.get(pattern_at) {
                Some(b'*') => {
                    retry = Some((at, pattern_at));
                    pattern_at += 1;
                }
                Some(byte) if *byte == name[at] => {
                    at += 1;
                    pattern_at += 1;
                }
                _ => {
                    let Some((from, star)) = retry else { return false };
                    retry = Some((from + 1, star));
                    (at, pattern_at) = (from + 1, star + 1);
                }
            }
        }
        self.0[pattern_at..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).matches(name.as_bytes())
    }

    #[test]
    fn a_star_stands_for_anything_and_nothing_else_is_special() {
        assert!(matches("tf-style-transfer", "tf-style-transfer"));
        assert!(!matches("tf-style-transfer", "tf-style-transfer-2"));
        assert!(matches("tf-*", "tf-") && matches("tf-*", "tf-a-b") && !matches("tf-*", "a-tf-"));
        assert!(matches("*-onnx", "a-onnx-onnx") && !matches("*-onnx", "a-onnx-2"));
        assert!(matches("a*b*c", "abbbc") && !matches("a*b*c", "acb"));
        assert!(matches("*", "") && matches("**", "x") && !matches("", "x") && matches("", ""));
        assert!(matches("m?", "m?") && !matches("m?", "mx") && matches("[a]", "[a]"));
    }

    /// The definition, word for word; exponential.
    fn plainly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|taken| plainly(rest, &name[taken..])),
            [byte, rest @ ..] => name.first() == Some(byte) && plainly(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn every_pattern_matches_what_its_definition_says(pattern in "[ab*]{0,8}", name in "[ab]{0,8}") {
            prop_assert_eq!(matches(&pattern, &name), plainly(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
