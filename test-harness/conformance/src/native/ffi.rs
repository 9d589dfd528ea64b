//! The boundary to the module: its hooks, and the functions of Envoy's that it calls
//! (`source/extensions/dynamic_modules/abi/abi.h` in Envoy's source).

#![allow(unsafe_code)]

use super::State;
use super::chain::{self, Hooks};
use super::state::{Call, StreamOptions};
use proxy_wasm_emulator::{Delivered, Direction, HeaderMap, HttpResponse};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::time::Duration;

/// A configuration that the module refuses, or a library that is no module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// What was logged, or why the library could not be loaded.
    pub log: Vec<String>,
}

/// The shared library. It stays loaded until the process ends.
#[derive(Clone, Copy)]
pub struct Module {
    symbols: Symbols,
    version: &'static CStr,
}

impl Module {
    /// Loads the library as Envoy does, with every symbol bound at once.
    ///
    /// # Errors
    /// It cannot be loaded, lacks a hook or refuses.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let error = |text: String| LoadError { log: vec![text] };
        keep_callbacks();
        let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| error(e.to_string()))?;
        // SAFETY: the name is a C string. The library's initialisers are those of the Rust runtime.
        let handle = unsafe { dlopen(name.as_ptr(), RTLD_NOW) };
        if handle.is_null() {
            // SAFETY: after a failure `dlerror` returns a C string, valid until the next call on this thread.
            let text = unsafe { CStr::from_ptr(dlerror()) };
            return Err(error(text.to_string_lossy().into_owned()));
        }
        // SAFETY: the handle is that of a library which was just loaded.
        let symbols = unsafe { Symbols::find(handle) }.map_err(error)?;
        // SAFETY: the hook's signature is the ABI's.
        let version = unsafe { (symbols.program_init)() };
        if version.is_null() {
            return Err(error("the module refuses to load".to_owned()));
        }
        // SAFETY: not null, so it is the version, a C string that the module keeps.
        Ok(Self { symbols, version: unsafe { CStr::from_ptr(version) } })
    }

    /// The ABI version that the module announces.
    #[must_use]
    pub fn version(&self) -> String {
        self.version.to_string_lossy().into_owned()
    }

    /// Loads a configuration.
    ///
    /// # Errors
    /// The module refuses it; the log says why.
    pub fn plugin(&self, filter_name: &str, configuration: &[u8]) -> Result<Plugin, LoadError> {
        take_log();
        let envoy = Box::new(EnvoyConfig::default());
        // SAFETY: the hook's signature is the ABI's; the configuration outlives the plugin, and both buffers
        // outlive the call.
        let module = unsafe {
            (self.symbols.config_new)(&raw const *envoy, filter_name.as_bytes().into(), configuration.into())
        };
        if module.is_null() {
            return Err(LoadError { log: take_log() });
        }
        Ok(Plugin { symbols: self.symbols, module, envoy })
    }
}

/// What was logged on this thread since it was last asked.
fn take_log() -> Vec<String> {
    LOG.with(|log| std::mem::take(&mut *log.borrow_mut()))
}

/// A configuration that is loaded. It must outlive its streams.
pub struct Plugin {
    symbols: Symbols,
    module: *const c_void,
    envoy: Box<EnvoyConfig>,
}

impl Plugin {
    /// Begins an exchange.
    #[must_use]
    pub fn open(&self, options: StreamOptions) -> Stream<'_> {
        let state = RefCell::new(State { options, ..State::default() });
        let inner = Inner { plugin: self, module: Cell::new(std::ptr::null()), state };
        let stream = Box::new(inner);
        let envoy = (&raw const *stream).cast();
        // SAFETY: the hook's signature is the ABI's; the configuration is alive, and the stream's box does not
        // move.
        stream.module.set(unsafe { (self.symbols.filter_new)(self.module, envoy) });
        Stream { inner: stream }
    }

    /// What was logged on this thread since it was last asked.
    pub fn take_log(&self) -> Vec<String> {
        take_log()
    }

    /// A counter's value, by its name without Envoy's prefix.
    #[must_use]
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.envoy.metrics.borrow().iter().find(|m| m.name == name).map(|m| m.values.iter().sum())
    }

    /// What was recorded in a histogram.
    #[must_use]
    pub fn histogram(&self, name: &str) -> Option<Vec<u64>> {
        self.envoy.metrics.borrow().iter().find(|m| m.name == name).map(|m| m.values.clone())
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `config_new` and is given back once.
        unsafe { (self.symbols.config_destroy)(self.module) };
    }
}

/// An exchange, driven by a test from both ends. Dropping it ends it.
pub struct Stream<'p> {
    inner: Box<Inner<'p>>,
}

impl Stream<'_> {
    /// The client sends headers, pseudo-headers included.
    pub fn request_headers(&self, headers: impl Into<HeaderMap>, end: bool) {
        chain::headers(&*self.inner, Direction::Request, headers.into(), end);
        self.turn();
    }

    /// The client sends a piece of the body.
    pub fn request_data(&self, bytes: impl AsRef<[u8]>, end: bool) {
        chain::data(&*self.inner, Direction::Request, bytes.as_ref(), end);
        self.turn();
    }

    /// The client sends trailers.
    pub fn request_trailers(&self, trailers: impl Into<HeaderMap>) {
        chain::trailers(&*self.inner, Direction::Request, trailers.into());
        self.turn();
    }

    /// The upstream sends headers, `:status` included.
    pub fn response_headers(&self, headers: impl Into<HeaderMap>, end: bool) {
        chain::headers(&*self.inner, Direction::Response, headers.into(), end);
        self.turn();
    }

    /// The upstream sends a piece of the body.
    pub fn response_data(&self, bytes: impl AsRef<[u8]>, end: bool) {
        chain::data(&*self.inner, Direction::Response, bytes.as_ref(), end);
        self.turn();
    }

    /// The upstream sends trailers.
    pub fn response_trailers(&self, trailers: impl Into<HeaderMap>) {
        chain::trailers(&*self.inner, Direction::Response, trailers.into());
        self.turn();
    }

    /// The upstream resets its stream: a 503 where no response has gone out, else the client's is reset too.
    pub fn upstream_reset(&self) {
        chain::upstream_reset(&*self.inner);
    }

    /// What the next filter, in the end the upstream, has got so far.
    #[must_use]
    pub fn upstream(&self) -> Delivered {
        self.inner.state.borrow().halves[0].out.clone()
    }

    /// What the client has got so far.
    #[must_use]
    pub fn downstream(&self) -> Delivered {
        self.inner.state.borrow().halves[1].out.clone()
    }

    /// Whether the exchange is over: response complete, or reset.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.inner.state.borrow().over
    }

    /// `%RESPONSE_CODE_DETAILS%` where Envoy or the module made the response.
    #[must_use]
    pub fn details(&self) -> Option<String> {
        self.inner.state.borrow().details.clone()
    }

    /// How often the module had the route selected again.
    #[must_use]
    pub fn route_selections(&self) -> usize {
        self.inner.state.borrow().route_selections
    }

    /// Calls that are not answered yet.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.inner.state.borrow().calls.clone()
    }

    /// A call is answered.
    pub fn answer(&self, id: u64, response: &HttpResponse) {
        let headers: Vec<(Buf, Buf)> =
            response.headers.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let pieces: Vec<Buf> = response.body.chunks(7).map(Buf::from).collect();
        self.call_done(id, 0, &headers, &pieces);
    }

    /// A call is reset, or times out.
    pub fn fail(&self, id: u64) {
        self.call_done(id, 1, &[], &[]);
    }

    fn call_done(&self, id: u64, result: u32, headers: &[(Buf, Buf)], pieces: &[Buf]) {
        self.inner.state.borrow_mut().calls.retain(|call| call.id != id);
        let hook = self.inner.plugin.symbols.http_callout_done;
        let (envoy, module) = self.inner.pointers();
        // SAFETY: the hook's signature is the ABI's; both arrays and what they point to outlive the call.
        unsafe {
            hook(envoy, module, id, result, headers.as_ptr(), headers.len(), pieces.as_ptr(), pieces.len());
        }
        self.turn();
    }

    /// A turn of the event loop: what the module has scheduled comes.
    fn turn(&self) {
        let events = std::mem::take(&mut self.inner.state.borrow_mut().scheduled);
        let (envoy, module) = self.inner.pointers();
        for event in events {
            // SAFETY: the hook's signature is the ABI's; stream and filter are alive.
            unsafe { (self.inner.plugin.symbols.scheduled)(envoy, module, event) };
        }
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let (envoy, module) = self.inner.pointers();
        // SAFETY: the hooks' signatures are the ABI's; the pointer came from `filter_new` and is given back once.
        unsafe {
            (self.inner.plugin.symbols.stream_complete)(envoy, module);
            (self.inner.plugin.symbols.filter_destroy)(module);
        }
    }
}

/// What the module's stream pointer points to.
struct Inner<'p> {
    plugin: &'p Plugin,
    module: Cell<*const c_void>,
    state: RefCell<State>,
}

impl Inner<'_> {
    fn pointers(&self) -> (*const c_void, *const c_void) {
        ((&raw const *self).cast(), self.module.get())
    }
}

impl Hooks for Inner<'_> {
    fn state(&self) -> &RefCell<State> {
        &self.state
    }

    fn on_headers(&self, direction: Direction, end: bool) -> u32 {
        let (envoy, module) = self.pointers();
        // SAFETY: the hook's signature is the ABI's; stream and filter are alive, and the state is not borrowed.
        unsafe { (self.plugin.symbols.headers[super::state::index(direction)])(envoy, module, end) }
    }

    fn on_data(&self, direction: Direction, end: bool) -> u32 {
        let (envoy, module) = self.pointers();
        // SAFETY: as for headers.
        unsafe { (self.plugin.symbols.body[super::state::index(direction)])(envoy, module, end) }
    }

    fn on_trailers(&self, direction: Direction) -> u32 {
        let (envoy, module) = self.pointers();
        // SAFETY: as for headers.
        unsafe { (self.plugin.symbols.trailers[super::state::index(direction)])(envoy, module) }
    }
}

#[derive(Default)]
struct EnvoyConfig {
    metrics: RefCell<Vec<Metric>>,
}

struct Metric {
    name: String,
    values: Vec<u64>,
}

/// Bytes with their length, of either side's.
#[repr(C)]
#[derive(Clone, Copy)]
struct Buf {
    ptr: *const u8,
    len: usize,
}

impl From<&[u8]> for Buf {
    fn from(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }
}

impl Buf {
    /// # Safety
    /// What it points to is valid during `'a`.
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() {
            return &[];
        }
        // SAFETY: not null, and the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }

    /// # Safety
    /// As for `bytes`.
    unsafe fn text(self) -> String {
        // SAFETY: the caller vouches for it.
        String::from_utf8_lossy(unsafe { self.bytes() }).into_owned()
    }
}

type HeadersHook = unsafe extern "C" fn(*const c_void, *const c_void, bool) -> u32;
type TrailersHook = unsafe extern "C" fn(*const c_void, *const c_void) -> u32;
type CalloutHook =
    unsafe extern "C" fn(*const c_void, *const c_void, u64, u32, *const (Buf, Buf), usize, *const Buf, usize);

#[derive(Clone, Copy)]
struct Symbols {
    program_init: unsafe extern "C" fn() -> *const c_char,
    config_new: unsafe extern "C" fn(*const EnvoyConfig, Buf, Buf) -> *const c_void,
    config_destroy: unsafe extern "C" fn(*const c_void),
    filter_new: unsafe extern "C" fn(*const c_void, *const c_void) -> *const c_void,
    filter_destroy: unsafe extern "C" fn(*const c_void),
    stream_complete: unsafe extern "C" fn(*const c_void, *const c_void),
    headers: [HeadersHook; 2],
    body: [HeadersHook; 2],
    trailers: [TrailersHook; 2],
    http_callout_done: CalloutHook,
    scheduled: unsafe extern "C" fn(*const c_void, *const c_void, u64),
}

/// Hooks without which Envoy loads no module, and which this player does not call.
const ALSO_REQUIRED: [&str; 7] = [
    "http_filter_http_stream_headers",
    "http_filter_http_stream_data",
    "http_filter_http_stream_trailers",
    "http_filter_http_stream_complete",
    "http_filter_http_stream_reset",
    "http_filter_downstream_above_write_buffer_high_watermark",
    "http_filter_downstream_below_write_buffer_low_watermark",
];

impl Symbols {
    /// # Safety
    /// The handle is a library's, which is never closed, and its hooks have the ABI's signatures.
    unsafe fn find(handle: *mut c_void) -> Result<Self, String> {
        for name in ALSO_REQUIRED {
            // SAFETY: the caller vouches for it; nothing is called.
            unsafe { hook::<*const c_void>(handle, name) }?;
        }
        // SAFETY: the caller vouches for it: the types of the fields are the ABI's signatures.
        unsafe {
            Ok(Self {
                program_init: hook(handle, "program_init")?,
                config_new: hook(handle, "http_filter_config_new")?,
                config_destroy: hook(handle, "http_filter_config_destroy")?,
                filter_new: hook(handle, "http_filter_new")?,
                filter_destroy: hook(handle, "http_filter_destroy")?,
                stream_complete: hook(handle, "http_filter_stream_complete")?,
                headers: [
                    hook(handle, "http_filter_request_headers")?,
                    hook(handle, "http_filter_response_headers")?,
                ],
                body: [hook(handle, "http_filter_request_body")?, hook(handle, "http_filter_response_body")?],
                trailers: [
                    hook(handle, "http_filter_request_trailers")?,
                    hook(handle, "http_filter_response_trailers")?,
                ],
                http_callout_done: hook(handle, "http_filter_http_callout_done")?,
                scheduled: hook(handle, "http_filter_scheduled")?,
            })
        }
    }
}

/// # Safety
/// The handle is a live library's, and `F` is a pointer to what the symbol is.
unsafe fn hook<F: Copy>(handle: *mut c_void, name: &str) -> Result<F, String> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    let symbol = CString::new(format!("envoy_dynamic_module_on_{name}")).map_err(|e| e.to_string())?;
    // SAFETY: a live handle and a C string.
    let address = unsafe { dlsym(handle, symbol.as_ptr()) };
    if address.is_null() {
        return Err(format!("the module lacks the hook {name}"));
    }
    // SAFETY: both are pointers of one size, and the caller vouches for the type.
    Ok(unsafe { std::mem::transmute_copy(&address) })
}

const RTLD_NOW: c_int = 2;

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

thread_local! {
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Has the linker keep the functions below, which nothing in this program calls.
fn keep_callbacks() {
    std::hint::black_box(callbacks::ALL);
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

fn define(metrics: &RefCell<Vec<Metric>>, name: String) -> usize {
    let mut metrics = metrics.borrow_mut();
    metrics.push(Metric { name, values: Vec::new() });
    metrics.len() - 1
}

fn measure(metrics: &RefCell<Vec<Metric>>, id: usize, value: u64) -> u32 {
    metrics.borrow_mut().get_mut(id).map_or(1, |metric| {
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

// SAFETY, for all of them: the module passes the pointers that it was given, in a hook of that stream or
// configuration, and buffers, arrays and places for results as `abi.h` describes them. So each `unsafe` block
// below does only what the contract of the function allows.
#[allow(clippy::undocumented_unsafe_blocks)]
mod callbacks {
    use super::*;

    callbacks! {
        fn envoy_dynamic_module_callback_log(_level: u32, message: Buf) {
            let text = unsafe { message.text() };
            LOG.with(|log| log.borrow_mut().push(text));
        }
        fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool {
            level >= 2
        }
        fn envoy_dynamic_module_callback_http_filter_config_define_counter(
            config: *const EnvoyConfig, name: Buf, _labels: *const Buf, _len: usize, id: *mut usize
        ) -> u32 {
            unsafe { *id = define(&(*config).metrics, name.text()) };
            0
        }
        fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
            config: *const EnvoyConfig, name: Buf, _labels: *const Buf, _len: usize, id: *mut usize
        ) -> u32 {
            unsafe { *id = define(&(*config).metrics, name.text()) };
            0
        }
        fn envoy_dynamic_module_callback_http_filter_increment_counter(
            stream: *const c_void, id: usize, _labels: *const Buf, _len: usize, by: u64
        ) -> u32 {
            measure(unsafe { metrics(stream) }, id, by)
        }
        fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
            stream: *const c_void, id: usize, _labels: *const Buf, _len: usize, value: u64
        ) -> u32 {
            measure(unsafe { metrics(stream) }, id, value)
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
        fn envoy_dynamic_module_callback_http_get_body_size(stream: *const c_void, body: u32) -> usize {
            unsafe { state(stream) }.borrow_mut().body(body).map_or(0, |body| body.len())
        }
        // Its presence says that the host is 1.39 or newer; it is not called.
        fn envoy_dynamic_module_callback_http_get_filter_state_object() {}
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

    pub(super) const ALL: &[*const ()] = CALLBACKS;
}
