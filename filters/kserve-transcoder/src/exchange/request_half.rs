//! The request half of an exchange: headers and a JSON body become one gRPC message.

mod metadata;

pub(super) use metadata::{Awaiting, METADATA, metadata_of};

use super::Exchange;
use super::request_headers::{ORIGINAL_PATH, RequestHeaders, RequestLine};
use super::response_half::{ResponseHalf, is_grpc};
use crate::codec::{Inputs, Progress, RequestCodec, Rest, Tensor, is_blank};
use crate::compressed::{Encoding, decoded};
use crate::config::PathMode;
use crate::error_form::ErrorForm;
use crate::frame;
use crate::generic;
use crate::metrics;
use crate::problem::Problem;
use crate::rows::{Found, Row, RowKind, Variables, split_query};
use crate::stream::{StreamForm, accepts_events};
use crate::tensor::{self, Answers, Signature, Target};
use filter_api::{
    Call, CallId, Chunk, Cx, Emission, Map, OnData, OnHeaders, OnTrailers, Op, Rope, Sink, View,
};
use std::sync::Arc;
use std::time::Duration;

/// How long a host waits for the answer to a GET that it sends beside the route: Envoy's own default timeout of
/// a route.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The fields in which an inference's path has the model's name and its version.
const MODEL: &str = "model_name";
const VERSION: &str = "model_version";

/// By which gRPC says how messages may be compressed (gRPC over HTTP/2, "Message-Accept-Encoding").
const ACCEPT_MESSAGES: &str = "grpc-accept-encoding";
const ACCEPTED_MESSAGES: &[u8] = b"gzip";

/// By which a client of Triton's gRPC asks for an error within a stream as the call's status. Clients of HTTP get it as Triton's
/// own port has it; and Triton 2.51 crashes if such an error comes behind a message.
const STREAM_STATUS: &str = "triton_grpc_error";

/// At most so many elements are told of a request. A rate limit of Envoy's drops what has more hits
/// (`config.route.v3.RateLimit.HitsAddend`), so that a request of more would pass it.
const MOST_DESCRIBED: u64 = 1_000_000_000;

/// Request headers that a call beside the route sets itself or has no use for.
const NOT_FORWARDED: [&str; 6] = ["te", "host", "content-type", "accept", "accept-encoding", ORIGINAL_PATH];

/// Where the request half stands.
#[derive(Debug)]
pub(super) enum Reading {
    /// The request's headers have not come, or the answer has been given: nothing to do with what comes.
    Nothing,
    /// The body is being read.
    Body(Box<dyn RequestCodec>),
    /// The message has gone out; this may follow in the body.
    Sent(Rest),
    /// The answer has begun; what still comes of the body is dropped.
    Ignored,
    /// The body is bad. It is read to its end before the client is told: an HTTP/2 client that is answered
    /// while it uploads takes the reset that follows for a transport error.
    Failed { problem: Problem, still_accepted: usize },
}

impl Exchange {
    pub(super) fn request_headers(&mut self, end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        let plugin = self.plugin.clone();
        let line = RequestLine::read(cx.view);
        let (method, path) = line.parts();
        self.head = method == b"HEAD";
        if let Some(openai) = &plugin.settings.openai
            && let Some(found) = openai.find(method, path)
        {
            return self.openai_headers(openai, found, &line, end, cx);
        }
        let (row, variables) = match plugin.settings.rows.find(method, path) {
            Ok(Found::Row { row, variables }) => (row, variables),
            Ok(Found::NotOurs) => return OnHeaders::Detach,
            // A browser's question to a CORS filter, which may come after this one.
            Ok(_) if is_preflight(method, cx) => return OnHeaders::Detach,
            Ok(Found::Unknown) => return self.refuse_unknown(path, cx),
            Ok(Found::MethodNotAllowed { allow }) => return self.refuse_method(method, allow, cx),
            Err(problem) => return self.refuse(problem, cx),
        };
        if row.streams() {
            match self.stream_form(row, end, cx) {
                Ok(form) => self.stream = Some(form),
                Err(problem) => return self.refuse(problem, cx),
            }
        }
        self.one_of_stream = row.answers_once();
        if let Some(statuses) = plugin.statuses.as_ref().filter(|_| row.errors_are_statuses()) {
            self.errors = ErrorForm::Status { statuses: statuses.clone(), row: row.clone() };
        }
        let kind = row.kind;
        // Not again, where the headers have waited.
        if kind != RowKind::Generic && self.inference.is_none() {
            let (name, version) = (variables.get(MODEL).unwrap_or_default(), variables.get(VERSION));
            self.inference = plugin.models.begin(name, version, plugin.settings.describes, || cx.view.now());
            if plugin.settings.describes {
                plugin.describe(name, version, cx);
            }
        }
        if row.is_shared_with_grpc && is_of_grpc(cx) {
            return OnHeaders::Detach;
        }
        if !end && row.answers_raw() && !plugin.settings.holds_response_headers {
            return self.refuse(needs_held_headers(), cx);
        }
        if row.answers_may_be_compressed() {
            self.encode_answer(cx);
        }
        let signature = match kind {
            RowKind::Predict | RowKind::Generate => match self.signature(&variables, path, end, cx) {
                Ok(signature) => Some(signature),
                Err(verdict) => return verdict,
            },
            RowKind::Infer | RowKind::Generic => None,
        };
        let body = match self.body(row, variables, signature, end, cx) {
            Ok(body) => body,
            Err(problem) => return self.refuse(problem, cx),
        };
        if !end {
            self.rewrite_headers(row.rpc_path(), method, path, cx);
            if row.rpc_path() == kserve_proto::MODEL_STREAM_INFER
                && cx.view.header(Map::RequestHeaders, STREAM_STATUS).is_some()
            {
                cx.ops.remove_header(Map::RequestHeaders, STREAM_STATUS);
            }
            self.reading = Reading::Body(body);
            self.response = ResponseHalf::Expected(None);
            let hold = plugin.settings.holds_request_headers && kind != RowKind::Generic;
            return if hold { OnHeaders::Hold } else { OnHeaders::Continue };
        }
        let message = match self.finish(body) {
            Ok(message) => message,
            Err(problem) => return self.refuse(problem, cx),
        };
        if plugin.caps.body_on_header_only {
            self.rewrite_headers(row.rpc_path(), method, path, cx);
            OnHeaders::Emit(self.send(message, cx))
        } else {
            self.call(row, path, message, cx)
        }
    }

    pub(super) fn request_data(&mut self, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        match self.read_chunk(chunk) {
            Ok(Some(message)) => return OnData::Emit(self.send(message, cx)),
            Ok(None) => {}
            Err(problem) => return self.fail(problem, chunk.end, cx),
        }
        match &self.reading {
            Reading::Nothing => OnData::Pass,
            Reading::Sent(_) | Reading::Ignored => OnData::Emit(cx.emit(|_| {})),
            Reading::Body(_) | Reading::Failed { .. } => OnData::Keep,
        }
    }

    /// Reads a chunk to its end; gives the message if the body is complete with it. Nothing is sent of a message while
    /// a byte of its chunk may still be wrong.
    fn read_chunk(&mut self, chunk: Chunk<'_>) -> Result<Option<Framed>, Problem> {
        let mut message = None;
        for slice in chunk.slices {
            let now = self.read(slice)?;
            message = message.or(now);
        }
        match message {
            None if chunk.end => self.end_of_body(),
            message => Ok(message),
        }
    }

    pub(super) fn request_trailers(&mut self, cx: &mut Cx<'_>) -> OnTrailers {
        match std::mem::replace(&mut self.reading, Reading::Nothing) {
            Reading::Nothing => return OnTrailers::Continue,
            Reading::Sent(_) | Reading::Ignored => {}
            // A body that was known to be complete has been sent already. This one is not, and its end says why; or it
            // is compressed, and complete only now.
            Reading::Body(body) => {
                let refused = match self.finish(body) {
                    Ok(message) if self.plugin.caps.emit_in_trailers => {
                        remove_all(Map::RequestTrailers, cx);
                        return OnTrailers::Emit(self.send(message, cx));
                    }
                    Ok(_) if self.taken == 0 => {
                        Problem::bad_request("a request without a body cannot have trailers")
                    }
                    Ok(_) => Problem::bad_request(
                        "a request whose body is compressed, or is not JSON, cannot have trailers",
                    ),
                    Err(problem) => problem,
                };
                self.refused(cx);
                return OnTrailers::Reply(refused.reply_as(&self.errors));
            }
            Reading::Failed { problem, .. } => {
                self.refused(cx);
                return OnTrailers::Reply(problem.reply_as(&self.errors));
            }
        }
        remove_all(Map::RequestTrailers, cx);
        OnTrailers::Continue
    }

    /// Reads the next bytes of the body; gives the message if the body is complete with them.
    fn read(&mut self, bytes: &[u8]) -> Result<Option<Framed>, Problem> {
        let before = self.taken;
        self.taken = before.saturating_add(bytes.len());
        match &mut self.reading {
            Reading::Nothing | Reading::Ignored => Ok(None),
            Reading::Sent(Rest::Nothing) if bytes.is_empty() => Ok(None),
            Reading::Sent(Rest::Nothing) => Err(tensor::goes_on()),
            Reading::Sent(Rest::Blanks) if self.taken > self.plugin.settings.codec.max_request_bytes => {
                let limit = self.plugin.settings.codec.max_request_bytes;
                Err(Problem::too_large(format!("the body is larger than {limit} bytes")))
            }
            Reading::Sent(Rest::Blanks) => match bytes.iter().position(|byte| !is_blank(byte)) {
                None => Ok(None),
                Some(at) => Err(goes_on(before + at, bytes[at])),
            },
            Reading::Body(body) => match body.write(bytes)? {
                Progress::More => Ok(None),
                Progress::Complete => self.end_of_body(),
            },
            Reading::Failed { problem, still_accepted } => {
                *still_accepted = still_accepted.saturating_sub(bytes.len());
                if *still_accepted == 0 { Err(problem.clone()) } else { Ok(None) }
            }
        }
    }

    /// The body is complete or has ended; gives the message if there is one.
    fn end_of_body(&mut self) -> Result<Option<Framed>, Problem> {
        match std::mem::replace(&mut self.reading, Reading::Ignored) {
            Reading::Body(body) => {
                self.reading = Reading::Sent(body.rest());
                self.finish(body).map(Some)
            }
            Reading::Failed { problem, .. } => Err(problem),
            before @ (Reading::Nothing | Reading::Sent(_) | Reading::Ignored) => {
                self.reading = before;
                Ok(None)
            }
        }
    }

    /// Turns a complete body into a framed message, and expects its answer.
    fn finish(&mut self, body: Box<dyn RequestCodec>) -> Result<Framed, Problem> {
        let describe = self.plugin.settings.describes && self.inference.is_some();
        let mut inputs = Inputs { describe, ..Inputs::default() };
        let (message, answer) = body.finish_described(&mut inputs)?;
        let prefix = frame::prefix(message.len())?;
        if let Some(inference) = &mut self.inference {
            if let Some(Target { model, version }) = &inputs.model {
                self.plugin.models.name(inference, model, version.as_deref());
            }
            (inference.request_bytes, inference.elements) = (message.len() as u64, inputs.elements);
        }
        if inputs.stream {
            self.stream = Some(StreamForm::EVENTS);
        }
        self.response = ResponseHalf::Expected(Some(answer));
        Ok(Framed { prefix, message, inputs })
    }

    /// Sends the message in place of what was read.
    fn send(&mut self, message: Framed, cx: &mut Cx<'_>) -> Emission {
        if let Some(model) = &message.inputs.model {
            self.say_model(model, cx);
        }
        if message.inputs.stream {
            self.ask_for_stream(cx);
        }
        if let Some(Tensor { datatype, shape }) = &message.inputs.first {
            cx.ops.describe("datatype", datatype);
            cx.ops.describe("shape", shape);
        }
        if message.inputs.describe {
            let elements = message.inputs.elements.min(MOST_DESCRIBED);
            cx.ops.describe("elements", &elements.to_string());
        }
        self.count_sent(cx);
        cx.emit(|out| message.write(out))
    }

    fn count_sent(&mut self, cx: &mut Cx<'_>) {
        self.sent = true;
        cx.ops.count(metrics::TRANSCODED, 1);
    }

    /// Remembers what is wrong with the body, or tells the client at once when nothing of it is left to come.
    fn fail(&mut self, problem: Problem, end: bool, cx: &mut Cx<'_>) -> OnData {
        let still_accepted = match &self.reading {
            Reading::Failed { .. } => 0,
            _ => self.plugin.settings.codec.max_request_bytes,
        };
        if end || still_accepted == 0 || problem.status != 400 {
            self.refused(cx);
            return OnData::Reply(problem.reply_as(&self.errors));
        }
        self.reading = Reading::Failed { problem, still_accepted };
        OnData::Keep
    }

    /// Has the answer compressed if that is configured and the client accepts it.
    pub(super) fn encode_answer(&mut self, cx: &Cx<'_>) {
        if let Some(compress) = self.plugin.settings.compress_answers {
            self.encoding = Encoding::of_request(compress.from_bytes, compress.level, cx.view);
        }
    }

    /// How the messages of a stream are to look, if the host can pass them on one by one.
    fn stream_form(&self, row: &Row, end: bool, cx: &Cx<'_>) -> Result<StreamForm, Problem> {
        let caps = self.plugin.caps;
        if row.answers_raw() {
            return Err(Problem::streaming_method(format!(
                "{} answers with a stream of bodies that are not JSON (google.api.HttpBody), which is not served",
                row.rpc_path()
            )));
        }
        if end && !caps.body_on_header_only {
            return Err(Problem::streaming_method(format!(
                "{} answers with a stream, and a proxy-wasm filter gets all of the answer to a request without a body at \
                 once: send a body, have the Lua filter of envoy/kserve-transcoder.lua-get.yaml give the request one, or \
                 use the native module",
                row.rpc_path()
            )));
        }
        let form = match row.kind {
            // As the servers' own HTTP ports have it, whatever the client accepts.
            RowKind::Infer | RowKind::Predict | RowKind::Generate => StreamForm::EVENTS,
            RowKind::Generic => self.plugin.settings.generic.print.stream_form(|| accepts_events(cx.view)),
        };
        if form.needs_end() && !caps.emit_in_trailers {
            return Err(Problem::streaming_method(format!(
                "{} answers with a stream, and a proxy-wasm filter cannot write the end of a JSON array: set \
                 print_options.stream_newline_delimited or stream_sse_style_delimited, or use the native module",
                row.rpc_path()
            )));
        }
        Ok(form)
    }

    /// The body that is to come; with `end` it is empty, whatever its headers say of an encoding.
    fn body(
        &self,
        row: &Arc<Row>,
        variables: Variables,
        signature: Option<Arc<Signature>>,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<Box<dyn RequestCodec>, Problem> {
        let options = self.plugin.settings.codec;
        let headers = RequestHeaders::take(row.model(&variables), options.body_model_name, cx)?;
        let charge = self.plugin.account.of_one_owner().charge();
        let held = charge.sibling();
        let target = || {
            let text = |field: &str| variables.get(field).map(str::to_owned);
            tensor::Target { model: text(MODEL).unwrap_or_default(), version: text(VERSION) }
        };
        let codec: Box<dyn RequestCodec> = match (row.kind, signature) {
            (RowKind::Predict, Some(signature)) => {
                tensor::Predict::new(target(), options, signature, charge)?
            }
            (RowKind::Generate, Some(signature)) => {
                let answers = if row.streams() { Answers::All } else { Answers::One };
                tensor::Generate::new(target(), options, signature, answers, charge)?
            }
            // Those that need a signature have one.
            (RowKind::Infer | RowKind::Predict | RowKind::Generate, _) => {
                let request = tensor::Request::new(target(), options, headers.json_length()?, charge);
                if row.streams() {
                    request.answered_by(self.plugin.settings.stream_messages)
                } else {
                    request
                }
            }
            (RowKind::Generic, _) => {
                let content_type = || cx.view.header(Map::RequestHeaders, "content-type");
                generic::request(row, variables, self.plugin.settings.generic, content_type, charge)?
            }
        };
        let encoding = headers.encoding.as_deref().filter(|_| !end);
        decoded(codec, encoding, options.max_request_bytes, held)
    }

    /// Makes the headers those of the gRPC request; the others have been taken off.
    pub(super) fn rewrite_headers(&self, rpc: &str, method: &[u8], path: &[u8], cx: &mut Cx<'_>) {
        let ops = &mut *cx.ops;
        let map = Map::RequestHeaders;
        // Most are that already, and a header costs the host more than this look.
        if method != b"POST" {
            ops.set_header(map, ":method", b"POST");
        }
        ops.set_header(map, "content-type", b"application/grpc");
        ops.set_header(map, "te", b"trailers");
        ops.set_header(map, ORIGINAL_PATH, path);
        if self.plugin.settings.accepts_compressed_messages {
            ops.set_header(map, ACCEPT_MESSAGES, ACCEPTED_MESSAGES);
        }
        match self.plugin.settings.path {
            PathMode::Rewrite => ops.set_header(map, ":path", rpc.as_bytes()),
            // Envoy keeps a query when a route rewrites the path, and gRPC servers would look for it in the method.
            PathMode::Route => match split_query(path).0 {
                without_query if without_query.len() < path.len() => {
                    ops.set_header(map, ":path", without_query);
                }
                _ => {}
            },
        }
        self.select_route(cx);
    }

    /// Sends the message beside the route, for a host that cannot give this request a body.
    fn call(&mut self, row: &Row, path: &[u8], message: Framed, cx: &mut Cx<'_>) -> OnHeaders {
        let Some(cluster) = self.cluster(cx) else {
            // No route, or one without a cluster (a redirect): Envoy's own answer is the right one, and the
            // response half gives it its shape.
            self.response = ResponseHalf::Expected(None);
            return OnHeaders::Continue;
        };
        let mut body = Vec::with_capacity(frame::PREFIX_BYTES + message.message.len());
        message.write(&mut body);
        let (ops, map) = (&*cx.ops, Map::RequestHeaders);
        let removed = |name: &str| ops.iter().any(|op| op == Op::RemoveHeader(map, name));
        let mut call = beside_route(CallId(0), cluster, (row.rpc_path(), path), body, removed, cx.view);
        if self.plugin.settings.accepts_compressed_messages {
            call.headers.push((ACCEPT_MESSAGES.to_owned(), ACCEPTED_MESSAGES.to_vec()));
        }
        self.count_sent(cx);
        cx.ops.call(call);
        OnHeaders::Wait
    }

    /// The cluster that calls beside the route go to; `None` where there is none, or the route has none.
    fn cluster(&self, cx: &Cx<'_>) -> Option<String> {
        let of_route = || {
            let name = cx.view.property(&["xds", "cluster_name"])?;
            String::from_utf8(name).ok().filter(|name| !name.is_empty())
        };
        self.plugin.settings.unary_cluster.clone().or_else(of_route)
    }

    fn refuse_unknown(&mut self, path: &[u8], cx: &mut Cx<'_>) -> OnHeaders {
        let path = String::from_utf8_lossy(path).into_owned();
        let message = format!("unknown inference path {path}");
        self.refuse(Problem::new(404, message, "kserve_unknown_path"), cx)
    }

    pub(super) fn refuse_method(&mut self, method: &[u8], allow: String, cx: &mut Cx<'_>) -> OnHeaders {
        let method = String::from_utf8_lossy(method).into_owned();
        let message = format!("{method} is not allowed here: use {allow}");
        let problem = Problem::new(405, message, "kserve_method_not_allowed");
        self.refused(cx);
        OnHeaders::Reply(problem.reply_as(&self.errors).header("allow", allow))
    }

    pub(super) fn refuse(&mut self, problem: Problem, cx: &mut Cx<'_>) -> OnHeaders {
        self.refused(cx);
        OnHeaders::Reply(problem.reply_as(&self.errors))
    }

    /// The filter answers itself: what still comes, the answer's own way out included, passes.
    pub(super) fn refused(&mut self, cx: &mut Cx<'_>) {
        self.reading = Reading::Nothing;
        self.response = ResponseHalf::Done;
        self.count_refused(cx);
    }
}

/// A message with its gRPC frame.
#[derive(Debug)]
struct Framed {
    prefix: [u8; frame::PREFIX_BYTES],
    message: Rope,
    inputs: Inputs,
}

impl Framed {
    fn write(mut self, out: &mut dyn Sink) {
        out.write(&self.prefix);
        self.message.drain_to(out);
    }
}

/// What is wrong with a request with a body whose answer says itself of which type it is. A call beside the route, which
/// would do, is only for requests without one.
fn needs_held_headers() -> Problem {
    let message = "only the message says of which type the answer to this path is, and in proxy-wasm its headers would have \
                   gone out by then: either send the request without a body, or set hold_response_headers: true and \
                   allow_on_headers_stop_iteration: true";
    Problem::new(501, message, "kserve_needs_held_headers")
}

/// Whether a request is a gRPC client's.
fn is_of_grpc(cx: &Cx<'_>) -> bool {
    cx.view.header(Map::RequestHeaders, "content-type").is_some_and(|content_type| is_grpc(&content_type))
}

/// A call for the request in hand, with its headers but for those that stay behind. `paths` are the gRPC method's and the
/// client's.
fn beside_route(
    id: CallId,
    cluster: String,
    (rpc_path, path): (&str, &[u8]),
    body: Vec<u8>,
    stays_behind: impl Fn(&str) -> bool,
    view: &dyn View,
) -> Call {
    let authority = view.header(Map::RequestHeaders, ":authority");
    let mut headers = vec![
        (":method".to_owned(), b"POST".to_vec()),
        (":path".to_owned(), rpc_path.as_bytes().to_vec()),
        (":authority".to_owned(), authority.unwrap_or_else(|| cluster.clone().into_bytes())),
        ("content-type".to_owned(), b"application/grpc".to_vec()),
        ("te".to_owned(), b"trailers".to_vec()),
        (ORIGINAL_PATH.to_owned(), path.to_vec()),
    ];
    view.each_header(Map::RequestHeaders, &mut |name, value| {
        let Ok(text) = std::str::from_utf8(name) else { return };
        if !(text.starts_with(':') || NOT_FORWARDED.contains(&text) || stays_behind(text)) {
            headers.push((text.to_owned(), value.to_vec()));
        }
    });
    Call { id, cluster, headers, body, timeout: CALL_TIMEOUT }
}

/// Whether a request is a CORS preflight (Fetch standard, "CORS-preflight request").
pub(super) fn is_preflight(method: &[u8], cx: &Cx<'_>) -> bool {
    method == b"OPTIONS" && cx.view.header(Map::RequestHeaders, "access-control-request-method").is_some()
}

/// What is wrong with a body that goes on after its message has been sent; the codecs say the same of one that has
/// come in one piece.
fn goes_on(at: usize, byte: u8) -> Problem {
    let found = char::from(byte).escape_default();
    Problem::bad_request(format!(
        "invalid JSON at byte {at}: expected nothing after the end of the document, found {found}"
    ))
}

/// Removes every entry of a map.
fn remove_all(map: Map, cx: &mut Cx<'_>) {
    let mut names = Vec::new();
    cx.view.each_header(map, &mut |name, _| names.extend(std::str::from_utf8(name).ok().map(str::to_owned)));
    for name in names {
        cx.ops.remove_header(map, &name);
    }
}
