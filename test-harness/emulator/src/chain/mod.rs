//! Envoy's filter manager for a chain of one wasm filter between the connection and the router.
//!
//! Follows `source/common/http/filter_manager.cc` step by step, so that what a return code does to headers,
//! body and trailers is a consequence here as it is there. "Next" is the router for requests and the client for
//! responses.

mod head;
mod local_reply;

use crate::state::abi::Direction;
use crate::state::headers::HeaderMap;
use crate::state::stream::{Half, Iteration, Reply, StreamState};

/// The filter in the chain, and where the streams are kept: what the chain needs to know of the VM.
pub(crate) trait Callbacks {
    /// The state of a stream.
    fn stream(&mut self, id: u32) -> &mut StreamState;
    /// Headers reach the filter.
    fn on_headers(&mut self, id: u32, dir: Direction, end: bool) -> HeadersStatus;
    /// A piece of body reaches the filter: a new one, or what the chain has buffered.
    fn on_data(&mut self, id: u32, dir: Direction, buffered: bool, end: bool) -> DataStatus;
    /// Trailers reach the filter.
    fn on_trailers(&mut self, id: u32, dir: Direction) -> TrailersStatus;
    /// The stream is over: the access log, and the end of the filter's context.
    fn on_destroy(&mut self, id: u32);
    /// The filter did something that has no defined outcome in Envoy.
    fn hazard(&mut self, text: String);
}

/// `Http::FilterHeadersStatus`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadersStatus {
    Continue,
    StopIteration,
    StopAllAndBuffer,
    StopAllAndWatermark,
}

/// `Http::FilterDataStatus`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataStatus {
    Continue,
    StopAndBuffer,
    StopAndWatermark,
    StopNoBuffer,
}

/// `Http::FilterTrailersStatus`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrailersStatus {
    Continue,
    Stop,
}

/// Where a piece of body is: in `Half::chunk`, or already in the chain's own buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Chunk,
    Buffered,
}

/// The stream's state. Every id that gets here was given out when the stream was opened, which puts the state there.
fn stream<C: Callbacks>(cx: &mut C, id: u32) -> &mut StreamState {
    cx.stream(id)
}

fn half<C: Callbacks>(cx: &mut C, id: u32, dir: Direction) -> &mut Half {
    stream(cx, id).half(dir)
}

/// Headers come in from the network (or from a local reply).
pub(crate) fn headers<C: Callbacks>(cx: &mut C, id: u32, dir: Direction, headers: HeaderMap, end: bool) {
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
    let status = in_callback(cx, id, dir, |cx| cx.on_headers(id, dir, end));
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
pub(crate) fn data<C: Callbacks>(cx: &mut C, id: u32, dir: Direction, bytes: Vec<u8>, end: bool) {
    let s = stream(cx, id);
    if s.destroyed || s.half(dir).aborted {
        return;
    }
    let bypassed = s.bypassed;
    let h = s.half(dir);
    h.observed_end |= end;
    h.received += bytes.len() as u64;
    h.chunk = bytes;
    if bypassed {
        next_data(cx, id, dir, Piece::Chunk, end);
    } else {
        data_from_filter(cx, id, dir, Piece::Chunk, end);
    }
}

/// Trailers come in from the network.
pub(crate) fn trailers<C: Callbacks>(cx: &mut C, id: u32, dir: Direction, trailers: HeaderMap) {
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
pub(crate) fn continue_stream<C: Callbacks>(cx: &mut C, id: u32, dir: Direction) {
    let s = stream(cx, id);
    let calling = if dir == Direction::Request { s.decoding } else { s.encoding };
    let arrived = s.half(dir).headers.is_some();
    if calling {
        cx.hazard(format!("stream {id}: continued a {dir:?} from its own callback"));
    }
    if arrived {
        resume(cx, id, dir);
    } else {
        cx.hazard(format!("stream {id}: continued a {dir:?} that has no headers yet"));
    }
}

/// `commonContinue`: what continuing, and a body or trailers code of 0 after a stop, lead to.
fn resume<C: Callbacks>(cx: &mut C, id: u32, dir: Direction) {
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
pub(crate) fn add_to_buffer<C: Callbacks>(cx: &mut C, id: u32, dir: Direction) {
    half(cx, id, dir).streaming = false;
    buffer_chunk(cx, id, dir);
}

/// Checks the buffer's size against the limit after it changed.
pub(crate) fn check_limit<C: Callbacks>(cx: &mut C, id: u32, dir: Direction) {
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
    send_local_reply(cx, id, local_reply::too_large(dir));
}

/// `DownstreamFilterManager::sendLocalReply`: through the filter's own response callbacks if no response has
/// begun, straight to the client if one has begun but nothing of it has left, else the stream is reset.
pub(crate) fn send_local_reply<C: Callbacks>(cx: &mut C, id: u32, reply: Reply) {
    let s = stream(cx, id);
    // Of two replies to a request the first is sent; a second to a response makes Envoy throw away both.
    if s.destroyed && s.encoding {
        cx.hazard(format!("stream {id}: a second local response from a callback for the response"));
        return;
    }
    if s.destroyed || s.prepared.is_some() {
        return;
    }
    if s.decoding {
        s.half(Direction::Request).aborted = true;
    } else if s.encoding {
        s.half(Direction::Response).aborted = true;
    }
    s.details = Some(reply.details.clone());
    if s.half(Direction::Response).headers.is_none() {
        if s.decoding {
            s.prepared = Some(reply);
        } else {
            through_chain(cx, id, reply);
        }
    } else if !s.response_encoded {
        directly(cx, id, &reply);
    } else {
        reset(cx, id);
    }
}

/// Sends the reply through the response callbacks.
fn through_chain<C: Callbacks>(cx: &mut C, id: u32, reply: Reply) {
    let s = stream(cx, id);
    let (headers, body) = local_reply::message(s, &reply);
    s.half(Direction::Request).aborted = true;
    self::headers(cx, id, Direction::Response, headers, body.is_empty());
    if !body.is_empty() {
        data(cx, id, Direction::Response, body, true);
    }
}

fn directly<C: Callbacks>(cx: &mut C, id: u32, reply: &Reply) {
    let s = stream(cx, id);
    let (headers, body) = local_reply::message(s, reply);
    s.half(Direction::Response).headers = Some(headers.clone());
    deliver_response_headers(cx, id, headers, body.is_empty());
    if !body.is_empty() {
        deliver_response_data(cx, id, body, true);
    }
}

/// Ends the stream: the module gets its last three callbacks.
pub(crate) fn destroy<C: Callbacks>(cx: &mut C, id: u32) {
    let s = stream(cx, id);
    if s.destroyed {
        return;
    }
    s.destroyed = true;
    let upstream = s.half(Direction::Request);
    if upstream.out.headers.is_some() && !upstream.out.ended {
        upstream.out.reset = true;
    }
    cx.on_destroy(id);
}

/// Resets the stream towards the client.
pub(crate) fn reset<C: Callbacks>(cx: &mut C, id: u32) {
    let s = stream(cx, id);
    if s.destroyed {
        return;
    }
    s.half(Direction::Response).out.reset = true;
    destroy(cx, id);
}

fn in_callback<C: Callbacks, T>(cx: &mut C, id: u32, dir: Direction, call: impl FnOnce(&mut C) -> T) -> T {
    set_calling(cx, id, dir, true);
    let value = call(cx);
    set_calling(cx, id, dir, false);
    value
}

fn set_calling<C: Callbacks>(cx: &mut C, id: u32, dir: Direction, calling: bool) {
    let s = stream(cx, id);
    match dir {
        Direction::Request => s.decoding = calling,
        Direction::Response => s.encoding = calling,
    }
}

/// After a callback: sends the local reply that was prepared in it, and tells whether the chain goes no further.
fn interrupted<C: Callbacks>(cx: &mut C, id: u32, dir: Direction) -> bool {
    let s = stream(cx, id);
    if s.half(dir).aborted
        && let Some(reply) = s.prepared.take()
    {
        through_chain(cx, id, reply);
        return true;
    }
    s.half(dir).aborted || s.destroyed
}

fn data_from_filter<C: Callbacks>(cx: &mut C, id: u32, dir: Direction, piece: Piece, end: bool) {
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
    let status = in_callback(cx, id, dir, |cx| cx.on_data(id, dir, piece == Piece::Buffered, end_here));
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
fn after_data<C: Callbacks>(cx: &mut C, id: u32, dir: Direction, piece: Piece, status: DataStatus) -> bool {
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

fn buffer<C: Callbacks>(cx: &mut C, id: u32, dir: Direction, piece: Piece) {
    if piece == Piece::Chunk {
        buffer_chunk(cx, id, dir);
    }
}

fn buffer_chunk<C: Callbacks>(cx: &mut C, id: u32, dir: Direction) {
    let h = half(cx, id, dir);
    let mut chunk = std::mem::take(&mut h.chunk);
    match &mut h.buffered {
        Some(buffered) => buffered.append(&mut chunk),
        None => h.buffered = Some(chunk),
    }
    check_limit(cx, id, dir);
}

fn trailers_from_filter<C: Callbacks>(cx: &mut C, id: u32, dir: Direction) {
    if half(cx, id, dir).stopped_all() {
        return;
    }
    half(cx, id, dir).filter_ended = true;
    let status = in_callback(cx, id, dir, |cx| cx.on_trailers(id, dir));
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

fn next_headers<C: Callbacks>(cx: &mut C, id: u32, dir: Direction, end: bool) {
    let s = stream(cx, id);
    let h = s.half(dir);
    let headers = h.headers.clone().unwrap_or_default();
    if dir == Direction::Response {
        if head::status(&headers).is_none() {
            send_local_reply(cx, id, local_reply::bad_gateway());
            return;
        }
        deliver_response_headers(cx, id, headers, end);
        return;
    }
    if !head::route(s, &headers) {
        send_local_reply(cx, id, local_reply::no_route());
        return;
    }
    let out = &mut s.half(dir).out;
    out.headers = Some(headers);
    out.ended = end;
}

/// Headers leave for the client.
pub(crate) fn deliver_response_headers<C: Callbacks>(cx: &mut C, id: u32, headers: HeaderMap, end: bool) {
    // Codecs refuse any other; 101 is for upgrades of HTTP/1.1.
    if !head::status(&headers).is_some_and(|status| status == 101 || (200..1000).contains(&status)) {
        reset(cx, id);
        return;
    }
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
pub(crate) fn deliver_response_data<C: Callbacks>(cx: &mut C, id: u32, bytes: Vec<u8>, end: bool) {
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

fn next_data<C: Callbacks>(cx: &mut C, id: u32, dir: Direction, piece: Piece, end: bool) {
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

fn next_trailers<C: Callbacks>(cx: &mut C, id: u32, dir: Direction) {
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
