//! What a request brought.

use crate::script::Headers;
use crate::wire::{self, Grpc, WireError};

/// One request as the server has seen it so far.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The value of `:method`.
    pub method: String,
    /// The value of `:path`.
    pub path: String,
    /// The value of `:authority`, if there was one.
    pub authority: Option<String>,
    /// Every other header. Copies of one name keep their order; different names may not.
    pub headers: Headers,
    /// The body bytes read so far.
    pub body: Vec<u8>,
    /// The trailers, if the request ended with some.
    pub trailers: Option<Headers>,
    /// Whether the request's end was read.
    pub ended: bool,
    /// The code of the RST_STREAM that ended it, or of the connection's end.
    pub reset: Option<u32>,
    /// Whether the script was played to its end.
    pub answered: bool,
    /// Why the script could not be played, if it could not (a header name HTTP/2 forbids, for example).
    pub fault: Option<String>,
}

impl Recorded {
    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_slice())
    }

    /// The values of every header of that name, in order.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_slice())
    }

    /// The body as gRPC messages.
    ///
    /// # Errors
    /// If the body is not a whole number of length-prefixed messages.
    pub fn messages(&self) -> Result<Vec<Grpc>, WireError> {
        wire::unframe(&self.body)
    }
}
