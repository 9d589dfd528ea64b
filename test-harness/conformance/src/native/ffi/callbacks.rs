//! Envoy's functions, as the module calls them.
//!
//! Why the `unsafe` blocks in them are sound: the module passes the pointers that it was given, in a hook of that
//! stream or configuration, and buffers, arrays and places for results as `abi.h` describes them. Each block does only
//! what the contract of its function allows.

#![allow(clippy::undocumented_unsafe_blocks)]

use super::symbols::Buf;
use super::{EnvoyConfig, Inner, LOG, Metric};
use crate::native::State;
use crate::native::chain;
use crate::native::state::Call;
use proxy_wasm_emulator::{Direction, HeaderMap};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::time::Duration;

/// Has the linker keep the functions below, which nothing in this program calls.
pub(super) fn keep() {
    std::hint::black_box(CALLBACKS);
}

/// Defines Envoy's functions. Each gets the module's arguments; `stream` arguments become the exchange.
macro_rules! callbacks {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? $body:block)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($arg: $ty),*) $(-> $ret)? $body
        )*
        const CALLBACKS: &[*const ()] = &[$($name as *const ()),*];
    };
}

/// # Safety
/// The pointer is one that `Plugin::open` gave to the module, and its stream is alive.
unsafe fn state<'a>(stream: *const c_void) -> &'a RefCell<State> {
    // SAFETY: the caller vouches for it.
    &unsafe { &*stream.cast::<Inner<'a>>() }.state
}

/// # Safety
/// As for `state`.
unsafe fn metrics<'a>(stream: *const c_void) -> &'a RefCell<Vec<Metric>> {
    // SAFETY: the caller vouches for it.
    &unsafe { &*stream.cast::<Inner<'a>>() }.plugin.envoy.metrics
}

/// # Safety
/// The array has that many headers, and all they point to is valid.
unsafe fn header_map(headers: *const (Buf, Buf), len: usize) -> HeaderMap {
    let mut map = HeaderMap::new();
    for index in 0..len {
        // SAFETY: within the array; the caller vouches for the rest.
        let (name, value) = unsafe { *headers.add(index) };
        // SAFETY: the caller vouches for it.
        unsafe { map.add(name.bytes(), value.bytes()) };
    }
    map
}

/// # Safety
/// The array has that many buffers, and all they point to is valid.
unsafe fn texts(buffers: *const Buf, len: usize) -> Vec<String> {
    // SAFETY: within the array; the caller vouches for the rest.
    (0..len).map(|index| unsafe { (*buffers.add(index)).text() }).collect()
}

fn define(metrics: &RefCell<Vec<Metric>>, name: String, labels: Vec<String>) -> usize {
    let mut metrics = metrics.borrow_mut();
    metrics.push(Metric { name, labels, values: Vec::new(), labelled: Default::default() });
    metrics.len() - 1
}

/// Envoy's results: 0 for success, 1 for an unknown metric, 2 for another number of values than there are labels.
fn measure(metrics: &RefCell<Vec<Metric>>, id: usize, labels: Vec<String>, value: u64) -> u32 {
    metrics.borrow_mut().get_mut(id).map_or(1, |metric| {
        if metric.labels.len() != labels.len() {
            return 2;
        }
        if !labels.is_empty() {
            *metric.labelled.entry(labels).or_default() += value;
        }
        metric.values.push(value);
        0
    })
}

/// The attributes that Envoy gives as strings, by number.
fn attribute(number: u32) -> Option<&'static str> {
    Some(match number {
        0 => "request.path",
        1 => "request.url_path",
        2 => "request.host",
        3 => "request.scheme",
        4 => "request.method",
        9 => "request.id",
        10 => "request.protocol",
        11 => "request.query",
        24 => "source.address",
        26 => "destination.address",
        30 => "connection.requested_server_name",
        36 => "connection.uri_san_local_certificate",
        37 => "connection.uri_san_peer_certificate",
        61 => "xds.route_name",
        _ => return None,
    })
}

fn property(properties: &BTreeMap<String, Vec<u8>>, path: &str, value: *mut Buf) -> bool {
    let Some(found) = properties.get(path) else { return false };
    // SAFETY: the module passes a place for the result.
    unsafe { *value = found.as_slice().into() };
    true
}

callbacks! {
    fn envoy_dynamic_module_callback_log(_level: u32, message: Buf) {
        let text = unsafe { message.text() };
        LOG.with(|log| log.borrow_mut().push(text));
    }
    fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool {
        level >= 2
    }
    fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: *const EnvoyConfig, name: Buf, labels: *const Buf, len: usize, id: *mut usize
    ) -> u32 {
        unsafe { *id = define(&(*config).metrics, name.text(), texts(labels, len)) };
        0
    }
    fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        config: *const EnvoyConfig, name: Buf, labels: *const Buf, len: usize, id: *mut usize
    ) -> u32 {
        unsafe { *id = define(&(*config).metrics, name.text(), texts(labels, len)) };
        0
    }
    fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
        config: *const EnvoyConfig, name: Buf, labels: *const Buf, len: usize, id: *mut usize
    ) -> u32 {
        unsafe { *id = define(&(*config).metrics, name.text(), texts(labels, len)) };
        0
    }
    fn envoy_dynamic_module_callback_http_filter_increment_counter(
        stream: *const c_void, id: usize, labels: *const Buf, len: usize, by: u64
    ) -> u32 {
        measure(unsafe { metrics(stream) }, id, unsafe { texts(labels, len) }, by)
    }
    fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        stream: *const c_void, id: usize, labels: *const Buf, len: usize, value: u64
    ) -> u32 {
        measure(unsafe { metrics(stream) }, id, unsafe { texts(labels, len) }, value)
    }
    fn envoy_dynamic_module_callback_http_filter_set_gauge(
        stream: *const c_void, id: usize, labels: *const Buf, len: usize, value: u64
    ) -> u32 {
        measure(unsafe { metrics(stream) }, id, unsafe { texts(labels, len) }, value)
    }
    fn envoy_dynamic_module_callback_http_get_header(
        stream: *const c_void, map: u32, name: Buf, value: *mut Buf, index: usize, count: *mut usize
    ) -> bool {
        let mut state = unsafe { state(stream) }.borrow_mut();
        let values: Vec<Buf> =
            state.map(map).map(|map| map.all(unsafe { name.bytes() }).map(Buf::from).collect()).unwrap_or_default();
        if !count.is_null() {
            unsafe { *count = values.len() };
        }
        let found = values.get(index).copied();
        unsafe { *value = found.unwrap_or(Buf { ptr: std::ptr::null(), len: 0 }) };
        found.is_some()
    }
    fn envoy_dynamic_module_callback_http_get_headers_size(stream: *const c_void, map: u32) -> usize {
        unsafe { state(stream) }.borrow_mut().map(map).map_or(0, |map| map.len())
    }
    fn envoy_dynamic_module_callback_http_get_headers(
        stream: *const c_void, map: u32, headers: *mut (Buf, Buf)
    ) -> bool {
        let mut state = unsafe { state(stream) }.borrow_mut();
        let Some(map) = state.map(map) else { return false };
        for (index, (name, value)) in map.iter().enumerate() {
            unsafe { *headers.add(index) = (name.into(), value.into()) };
        }
        true
    }
    fn envoy_dynamic_module_callback_http_set_header(
        stream: *const c_void, map: u32, name: Buf, value: Buf
    ) -> bool {
        let mut state = unsafe { state(stream) }.borrow_mut();
        let Some(map) = state.map(map) else { return false };
        if value.ptr.is_null() {
            map.remove(unsafe { name.bytes() });
        } else {
            unsafe { map.set(name.bytes(), value.bytes()) };
        }
        true
    }
    fn envoy_dynamic_module_callback_http_add_header(
        stream: *const c_void, map: u32, name: Buf, value: Buf
    ) -> bool {
        let mut state = unsafe { state(stream) }.borrow_mut();
        let Some(map) = state.map(map) else { return false };
        unsafe { map.add(name.bytes(), value.bytes()) };
        true
    }
    fn envoy_dynamic_module_callback_http_get_body_chunks_size(stream: *const c_void, body: u32) -> usize {
        unsafe { state(stream) }.borrow_mut().body(body).map_or(0, |body| body.pieces().count())
    }
    fn envoy_dynamic_module_callback_http_get_body_chunks(
        stream: *const c_void, body: u32, pieces: *mut Buf
    ) -> bool {
        let mut state = unsafe { state(stream) }.borrow_mut();
        let Some(body) = state.body(body) else { return false };
        for (index, piece) in body.pieces().enumerate() {
            unsafe { *pieces.add(index) = piece.into() };
        }
        true
    }
    fn envoy_dynamic_module_callback_http_append_body(stream: *const c_void, body: u32, bytes: Buf) -> bool {
        let mut state = unsafe { state(stream) }.borrow_mut();
        let bytes = unsafe { bytes.bytes() };
        if !body.is_multiple_of(2) {
            let direction = if body == 1 { Direction::Request } else { Direction::Response };
            chain::append_buffered(&mut state, direction, bytes);
            return true;
        }
        let Some(body) = state.body(body) else { return false };
        body.append(bytes);
        true
    }
    fn envoy_dynamic_module_callback_http_drain_body(stream: *const c_void, body: u32, bytes: usize) -> bool {
        let mut state = unsafe { state(stream) }.borrow_mut();
        let Some(body) = state.body(body) else { return false };
        body.drain(bytes);
        true
    }
    fn envoy_dynamic_module_callback_http_send_response(
        stream: *const c_void, status: u32, headers: *const (Buf, Buf), len: usize, body: Buf, details: Buf
    ) {
        let mut state = unsafe { state(stream) }.borrow_mut();
        state.replied = true;
        unsafe { state.reply(status, header_map(headers, len), body.bytes(), &details.text()) };
    }
    fn envoy_dynamic_module_callback_http_filter_reset_stream(
        stream: *const c_void, _reason: u32, details: Buf
    ) {
        unsafe { state(stream).borrow_mut().reset(&details.text()) };
    }
    fn envoy_dynamic_module_callback_http_filter_continue_decoding(stream: *const c_void) {
        chain::resume(unsafe { &*stream.cast::<Inner<'_>>() }, Direction::Request);
    }
    fn envoy_dynamic_module_callback_http_filter_continue_encoding(stream: *const c_void) {
        chain::resume(unsafe { &*stream.cast::<Inner<'_>>() }, Direction::Response);
    }
    fn envoy_dynamic_module_callback_http_filter_scheduler_new(stream: *const c_void) -> *const c_void {
        stream
    }
    fn envoy_dynamic_module_callback_http_filter_scheduler_commit(scheduler: *const c_void, event: u64) {
        unsafe { state(scheduler) }.borrow_mut().scheduled.push(event);
    }
    fn envoy_dynamic_module_callback_http_filter_scheduler_delete(_scheduler: *const c_void) {}
    // No time passes for a configuration here, so that it makes no calls either.
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(config: *const c_void) -> *const c_void {
        config
    }
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(
        _scheduler: *const c_void, _event: u64
    ) {}
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(_scheduler: *const c_void) {}
    fn envoy_dynamic_module_callback_http_filter_config_http_callout(
        _config: *const c_void, _id: *mut u64, _cluster: Buf, _headers: *const (Buf, Buf), _len: usize, _body: Buf,
        _timeout_ms: u64
    ) -> u32 {
        2
    }
    fn envoy_dynamic_module_callback_http_get_body_size(stream: *const c_void, body: u32) -> usize {
        unsafe { state(stream) }.borrow_mut().body(body).map_or(0, |body| body.len())
    }
    // Its presence says that the host is 1.39 or newer; it is not called.
    fn envoy_dynamic_module_callback_http_get_filter_state_object() {}
    fn envoy_dynamic_module_callback_http_get_metadata_keys_count(
        stream: *const c_void, source: u32, namespace: Buf
    ) -> usize {
        let state = unsafe { state(stream) }.borrow();
        let namespace = unsafe { namespace.text() };
        let keys = state.options.metadata.iter().filter(|(found, _)| *found == namespace);
        if source == 0 { keys.count() } else { 0 }
    }
    fn envoy_dynamic_module_callback_http_get_metadata_keys(
        stream: *const c_void, source: u32, namespace: Buf, keys: *mut Buf
    ) -> bool {
        let state = unsafe { state(stream) }.borrow();
        let namespace = unsafe { namespace.text() };
        let found = state.options.metadata.iter().filter(|(found, _)| source == 0 && *found == namespace);
        for (index, (_, key)) in found.enumerate() {
            unsafe { *keys.add(index) = key.as_bytes().into() };
        }
        source == 0
    }
    fn envoy_dynamic_module_callback_http_set_dynamic_metadata_string(
        stream: *const c_void, namespace: Buf, key: Buf, value: Buf
    ) {
        let mut state = unsafe { state(stream) }.borrow_mut();
        unsafe { state.metadata.insert((namespace.text(), key.text()), value.text()) };
    }
    fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        stream: *const c_void, key: Buf, value: Buf
    ) -> bool {
        let mut state = unsafe { state(stream) }.borrow_mut();
        // Envoy keeps the first value, and calls another one a bug.
        unsafe { state.filter_state.entry(key.text()).or_insert_with(|| value.bytes().to_vec()) };
        true
    }
    fn envoy_dynamic_module_callback_http_get_filter_state_bytes(
        stream: *const c_void, key: Buf, value: *mut Buf
    ) -> bool {
        let state = unsafe { state(stream) }.borrow();
        let Some(found) = state.filter_state.get(&unsafe { key.text() }) else { return false };
        unsafe { *value = found.as_slice().into() };
        true
    }
    fn envoy_dynamic_module_callback_http_clear_route_cache(stream: *const c_void) {
        unsafe { state(stream) }.borrow_mut().route_selections += 1;
    }
    fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        stream: *const c_void, number: u32, value: *mut Buf
    ) -> bool {
        let state = unsafe { state(stream) }.borrow();
        attribute(number).is_some_and(|path| property(&state.options.properties, path, value))
    }
    fn envoy_dynamic_module_callback_http_get_cluster_name(stream: *const c_void, value: *mut Buf) -> bool {
        property(&unsafe { state(stream) }.borrow().options.properties, "xds.cluster_name", value)
    }
    fn envoy_dynamic_module_callback_http_filter_http_callout(
        stream: *const c_void, id: *mut u64, cluster: Buf, headers: *const (Buf, Buf), len: usize, body: Buf,
        timeout_ms: u64
    ) -> u32 {
        let mut state = unsafe { state(stream) }.borrow_mut();
        let (cluster, body) = unsafe { (cluster.text(), body.bytes().to_vec()) };
        let mut headers = unsafe { header_map(headers, len) };
        if [":method", ":path", ":authority"].iter().any(|name| headers.get(name).is_none()) {
            return 1;
        }
        if state.options.unknown_clusters.contains(&cluster) {
            return 2;
        }
        if !body.is_empty() {
            headers.set("content-length", body.len().to_string());
        }
        state.next_call += 1;
        let call = Call { id: state.next_call, cluster, headers, body, timeout: Duration::from_millis(timeout_ms) };
        unsafe { *id = call.id };
        state.calls.push(call);
        0
    }
}
