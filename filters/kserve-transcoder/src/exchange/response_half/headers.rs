//! The headers of answers.

use crate::compressed::{Coding, Encoding, MessageCoding};
use crate::error_form::ErrorForm;
use crate::problem::Problem;
use filter_api::{Cx, Map, Reply, View};
use std::borrow::Cow;

/// Headers that speak of the message or of the connection that they came with (RFC 9110, sections 7.6.1 and 8; RFC
/// 9530), or that Envoy writes itself: they belong to no other message.
const OF_ONE_MESSAGE: [&[u8]; 18] = [
    b"connection",
    b"content-digest",
    b"content-encoding",
    b"content-length",
    b"content-md5",
    b"content-range",
    b"content-type",
    b"date",
    b"digest",
    b"inference-header-content-length",
    b"keep-alive",
    b"proxy-connection",
    b"repr-digest",
    b"server",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

/// Whether a header, or metadata of a gRPC call, is meant for the client, also if the message that it came with
/// fails.
pub(super) fn is_for_client(name: &[u8]) -> bool {
    !name.starts_with(b":") && !name.starts_with(b"grpc-") && !OF_ONE_MESSAGE.contains(&name)
}

/// Whether metadata of a gRPC call is something that a model says to the client. Values of `-bin` are bytes, which no
/// HTTP header has.
pub(super) fn is_of_model(name: &[u8]) -> bool {
    is_for_client(name) && !name.ends_with(b"-bin") && !name.starts_with(b"x-envoy-")
}

/// What the headers of an answer say, as they come.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) status: u16,
    /// The content type is gRPC's.
    pub(super) is_grpc: bool,
    /// `grpc-status` is among them.
    pub(super) has_grpc_status: bool,
    /// Which of [`OF_THE_MESSAGE`] are among them, as bits.
    pub(super) of_the_message: u8,
    /// How the message may be compressed.
    pub(super) coding: MessageCoding,
}

/// What is true of the gRPC message only, and is taken off its answer.
const OF_THE_MESSAGE: [&str; 3] = ["content-length", "grpc-encoding", "grpc-accept-encoding"];

impl Head {
    /// Reads the response's headers; of several copies of a header the first counts.
    pub(super) fn read(view: &dyn View) -> Self {
        let mut head = Self::default();
        let (mut status, mut grpc) = (None, None);
        view.each_header(Map::ResponseHeaders, &mut |name, value| match name {
            b":status" => status = status.or_else(|| Some(http_status(value))),
            b"content-type" => grpc = grpc.or_else(|| Some(is_grpc(value))),
            b"grpc-status" => head.has_grpc_status = true,
            _ => {
                if let Some(at) = OF_THE_MESSAGE.iter().position(|of| of.as_bytes() == name) {
                    head.of_the_message |= 1 << at;
                    if OF_THE_MESSAGE[at] == "grpc-encoding" {
                        head.coding = MessageCoding::of(value);
                    }
                }
            }
        });
        Self { status: status.unwrap_or(BROKEN), is_grpc: grpc.unwrap_or_default(), ..head }
    }
}

/// A status that cannot be read stands for a broken server.
pub(super) fn http_status(value: &[u8]) -> u16 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(BROKEN)
}

/// The status of a server that gives none.
const BROKEN: u16 = 502;

/// Whether this is the `content-type` of a gRPC message.
pub(in crate::exchange) fn is_grpc(content_type: &[u8]) -> bool {
    content_type.len() >= 16 && content_type[..16].eq_ignore_ascii_case(b"application/grpc")
}

/// Makes the headers those of an answer. `of_the_message` is what [`Head::read`] has found of what is to be taken off;
/// `json_bytes` is the length of the JSON part of a body that has binary tensor data behind it.
pub(super) fn of_answer(status: u16, json_bytes: Option<usize>, of_the_message: u8, cx: &mut Cx<'_>) {
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
    take_off(of_the_message, cx);
}

/// The reply that is an answer, with those of the headers here that are meant for the client.
pub(super) fn reply_of_answer(
    status: u16,
    json_bytes: Option<usize>,
    content_type: Option<&str>,
    view: &dyn View,
) -> Reply {
    let mut reply = Reply::new(status, "kserve_answer");
    let content_type = match json_bytes {
        None => content_type.unwrap_or("application/json"),
        Some(_) => "application/octet-stream",
    };
    add(&mut reply, b"content-type", content_type.as_bytes());
    if let Some(bytes) = json_bytes {
        reply = reply.header("inference-header-content-length", bytes.to_string());
    }
    in_place(reply, view)
}

/// Makes the headers those of an answer with a stream of messages.
pub(super) fn of_stream(content_type: &str, of_the_message: u8, cx: &mut Cx<'_>) {
    cx.ops.set_header(Map::ResponseHeaders, "content-type", content_type.as_bytes());
    take_off(of_the_message, cx);
}

fn take_off(of_the_message: u8, cx: &mut Cx<'_>) {
    for (at, name) in OF_THE_MESSAGE.into_iter().enumerate() {
        if of_the_message & 1 << at != 0 {
            cx.ops.remove_header(Map::ResponseHeaders, name);
        }
    }
}

/// Says of which type the body of an answer is, if it is not JSON, once its headers are those of an answer.
pub(super) fn typed(content_type: Option<&str>, cx: &mut Cx<'_>) {
    if let Some(content_type) = content_type {
        cx.ops.set_header(Map::ResponseHeaders, "content-type", content_type.as_bytes());
    }
}

/// Says how the body of an answer is encoded, once its headers are those of an answer.
pub(super) fn encoded(encoding: Encoding, coding: Option<Coding>, cx: &mut Cx<'_>) {
    let map = Map::ResponseHeaders;
    if encoding == Encoding::Fixed {
        return;
    }
    if !cx.view.header(map, "vary").is_some_and(|vary| varies(&vary)) {
        cx.ops.add_header(map, "vary", b"accept-encoding");
    }
    let Some(coding) = coding else { return };
    cx.ops.set_header(map, "content-encoding", coding.name().as_bytes());
    // What a model sets may come behind its message.
    let etag = [map, Map::ResponseTrailers].into_iter().find_map(|map| cx.view.header(map, "etag"));
    if let Some(weak) = etag.and_then(|etag| weakened(&etag)) {
        cx.ops.set_header(map, "etag", &weak);
    }
}

/// As [`encoded`], for a reply.
pub(super) fn encoded_reply(encoding: Encoding, coding: Option<Coding>, reply: &mut Reply) {
    if encoding == Encoding::Fixed {
        return;
    }
    if !reply.headers.iter().any(|(name, value)| name == "vary" && varies(value.as_bytes())) {
        add(reply, b"vary", b"accept-encoding");
    }
    let Some(coding) = coding else { return };
    add(reply, b"content-encoding", coding.name().as_bytes());
    for (_, value) in reply.headers.iter_mut().filter(|(name, _)| name == "etag") {
        if let Some(weak) = weakened(value.as_bytes()) {
            *value = String::from_utf8_lossy(&weak).into_owned().into();
        }
    }
}

/// Whether a `vary` has `accept-encoding` in it.
fn varies(vary: &[u8]) -> bool {
    let mut names = vary.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
}

/// A strong entity tag as a weak one: what is compressed is another representation, which a strong one would have to tell
/// apart (RFC 9110 section 8.8.3.3). `None` if it is weak.
fn weakened(etag: &[u8]) -> Option<Vec<u8>> {
    (!etag.starts_with(b"W/")).then(|| [b"W/", etag].concat())
}

/// Makes the headers those of an error whose body has `bytes`, and leaves those that are meant for the client.
pub(super) fn of_error(problem: &Problem, bytes: usize, cx: &mut Cx<'_>) {
    let map = Map::ResponseHeaders;
    let mut gone = Vec::new();
    cx.view.each_header(map, &mut |name, _| {
        if !name.starts_with(b":") && !is_for_client(name) && !matches!(name, b"date" | b"server") {
            gone.extend(std::str::from_utf8(name).ok().map(str::to_owned));
        }
    });
    for name in gone {
        cx.ops.remove_header(map, &name);
    }
    cx.ops.set_header(map, ":status", problem.status.to_string().as_bytes());
    cx.ops.set_header(map, "content-type", b"application/json");
    cx.ops.set_header(map, "content-length", bytes.to_string().as_bytes());
}

/// The reply for an error, with those headers of the answer in its place that are meant for the client. A host's reply
/// to an answer passes no other filter, so what other filters have said so far must be in it.
pub(super) fn error_reply(problem: &Problem, form: &ErrorForm, view: &dyn View) -> Reply {
    in_place(problem.reply_as(form), view)
}

/// The reply to a HEAD of a stream of messages, in place of an answer that need not end. Envoy gives a reply without a body
/// no content type.
pub(super) fn of_head(view: &dyn View) -> Reply {
    in_place(Reply::new(200, "kserve_answer"), view)
}

/// A reply in place of an answer, with those of its headers that are meant for the client.
fn in_place(mut reply: Reply, view: &dyn View) -> Reply {
    view.each_header(Map::ResponseHeaders, &mut |name, value| {
        if is_for_client(name) {
            add(&mut reply, name, value);
        }
    });
    reply
}

/// Adds a header to a reply, unless it is not text.
pub(super) fn add(reply: &mut Reply, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) {
        reply.headers.push((Cow::Owned(name.to_owned()), Cow::Owned(value.to_owned())));
    }
}

/// Removes the trailers that are not for the client: gRPC's own, and those that say something of the server's message
/// or connection, with which an HTTP/2 client refuses the whole answer (RFC 9110 section 6.5.1, RFC 9113 section
/// 8.2.2).
///
/// With `to_headers` it also turns those that a model has set into headers, because what a model sets as a header
/// travels as trailing metadata, as MLServer's `parameters.headers` do. A header that is there already stays as it is,
/// and so do trailers with binary values (`-bin`).
pub(super) fn sort_trailers(to_headers: bool, cx: &mut Cx<'_>) {
    let (view, ops) = (cx.view, &mut *cx.ops);
    view.each_header(Map::ResponseTrailers, &mut |name, value| {
        let Ok(text) = std::str::from_utf8(name) else { return };
        let moves = to_headers && is_of_model(name) && view.header(Map::ResponseHeaders, text).is_none();
        if moves {
            ops.add_header(Map::ResponseHeaders, text, value);
        }
        if moves || !is_for_client(name) {
            ops.remove_header(Map::ResponseTrailers, text);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_a_model_says_is_for_the_client_but_for_what_is_true_of_its_message_only() {
        for name in ["x-cost", "set-cookie", "retry-after", "etag", "content-language"] {
            assert!(is_of_model(name.as_bytes()), "{name}");
        }
        for name in
            ["content-length", "content-digest", "repr-digest", "content-md5", "te", "grpc-status", "a-bin"]
        {
            assert!(!is_of_model(name.as_bytes()), "{name}");
        }
    }
}
