//! The boundary to the module: its hooks, and the functions of Envoy's that it calls
//! (`source/extensions/dynamic_modules/abi/abi.h` in Envoy's source).

#![allow(unsafe_code)]

mod callbacks;
mod symbols;

use super::State;
use super::chain::{self, Hooks};
use super::state::{self, Call, StreamOptions};
use proxy_wasm_emulator::{Delivered, Direction, HeaderMap, HttpResponse};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_void};
use std::path::Path;
use symbols::{Buf, RTLD_NOW, Symbols, dlerror, dlopen};

/// A configuration that the module refuses, or a library that is not a module.
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
        callbacks::keep();
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

    /// Some time passes for the configuration. A stream that waits for its events learns of it at its next
    /// [turn](Stream::turn).
    pub fn tick(&self) {
        // SAFETY: the hook's signature is the ABI's, and both pointers are those of a configuration that is alive.
        unsafe { (self.symbols.config_scheduled)(&raw const *self.envoy, self.module, 0) };
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

    /// What was added to a counter with labels, by their values.
    #[must_use]
    pub fn labelled(&self, name: &str) -> Option<BTreeMap<Vec<String>, u64>> {
        self.envoy.metrics.borrow().iter().find(|m| m.name == name).map(|m| m.labelled.clone())
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

    /// The dynamic metadata that the load balancer matches subsets with, by key.
    #[must_use]
    pub fn lb_metadata(&self) -> BTreeMap<String, String> {
        let state = self.inner.state.borrow();
        let pairs = state.metadata.iter().filter(|((namespace, _), _)| namespace == "envoy.lb");
        pairs.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }

    /// Filter state that the module has set.
    #[must_use]
    pub fn filter_state(&self, name: &str) -> Option<Vec<u8>> {
        self.inner.state.borrow().filter_state.get(name).cloned()
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
    pub fn turn(&self) {
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
        unsafe { (self.plugin.symbols.headers[state::index(direction)])(envoy, module, end) }
    }

    fn on_data(&self, direction: Direction, end: bool) -> u32 {
        let (envoy, module) = self.pointers();
        // SAFETY: as for headers.
        unsafe { (self.plugin.symbols.body[state::index(direction)])(envoy, module, end) }
    }

    fn on_trailers(&self, direction: Direction) -> u32 {
        let (envoy, module) = self.pointers();
        // SAFETY: as for headers.
        unsafe { (self.plugin.symbols.trailers[state::index(direction)])(envoy, module) }
    }
}

thread_local! {
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

#[derive(Default)]
struct EnvoyConfig {
    metrics: RefCell<Vec<Metric>>,
}

struct Metric {
    name: String,
    labels: Vec<String>,
    values: Vec<u64>,
    /// What was added for each list of labels' values.
    labelled: BTreeMap<Vec<String>, u64>,
}
