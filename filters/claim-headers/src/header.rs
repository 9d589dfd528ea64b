//! Names and values of headers.

use filter_api::is_same_header;

/// Headers whose value is not the filter's to set: they frame a message or choose how it is read.
const NOT_OURS: [&str; 11] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "cookie",
    "keep-alive",
];

/// Why a header of this name cannot be set, removed or believed by the filter.
pub(crate) fn name_problem(name: &str) -> Option<&'static str> {
    if !is_token(name) {
        return Some("is not a valid header name");
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("must be in lower case");
    }
    // In every spelling, because every spelling of a name is removed.
    let is_not_ours = NOT_OURS.iter().any(|other| is_same_header(other.as_bytes(), name.as_bytes()));
    is_not_ours.then_some("is not for this filter to change")
}

/// Whether a text is a token (RFC 9110, section 5.6.2), as names of headers and cookies are.
pub(crate) fn is_token(text: &str) -> bool {
    let is_mark = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

/// Whether a text can certainly be the value of a header: visible ASCII, with spaces inside only. Outer spaces would
/// be gone at the next hop, and other bytes mean something else to each reader.
pub(crate) fn is_value(text: &str) -> bool {
    let outer = text.starts_with(' ') || text.ends_with(' ');
    !text.is_empty() && !outer && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Whether a header or a cookie has nothing in it, as a cookie has that was cleared: then it carries no token.
pub(crate) fn is_blank(text: &[u8]) -> bool {
    text.trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_value_that_another_hop_would_change_is_none() {
        assert!(is_value("premium plus") && is_value("~!"));
        for text in ["", " premium", "premium ", "a\tb", "a\r\nx: y", "a\0", "a\u{7f}", "prämium"] {
            assert!(!is_value(text), "{text:?}");
        }
    }

    #[test]
    fn headers_that_frame_a_message_are_not_ours() {
        assert_eq!(name_problem("x-user-class"), None);
        for name in
            ["", ":path", "X-User", "user class", "content-length", "content_length", "host", "user\u{e9}"]
        {
            assert!(name_problem(name).is_some(), "{name}");
        }
    }
}
