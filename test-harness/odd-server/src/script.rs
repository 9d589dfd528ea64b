//! What to answer, frame by frame.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::wire;

/// Header names and values in the order they are sent. Names are lower case, as HTTP/2 demands.
pub type Headers = Vec<(String, Vec<u8>)>;

/// Holds a script back until a test lets it go on.
///
/// Each [`Gate::open`] lets one [`Step::Wait`] pass, whichever comes first.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets one wait pass.
    pub fn open(&self) {
        self.0.add_permits(1);
    }

    pub(crate) async fn pass(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// One thing the server does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Read the request to its end, trailers included.
    ReadRequest,
    /// Read until at least this many body bytes have come, or the request ended. The rest stays unread, and
    /// HTTP/2 flow control stops the sender.
    ReadAtLeast(usize),
    /// Response headers; with `end`, they end the stream.
    Headers {
        /// The value of `:status`.
        status: u16,
        /// What follows it.
        headers: Headers,
        /// Whether END_STREAM is set.
        end: bool,
    },
    /// One DATA frame (more than one where the peer's frame size or window demands it).
    Data {
        /// The payload, which may be empty.
        bytes: Vec<u8>,
        /// Whether END_STREAM is set.
        end: bool,
    },
    /// The same bytes so many times, in DATA frames: what is large and need not be held.
    Repeat {
        /// The bytes.
        bytes: Vec<u8>,
        /// How often they come.
        times: usize,
    },
    /// Trailers, which end the stream.
    Trailers(Headers),
    /// Go on once the gate is opened.
    Wait(Gate),
    /// Go on after so long, as a slow server does. To hold a script back until something has happened, use
    /// [`Step::Wait`].
    Pause(Duration),
    /// RST_STREAM with this code (RFC 9113 §7), after everything sent before is on the wire.
    Reset(u32),
    /// Close the TCP connection, after everything sent before is on the wire.
    HangUp,
    /// Do nothing until the peer gives up.
    Never,
}

/// A list of steps, played for one request.
///
/// A script that runs out without ending its stream makes HTTP/2 reset the stream with CANCEL.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// What is done, in order.
    pub steps: Vec<Step>,
}

impl Script {
    /// A script that does nothing yet. Unlike the ready-made ones it does not read the request first.
    pub fn new() -> Self {
        Self::default()
    }

    /// A script that reads the whole request and then does nothing yet.
    pub fn after_request() -> Self {
        Self::new().then(Step::ReadRequest)
    }

    /// Adds a step.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Adds the usual gRPC response headers: 200 and `content-type: application/grpc`.
    #[must_use]
    pub fn grpc_headers(self) -> Self {
        self.then(Step::Headers { status: 200, headers: grpc_content_type(), end: false })
    }

    /// Adds one DATA frame.
    #[must_use]
    pub fn data(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Data { bytes: bytes.into(), end: false })
    }

    /// Adds gRPC trailers. An OK status carries no message.
    #[must_use]
    pub fn grpc_trailers(self, code: u32, message: &str) -> Self {
        self.then(Step::Trailers(grpc_status(code, message)))
    }

    /// Adds a wait.
    #[must_use]
    pub fn wait(self, gate: &Gate) -> Self {
        self.then(Step::Wait(gate.clone()))
    }

    /// Headers, one message in one DATA frame, trailers with status 0.
    pub fn message(message: &[u8]) -> Self {
        Self::pieces([wire::frame(message)])
    }

    /// Headers, the given DATA frames as they are (no gRPC framing added), trailers with status 0.
    pub fn pieces<B: Into<Vec<u8>>>(pieces: impl IntoIterator<Item = B>) -> Self {
        pieces
            .into_iter()
            .fold(Self::after_request().grpc_headers(), |script, piece| script.data(piece))
            .grpc_trailers(0, "")
    }

    /// As [`Script::pieces`], but each piece after the first waits for the gate, and so do the trailers.
    pub fn gated_pieces<B: Into<Vec<u8>>>(pieces: impl IntoIterator<Item = B>, gate: &Gate) -> Self {
        pieces
            .into_iter()
            .fold(Self::after_request().grpc_headers(), |script, piece| script.data(piece).wait(gate))
            .grpc_trailers(0, "")
    }

    /// An error in the only HEADERS frame, as gRPC servers send nearly all of theirs.
    pub fn trailers_only(code: u32, message: &str) -> Self {
        let mut headers = grpc_content_type();
        headers.extend(grpc_status(code, message));
        Self::after_request().then(Step::Headers { status: 200, headers, end: true })
    }

    /// Headers, no data, error trailers.
    pub fn error_after_headers(code: u32, message: &str) -> Self {
        Self::after_request().grpc_headers().grpc_trailers(code, message)
    }

    /// Headers, a whole message, error trailers.
    pub fn error_after_message(body: &[u8], code: u32, message: &str) -> Self {
        Self::after_request().grpc_headers().data(wire::frame(body)).grpc_trailers(code, message)
    }

    /// Headers, a message of length zero, error trailers: what grpc-python's `set_code` makes.
    pub fn error_after_empty_message(code: u32, message: &str) -> Self {
        Self::error_after_message(b"", code, message)
    }

    /// Headers, the given bytes (part of a framed message), error trailers.
    pub fn error_mid_message(part: impl Into<Vec<u8>>, code: u32, message: &str) -> Self {
        Self::after_request().grpc_headers().data(part).grpc_trailers(code, message)
    }

    /// Headers and a whole message, but the stream ends with the data: no status at all.
    pub fn missing_trailers(message: &[u8]) -> Self {
        Self::after_request().grpc_headers().then(Step::Data { bytes: wire::frame(message), end: true })
    }

    /// Headers, the given bytes, RST_STREAM.
    pub fn reset_after(part: impl Into<Vec<u8>>, code: u32) -> Self {
        Self::after_request().grpc_headers().data(part).then(Step::Reset(code))
    }

    /// Headers, the given bytes, then the connection is closed.
    pub fn hang_up_after(part: impl Into<Vec<u8>>) -> Self {
        Self::after_request().grpc_headers().data(part).then(Step::HangUp)
    }

    /// Reads the request and never answers.
    pub fn never() -> Self {
        Self::after_request().then(Step::Never)
    }

    /// An answer that is not gRPC at all, such as a proxy's 503.
    pub fn plain(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.as_bytes().to_vec())];
        Self::after_request()
            .then(Step::Headers { status, headers, end: false })
            .then(Step::Data { bytes: body.into(), end: true })
    }

    /// A message whose compressed flag is set and whose response headers name gzip. The payload is sent as
    /// given: real gzip or not.
    pub fn gzip_flagged(payload: &[u8]) -> Self {
        let mut headers = grpc_content_type();
        headers.push(("grpc-encoding".to_owned(), b"gzip".to_vec()));
        Self::after_request()
            .then(Step::Headers { status: 200, headers, end: false })
            .data(wire::frame_with(1, length_of(payload), payload))
            .grpc_trailers(0, "")
    }

    /// A message whose length prefix says `length` whatever the payload's length is.
    pub fn wrong_length(length: u32, payload: &[u8]) -> Self {
        Self::pieces([wire::frame_with(0, length, payload)])
    }
}

/// `grpc-status`, and `grpc-message` unless it is empty.
pub fn grpc_status(code: u32, message: &str) -> Headers {
    let mut headers = vec![("grpc-status".to_owned(), code.to_string().into_bytes())];
    if !message.is_empty() {
        headers.push(("grpc-message".to_owned(), percent_encode(message).into_bytes()));
    }
    headers
}

/// Encodes a status message as the gRPC over HTTP/2 specification demands: everything outside `0x20..=0x7e`,
/// and the percent sign, as `%XX`.
pub fn percent_encode(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for &byte in message.as_bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn grpc_content_type() -> Headers {
    vec![("content-type".to_owned(), b"application/grpc".to_vec())]
}

fn length_of(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_message_keeps_printable_text_and_escapes_the_rest() {
        assert_eq!(percent_encode("100% — ok\n"), "100%25 %E2%80%94 ok%0A");
    }

    #[test]
    fn an_ok_status_has_no_message() {
        assert_eq!(grpc_status(0, ""), vec![("grpc-status".to_owned(), b"0".to_vec())]);
    }
}
