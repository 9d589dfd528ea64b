//! What a core can decide, phase by phase.

use std::borrow::Cow;

/// At most this many bytes may be emitted after an [`OnData::Park`], in bytes.
///
/// A proxy-wasm host can add bytes in front of trailers only to a body that it has paused, and there the
/// connection's buffer limit applies; the smallest sensible one (32 KiB) leaves room for this.
pub const PARK_LIMIT_BYTES: usize = 16 * 1024;

/// Bytes that a core has emitted: only [`Cx::emit`](crate::Cx::emit) makes one, so a verdict that passes written bytes
/// on cannot be returned without a sink that was opened for it.
///
/// ```compile_fail
/// let unwritten = filter_api::OnData::Emit(filter_api::Emission(()));
/// ```
#[must_use = "what was written goes on only with a verdict that emits it"]
#[derive(Debug)]
pub struct Emission(pub(crate) ());

/// The verdict on headers.
#[derive(Debug)]
pub enum OnHeaders {
    /// Pass them on, with what the operations changed.
    Continue,
    /// Pass them on, and give the message, which has headers only, a body. Needs
    /// [`Caps::body_on_header_only`](crate::Caps::body_on_header_only).
    Emit(Emission),
    /// Keep them back; data still comes, and its verdict decides. Not for headers that end the message.
    /// Needs [`Caps::hold`](crate::Caps::hold), or the operator's promise.
    Hold,
    /// Keep them back, and all that follows, until a call of this stream has ended
    /// ([`Stream::call_ended`](crate::Stream::call_ended)). Without a call of its own, and where the plugin has
    /// [events](crate::Plugin::tick), the stream is asked again after the next one
    /// ([`Stream::woken`](crate::Stream::woken)).
    Wait,
    /// Answer the client instead. Response headers and what would follow them are dropped.
    Reply(Reply),
    /// Pass on this and everything that follows; the stream is dropped.
    Detach,
    /// As [`Detach`](Self::Detach), but for the trailers of this direction: the stream is shown them, if there are any,
    /// and dropped after that. It sees no data, and nothing of the other direction.
    UntilTrailers,
}

/// The verdict on a chunk of data.
#[derive(Debug)]
pub enum OnData {
    /// Pass the chunk on, and release held headers.
    Pass,
    /// Pass on what was emitted in place of the chunk, and release held headers.
    Emit(Emission),
    /// The core has taken the chunk: nothing goes on, held headers stay held. It will emit with a later
    /// chunk, or in the trailers where [`Caps::emit_in_trailers`](crate::Caps::emit_in_trailers) says so.
    Keep,
    /// As [`Keep`](Self::Keep), with the promise that at most [`PARK_LIMIT_BYTES`] are still to come; in
    /// return they may be emitted in the trailers on every host.
    Park,
    /// Answer the client instead. For a response only while its headers are held.
    Reply(Reply),
    /// Cut the stream, so that the client sees an error and never a short, clean answer.
    Reset,
    /// Pass on this chunk and everything that follows; the stream is dropped.
    Detach,
}

/// The verdict on trailers.
#[derive(Debug)]
pub enum OnTrailers {
    /// Pass them on, and release held headers.
    Continue,
    /// Pass on what was emitted, then the trailers.
    Emit(Emission),
    /// Answer the client instead. For a response only while its headers are held.
    Reply(Reply),
    /// Cut the stream.
    Reset,
}

/// An answer that the filter itself gives the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Headers; the host adds `content-length`.
    pub headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The body.
    pub body: Vec<u8>,
    /// Why, in `lower_snake_case`: Envoy's response code details, where the host can set them.
    pub details: &'static str,
}

impl Reply {
    /// A reply with a status and its reason, without headers or a body.
    #[must_use]
    pub fn new(status: u16, details: &'static str) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), details }
    }

    /// The reply of a host that cannot go on: `{"error": "..."}`, as this project's filters answer, with `message` for
    /// the client.
    #[must_use]
    pub fn failure(status: u16, details: &'static str, message: &str) -> Self {
        let body = serde_json::json!({ "error": message }).to_string().into_bytes();
        Self::new(status, details).header("content-type", "application/json").body(body)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((Cow::Borrowed(name), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }
}
