//! The response half of an exchange: one gRPC message and its status become the client's answer.
//!
//! An error may come as trailers only, after headers, after an empty message or after data, and hosts differ in
//! what can still be done by then. The rule: the client sees the right status where the headers have not gone
//! out, an error in the body where a body can still be made, and a cut stream otherwise, but never a clean
//! answer that is not one.
//!
//! A method that answers with a stream has each of its messages go out as it comes ([`streaming`]).
//!
//! The answer to a large message goes out while the message comes, if its codec can do that, and its headers with the
//! first byte of it. From then on whatever goes wrong cuts it off, an error behind the message too.
//!
//! A client must also see what the filters in front of this one add to an answer, such as CORS headers. A host's own
//! reply to an answer goes past all of them. So an error becomes an answer like any other wherever the host can give it
//! a body: the headers of the server's answer are changed and let go, and the error stands in place of the message.

mod call;
mod headers;
mod parked;
mod streaming;
mod transcoding;

pub(crate) use call::{WITHOUT_SUBSET, message_of_call, of_call};
pub(in crate::exchange) use headers::is_grpc;

use crate::codec::ResponseCodec;
use crate::compressed::Encoding;
use crate::error_form::ErrorForm;
use crate::frame::Reader;
use crate::metrics;
use crate::problem::Problem;
use crate::status::{self, Status};
use crate::stream::StreamForm;
use filter_api::{Account, Caps, Chunk, Cx, Map, OnData, OnHeaders, OnTrailers, View};
use headers::Head;
use streaming::Streaming;
use transcoding::Transcoding;

/// How long an error object may be that is given under headers which have gone out, in bytes.
const LATE_ERROR_BYTES: usize = 1024;

/// How much of the text of an answer that is not gRPC is kept, in bytes.
const TEXT_BYTES: usize = 512;

/// Where the response half stands.
#[derive(Debug)]
pub(crate) enum ResponseHalf {
    /// The answer is the filter's own, or its stream has been cut: everything passes.
    Done,
    /// An answer is to come; with a codec once the request has gone out in full.
    Expected(Option<Box<dyn ResponseCodec>>),
    /// A plain-text error of another's (Envoy's own 503, say) is getting the protocol's shape.
    Text { text: Vec<u8>, head: bool, status: u16, errors: ErrorForm },
    /// A message is being read.
    Transcoding(Transcoding),
    /// Messages are being read, each of which goes out by itself.
    Streaming(Box<Streaming>),
    /// The headers of an error have gone out. Its body, if it is still to come, goes out in place of the answer's, as
    /// soon as there is a place for it; what the server still sends is dropped.
    Error { body: Option<Vec<u8>>, in_trailers: bool },
}

/// Whether the answer's headers are held back until its message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// They go out at once.
    No,
    /// While the message is small, in a host that can emit in trailers only what it has parked.
    Small,
    /// Until the trailers, whatever the size.
    Full,
}

impl Holding {
    pub(crate) fn of(hold: bool, caps: Caps) -> Self {
        match (hold, caps.emit_in_trailers) {
            (false, _) => Self::No,
            (true, false) => Self::Small,
            (true, true) => Self::Full,
        }
    }
}

/// What the configuration, the host and the request allow an answer.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Whether the headers are held back.
    pub(crate) holding: Holding,
    /// The host gives a body to headers without one, and in trailers.
    pub(crate) gives_bodies: bool,
    /// The request was a HEAD: the client gets headers only (RFC 9110, section 9.3.2).
    pub(crate) head: bool,
    /// In which form the client is told of errors.
    pub(crate) errors: ErrorForm,
    /// The largest message, in bytes.
    pub(crate) message: usize,
    /// The JSON part of a binary answer whose headers go out first, in bytes.
    pub(crate) binary_header: usize,
    /// How the answer may be encoded.
    pub(crate) encoding: Encoding,
    /// The method answers with a stream of messages, which look like this.
    pub(crate) stream: Option<StreamForm>,
    /// The method answers with a stream, of which there must be one message: the answer.
    pub(crate) one_of_stream: bool,
}

impl ResponseHalf {
    /// A message is being read whose headers had no `grpc-status`: its trailers must have one.
    pub(crate) fn lacks_status(&self) -> bool {
        match self {
            Self::Transcoding(message) => !message.has_status(),
            Self::Streaming(stream) => !stream.has_status(),
            _ => false,
        }
    }

    /// How many bytes the messages of the answer have, as far as that is known; `None` if there is no answer.
    pub(crate) fn message_bytes(&self) -> Option<u64> {
        match self {
            Self::Transcoding(message) => Some(message.length().unwrap_or_default() as u64),
            Self::Streaming(stream) => Some(stream.bytes()),
            _ => None,
        }
    }

    /// `account` is for what it takes to compress and to decompress.
    pub(crate) fn headers(
        &mut self,
        end: bool,
        terms: Terms,
        account: &Account,
        cx: &mut Cx<'_>,
    ) -> OnHeaders {
        let codec = match std::mem::replace(self, Self::Done) {
            Self::Expected(codec) => codec,
            before => {
                *self = before;
                return OnHeaders::Continue;
            }
        };
        let head = Head::read(cx.view);
        if !head.is_grpc {
            let content_type = cx.view.header(Map::ResponseHeaders, "content-type").unwrap_or_default();
            return self.foreign_headers(head.status, &content_type, end, terms, cx);
        }
        let status = head.has_grpc_status.then(|| Status::read(cx.view, Map::ResponseHeaders)).flatten();
        let has_status = status.is_some();
        let may_follow = status.is_none() && !end && terms.holding != Holding::No && terms.stream.is_none();
        if head.status != 200 && may_follow && codec.is_some() {
            // A gRPC status in the trailers says more than HTTP's.
            let problem = without_grpc_status(head.status);
            *self = Self::Transcoding(Transcoding::failed(problem, terms, account));
            return OnHeaders::Hold;
        }
        let failure = match status {
            Some(status) if !status.is_ok() => Some(status.problem()),
            _ if head.status != 200 => Some(without_grpc_status(head.status)),
            None if end && terms.stream.is_some() => Some(Status::missing()),
            _ if end && terms.stream.is_none() => Some(match terms.one_of_stream {
                true => not_one(),
                false => Problem::bad_answer("the model server ended the call without a message"),
            }),
            _ => None,
        };
        match (failure, codec, terms.stream) {
            (None, Some(_), Some(_)) if terms.head && terms.holding == Holding::No => {
                OnHeaders::Reply(headers::of_head(cx.view))
            }
            (None, Some(codec), Some(form)) => {
                let stream = Streaming::begin(codec, form, has_status, terms.clone(), head, account, cx);
                if end {
                    let ended = stream.ends_with_headers(cx);
                    return ended.unwrap_or_else(|problem| self.refuse(&problem, end, false, terms, cx));
                }
                *self = Self::Streaming(Box::new(stream));
                if terms.holding == Holding::No { OnHeaders::Continue } else { OnHeaders::Hold }
            }
            (None, Some(codec), None) => {
                let holding = terms.holding;
                let message = Transcoding::begin(codec, has_status, terms, head, account, cx);
                *self = Self::Transcoding(message);
                if holding == Holding::No { OnHeaders::Continue } else { OnHeaders::Hold }
            }
            (Some(problem), ..) => self.refuse(&problem, end, terms.gives_bodies, terms, cx),
            (None, None, _) => {
                let early = "the model server answered before it had the whole request";
                self.refuse(&Problem::bad_answer(early), end, false, terms, cx)
            }
        }
    }

    pub(crate) fn data(&mut self, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        match self {
            Self::Done | Self::Expected(_) => OnData::Pass,
            Self::Text { text, head, status, errors } => {
                for slice in chunk.slices {
                    let room = TEXT_BYTES - text.len();
                    text.extend_from_slice(&slice[..slice.len().min(room)]);
                }
                if !chunk.end {
                    return OnData::Park;
                }
                let body = if *head { Vec::new() } else { text_error_body(text, *status, errors) };
                *self = Self::Done;
                OnData::Emit(cx.emit(|out| out.write(&body)))
            }
            Self::Transcoding(message) => {
                let verdict = message.data(chunk, cx);
                if matches!(verdict, OnData::Reset | OnData::Reply(_)) {
                    *self = Self::Done;
                }
                verdict
            }
            Self::Streaming(stream) => {
                let verdict = stream.data(chunk, cx);
                if matches!(verdict, OnData::Reset | OnData::Reply(_)) {
                    *self = Self::Done;
                }
                verdict
            }
            Self::Error { body, .. } => {
                let body = body.take().unwrap_or_default();
                OnData::Emit(cx.emit(|out| out.write(&body)))
            }
        }
    }

    pub(crate) fn trailers(&mut self, cx: &mut Cx<'_>) -> OnTrailers {
        match std::mem::replace(self, Self::Done) {
            Self::Done | Self::Expected(_) => OnTrailers::Continue,
            Self::Text { text, head, status, errors } => {
                let body = if head { Vec::new() } else { text_error_body(&text, status, &errors) };
                OnTrailers::Emit(cx.emit(|out| out.write(&body)))
            }
            Self::Transcoding(message) => message.trailers(cx),
            Self::Streaming(stream) => stream.trailers(cx),
            Self::Error { body: None, .. } => {
                headers::sort_trailers(false, cx);
                OnTrailers::Continue
            }
            Self::Error { body: Some(body), in_trailers: true } => {
                headers::sort_trailers(false, cx);
                OnTrailers::Emit(cx.emit(|out| out.write(&body)))
            }
            Self::Error { .. } => {
                cx.ops.count(metrics::RESETS, 1);
                OnTrailers::Reset
            }
        }
    }

    /// Headers of an answer that is not gRPC: an error of Envoy's own or of another filter, or a server that
    /// speaks something else.
    fn foreign_headers(
        &mut self,
        status: u16,
        content_type: &[u8],
        end: bool,
        terms: Terms,
        cx: &mut Cx<'_>,
    ) -> OnHeaders {
        match status {
            // A redirect is meant for the client, and so is an error that is JSON already.
            300..=399 => self.pass(terms),
            400..=599 if !end && content_type.starts_with(b"application/json") => self.pass(terms),
            400..=599 if !end && (content_type.is_empty() || content_type.starts_with(b"text/plain")) => {
                cx.ops.count(metrics::FAILED_ANSWERS, 1);
                cx.ops.set_header(Map::ResponseHeaders, "content-type", b"application/json");
                cx.ops.remove_header(Map::ResponseHeaders, "content-length");
                *self = Self::Text { text: Vec::new(), head: terms.head, status, errors: terms.errors };
                OnHeaders::Continue
            }
            400..=599 => self.refuse(&http_problem(status, ""), end, true, terms, cx),
            _ => self.refuse(&not_grpc(status, content_type), end, true, terms, cx),
        }
    }

    /// Lets an answer through as it is, but for the body of an answer to a HEAD.
    fn pass(&mut self, terms: Terms) -> OnHeaders {
        if terms.head {
            *self = Self::Error { body: None, in_trailers: false };
        }
        OnHeaders::Continue
    }

    /// There will be no answer, and its headers are here.
    fn refuse(
        &mut self,
        problem: &Problem,
        end: bool,
        data_follows: bool,
        terms: Terms,
        cx: &mut Cx<'_>,
    ) -> OnHeaders {
        cx.ops.count(metrics::FAILED_ANSWERS, 1);
        self.replace(problem, end, data_follows, terms, cx)
    }

    /// Has an error take the place of an answer whose headers are here. `data_follows` says that, if they do not end
    /// the message, there will be a place for a body: not so where a server sends trailers at once, in a host that
    /// cannot add a body to them, or where it waits for the rest of a request that will not come.
    pub(crate) fn replace(
        &mut self,
        problem: &Problem,
        end: bool,
        data_follows: bool,
        terms: Terms,
        cx: &mut Cx<'_>,
    ) -> OnHeaders {
        *self = Self::Done;
        let possible = if end { terms.gives_bodies } else { data_follows };
        if !possible {
            return OnHeaders::Reply(headers::error_reply(problem, &terms.errors, cx.view));
        }
        let body = problem.body_as(&terms.errors);
        headers::of_error(problem, body.len(), cx);
        let body = (!terms.head).then_some(body);
        let in_trailers = terms.gives_bodies;
        match body {
            Some(body) if end => {
                *self = Self::Error { body: None, in_trailers };
                OnHeaders::Emit(cx.emit(|out| out.write(&body)))
            }
            body => {
                *self = Self::Error { body, in_trailers };
                OnHeaders::Continue
            }
        }
    }
}

fn check_length(reader: &Reader, max_bytes: usize) -> Result<(), Problem> {
    match reader.length() {
        Some(length) if length > max_bytes => {
            let message = format!(
                "the model server's answer of {length} bytes is larger than max_response_bytes ({max_bytes})"
            );
            Err(Problem::new(503, message, "kserve_answer_too_large"))
        }
        _ => Ok(()),
    }
}

/// What Triton says where its `generate` does not get one answer of a model, in its own words.
fn not_one() -> Problem {
    let message = "generate expects model to produce exactly 1 response, use generate stream for model that generates \
                   various number of responses";
    Problem::new(500, message, "kserve_not_one_answer")
}

/// The gRPC status of an answer that is over with its headers, as the client's error says it. `end` says that nothing
/// follows them.
pub(super) fn ending_in_headers(end: bool, view: &dyn View) -> u16 {
    let status = Status::read(view, Map::ResponseHeaders);
    let head = Head::read(view);
    match status {
        Some(status) if !status.is_ok() => status.code(),
        None if head.status == 200 && (end || !head.is_grpc) => status::UNKNOWN,
        _ => match status::of_http(head.status) {
            // Headers that are right, of an answer that is not.
            status::OK => status::INTERNAL,
            code => code,
        },
    }
}

/// What an answer says that is gRPC by its content type but has another HTTP status than 200, the only one that gRPC
/// knows, and no error of gRPC's own (which would count: gRPC's "HTTP to gRPC Status Code Mapping").
fn without_grpc_status(http_status: u16) -> Problem {
    match http_status {
        400..=599 => http_problem(http_status, ""),
        _ => Problem::bad_answer(format!(
            "the model server answered a gRPC call with HTTP status {http_status} instead of 200"
        )),
    }
}

/// What an answer says that is neither gRPC nor an error.
fn not_grpc(status: u16, content_type: &[u8]) -> Problem {
    let content_type = match content_type {
        b"" => "no content-type".into(),
        some => String::from_utf8_lossy(some),
    };
    Problem::bad_answer(format!(
        "the model server answered HTTP {status} with {content_type} instead of gRPC"
    ))
}

fn http_problem(status: u16, text: &str) -> Problem {
    let message = match text {
        "" => format!("the model server could not be asked: HTTP status {status}"),
        text => text.to_owned(),
    };
    Problem::new(status, message, "kserve_http_error")
}

/// The error object of a text, as [`short_error_body`] has it.
fn text_error_body(text: &[u8], status: u16, errors: &ErrorForm) -> Vec<u8> {
    short_error_body(http_problem(status, String::from_utf8_lossy(text).trim()), errors)
}

/// An error object of at most [`LATE_ERROR_BYTES`]: a longer one has no details, and its text is cut at a character.
fn short_error_body(mut problem: Problem, errors: &ErrorForm) -> Vec<u8> {
    loop {
        let body = problem.body_as(errors);
        if body.len() <= LATE_ERROR_BYTES {
            return body;
        }
        // An escape takes up to six bytes, so a sixth of the excess is always safe to cut.
        problem.shorten((body.len() - LATE_ERROR_BYTES).div_ceil(6));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_long_text_is_cut_until_its_error_object_can_be_parked() {
        for text in ["x".repeat(3000), "\u{1}".repeat(3000), "\u{e9}".repeat(3000), "\"".repeat(900)] {
            let body = text_error_body(text.as_bytes(), 500, &ErrorForm::Kserve);
            assert!(body.len() <= LATE_ERROR_BYTES && body.len() > LATE_ERROR_BYTES - 20, "{}", body.len());
            let error: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(text.starts_with(error["error"].as_str().unwrap()));
        }
        assert_eq!(
            text_error_body(b" no healthy upstream\n", 503, &ErrorForm::Kserve),
            br#"{"error":"no healthy upstream"}"#
        );
    }
}
