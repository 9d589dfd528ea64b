//! The part of Envoy's dynamic-module ABI that this module uses: types, codes and the functions that Envoy
//! exports to modules (`source/extensions/dynamic_modules/abi/abi.h` in Envoy's source).
//!
//! Functions under `functions!` are exported by Envoy 1.38, 1.39 and 1.40 with the same signature; the module is not
//! loaded where one of them is missing. Those under `newer_functions!` some of them lack. How they are found, and why
//! in this way: [`lookup`](crate::lookup). Names and signatures are checked against `abi.facts`, which also says
//! where they come from.
//!
//! Common to all of them: a buffer handed *to* Envoy is copied before the call returns. A buffer handed *out*
//! by Envoy is valid until the current hook returns or the object it belongs to is changed, whichever comes
//! first. A stream's functions are called on the worker thread of that stream, inside one of its hooks.

#![allow(unsafe_code)]

use crate::lookup::{functions, newer_functions};

/// Envoy's configuration object of one filter; only ever passed back.
#[repr(C)]
pub(crate) struct EnvoyConfig {
    _opaque: [u8; 0],
}

/// Envoy's filter object of one stream; only ever passed back.
#[repr(C)]
pub(crate) struct EnvoyStream {
    _opaque: [u8; 0],
}

/// Envoy's object for calling a stream's `scheduled` hook later.
#[repr(C)]
pub(crate) struct EnvoyScheduler {
    _opaque: [u8; 0],
}

/// Envoy's object for calling a configuration's `scheduled` hook later, on Envoy's main thread.
#[repr(C)]
pub(crate) struct EnvoyConfigScheduler {
    _opaque: [u8; 0],
}

/// Bytes that Envoy owns. Null and empty both mean no bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct EnvoyBuffer {
    pub(crate) ptr: *const u8,
    pub(crate) len: usize,
}

impl EnvoyBuffer {
    /// Neither pointer nor length.
    pub(crate) const EMPTY: Self = Self { ptr: std::ptr::null(), len: 0 };

    /// The bytes.
    ///
    /// # Safety
    /// The buffer came from Envoy, and what it points to stays valid and unchanged during `'a`.
    pub(crate) unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() || self.len == 0 {
            return &[];
        }
        // SAFETY: not null, and the caller vouches for validity and lifetime.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// Bytes that this module lends to Envoy for the length of a call.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ModuleBuffer {
    pub(crate) ptr: *const u8,
    pub(crate) len: usize,
}

impl ModuleBuffer {
    /// No buffer at all; as a header's value it means "remove".
    pub(crate) const NULL: Self = Self { ptr: std::ptr::null(), len: 0 };
}

impl From<&[u8]> for ModuleBuffer {
    fn from(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }
}

/// A header that Envoy owns.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct EnvoyHeader {
    pub(crate) name: EnvoyBuffer,
    pub(crate) value: EnvoyBuffer,
}

/// A header that this module lends to Envoy for the length of a call.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ModuleHeader {
    pub(crate) name: ModuleBuffer,
    pub(crate) value: ModuleBuffer,
}

/// What a headers hook returns (Envoy's `FilterHeadersStatus`).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadersStatus {
    /// On to the next filter.
    Continue = 0,
    /// Headers stay here; data and trailers still come.
    StopIteration = 1,
}

/// What a body hook returns (Envoy's `FilterDataStatus`).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataStatus {
    /// What is left of the chunk goes on to the next filter, after headers that were held.
    Continue = 0,
    /// Nothing goes on; Envoy buffers the chunk, and keeps to its limit by flow control.
    StopAndWatermark = 2,
    /// Nothing goes on, and Envoy drops what is left of the chunk.
    StopNoBuffer = 3,
}

/// What a trailers hook returns (Envoy's `FilterTrailersStatus`).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrailersStatus {
    /// On to the next filter, after everything that was held.
    Continue = 0,
    /// Trailers stay here.
    StopIteration = 1,
}

/// Which header map.
pub(crate) type MapType = u32;
pub(crate) const REQUEST_HEADERS: MapType = 0;
pub(crate) const REQUEST_TRAILERS: MapType = 1;
pub(crate) const RESPONSE_HEADERS: MapType = 2;
pub(crate) const RESPONSE_TRAILERS: MapType = 3;

/// Which body: the chunk of the current body hook, or what Envoy has buffered for the whole filter chain.
pub(crate) type BodyType = u32;
pub(crate) const RECEIVED_REQUEST_BODY: BodyType = 0;
pub(crate) const BUFFERED_REQUEST_BODY: BodyType = 1;
pub(crate) const RECEIVED_RESPONSE_BODY: BodyType = 2;
pub(crate) const BUFFERED_RESPONSE_BODY: BodyType = 3;

/// Whose metadata: the exchange's own, the route's, the cluster's, ...
pub(crate) type MetadataSource = u32;
pub(crate) const DYNAMIC_METADATA: MetadataSource = 0;

/// A log level of Envoy's.
pub(crate) type LogLevel = u32;
pub(crate) const LOG_DEBUG: LogLevel = 1;
pub(crate) const LOG_INFO: LogLevel = 2;
pub(crate) const LOG_WARN: LogLevel = 3;
pub(crate) const LOG_ERROR: LogLevel = 4;

/// Success, of a call's start, a call's end and a metric's definition alike.
pub(crate) const SUCCESS: u32 = 0;

/// Reset by this filter (the other code, 1, tells the client that it may retry).
pub(crate) const LOCAL_RESET: u32 = 0;

functions! {
    /// Writes a line to Envoy's log under the component `dynamic_modules`. Any thread.
    #[link_name = "envoy_dynamic_module_callback_log"]
    fn write_log(level: LogLevel, message: ModuleBuffer);

    /// Whether a line of this level would be written. Any thread.
    #[link_name = "envoy_dynamic_module_callback_log_enabled"]
    fn would_log(level: LogLevel) -> bool;

    /// Defines a counter, with labels or without, and stores its id. Only inside `config_new`, with its configuration.
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_counter"]
    fn define_counter(
        config: *mut EnvoyConfig,
        name: ModuleBuffer,
        label_names: *const ModuleBuffer,
        labels: usize,
        id: *mut usize,
    ) -> u32;

    /// Defines a histogram, as [`define_counter`] does a counter.
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_histogram"]
    fn define_histogram(
        config: *mut EnvoyConfig,
        name: ModuleBuffer,
        label_names: *const ModuleBuffer,
        labels: usize,
        id: *mut usize,
    ) -> u32;

    /// Defines a gauge, as [`define_counter`] does a counter.
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_define_gauge"]
    fn define_gauge(
        config: *mut EnvoyConfig,
        name: ModuleBuffer,
        label_names: *const ModuleBuffer,
        labels: usize,
        id: *mut usize,
    ) -> u32;

    /// Adds to a counter that the stream's configuration defined; an unknown id, or another number of values than the
    /// counter has labels, changes nothing.
    #[link_name = "envoy_dynamic_module_callback_http_filter_increment_counter"]
    fn increment_counter(
        stream: *mut EnvoyStream,
        id: usize,
        label_values: *const ModuleBuffer,
        labels: usize,
        by: u64,
    ) -> u32;

    /// Records a value in a histogram that the stream's configuration defined.
    #[link_name = "envoy_dynamic_module_callback_http_filter_record_histogram_value"]
    fn record_histogram_value(
        stream: *mut EnvoyStream,
        id: usize,
        label_values: *const ModuleBuffer,
        labels: usize,
        value: u64,
    ) -> u32;

    /// Sets a gauge that the stream's configuration defined.
    #[link_name = "envoy_dynamic_module_callback_http_filter_set_gauge"]
    fn set_gauge(
        stream: *mut EnvoyStream,
        id: usize,
        label_values: *const ModuleBuffer,
        labels: usize,
        value: u64,
    ) -> u32;

    /// How many keys a namespace of the stream's metadata has; 0 where it does not exist.
    #[link_name = "envoy_dynamic_module_callback_http_get_metadata_keys_count"]
    fn get_metadata_keys_count(
        stream: *mut EnvoyStream,
        source: MetadataSource,
        namespace: ModuleBuffer,
    ) -> usize;

    /// Stores all keys of a namespace in an array that has room for [`get_metadata_keys_count`] of them.
    #[link_name = "envoy_dynamic_module_callback_http_get_metadata_keys"]
    fn get_metadata_keys(
        stream: *mut EnvoyStream,
        source: MetadataSource,
        namespace: ModuleBuffer,
        keys: *mut EnvoyBuffer,
    ) -> bool;

    /// Stores the value at `index` among those of a header, and their number in `count`. The name is in lower
    /// case. `false` where the map does not exist (yet) or has no such value.
    #[link_name = "envoy_dynamic_module_callback_http_get_header"]
    fn get_header(
        stream: *mut EnvoyStream,
        map: MapType,
        name: ModuleBuffer,
        value: *mut EnvoyBuffer,
        index: usize,
        count: *mut usize,
    ) -> bool;

    /// How many headers a map has; 0 where it does not exist.
    #[link_name = "envoy_dynamic_module_callback_http_get_headers_size"]
    fn get_headers_size(stream: *mut EnvoyStream, map: MapType) -> usize;

    /// Stores all headers of a map in an array that has room for [`get_headers_size`] of them.
    #[link_name = "envoy_dynamic_module_callback_http_get_headers"]
    fn get_headers(stream: *mut EnvoyStream, map: MapType, headers: *mut EnvoyHeader) -> bool;

    /// Replaces all values of a header by one; a null value removes them. `false` where there is no such map.
    #[link_name = "envoy_dynamic_module_callback_http_set_header"]
    fn set_header(
        stream: *mut EnvoyStream,
        map: MapType,
        name: ModuleBuffer,
        value: ModuleBuffer,
    ) -> bool;

    /// Adds one more value of a header. `false` where there is no such map.
    #[link_name = "envoy_dynamic_module_callback_http_add_header"]
    fn add_header(
        stream: *mut EnvoyStream,
        map: MapType,
        name: ModuleBuffer,
        value: ModuleBuffer,
    ) -> bool;

    /// How many bytes a body has; 0 where it does not exist.
    #[link_name = "envoy_dynamic_module_callback_http_get_body_size"]
    fn get_body_size(stream: *mut EnvoyStream, body: BodyType) -> usize;

    /// In how many pieces a body lies in memory.
    #[link_name = "envoy_dynamic_module_callback_http_get_body_chunks_size"]
    fn get_body_chunks_size(stream: *mut EnvoyStream, body: BodyType) -> usize;

    /// Stores all pieces of a body in an array that has room for [`get_body_chunks_size`] of them.
    #[link_name = "envoy_dynamic_module_callback_http_get_body_chunks"]
    fn get_body_chunks(stream: *mut EnvoyStream, body: BodyType, pieces: *mut EnvoyBuffer)
    -> bool;

    /// Appends a copy of some bytes to a body. A received body must exist, so only inside a body hook; a
    /// buffered one is made if need be. Pieces that were handed out stay where they are.
    #[link_name = "envoy_dynamic_module_callback_http_append_body"]
    fn append_body(stream: *mut EnvoyStream, body: BodyType, bytes: ModuleBuffer) -> bool;

    /// Drops bytes from the front of a body.
    #[link_name = "envoy_dynamic_module_callback_http_drain_body"]
    fn drain_body(stream: *mut EnvoyStream, body: BodyType, bytes: usize) -> bool;

    /// Answers the client. This filter's own response hooks are not called for such an answer. With response
    /// headers already sent, Envoy resets the stream instead.
    #[link_name = "envoy_dynamic_module_callback_http_send_response"]
    fn send_response(
        stream: *mut EnvoyStream,
        status: u32,
        headers: *const ModuleHeader,
        headers_len: usize,
        body: ModuleBuffer,
        details: ModuleBuffer,
    );

    /// Resets the stream on both sides.
    #[link_name = "envoy_dynamic_module_callback_http_filter_reset_stream"]
    fn reset_stream(stream: *mut EnvoyStream, reason: u32, details: ModuleBuffer);

    /// Lets the request go on. Calls this filter's request hooks, and possibly its response hooks, before it
    /// returns.
    #[link_name = "envoy_dynamic_module_callback_http_filter_continue_decoding"]
    fn continue_decoding(stream: *mut EnvoyStream);

    /// Lets the response go on. Calls this filter's response hooks before it returns.
    #[link_name = "envoy_dynamic_module_callback_http_filter_continue_encoding"]
    fn continue_encoding(stream: *mut EnvoyStream);

    /// Makes an object by which the stream's `scheduled` hook can be called from the event loop. The module
    /// deletes it.
    #[link_name = "envoy_dynamic_module_callback_http_filter_scheduler_new"]
    fn scheduler_new(stream: *mut EnvoyStream) -> *mut EnvoyScheduler;

    /// Has the hook called once, with `event`, if the stream still exists then. Any thread.
    #[link_name = "envoy_dynamic_module_callback_http_filter_scheduler_commit"]
    fn scheduler_commit(scheduler: *mut EnvoyScheduler, event: u64);

    /// Deletes such an object; what was committed stays committed. Any thread.
    #[link_name = "envoy_dynamic_module_callback_http_filter_scheduler_delete"]
    fn scheduler_delete(scheduler: *mut EnvoyScheduler);

    /// Sets a string in a namespace of the stream's dynamic metadata, and makes the namespace if need be.
    #[link_name = "envoy_dynamic_module_callback_http_set_dynamic_metadata_string"]
    fn set_dynamic_metadata_string(
        stream: *mut EnvoyStream,
        namespace: ModuleBuffer,
        key: ModuleBuffer,
        value: ModuleBuffer,
    );

    /// Sets read-only filter state with the life of the stream's filter chain. Envoy complains of a key that exists.
    #[link_name = "envoy_dynamic_module_callback_http_set_filter_state_bytes"]
    fn set_filter_state_bytes(
        stream: *mut EnvoyStream,
        key: ModuleBuffer,
        value: ModuleBuffer,
    ) -> bool;

    /// Stores the value of filter state that [`set_filter_state_bytes`] has set; `false` where there is none.
    #[link_name = "envoy_dynamic_module_callback_http_get_filter_state_bytes"]
    fn get_filter_state_bytes(
        stream: *mut EnvoyStream,
        key: ModuleBuffer,
        value: *mut EnvoyBuffer,
    ) -> bool;

    /// Has the route selected again from the request headers as they are now.
    #[link_name = "envoy_dynamic_module_callback_http_clear_route_cache"]
    fn clear_route_cache(stream: *mut EnvoyStream);

    /// Stores an attribute's value (`abi.h`'s numbering). An attribute that Envoy does not support here is an
    /// error in its log; one that has no value is not.
    #[link_name = "envoy_dynamic_module_callback_http_filter_get_attribute_string"]
    fn get_attribute_string(
        stream: *mut EnvoyStream,
        attribute: u32,
        value: *mut EnvoyBuffer,
    ) -> bool;

    /// Stores the name of the cluster that the selected route leads to.
    #[link_name = "envoy_dynamic_module_callback_http_get_cluster_name"]
    fn get_cluster_name(stream: *mut EnvoyStream, name: *mut EnvoyBuffer) -> bool;

    /// Starts an HTTP call to a cluster and stores its id. Headers must have `:method`, `:path` and
    /// `:authority`. Anything but [`SUCCESS`] means that no call was started and no hook will tell its end.
    /// Envoy cancels the calls of a stream that is destroyed.
    #[link_name = "envoy_dynamic_module_callback_http_filter_http_callout"]
    fn http_callout(
        stream: *mut EnvoyStream,
        id: *mut u64,
        cluster: ModuleBuffer,
        headers: *const ModuleHeader,
        headers_len: usize,
        body: ModuleBuffer,
        timeout_ms: u64,
    ) -> u32;

    /// Makes an object by which the configuration's `scheduled` hook can be called from the main thread's event loop.
    /// The module deletes it. Only inside `config_new`.
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_new"]
    fn config_scheduler_new(config: *mut EnvoyConfig) -> *mut EnvoyConfigScheduler;

    /// Has the hook called once, with `event`, if the configuration still exists then. Any thread.
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_commit"]
    fn config_scheduler_commit(scheduler: *mut EnvoyConfigScheduler, event: u64);

    /// Deletes such an object; what was committed stays committed. Any thread.
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_scheduler_delete"]
    fn config_scheduler_delete(scheduler: *mut EnvoyConfigScheduler);

    /// Starts an HTTP call for a configuration, as [`http_callout`] does for a stream. On the main thread only.
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_http_callout"]
    fn config_http_callout(
        config: *mut EnvoyConfig,
        id: *mut u64,
        cluster: ModuleBuffer,
        headers: *const ModuleHeader,
        headers_len: usize,
        body: ModuleBuffer,
        timeout_ms: u64,
    ) -> u32;
}

/// Writes a line to Envoy's log under the component `dynamic_modules`. Any thread. Without an Envoy it is lost.
pub(crate) fn log(level: LogLevel, message: ModuleBuffer) {
    if FUNCTIONS.get().is_some() {
        // SAFETY: Envoy copies the message before the call returns, and takes any level.
        unsafe { write_log(level, message) };
    }
}

/// Whether a line of this level would be written. Any thread.
pub(crate) fn log_enabled(level: LogLevel) -> bool {
    // SAFETY: no pointers, and Envoy takes any level.
    FUNCTIONS.get().is_some() && unsafe { would_log(level) }
}

newer_functions! {
    /// Sets a gauge that a configuration defined, as [`set_gauge`] does for a stream. Since 1.39.
    #[link_name = "envoy_dynamic_module_callback_http_filter_config_set_gauge"]
    fn set_config_gauge(
        config: *mut EnvoyConfig,
        id: usize,
        label_values: *const ModuleBuffer,
        labels: usize,
        value: u64,
    ) -> u32;
}
