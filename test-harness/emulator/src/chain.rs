//! Envoy's filter manager for a chain of one wasm filter between the connection and the router.
//!
//! Follows `source/common/http/filter_manager.cc` step by step, so that what a return code does to headers,
//! body and trailers is a consequence here as it is there. "Next" is the router for requests and the client for
//! responses.

use crate::abi::Direction;
use crate::filter::{self, DataStatus, HeadersStatus, TrailersStatus};
use crate::headers::HeaderMap;
use crate::host::{Cx, Host};
use crate::local_reply;
use crate::stream_state::{Half, Iteration, Reply, StreamState};

/// Where a piece of body is: in `Half::chunk`, or already in the chain's own buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Chunk,
    Buffered,
}

/// The stream's state. Every id that gets here was given out by `Stream::open`, which puts the state there.
pub(crate) fn stream<'a>(cx: &'a mut Cx<'_>, id: u32) -> &'a mut StreamState {
    let host: &'a mut Host = cx.data_mut();
    host.streams.entry(id).or_default()
}

fn half<'a>(cx: &'a mut Cx<'_>, id: u32, dir: Direction) -> &'a mut Half {
    stream(cx, id).half(dir)
}

/// Headers come in from the network (or from a local reply).
pub(crate) fn headers(cx: &mut Cx<'_>, id: u32, dir: Direction, headers: HeaderMap, end: bool) {
    let s = stream(cx, id);
    if s.destroyed || s.half(dir).aborted || s.half(dir).headers.is_some() {
        return;
    }
    let bypassed = s.bypassed;
    let h = s.half(dir);
    h.headers = Some(headers);
    h.observed_end |= end;
    h.filter_ended = end;
    if bypassed {
        h.headers_continued = true;
        next_headers(cx, id, dir, end);
        return;
    }
    let status = in_callback(cx, id, dir, |cx| filter::headers(cx, id, dir, end));
    if interrupted(cx, id, dir) {
        return;
    }
    let h = half(cx, id, dir);
    match status {
        HeadersStatus::Continue => {
            h.headers_continued = true;
            next_headers(cx, id, dir, end);
        }
        HeadersStatus::StopIteration => h.iteration = Iteration::StopSingle,
        HeadersStatus::StopAllAndBuffer => h.iteration = Iteration::StopAllBuffer,
        HeadersStatus::StopAllAndWatermark => h.iteration = Iteration::StopAllWatermark,
    }
}

/// A piece of body comes in from the network (or from a local reply).
pub(crate) fn data(cx: &mut Cx<'_>, id: u32, dir: Direction, bytes: Vec<u8>, end: bool) {
    let s = stream(cx, id);
    if s.destroyed || s.half(dir).aborted {
        return;
    }
    let bypassed = s.bypassed;
    let h = s.half(dir);
    h.observed_end |= end;
    h.chunk = bytes;
    if bypassed {
        next_data(cx, id, dir, Piece::Chunk, end);
    } else {
        data_from_filter(cx, id, dir, Piece::Chunk, end);
    }
}

/// Trailers come in from the network.
pub(crate) fn trailers(cx: &mut Cx<'_>, id: u32, dir: Direction, trailers: HeaderMap) {
    let s = stream(cx, id);
    if s.destroyed || s.half(dir).aborted {
        return;
    }
    let bypassed = s.bypassed;
    let h = s.half(dir);
    h.observed_end = true;
    h.trailers = Some(trailers);
    if bypassed {
        next_trailers(cx, id, dir);
    } else {
        trailers_from_filter(cx, id, dir);
    }
}

/// `proxy_continue_stream`, once the module has returned. Real Envoy dies of some uses.
pub(crate) fn continue_stream(cx: &mut Cx<'_>, id: u32, dir: Direction) {
    let s = stream(cx, id);
    let calling = if dir == Direction::Request { s.decoding } else { s.encoding };
    let arrived = s.half(dir).headers.is_some();
    if calling {
        cx.data_mut().hazard(format!("stream {id}: continued a {dir:?} from its own callback"));
    }
    if arrived {
        resume(cx, id, dir);
    } else {
        cx.data_mut().hazard(format!("stream {id}: continued a {dir:?} that has no headers yet"));
    }
}

/// `commonContinue`: what continuing, and a body or trailers code of 0 after a stop, lead to.
fn resume(cx: &mut Cx<'_>, id: u32, dir: Direction) {
    let s = stream(cx, id);
    if s.destroyed || s.half(dir).aborted {
        return;
    }
    let h = s.half(dir);
    if h.stopped_all() {
        h.iterate_from_current = true;
    }
    h.iteration = Iteration::Continue;
    if !h.headers_continued {
        h.headers_continued = true;
        let end = h.observed_end && h.buffered.is_none() && h.trailers.is_none();
        next_headers(cx, id, dir, end);
    }
    let h = half(cx, id, dir);
    let had_trailers = h.trailers.is_some();
    let at_filter = h.iterate_from_current;
    if h.buffered.is_some() {
        let end = h.observed_end && !had_trailers;
        if at_filter {
            data_from_filter(cx, id, dir, Piece::Buffered, end);
        } else {
            next_data(cx, id, dir, Piece::Buffered, end);
        }
    }
    if had_trailers {
        if at_filter {
            trailers_from_filter(cx, id, dir);
        } else {
            next_trailers(cx, id, dir);
        }
    }
    half(cx, id, dir).iterate_from_current = false;
}

/// `addDecodedData` / `addEncodedData` as the wasm filter calls them: the piece joins the buffer before the
/// module sees it.
pub(crate) fn add_to_buffer(cx: &mut Cx<'_>, id: u32, dir: Direction) {
    half(cx, id, dir).streaming = false;
    buffer_chunk(cx, id, dir);
}

/// Checks the buffer's size against the limit after it changed.
pub(crate) fn check_limit(cx: &mut Cx<'_>, id: u32, dir: Direction) {
    let h = half(cx, id, dir);
    let (Some(limit), Some(buffered)) = (h.limit, &h.buffered) else { return };
    if buffered.len() <= limit / 2 {
        h.above_limit = false;
    }
    if buffered.len() <= limit || h.above_limit {
        return;
    }
    h.above_limit = true;
    if h.streaming {
        return;
    }
    let (status, text, details) = match dir {
        Direction::Request => (413, "Payload Too Large", "request_payload_too_large"),
        Direction::Response => (500, "Internal Server Error", "response_payload_too_large"),
    };
    local_reply::send(
        cx,
        id,
        Reply {
            status,
            headers: HeaderMap::new(),
            body: text.into(),
            grpc_status: None,
            details: details.into(),
        },
    );
}

/// Ends the stream: the module gets its last three callbacks.
pub(crate) fn destroy(cx: &mut Cx<'_>, id: u32) {
    let s = stream(cx, id);
    if s.destroyed {
        return;
    }
    s.destroyed = true;
    let upstream = s.half(Direction::Request);
    if upstream.out.headers.is_some() && !upstream.out.ended {
        upstream.out.reset = true;
    }
    filter::log_and_delete(cx, id);
}

/// Resets the stream towards the client.
pub(crate) fn reset(cx: &mut Cx<'_>, id: u32) {
    let s = stream(cx, id);
    if s.destroyed {
        return;
    }
    s.half(Direction::Response).out.reset = true;
    destroy(cx, id);
}

fn in_callback<T>(cx: &mut Cx<'_>, id: u32, dir: Direction, call: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    set_calling(cx, id, dir, true);
    let value = call(cx);
    set_calling(cx, id, dir, false);
    value
}

fn set_calling(cx: &mut Cx<'_>, id: u32, dir: Direction, calling: bool) {
    let s = stream(cx, id);
    match dir {
        Direction::Request => s.decoding = calling,
        Direction::Response => s.encoding = calling,
    }
}

/// After a callback: sends the local reply that was prepared in it, and tells whether the chain goes no further.
fn interrupted(cx: &mut Cx<'_>, id: u32, dir: Direction) -> bool {
    let s = stream(cx, id);
    if s.half(dir).aborted
        && let Some(reply) = s.prepared.take()
    {
        local_reply::through_chain(cx, id, reply);
        return true;
    }
    s.half(dir).aborted || s.destroyed
}

fn data_from_filter(cx: &mut Cx<'_>, id: u32, dir: Direction, piece: Piece, end: bool) {
    let h = half(cx, id, dir);
    if h.stopped_all() {
        h.streaming = h.iteration == Iteration::StopAllWatermark;
        buffer(cx, id, dir, piece);
        return;
    }
    if h.filter_ended {
        return;
    }
    let had_trailers = h.trailers.is_some();
    let end_here = end && !had_trailers;
    h.filter_ended = end_here;
    let status = in_callback(cx, id, dir, |cx| filter::data(cx, id, dir, piece == Piece::Buffered, end_here));
    if interrupted(cx, id, dir) {
        return;
    }
    let trailers_added = !had_trailers && half(cx, id, dir).trailers.is_some();
    if after_data(cx, id, dir, piece, status) {
        next_data(cx, id, dir, piece, end_here && !trailers_added);
        if trailers_added {
            next_trailers(cx, id, dir);
        }
    }
}

/// `commonHandleAfterDataCallback`: whether the piece goes on to the next filter by itself.
fn after_data(cx: &mut Cx<'_>, id: u32, dir: Direction, piece: Piece, status: DataStatus) -> bool {
    let h = half(cx, id, dir);
    match status {
        DataStatus::Continue if h.iteration == Iteration::StopSingle => {
            buffer(cx, id, dir, piece);
            resume(cx, id, dir);
            false
        }
        DataStatus::Continue => true,
        DataStatus::StopAndBuffer | DataStatus::StopAndWatermark => {
            h.iteration = Iteration::StopSingle;
            h.streaming = status == DataStatus::StopAndWatermark;
            buffer(cx, id, dir, piece);
            false
        }
        DataStatus::StopNoBuffer => {
            h.iteration = Iteration::StopSingle;
            if piece == Piece::Chunk {
                // It belongs to the connection, which throws it away.
                h.chunk.clear();
            }
            if h.observed_end && h.trailers.is_none() && h.buffered.is_none() {
                h.buffered = Some(Vec::new());
            }
            false
        }
    }
}

fn buffer(cx: &mut Cx<'_>, id: u32, dir: Direction, piece: Piece) {
    if piece == Piece::Chunk {
        buffer_chunk(cx, id, dir);
    }
}

fn buffer_chunk(cx: &mut Cx<'_>, id: u32, dir: Direction) {
    let h = half(cx, id, dir);
    let mut chunk = std::mem::take(&mut h.chunk);
    match &mut h.buffered {
        Some(buffered) => buffered.append(&mut chunk),
        None => h.buffered = Some(chunk),
    }
    check_limit(cx, id, dir);
}

fn trailers_from_filter(cx: &mut Cx<'_>, id: u32, dir: Direction) {
    if half(cx, id, dir).stopped_all() {
        return;
    }
    half(cx, id, dir).filter_ended = true;
    let status = in_callback(cx, id, dir, |cx| filter::trailers(cx, id, dir));
    if interrupted(cx, id, dir) {
        return;
    }
    let h = half(cx, id, dir);
    match status {
        TrailersStatus::Continue if h.iteration == Iteration::StopSingle => resume(cx, id, dir),
        TrailersStatus::Continue => next_trailers(cx, id, dir),
        TrailersStatus::Stop if h.iteration == Iteration::Continue => h.iteration = Iteration::StopSingle,
        TrailersStatus::Stop => {}
    }
}

fn next_headers(cx: &mut Cx<'_>, id: u32, dir: Direction, end: bool) {
    let s = stream(cx, id);
    let h = s.half(dir);
    let headers = h.headers.clone().unwrap_or_default();
    if dir == Direction::Response {
        if headers.get(":status").is_none() {
            local_reply::send(cx, id, bad_gateway());
            return;
        }
        deliver_response_headers(cx, id, headers, end);
        return;
    }
    if !route(s, &headers) {
        local_reply::send(cx, id, no_route());
        return;
    }
    let out = &mut s.half(dir).out;
    out.headers = Some(headers);
    out.ended = end;
}

/// Selects the route for good. False: no route matches.
fn route(s: &mut StreamState, headers: &HeaderMap) -> bool {
    s.route.path = headers.get(":path").map(<[u8]>::to_vec);
    let Some(routes) = &s.routes else { return true };
    if s.route.clears > 0 {
        s.selected_cluster = routes(headers);
    }
    s.route.cluster = s.selected_cluster.clone();
    s.route.cluster.is_some()
}

/// Headers leave for the client.
pub(crate) fn deliver_response_headers(cx: &mut Cx<'_>, id: u32, headers: HeaderMap, end: bool) {
    let s = stream(cx, id);
    s.response_encoded = true;
    let out = &mut s.half(Direction::Response).out;
    out.headers = Some(headers);
    out.ended = end;
    if end {
        destroy(cx, id);
    }
}

/// Body leaves for the client.
pub(crate) fn deliver_response_data(cx: &mut Cx<'_>, id: u32, bytes: Vec<u8>, end: bool) {
    let s = stream(cx, id);
    if s.destroyed {
        return;
    }
    push(&mut s.half(Direction::Response).out.chunks, bytes);
    s.half(Direction::Response).out.ended = end;
    if end {
        destroy(cx, id);
    }
}

fn next_data(cx: &mut Cx<'_>, id: u32, dir: Direction, piece: Piece, end: bool) {
    let s = stream(cx, id);
    if s.destroyed || s.half(dir).aborted {
        return;
    }
    let h = s.half(dir);
    let bytes = match piece {
        Piece::Chunk => std::mem::take(&mut h.chunk),
        Piece::Buffered => h.buffered.as_mut().map(std::mem::take).unwrap_or_default(),
    };
    if piece == Piece::Buffered {
        h.above_limit = false;
    }
    match dir {
        Direction::Request => {
            push(&mut h.out.chunks, bytes);
            h.out.ended |= end;
        }
        Direction::Response => deliver_response_data(cx, id, bytes, end),
    }
}

fn push(chunks: &mut Vec<Vec<u8>>, bytes: Vec<u8>) {
    if !bytes.is_empty() {
        chunks.push(bytes);
    }
}

fn next_trailers(cx: &mut Cx<'_>, id: u32, dir: Direction) {
    let s = stream(cx, id);
    if s.destroyed || s.half(dir).aborted {
        return;
    }
    let h = s.half(dir);
    h.out.trailers = h.trailers.clone();
    h.out.ended = true;
    if dir == Direction::Response {
        destroy(cx, id);
    }
}

fn bad_gateway() -> Reply {
    Reply {
        status: 502,
        headers: HeaderMap::new(),
        body: b"missing required header: :status".to_vec(),
        grpc_status: None,
        details: "filter_removed_required_response_headers".to_owned(),
    }
}

fn no_route() -> Reply {
    Reply {
        status: 404,
        headers: HeaderMap::new(),
        body: Vec::new(),
        grpc_status: None,
        details: "route_not_found".to_owned(),
    }
}
