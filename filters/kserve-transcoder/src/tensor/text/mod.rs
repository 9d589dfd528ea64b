//! Text: the inside of JSON strings, and base64 in pieces.

pub(crate) mod base64;
pub(super) mod string;
pub(super) mod words;
