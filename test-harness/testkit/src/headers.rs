//! Lists of headers: as text, as a case has them, and as bytes, as they are sent.

/// Header names and values as text, in order.
pub type Pairs = Vec<(String, String)>;

/// Header names and values, in order.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// Pairs of text as headers.
pub(crate) fn to_headers(pairs: &Pairs) -> Headers {
    pairs.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes())).collect()
}

/// The values of a header.
pub(crate) fn values<'a>(name: &'a str, headers: &'a Headers) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |(found, _)| found == name.as_bytes()).map(|(_, value)| value.as_slice())
}
