//! Envoy's functions, one safe method each.

#![allow(unsafe_code)]

pub(crate) mod body;
pub(crate) mod config;
pub(crate) mod view;

use crate::abi::{self, EnvoyBuffer, ModuleBuffer, ModuleHeader};
use crate::lookup;
use filter_api::{Call, CallResponse, Dir, Labels, Level, Map, Reply};
use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// The filter object of one stream, inside one hook.
///
/// The lifetime keeps it from outliving the hook; the pointer keeps it on the hook's thread.
#[derive(Clone, Copy)]
pub(crate) struct Envoy<'hook> {
    stream: *mut abi::EnvoyStream,
    hook: PhantomData<&'hook ()>,
}

/// So many labels a metric can have.
const MOST_LABELS: usize = 8;

impl<'hook> Envoy<'hook> {
    /// Wraps the pointer that Envoy gave to a hook.
    ///
    /// # Safety
    /// `stream` is the pointer that Envoy passed to the hook which is running on this thread, and `'hook` ends
    /// before that hook returns.
    pub(crate) unsafe fn new(stream: *mut abi::EnvoyStream) -> Self {
        Self { stream, hook: PhantomData }
    }

    /// Has the `scheduled` hook called with `event` once this hook has returned.
    pub(crate) fn schedule(self, event: u64) {
        // SAFETY: the stream is valid during the hook; the scheduler is deleted once, after its last use.
        unsafe {
            let scheduler = abi::scheduler_new(self.stream);
            abi::scheduler_commit(scheduler, event);
            abi::scheduler_delete(scheduler);
        }
    }

    /// What has the `scheduled` hook called with `event`, from any thread.
    pub(crate) fn waker(self, event: u64) -> Waker {
        // SAFETY: the stream is valid during the hook.
        Waker { scheduler: unsafe { abi::scheduler_new(self.stream) }, event }
    }

    /// Replaces all values of a header by one.
    pub(crate) fn set_header(self, map: Map, name: &str, value: &[u8]) {
        // SAFETY: the stream is valid during the hook; Envoy copies both buffers. An empty slice's pointer is
        // not null, so an empty value does not remove the header.
        unsafe { abi::set_header(self.stream, map_type(map), name.as_bytes().into(), value.into()) };
    }

    /// Adds one more value of a header.
    pub(crate) fn add_header(self, map: Map, name: &str, value: &[u8]) {
        // SAFETY: as in `set_header`.
        unsafe { abi::add_header(self.stream, map_type(map), name.as_bytes().into(), value.into()) };
    }

    /// Removes all values of a header.
    pub(crate) fn remove_header(self, map: Map, name: &str) {
        // SAFETY: as in `set_header`; a null value is how the ABI says "remove".
        unsafe { abi::set_header(self.stream, map_type(map), name.as_bytes().into(), ModuleBuffer::NULL) };
    }

    /// Sets a text in a namespace of the dynamic metadata.
    pub(crate) fn set_metadata(self, namespace: &str, key: &str, value: &str) {
        let namespace = namespace.as_bytes().into();
        let (key, value) = (key.as_bytes().into(), value.as_bytes().into());
        // SAFETY: the stream is valid during the hook; Envoy copies all buffers.
        unsafe { abi::set_dynamic_metadata_string(self.stream, namespace, key, value) };
    }

    /// Sets filter state that cannot be changed any more.
    pub(crate) fn set_filter_state(self, name: &str, value: &[u8]) {
        // SAFETY: the stream is valid during the hook; Envoy copies both buffers.
        unsafe { abi::set_filter_state_bytes(self.stream, name.as_bytes().into(), value.into()) };
    }

    /// Has the route selected again.
    pub(crate) fn clear_route_cache(self) {
        // SAFETY: the stream is valid during the hook.
        unsafe { abi::clear_route_cache(self.stream) };
    }

    /// Adds to a counter.
    pub(crate) fn count(self, id: usize, by: u64) {
        // SAFETY: the stream is valid during the hook; no labels, so no label values are read.
        unsafe { abi::increment_counter(self.stream, id, std::ptr::null(), 0, by) };
    }

    /// Adds to a counter with labels. Envoy refuses another number of values than it has labels.
    pub(crate) fn count_by(self, id: usize, labels: Labels<'_>, by: u64) {
        let mut values = [ModuleBuffer::NULL; MOST_LABELS];
        let mut count = 0;
        for (place, value) in values.iter_mut().zip(labels.values()) {
            *place = value.as_bytes().into();
            count += 1;
        }
        // SAFETY: the stream is valid during the hook; the array has `count` values, and Envoy copies them.
        unsafe { abi::increment_counter(self.stream, id, values.as_ptr(), count, by) };
    }

    /// Sets a gauge.
    pub(crate) fn set_gauge(self, id: usize, value: u64) {
        // SAFETY: as in `count`.
        unsafe { abi::set_gauge(self.stream, id, std::ptr::null(), 0, value) };
    }

    /// Records a value in a histogram.
    pub(crate) fn record(self, id: usize, value: u64) {
        // SAFETY: as in `count`.
        unsafe { abi::record_histogram_value(self.stream, id, std::ptr::null(), 0, value) };
    }

    /// Whether the request's `content-type` is that of a gRPC request.
    pub(crate) fn is_grpc_request(self) -> bool {
        let (mut value, mut count) = (EnvoyBuffer::EMPTY, 0);
        let (map, name) = (abi::REQUEST_HEADERS, b"content-type"[..].into());
        // SAFETY: the stream is valid during the hook; Envoy writes both results before it returns.
        let found = unsafe { abi::get_header(self.stream, map, name, &mut value, 0, &mut count) };
        // SAFETY: the value stays valid while the header map is not changed, and is not kept.
        found && count > 0 && is_grpc(unsafe { value.bytes() })
    }

    /// Answers the client. Nothing may be done with the stream after it but to stop.
    ///
    /// To a gRPC request Envoy says 200 and puts the error into trailers. It would find `grpc-status` by the HTTP
    /// status if the ABI let it: this call hands it an OK, which only a header of the reply's own comes before.
    pub(crate) fn send_response(self, reply: &Reply, to_grpc: bool) {
        let mut headers: Vec<ModuleHeader> =
            reply.headers.iter().map(|(name, value)| lend(name.as_bytes(), value.as_bytes())).collect();
        if to_grpc && !reply.headers.iter().any(|(name, _)| name == "grpc-status") {
            headers.push(lend(b"grpc-status", grpc_status_of(reply.status).as_bytes()));
        }
        let (body, details) = (reply.body.as_slice().into(), reply.details.as_bytes().into());
        let status = u32::from(reply.status);
        // SAFETY: the stream is valid during the hook; Envoy has copied all buffers when this returns.
        unsafe { abi::send_response(self.stream, status, headers.as_ptr(), headers.len(), body, details) };
    }

    /// Resets the stream. Nothing may be done with it afterwards but to stop.
    pub(crate) fn reset_stream(self, details: &str) {
        // SAFETY: the stream is valid during the hook; Envoy copies the buffer.
        unsafe { abi::reset_stream(self.stream, abi::LOCAL_RESET, details.as_bytes().into()) };
    }

    /// Lets a stream that waited go on. This filter's hooks are called before it returns.
    pub(crate) fn resume(self, dir: Dir) {
        let resume = match dir {
            Dir::Request => abi::continue_decoding,
            Dir::Response => abi::continue_encoding,
        };
        // SAFETY: the stream is valid during the hook. The hooks that run meanwhile find the filter's state where
        // the adapter has put it back, and no reference to it is alive here.
        unsafe { resume(self.stream) };
    }

    /// Starts a call and returns Envoy's id of it, or `None` where none was started.
    pub(crate) fn call(self, call: &Call) -> Option<u64> {
        start(call, |id, cluster, headers, body, timeout| {
            // SAFETY: the stream is valid during the hook; Envoy has copied all buffers when this returns, and writes
            // the id only before that.
            unsafe {
                abi::http_callout(self.stream, id, cluster, headers.as_ptr(), headers.len(), body, timeout)
            }
        })
    }
}

/// Whether this is the `content-type` of a gRPC request (Envoy's `Grpc::Common::isGrpcRequestHeaders`).
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    matches!(content_type.strip_prefix(b"application/grpc"), Some([] | [b'+', ..]))
}

/// The gRPC status of an HTTP one, as Envoy and all of gRPC have it
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
fn grpc_status_of(status: u16) -> &'static str {
    match status {
        200 => "0",
        400 => "13",
        401 => "16",
        403 => "7",
        404 => "12",
        429 | 502 | 503 | 504 => "14",
        _ => "2",
    }
}

/// Has a stream's `scheduled` hook called, once and from any thread, if the stream still exists then.
pub(crate) struct Waker {
    scheduler: *mut abi::EnvoyScheduler,
    event: u64,
}

// SAFETY: Envoy's object may be used from any thread; only its owner uses it.
unsafe impl Send for Waker {}

impl Waker {
    /// Has the hook called.
    pub(crate) fn wake(self) {
        // SAFETY: the object was made by `scheduler_new` and is not deleted yet.
        unsafe { abi::scheduler_commit(self.scheduler, self.event) };
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        // SAFETY: as in `wake`, and it is not used any more.
        unsafe { abi::scheduler_delete(self.scheduler) };
    }
}

/// Writes a line to Envoy's log, if the level is wanted there.
pub(crate) fn log(level: Level, filter: &str, text: impl Display) {
    let level = match level {
        Level::Debug => abi::LOG_DEBUG,
        Level::Info => abi::LOG_INFO,
        Level::Warn => abi::LOG_WARN,
        Level::Error => abi::LOG_ERROR,
    };
    if abi::log_enabled(level) {
        abi::log(level, format!("{filter}: {text}").as_bytes().into());
    }
}

/// Whether the running Envoy ignores a resumption if its last call of this filter, in either direction, let
/// things go on. That is so in 1.38, and leaves a stream hanging.
pub(crate) fn ignores_resumption_after_progress() -> bool {
    static SINCE_1_39: OnceLock<bool> = OnceLock::new();
    !SINCE_1_39.get_or_init(|| lookup::exported("envoy_dynamic_module_callback_http_get_filter_state_object"))
}

/// Starts a call by one of Envoy's functions, and returns Envoy's id of it.
fn start(
    call: &Call,
    function: impl FnOnce(&mut u64, ModuleBuffer, &[ModuleHeader], ModuleBuffer, u64) -> u32,
) -> Option<u64> {
    let headers: Vec<ModuleHeader> =
        call.headers.iter().map(|(name, value)| lend(name.as_bytes(), value)).collect();
    let mut id = 0;
    let timeout = u64::try_from(call.timeout.as_millis()).unwrap_or(u64::MAX);
    let (cluster, body) = (call.cluster.as_bytes().into(), call.body.as_slice().into());
    (function(&mut id, cluster, &headers, body, timeout) == abi::SUCCESS).then_some(id)
}

/// The answer to a call, copied out of what Envoy lends to the hook that tells its end.
///
/// # Safety
/// Both pointers are null or point to as many items as the lengths say, valid during the hook.
pub(crate) unsafe fn call_response(
    headers: *const abi::EnvoyHeader,
    headers_len: usize,
    pieces: *const EnvoyBuffer,
    pieces_len: usize,
) -> CallResponse {
    let mut response = CallResponse::default();
    if !headers.is_null() && headers_len > 0 {
        // SAFETY: not null, and the caller vouches for the length.
        for header in unsafe { std::slice::from_raw_parts(headers, headers_len) } {
            // SAFETY: what the headers point to is valid during the hook, and copied here.
            let (name, value) = unsafe { (header.name.bytes(), header.value.bytes()) };
            response.headers.push((name.to_vec(), value.to_vec()));
        }
    }
    if !pieces.is_null() && pieces_len > 0 {
        // SAFETY: as for the headers.
        for piece in unsafe { std::slice::from_raw_parts(pieces, pieces_len) } {
            // SAFETY: as for the headers.
            response.body.extend_from_slice(unsafe { piece.bytes() });
        }
    }
    response
}

fn map_type(map: Map) -> abi::MapType {
    match map {
        Map::RequestHeaders => abi::REQUEST_HEADERS,
        Map::RequestTrailers => abi::REQUEST_TRAILERS,
        Map::ResponseHeaders => abi::RESPONSE_HEADERS,
        Map::ResponseTrailers => abi::RESPONSE_TRAILERS,
    }
}

fn lend(name: &[u8], value: &[u8]) -> ModuleHeader {
    ModuleHeader { name: name.into(), value: value.into() }
}
