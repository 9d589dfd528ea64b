//! An answer as it came.

use serde_json::Value;

use crate::error::Error;

/// Header names (lower case) and values as they came.
pub type Headers = Vec<(String, Vec<u8>)>;

/// A response head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Its headers. Over HTTP/1.1 in the order they came; over HTTP/2 only copies of one name are in order.
    pub headers: Headers,
}

impl Head {
    /// The value of the first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_slice())
    }
}

/// How an answer ended. Only [`End::Complete`] can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As its framing says: content length, last chunk, END_STREAM.
    Complete,
    /// The connection was closed before that.
    Closed,
    /// HTTP/2: RST_STREAM with this code. HTTP/1.1: TCP reset (no code).
    Reset(Option<u32>),
    /// Nothing came within the time that the caller allowed.
    TimedOut,
}

/// A whole or broken answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Heads of 1xx responses that came before.
    pub interim: Vec<Head>,
    /// The head, unless the answer broke before it.
    pub head: Option<Head>,
    /// The body as far as it came, without transfer coding.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Headers,
    /// How it ended.
    pub end: End,
}

impl Answer {
    pub(crate) fn broken(end: End) -> Self {
        Self { interim: Vec::new(), head: None, body: Vec::new(), trailers: Vec::new(), end }
    }

    /// The answer itself if it is complete.
    ///
    /// # Errors
    /// If it is cut off, reset or late; the error shows as much of it as came.
    pub fn complete(self) -> Result<Self, Error> {
        if self.end == End::Complete && self.head.is_some() {
            return Ok(self);
        }
        let status = self.head.as_ref().map(|h| h.status);
        Err(Error::Protocol(format!(
            "broken answer ({:?}): status {status:?}, body {:?}",
            self.end,
            self.text()
        )))
    }

    /// The status, or 0 if there is no head.
    pub fn status(&self) -> u16 {
        self.head.as_ref().map_or(0, |h| h.status)
    }

    /// The value of the first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.as_ref().and_then(|h| h.header(name))
    }

    /// The value of the first header of that name as text; bytes that are not UTF-8 are replaced.
    pub fn header_text(&self, name: &str) -> Option<String> {
        self.header(name).map(|v| String::from_utf8_lossy(v).into_owned())
    }

    /// The value of the first trailer of that (lower-case) name.
    pub fn trailer(&self, name: &str) -> Option<&[u8]> {
        self.trailers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_slice())
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// If it is not JSON; the error shows the body.
    pub fn json(&self) -> Result<Value, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|e| Error::Protocol(format!("{e} in body {:?}", self.text())))
    }
}
