//! Names of headers: in which spellings a server takes them for the same, and where policies have them.

/// Whether two names of headers are the same to a server that takes `_` and `-` for the same.
pub(super) fn same(one: &str, other: &str) -> bool {
    let fold = |name: &str| name.to_ascii_lowercase().replace('_', "-");
    fold(one) == fold(other)
}

/// The header that a policy's condition is about: `user_class` of `request.headers[user_class]`.
pub(super) fn of_condition(key: &str) -> Option<&str> {
    key.strip_prefix("request.headers[")?.strip_suffix(']')
}
