//! A request.

use std::time::Duration;

use crate::answer::Headers;

/// How a body is delimited and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// None at all: the request ends with its head.
    None,
    /// With `content-length`, written in these pieces.
    Length(Vec<Vec<u8>>),
    /// Without a length: over HTTP/1.1 each piece is a chunk, over HTTP/2 a DATA frame.
    Chunked(Vec<Vec<u8>>),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// `Host` or `:authority`.
    pub authority: String,
    /// Further headers. Names are sent as given over HTTP/1.1 and must be lower case over HTTP/2.
    pub headers: Headers,
    /// The body.
    pub body: Body,
    /// Trailers, which need a [`Body::Chunked`] over HTTP/1.1.
    pub trailers: Headers,
    /// How long nothing may come before the answer counts as [`crate::End::TimedOut`].
    pub patience: Duration,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            authority: "test.local".into(),
            headers: Vec::new(),
            body: Body::None,
            trailers: Vec::new(),
            patience: Duration::from_secs(20),
        }
    }

    /// A GET.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A POST with a content length, in one piece.
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Body::Length(vec![body.into()]), ..Self::new("POST", path) }
    }

    /// Adds a header, of any bytes.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// Adds a trailer, of any bytes.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// Cuts the body into pieces of `size` bytes, keeping the way it is delimited.
    #[must_use]
    pub fn in_pieces_of(mut self, size: usize) -> Self {
        let cut = |pieces: Vec<Vec<u8>>| pieces.concat().chunks(size.max(1)).map(<[u8]>::to_vec).collect();
        self.body = match self.body {
            Body::None => Body::None,
            Body::Length(pieces) => Body::Length(cut(pieces)),
            Body::Chunked(pieces) => Body::Chunked(cut(pieces)),
        };
        self
    }

    /// Sends the body without a length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.body = match self.body {
            Body::None => Body::Chunked(Vec::new()),
            Body::Length(pieces) | Body::Chunked(pieces) => Body::Chunked(pieces),
        };
        self
    }

    /// Sets [`Request::patience`].
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A gRPC request: `application/grpc`, `te: trailers`, one framed message.
    pub fn grpc(path: &str, message: &[u8]) -> Self {
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        framed.extend_from_slice(message);
        Self { body: Body::Chunked(vec![framed]), ..Self::new("POST", path) }
            .header("content-type", "application/grpc")
            .header("te", "trailers")
    }
}
