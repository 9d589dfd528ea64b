//! The response half of an exchange: one gRPC message and its status become the client's answer.
//!
//! An error may come as trailers only, after headers, after an empty message or after data, and hosts differ in
//! what can still be done by then. The rule: the client sees the right status where the headers have not gone
//! out, an error in the body where a body can still be made, and a cut stream otherwise, but never a clean
//! answer that is none.

use crate::KserveTranscoder;
use crate::codec::{Answer, Response};
use crate::frame::Reader;
use crate::problem::Problem;
use crate::status::Status;
use filter_api::{
    CallEnd, CallFailure, CallResponse, Caps, Chunk, Cx, Map, OnData, OnHeaders, OnTrailers,
    PARK_LIMIT_BYTES, Reply,
};

/// How large a message may be for its headers to be held where the host buffers what it holds
/// ([`Holding::Small`]): its JSON, at most about six times as long, stays below the smallest sensible buffer limit
/// (32 KiB), beyond which Envoy would answer 500 by itself.
const HELD_MESSAGE_BYTES: usize = 4 * 1024;

/// How much of the text of an answer that is no gRPC is kept, in bytes.
const TEXT_BYTES: usize = 512;

/// Trailers that only a gRPC client understands.
const GRPC_TRAILERS: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// Where the response half stands.
#[derive(Debug)]
pub(crate) enum Answering {
    /// The answer is the filter's own, or its stream has been cut: everything passes.
    Done,
    /// An answer is to come; with a codec once the request has gone out in full.
    Expected(Option<Response>),
    /// Somebody's plain-text error (Envoy's own 503, say) is getting the protocol's shape.
    Text(Vec<u8>),
    /// A message is being read.
    Message(Message),
}

/// Whether the answer's headers are held back until its message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// They go out at once.
    No,
    /// While the message is small, in a host that cannot emit in trailers what it has not parked.
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

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Message {
    reader: Reader,
    /// `None` once the answer has been emitted.
    codec: Option<Response>,
    holding: Holding,
    /// The length of the JSON part of a binary answer, where it has been promised in headers that have gone out.
    promised_json_bytes: Option<usize>,
    limits: Limits,
}

/// What the configuration says about answers, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The largest message.
    pub(crate) message: usize,
    /// The JSON part of a binary answer whose headers go out first.
    pub(crate) binary_header: usize,
}

impl Answering {
    pub(crate) fn headers(
        &mut self,
        end: bool,
        holding: Holding,
        limits: Limits,
        cx: &mut Cx<'_>,
    ) -> OnHeaders {
        let codec = match std::mem::replace(self, Self::Done) {
            Self::Expected(codec) => codec,
            before => {
                *self = before;
                return OnHeaders::Continue;
            }
        };
        let content_type = cx.view.header(Map::ResponseHeaders, "content-type").unwrap_or_default();
        let http_status = http_status(cx.view.header(Map::ResponseHeaders, ":status").as_deref());
        if !is_grpc(&content_type) {
            return self.foreign_headers(http_status, &content_type, end, cx);
        }
        let failure = match Status::read(cx.view, Map::ResponseHeaders) {
            Some(status) if !status.is_ok() => Some(status.problem()),
            _ if http_status != 200 => Some(without_grpc_status(http_status)),
            _ if end => Some(Problem::bad_answer("the model server ended the call without a message")),
            _ => None,
        };
        match (failure, codec) {
            (None, Some(codec)) => {
                let mut message = Message {
                    reader: Reader::default(),
                    codec: Some(codec),
                    holding,
                    promised_json_bytes: None,
                    limits,
                };
                if holding == Holding::No {
                    message.release_headers(cx);
                }
                *self = Self::Message(message);
                if holding == Holding::No { OnHeaders::Continue } else { OnHeaders::Hold }
            }
            (Some(problem), _) => reply_on_headers(problem, cx),
            (None, None) => {
                let early = "the model server answered before it had the whole request";
                reply_on_headers(Problem::bad_answer(early), cx)
            }
        }
    }

    pub(crate) fn data(&mut self, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        match self {
            Self::Done | Self::Expected(_) => OnData::Pass,
            Self::Text(text) => {
                for slice in chunk.slices {
                    let room = TEXT_BYTES - text.len();
                    text.extend_from_slice(&slice[..slice.len().min(room)]);
                }
                if !chunk.end {
                    return OnData::Park;
                }
                cx.out.write(&short_error_body(text));
                *self = Self::Done;
                OnData::Emit
            }
            Self::Message(message) => {
                let verdict = message.data(chunk, cx);
                if matches!(verdict, OnData::Reply(_) | OnData::Reset) {
                    *self = Self::Done;
                }
                verdict
            }
        }
    }

    pub(crate) fn trailers(&mut self, cx: &mut Cx<'_>) -> OnTrailers {
        match std::mem::replace(self, Self::Done) {
            Self::Done | Self::Expected(_) => OnTrailers::Continue,
            Self::Text(text) => {
                cx.out.write(&short_error_body(&text));
                OnTrailers::Emit
            }
            Self::Message(message) => message.trailers(cx),
        }
    }

    /// Headers of an answer that is no gRPC: an error of Envoy's own or of another filter, or a server that
    /// speaks something else.
    fn foreign_headers(&mut self, status: u16, content_type: &[u8], end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        match status {
            // A redirect is meant for the client, and so is an error that is JSON already.
            300..=399 => OnHeaders::Continue,
            400..=599 if !end && content_type.starts_with(b"application/json") => OnHeaders::Continue,
            400..=599 if !end && (content_type.is_empty() || content_type.starts_with(b"text/plain")) => {
                cx.ops.count(KserveTranscoder::FAILED_ANSWERS, 1);
                cx.ops.set_header(Map::ResponseHeaders, "content-type", b"application/json");
                cx.ops.remove_header(Map::ResponseHeaders, "content-length");
                *self = Self::Text(Vec::new());
                OnHeaders::Continue
            }
            400..=599 => reply_on_headers(http_problem(status, ""), cx),
            _ => {
                let content_type = match content_type {
                    b"" => "no content-type".into(),
                    some => String::from_utf8_lossy(some),
                };
                let message =
                    format!("the model server answered HTTP {status} with {content_type} instead of gRPC");
                reply_on_headers(Problem::bad_answer(message), cx)
            }
        }
    }
}

impl Message {
    fn data(&mut self, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        if let Err(problem) = self.read(&chunk) {
            return self.abandon(problem, cx);
        }
        if self.codec.is_none() {
            return OnData::Emit;
        }
        let is_empty = self.reader.length() == Some(0);
        match self.holding {
            _ if chunk.end => match self.reader.problem_at_end() {
                Some(problem) => self.abandon(problem, cx),
                None => self.emit(cx),
            },
            Holding::Full => OnData::Keep,
            // An empty message may be an empty answer, or what a server sends ahead of an error. Where an answer of a
            // promised length is more than can be given later, it is given now.
            Holding::No | Holding::Small if is_empty && self.can_wait() => OnData::Park,
            Holding::No | Holding::Small if self.reader.is_complete() => self.emit(cx),
            Holding::Small if self.reader.length().is_some_and(|length| length > HELD_MESSAGE_BYTES) => {
                self.release_headers(cx);
                OnData::Emit
            }
            Holding::No | Holding::Small => OnData::Keep,
        }
    }

    /// Whether the answer to an empty message can also be given in the trailers.
    fn can_wait(&self) -> bool {
        self.promised_json_bytes.is_none_or(|bytes| bytes <= PARK_LIMIT_BYTES)
    }

    fn trailers(mut self, cx: &mut Cx<'_>) -> OnTrailers {
        let failure = match Status::read(cx.view, Map::ResponseTrailers) {
            Some(status) if !status.is_ok() => Some(status.problem()),
            _ => self.reader.problem_at_end(),
        };
        for name in GRPC_TRAILERS {
            cx.ops.remove_header(Map::ResponseTrailers, name);
        }
        let Some(problem) = failure else {
            return match (self.codec.is_some(), self.emit(cx)) {
                (false, _) => OnTrailers::Continue,
                (true, OnData::Reply(reply)) => OnTrailers::Reply(reply),
                (true, OnData::Emit) => OnTrailers::Emit,
                (true, _) => OnTrailers::Reset,
            };
        };
        let parked = self.codec.is_some() && self.reader.length() == Some(0);
        if self.holding == Holding::No && parked {
            cx.ops.count(KserveTranscoder::FAILED_ANSWERS, 1);
            cx.ops.count(KserveTranscoder::ERRORS_UNDER_200, 1);
            cx.out.write(&short_error_body(problem.message.as_bytes()));
            return OnTrailers::Emit;
        }
        match self.abandon(problem, cx) {
            OnData::Reply(reply) => OnTrailers::Reply(reply),
            _ => OnTrailers::Reset,
        }
    }

    fn read(&mut self, chunk: &Chunk<'_>) -> Result<(), Problem> {
        for slice in chunk.slices {
            let bytes = self.reader.take(slice)?;
            check_length(&self.reader, self.limits.message)?;
            if let Some(codec) = &mut self.codec {
                codec.write(bytes)?;
            }
        }
        Ok(())
    }

    /// Writes the answer, which is complete.
    fn emit(&mut self, cx: &mut Cx<'_>) -> OnData {
        let Some(codec) = self.codec.take() else { return OnData::Emit };
        let answer = match codec.finish() {
            Ok(answer) => answer,
            Err(problem) => return self.abandon(problem, cx),
        };
        let status = answer.status();
        if self.holding != Holding::No {
            self.holding = Holding::No;
            make_headers(status, answer.inference_header_length(), cx);
            answer.render(cx.out);
            return OnData::Emit;
        }
        let written = match (status, self.promised_json_bytes) {
            (200, None) => {
                answer.render(cx.out);
                true
            }
            (200, Some(bytes)) => answer.render_padded(bytes, cx.out),
            // "Not ready" under a 200 would be read as "ready" by clients that look at the status only.
            _ => false,
        };
        if !written {
            cx.ops.count(KserveTranscoder::RESETS, 1);
        }
        if written { OnData::Emit } else { OnData::Reset }
    }

    /// Lets the headers of a good answer go before the answer is known.
    fn release_headers(&mut self, cx: &mut Cx<'_>) {
        self.holding = Holding::No;
        let binary = self.codec.as_ref().is_some_and(Response::wants_binary_answer);
        self.promised_json_bytes = binary.then_some(self.limits.binary_header);
        make_headers(200, self.promised_json_bytes, cx);
    }

    /// There will be no answer: says so in the best way that is left.
    fn abandon(&mut self, problem: Problem, cx: &mut Cx<'_>) -> OnData {
        cx.ops.count(KserveTranscoder::FAILED_ANSWERS, 1);
        if self.holding == Holding::No {
            cx.ops.count(KserveTranscoder::RESETS, 1);
            return OnData::Reset;
        }
        OnData::Reply(problem.reply())
    }
}

/// Makes the reply to a GET that was sent beside the route.
pub(crate) fn of_call(codec: Response, end: CallEnd, max_bytes: usize) -> Result<Reply, Problem> {
    let response = match end {
        CallEnd::Answered(response) => response,
        CallEnd::Failed(failure) => return Err(call_problem(failure)),
    };
    let answer = answer_of_call(codec, &response, max_bytes)?;
    let mut body = Vec::new();
    let reply = Reply::new(answer.status(), "kserve_answer").header("content-type", "application/json");
    answer.render(&mut body);
    Ok(reply.body(body))
}

fn answer_of_call(mut codec: Response, response: &CallResponse, max_bytes: usize) -> Result<Answer, Problem> {
    let header = |wanted: &[u8]| {
        response.headers.iter().find(|(name, _)| name == wanted).map_or(&b""[..], |(_, value)| value)
    };
    let http_status = http_status(Some(header(b":status")));
    if !is_grpc(header(b"content-type")) {
        let text = &response.body[..response.body.len().min(TEXT_BYTES)];
        return Err(match http_status {
            400..=599 => http_problem(http_status, String::from_utf8_lossy(text).trim()),
            _ => Problem::bad_answer(format!(
                "the model server answered HTTP {http_status}, which is not gRPC"
            )),
        });
    }
    let status = Status::find(&response.trailers).or_else(|| Status::find(&response.headers));
    if let Some(status) = status.filter(|status| !status.is_ok()) {
        return Err(status.problem());
    }
    if http_status != 200 {
        return Err(without_grpc_status(http_status));
    }
    let mut reader = Reader::default();
    let bytes = reader.take(&response.body)?;
    check_length(&reader, max_bytes)?;
    if let Some(problem) = reader.problem_at_end() {
        return Err(problem);
    }
    codec.write(bytes)?;
    codec.finish()
}

/// Makes the headers those of the client's answer. `json_bytes` is the length of the JSON part of a body that has
/// binary tensor data behind it.
fn make_headers(status: u16, json_bytes: Option<usize>, cx: &mut Cx<'_>) {
    let map = Map::ResponseHeaders;
    if status != 200 {
        cx.ops.set_header(map, ":status", status.to_string().as_bytes());
    }
    match json_bytes {
        None => cx.ops.set_header(map, "content-type", b"application/json"),
        Some(bytes) => {
            cx.ops.set_header(map, "content-type", b"application/octet-stream");
            cx.ops.set_header(map, "inference-header-content-length", bytes.to_string().as_bytes());
        }
    }
    for name in ["content-length", "grpc-encoding", "grpc-accept-encoding"] {
        cx.ops.remove_header(map, name);
    }
}

fn reply_on_headers(problem: Problem, cx: &mut Cx<'_>) -> OnHeaders {
    cx.ops.count(KserveTranscoder::FAILED_ANSWERS, 1);
    OnHeaders::Reply(problem.reply())
}

fn check_length(reader: &Reader, max_bytes: usize) -> Result<(), Problem> {
    match reader.length() {
        Some(length) if length > max_bytes => Err(Problem {
            status: 503,
            message: format!(
                "the model server's answer of {length} bytes is larger than max_response_bytes ({max_bytes})"
            )
            .into(),
            details: "kserve_answer_too_large",
        }),
        _ => Ok(()),
    }
}

fn is_grpc(content_type: &[u8]) -> bool {
    content_type.len() >= 16 && content_type[..16].eq_ignore_ascii_case(b"application/grpc")
}

/// A status that cannot be read stands for a broken server.
fn http_status(value: Option<&[u8]>) -> u16 {
    value.and_then(|value| std::str::from_utf8(value).ok()).and_then(|text| text.parse().ok()).unwrap_or(502)
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

fn http_problem(status: u16, text: &str) -> Problem {
    let message = match text {
        "" => format!("the model server could not be asked: HTTP status {status}"),
        text => text.to_owned(),
    };
    Problem { status, message: message.into(), details: "kserve_http_error" }
}

fn call_problem(failure: CallFailure) -> Problem {
    let message = match failure {
        CallFailure::Refused => "the model server's cluster is not known, or does not accept calls",
        CallFailure::Reset => "the model server could not be reached, or did not answer in time",
    };
    Problem { status: 503, message: message.into(), details: "kserve_call_failed" }
}

/// An error object of at most [`PARK_LIMIT_BYTES`]: a longer text is cut at a character.
fn short_error_body(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let mut kept = text.trim();
    loop {
        let body = http_problem(500, kept).body();
        if body.len() <= PARK_LIMIT_BYTES {
            return body;
        }
        // An escape takes up to six bytes, so a sixth of the excess is always safe to cut.
        let cut = (body.len() - PARK_LIMIT_BYTES).div_ceil(6);
        let mut end = kept.len() - cut.min(kept.len());
        while !kept.is_char_boundary(end) {
            end -= 1;
        }
        kept = &kept[..end];
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
            let body = short_error_body(text.as_bytes());
            assert!(body.len() <= PARK_LIMIT_BYTES && body.len() > PARK_LIMIT_BYTES - 20, "{}", body.len());
            let error: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(text.starts_with(error["error"].as_str().unwrap()));
        }
        assert_eq!(short_error_body(b" no healthy upstream\n"), br#"{"error":"no healthy upstream"}"#);
    }
}
