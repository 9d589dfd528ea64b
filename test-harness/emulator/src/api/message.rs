//! A whole message, for tests that do not care how it is cut into pieces.

use crate::state::headers::HeaderMap;

/// A request or a response.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Headers, pseudo-headers included.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Option<HeaderMap>,
}

impl Message {
    /// A request without a body, to the authority `test`.
    #[must_use]
    pub fn request(method: &str, path: &str) -> Self {
        let headers = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path)];
        Self { headers: HeaderMap::from(headers), ..Self::default() }
    }

    /// A GET request.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::request("GET", path)
    }

    /// A POST request with a body.
    #[must_use]
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::request("POST", path).body(body)
    }

    /// A response.
    #[must_use]
    pub fn response(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = HeaderMap::from([(":status", status.to_string())]);
        Self { headers, body: body.into(), trailers: None }
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(name, value);
        self
    }

    /// With one more trailer.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.get_or_insert_default().add(name, value);
        self
    }
}
