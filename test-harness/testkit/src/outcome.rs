//! What happened.

use crate::headers::{Headers, Pairs};

/// What a run of a case led to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What the model server saw; `None` if it was not asked.
    pub seen: Option<Seen>,
    /// What the client got.
    pub got: Got,
}

/// A request as the model server saw it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Headers, pseudo headers included.
    pub headers: Headers,
    /// The whole body.
    pub body: Vec<u8>,
    /// The pairs by which an endpoint was picked; `None` where that cannot be seen.
    pub subset: Option<Pairs>,
    /// Trailers.
    pub trailers: Headers,
}

impl Seen {
    /// The pairs in the value of the property `dynamic_subset`: `key=value`, separated by `;`.
    #[must_use]
    pub fn pairs(property: &[u8]) -> Pairs {
        let text = String::from_utf8_lossy(property);
        let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

/// An answer as the client got it.
#[derive(Clone, Debug, Default)]
pub struct Got {
    /// The status; 0 if none came.
    pub status: u16,
    /// Headers.
    pub headers: Headers,
    /// The body as far as it came.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Headers,
    /// The stream was cut, or never ended.
    pub reset: bool,
}
