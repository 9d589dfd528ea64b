//! Envoy's wasm HTTP filter: turns the chain's callbacks into calls of the module and its answers into statuses.
//!
//! Follows `source/extensions/common/wasm/context.cc` and proxy-wasm-cpp-host's `src/context.cc`.

use super::host::{Cx, Export, Exports, after_call, call};
use crate::chain::{self, Callbacks, DataStatus, HeadersStatus, TrailersStatus};
use crate::state::abi::{Abi, Direction};
use crate::state::headers::HeaderMap;
use crate::state::stream::{Body, Reply, StreamState};

impl Callbacks for Cx<'_> {
    fn stream(&mut self, id: u32) -> &mut StreamState {
        self.data_mut().streams.entry(id).or_default()
    }

    fn on_headers(&mut self, id: u32, dir: Direction, end: bool) -> HeadersStatus {
        headers(self, id, dir, end)
    }

    fn on_data(&mut self, id: u32, dir: Direction, buffered: bool, end: bool) -> DataStatus {
        data(self, id, dir, buffered, end)
    }

    fn on_trailers(&mut self, id: u32, dir: Direction) -> TrailersStatus {
        trailers(self, id, dir)
    }

    fn on_destroy(&mut self, id: u32) {
        log_and_delete(self, id);
    }

    fn hazard(&mut self, text: String) {
        self.data_mut().hazard(text);
    }
}

fn stream<'a>(cx: &'a mut Cx<'_>, id: u32) -> &'a mut StreamState {
    Callbacks::stream(cx, id)
}

fn headers(cx: &mut Cx<'_>, id: u32, dir: Direction, end: bool) -> HeadersStatus {
    if skip_response(cx, id, dir) {
        return HeadersStatus::Continue;
    }
    create_context(cx, id);
    let s = stream(cx, id);
    s.end_of_stream = end;
    s.half(dir).headers_open = true;
    let count = s.half(dir).headers.as_ref().map_or(0, HeaderMap::len) as u32;
    let allow_stop = s.allow_headers_stop;
    let convert = |code| match code {
        0 | 2 => HeadersStatus::Continue,
        1 if allow_stop => HeadersStatus::StopIteration,
        3 => HeadersStatus::StopAllAndBuffer,
        _ => HeadersStatus::StopAllAndWatermark,
    };
    let (stopped, absent) = (HeadersStatus::StopAllAndWatermark, HeadersStatus::Continue);
    let status = if cx.data().abi == Abi::V0_1_0 {
        run(cx, id, |e| e.headers_without_end[dir.index()].as_ref(), (id, count), stopped, absent, convert)
    } else {
        let params = (id, count, u32::from(end));
        run(cx, id, |e| e.headers[dir.index()].as_ref(), params, stopped, absent, convert)
    };
    if status == HeadersStatus::Continue {
        stream(cx, id).half(dir).headers_open = false;
    }
    status
}

fn data(cx: &mut Cx<'_>, id: u32, dir: Direction, buffered: bool, end: bool) -> DataStatus {
    if skip_response(cx, id, dir) || !stream(cx, id).created_in_vm {
        return DataStatus::Continue;
    }
    if stream(cx, id).half(dir).buffering {
        if !buffered {
            chain::add_to_buffer(cx, id, dir);
        }
        if stream(cx, id).destroyed {
            return DataStatus::StopAndBuffer;
        }
    }
    let s = stream(cx, id);
    s.end_of_stream = end;
    s.half(dir).body = if buffered { Body::Buffered } else { Body::Chunk };
    let size = s.half(dir).filter_buffer().map_or(0, |b| b.len()) as u32;
    let status = run(
        cx,
        id,
        |e| e.data[dir.index()].as_ref(),
        (id, size, u32::from(end)),
        DataStatus::StopNoBuffer,
        DataStatus::Continue,
        |code| match code {
            0 => DataStatus::Continue,
            1 => DataStatus::StopAndBuffer,
            2 => DataStatus::StopAndWatermark,
            _ => DataStatus::StopNoBuffer,
        },
    );
    let h = stream(cx, id).half(dir);
    h.buffering = status == DataStatus::StopAndBuffer;
    if status == DataStatus::Continue {
        h.body = Body::None;
    }
    status
}

fn trailers(cx: &mut Cx<'_>, id: u32, dir: Direction) -> TrailersStatus {
    if skip_response(cx, id, dir) || !stream(cx, id).created_in_vm {
        return TrailersStatus::Continue;
    }
    let h = stream(cx, id).half(dir);
    h.trailers_open = true;
    let count = h.trailers.as_ref().map_or(0, HeaderMap::len) as u32;
    let status = run(
        cx,
        id,
        |e| e.trailers[dir.index()].as_ref(),
        (id, count),
        TrailersStatus::Stop,
        TrailersStatus::Continue,
        |code| if code == 0 { TrailersStatus::Continue } else { TrailersStatus::Stop },
    );
    if status == TrailersStatus::Continue {
        stream(cx, id).half(dir).trailers_open = false;
    }
    status
}

/// The access-log callback, in which the maps can be read, then the two that end the context.
fn log_and_delete(cx: &mut Cx<'_>, id: u32) {
    if stream(cx, id).bypassed {
        return;
    }
    create_context(cx, id);
    if !cx.data().is_dead(id) {
        stream(cx, id).log_phase = true;
        call(cx, id, |e| e.log.as_ref(), id);
        after_call(cx);
        stream(cx, id).log_phase = false;
    }
    if !cx.data().is_dead(id) {
        call(cx, id, |e| e.done.as_ref(), id);
        after_call(cx);
    }
    if !cx.data().is_dead(id) {
        call(cx, id, |e| e.delete.as_ref(), id);
        after_call(cx);
    }
}

/// After the 503 for a dead VM the response callbacks are not made.
fn skip_response(cx: &mut Cx<'_>, id: u32, dir: Direction) -> bool {
    let s = stream(cx, id);
    dir == Direction::Response && (!s.created_in_vm || s.failure_reply_sent)
}

fn create_context(cx: &mut Cx<'_>, id: u32) {
    let s = stream(cx, id);
    if s.created_in_vm {
        return;
    }
    s.created_in_vm = true;
    let root = s.root;
    if !cx.data().is_dead(id) {
        call(cx, id, |e| e.context_create.as_ref(), (id, root));
        after_call(cx);
    }
}

/// One callback with Envoy's checks for a dead VM before and after it.
fn run<P: wasmtime::WasmParams, S>(
    cx: &mut Cx<'_>,
    id: u32,
    pick: impl Fn(&Exports) -> Option<&Export<P, u32>>,
    params: P,
    stopped: S,
    absent: S,
    convert: impl FnOnce(u32) -> S,
) -> S {
    if cx.data().is_dead(id) {
        fail_stream(cx, id);
        return stopped;
    }
    let exists = cx.data().exports.as_ref().is_some_and(|e| pick(e).is_some());
    if !exists {
        return absent;
    }
    let code = call(cx, id, |e| pick(e), params);
    let status = match code {
        None => {
            fail_stream(cx, id);
            stopped
        }
        Some(_) if cx.data().stop_next => stopped,
        Some(code) => convert(code),
    };
    after_call(cx);
    status
}

fn fail_stream(cx: &mut Cx<'_>, id: u32) {
    let s = stream(cx, id);
    if s.stream_failed {
        return;
    }
    s.stream_failed = true;
    chain::send_local_reply(
        cx,
        id,
        Reply {
            status: 503,
            headers: HeaderMap::new(),
            body: Vec::new(),
            grpc_status: Some(14),
            details: "wasm_fail_stream".to_owned(),
        },
    );
    stream(cx, id).failure_reply_sent = true;
}
