//! What keys, values and header names may be made of.

/// The longest key and the longest value, in bytes. A Kubernetes label's value has at most 63, its key at most 317
/// with a prefix of the maximum length, which is not seen in practice.
pub(crate) const MAX_BYTES: usize = 256;

/// Returns why a text is not a valid key, or `None` if it is: letters, digits and `._-/`, as in a Kubernetes label's
/// key.
pub(crate) fn key_problem(key: &[u8]) -> Option<&'static str> {
    problem(
        key,
        |byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte),
        "letters, digits and . _ - /",
    )
}

/// Returns why a text is not a valid value, or `None` if it is: visible ASCII but `,`, `;` and `=`. A comma would be
/// two copies of a header that some proxy joined (RFC 9110 section 5.3), and the others separate the pairs of the
/// property.
pub(crate) fn value_problem(value: &[u8]) -> Option<&'static str> {
    problem(
        value,
        |byte| byte.is_ascii_graphic() && !b",;=".contains(&byte),
        "visible ASCII characters other than , ; =",
    )
}

/// Returns why a text is not a header name in lower case, or `None` if it is (RFC 9110 section 5.6.2).
pub(crate) fn header_problem(name: &[u8]) -> Option<&'static str> {
    problem(
        name,
        |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte),
        "the characters of a header name, in lower case",
    )
}

fn problem(text: &[u8], allowed: impl Fn(u8) -> bool, what: &'static str) -> Option<&'static str> {
    match text {
        [] => Some("something: it is empty"),
        text if text.len() > MAX_BYTES => Some("at most 256 bytes"),
        text if !text.iter().all(|&byte| allowed(byte)) => Some(what),
        _ => None,
    }
}

/// A key as the part of a header's name: in lower case, and with `-` for `/`, which a name cannot have.
pub(crate) fn as_header_part(key: &str) -> String {
    key.to_ascii_lowercase().replace('/', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn label_keys_and_values_pass_and_what_could_be_two_of_them_does_not() {
        for key in ["model.format.tensorflow", "app.kubernetes.io/name", "Stage_2"] {
            assert_eq!(key_problem(key.as_bytes()), None, "{key}");
        }
        for value in ["v2", "ovms-1.x", "org/model:latest", "a~b"] {
            assert_eq!(value_problem(value.as_bytes()), None, "{value}");
        }
        for value in ["", "a,b", "a;b=c", "a b", "caf\u{e9}", "a\tb", &"v".repeat(257)] {
            assert!(value_problem(value.as_bytes()).is_some(), "{value}");
        }
        assert!(value_problem(&[b'v'; 256]).is_none());
        assert!(key_problem(b"a=b").is_some());
    }
}
