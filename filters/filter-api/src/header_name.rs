//! Names of headers as applications may read them.
//!
//! Gateways to CGI, WSGI and PHP turn names into variables and make `_` of `-`, so that `User-Class` and `user_class`
//! are the same header to what stands behind them. A filter that removes a client's header removes it in every
//! spelling.

/// A name with all its spellings made equal: in lower case, with `-` for `_`.
pub fn folded(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().map(|byte| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() })
}

/// Whether two names are the same header to some application.
#[must_use]
pub fn is_same_header(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && folded(one).eq(folded(other))
}

/// Whether a header's name begins with `prefix`, whatever the spelling of both.
#[must_use]
pub fn has_header_prefix(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| is_same_header(start, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_header_is_known_in_every_spelling() {
        assert!(has_header_prefix(b"X_Subset-stage", b"x-subset-"));
        assert!(!has_header_prefix(b"x-subse", b"x-subset-"));
        assert!(is_same_header(b"x_subset-A", b"x-subset_a"));
        assert!(!is_same_header(b"x-subset-a", b"x-subset-ab"));
    }

    #[test]
    fn names_are_the_same_whatever_their_case_and_their_dashes() {
        assert!(
            is_same_header(b"User_Class", b"user-class") && is_same_header(b"x-user_class", b"X_USER-CLASS")
        );
        assert!(
            !is_same_header(b"user.class", b"user-class") && !is_same_header(b"userclass", b"user-class")
        );
    }
}
