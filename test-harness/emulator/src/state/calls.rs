//! HTTP calls that the module makes to clusters; the test answers them.

use crate::state::headers::HeaderMap;

/// A call made with `proxy_http_call` that has not been answered.
#[derive(Clone, Debug)]
pub struct HttpCall {
    /// The number the module knows the call by.
    pub token: u32,
    /// The root context that gets the answer.
    pub root: u32,
    /// The context in which the call was made: a stream's id or the root's own.
    pub context: u32,
    /// Cluster called.
    pub cluster: String,
    /// Request headers. `content-length` is there when there is a body, as Envoy adds it.
    pub headers: HeaderMap,
    /// Request body.
    pub body: Vec<u8>,
    /// Request trailers.
    pub trailers: HeaderMap,
    /// When the call times out, on the emulator's clock in nanoseconds since 1970. `None`: never.
    pub deadline: Option<u64>,
}

/// What a test answers to an [`HttpCall`].
#[derive(Clone, Debug, Default)]
pub struct HttpResponse {
    /// Headers with `:status`.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
    /// Trailers, which gRPC answers have.
    pub trailers: Option<HeaderMap>,
}

impl HttpResponse {
    /// A response without trailers.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            headers: HeaderMap::from([(":status", status.to_string())]),
            body: body.into(),
            trailers: None,
        }
    }
}
