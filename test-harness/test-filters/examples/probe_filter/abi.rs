//! The raw proxy-wasm ABI 0.2.1: imports as safe functions that return the host's status, exports as calls into
//! the probe.
#![allow(unsafe_code, reason = "foreign functions of the ABI; the only unsafe code of this package")]

use std::slice;

use crate::Callback;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, text: *const u8, len: usize) -> u32;
    fn proxy_get_header_map_value(map: u32, k: *const u8, kl: usize, v: *mut *mut u8, vl: *mut usize) -> u32;
    fn proxy_get_header_map_pairs(map: u32, v: *mut *mut u8, vl: *mut usize) -> u32;
    fn proxy_get_header_map_size(map: u32, size: *mut usize) -> u32;
    fn proxy_add_header_map_value(map: u32, k: *const u8, kl: usize, v: *const u8, vl: usize) -> u32;
    fn proxy_replace_header_map_value(map: u32, k: *const u8, kl: usize, v: *const u8, vl: usize) -> u32;
    fn proxy_remove_header_map_value(map: u32, k: *const u8, kl: usize) -> u32;
    fn proxy_get_buffer_bytes(buffer: u32, start: usize, len: usize, v: *mut *mut u8, vl: *mut usize) -> u32;
    fn proxy_get_buffer_status(buffer: u32, len: *mut usize, flags: *mut u32) -> u32;
    fn proxy_set_buffer_bytes(buffer: u32, start: usize, len: usize, v: *const u8, vl: usize) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_len: usize,
        body: *const u8,
        body_len: usize,
        headers: *const u8,
        headers_len: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_continue_stream(kind: u32) -> u32;
    fn proxy_close_stream(kind: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_len: usize,
        headers: *const u8,
        headers_len: usize,
        body: *const u8,
        body_len: usize,
        trailers: *const u8,
        trailers_len: usize,
        timeout_ms: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_get_property(path: *const u8, len: usize, v: *mut *mut u8, vl: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, len: usize, v: *const u8, vl: usize) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, len: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
    fn proxy_get_shared_data(k: *const u8, kl: usize, v: *mut *mut u8, vl: *mut usize, cas: *mut u32) -> u32;
    fn proxy_set_shared_data(k: *const u8, kl: usize, v: *const u8, vl: usize, cas: u32) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_len: usize,
        arguments: *const u8,
        arguments_len: usize,
        v: *mut *mut u8,
        vl: *mut usize,
    ) -> u32;
}

/// A host call that gives bytes: its status, and the bytes if it gave any.
type Given = (u32, Vec<u8>);

fn given(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Given {
    let (mut pointer, mut len) = (std::ptr::null_mut::<u8>(), 0);
    let status = call(&mut pointer, &mut len);
    if pointer.is_null() || len == 0 {
        return (status, Vec::new());
    }
    // SAFETY: the host took the memory from `proxy_on_memory_allocate` below with this length and filled it.
    (status, unsafe { Vec::from_raw_parts(pointer, len, len) })
}

pub(crate) fn log(text: &str) {
    // SAFETY: pointer and length are of one slice, which the host reads during the call; so in all below.
    unsafe { proxy_log(2, text.as_ptr(), text.len()) };
}

pub(crate) fn get_header(map: u32, key: &str) -> Given {
    given(|v, l| unsafe { proxy_get_header_map_value(map, key.as_ptr(), key.len(), v, l) })
}

pub(crate) fn get_pairs(map: u32) -> Given {
    given(|v, l| unsafe { proxy_get_header_map_pairs(map, v, l) })
}

pub(crate) fn get_map_size(map: u32) -> (u32, usize) {
    let mut size = 0;
    (unsafe { proxy_get_header_map_size(map, &mut size) }, size)
}

pub(crate) fn add_header(map: u32, key: &str, value: &str) -> u32 {
    unsafe { proxy_add_header_map_value(map, key.as_ptr(), key.len(), value.as_ptr(), value.len()) }
}

pub(crate) fn replace_header(map: u32, key: &str, value: &str) -> u32 {
    unsafe { proxy_replace_header_map_value(map, key.as_ptr(), key.len(), value.as_ptr(), value.len()) }
}

pub(crate) fn remove_header(map: u32, key: &str) -> u32 {
    unsafe { proxy_remove_header_map_value(map, key.as_ptr(), key.len()) }
}

pub(crate) fn get_buffer(buffer: u32, start: usize, len: usize) -> Given {
    given(|v, l| unsafe { proxy_get_buffer_bytes(buffer, start, len, v, l) })
}

pub(crate) fn get_buffer_size(buffer: u32) -> (u32, usize) {
    let (mut len, mut flags) = (0, 0);
    (unsafe { proxy_get_buffer_status(buffer, &mut len, &mut flags) }, len)
}

pub(crate) fn set_buffer(buffer: u32, start: usize, len: usize, bytes: &[u8]) -> u32 {
    unsafe { proxy_set_buffer_bytes(buffer, start, len, bytes.as_ptr(), bytes.len()) }
}

pub(crate) fn send_local_response(status: u32, body: &str, headers: &[u8]) -> u32 {
    let details = "probe";
    unsafe {
        proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    }
}

pub(crate) fn continue_stream(kind: u32) -> u32 {
    unsafe { proxy_continue_stream(kind) }
}

pub(crate) fn close_stream(kind: u32) -> u32 {
    unsafe { proxy_close_stream(kind) }
}

pub(crate) fn set_effective_context(context: u32) -> u32 {
    unsafe { proxy_set_effective_context(context) }
}

pub(crate) fn http_call(cluster: &str, headers: &[u8], body: &str, trailers: &[u8]) -> (u32, u32) {
    let mut token = 0;
    let status = unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            5000,
            &mut token,
        )
    };
    (status, token)
}

pub(crate) fn get_property(path: &str) -> Given {
    given(|v, l| unsafe { proxy_get_property(path.as_ptr(), path.len(), v, l) })
}

pub(crate) fn set_property(path: &str, value: &str) -> u32 {
    unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) }
}

pub(crate) fn define_metric(kind: u32, name: &str) -> (u32, u32) {
    let mut id = 0;
    (unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &mut id) }, id)
}

pub(crate) fn increment_metric(id: u32, offset: i64) -> u32 {
    unsafe { proxy_increment_metric(id, offset) }
}

pub(crate) fn record_metric(id: u32, value: u64) -> u32 {
    unsafe { proxy_record_metric(id, value) }
}

pub(crate) fn get_metric(id: u32) -> (u32, u64) {
    let mut value = 0;
    (unsafe { proxy_get_metric(id, &mut value) }, value)
}

/// Status, value and compare-and-swap number.
pub(crate) fn get_shared_data(key: &str) -> (u32, Vec<u8>, u32) {
    let mut cas = 0;
    let (status, value) =
        given(|v, l| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), v, l, &mut cas) });
    (status, value, cas)
}

pub(crate) fn set_shared_data(key: &str, value: &str, cas: u32) -> u32 {
    unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) }
}

pub(crate) fn call_foreign_function(name: &str, arguments: &[u8]) -> Given {
    given(|v, l| unsafe {
        proxy_call_foreign_function(name.as_ptr(), name.len(), arguments.as_ptr(), arguments.len(), v, l)
    })
}

/// Marks the ABI.
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// Memory for what the host hands over; `given` frees it.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let mut bytes = std::mem::ManuallyDrop::new(vec![0; size]);
    let bytes: &mut [u8] = slice_of(&mut bytes);
    bytes.as_mut_ptr()
}

fn slice_of(bytes: &mut Vec<u8>) -> &mut [u8] {
    let (pointer, len) = (bytes.as_mut_ptr(), bytes.len());
    // SAFETY: pointer and length of a live vector that the caller never drops or grows.
    unsafe { slice::from_raw_parts_mut(pointer, len) }
}

macro_rules! export {
    ($($(#[$doc:meta])* $name:ident ( $($arg:ident),* ) => $callback:expr;)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        extern "C" fn $name(id: u32, $($arg: u32),*) -> u32 {
            crate::on(id, $callback)
        }
    )*};
}

export! {
    /// Request headers.
    proxy_on_request_headers(count, end) => Callback::new("rqh", &[count, end]);
    /// Request body.
    proxy_on_request_body(size, end) => Callback::new("rqb", &[size, end]);
    /// Request trailers.
    proxy_on_request_trailers(count) => Callback::new("rqt", &[count]);
    /// Response headers.
    proxy_on_response_headers(count, end) => Callback::new("rsh", &[count, end]);
    /// Response body.
    proxy_on_response_body(size, end) => Callback::new("rsb", &[size, end]);
    /// Response trailers.
    proxy_on_response_trailers(count) => Callback::new("rst", &[count]);
    /// The context may go.
    proxy_on_done() => Callback::new("done", &[]);
}

/// The access log.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(id: u32) {
    crate::on(id, Callback::new("log", &[]));
}

/// The context goes.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(id: u32) {
    crate::on(id, Callback::new("del", &[]));
    crate::forget(id);
}

/// A call is answered; it comes to the root context.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(_root: u32, token: u32, headers: u32, body: u32, trailers: u32) {
    crate::on_call(token, headers, body, trailers);
}
