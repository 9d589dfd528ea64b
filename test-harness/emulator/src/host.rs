//! The state behind the host functions, one per VM, and the way into the module.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use wasmtime::{
    AsContextMut, Instance, Memory, Store, StoreContextMut, StoreLimits, TypedFunc, WasmParams, WasmResults,
};

use crate::abi::{Direction, LogLevel, Status};
use crate::calls::{HttpCall, HttpResponse};
use crate::plugin::PluginState;
use crate::shared::SharedState;
use crate::stream_state::{Reply, StreamState};
use crate::version::EnvoyVersion;

pub(crate) type Cx<'a> = StoreContextMut<'a, Host>;

/// A foreign function given by the test: arguments in, result or status out.
pub type ForeignFunction = Rc<RefCell<dyn FnMut(&[u8]) -> Result<Vec<u8>, Status>>>;

/// One line that a module logged or wrote to standard output or error, or that the host logged about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Severity; standard output counts as info, standard error as error.
    pub level: LogLevel,
    /// The context in which it was logged: a root context's or a stream's id, or 0 for the host itself.
    pub context: u32,
    /// The text, with invalid UTF-8 replaced.
    pub text: String,
}

/// A callback of the module that it may leave out.
type Callback<P, R> = Option<TypedFunc<P, R>>;
/// Parameters of `proxy_on_http_call_response`: context, token, and three sizes.
type CallAnswered = (u32, u32, u32, u32, u32);

/// Functions that the module exports, looked up once.
pub(crate) struct Exports {
    pub(crate) memory: Memory,
    pub(crate) malloc: TypedFunc<u32, u32>,
    pub(crate) context_create: Callback<(u32, u32), ()>,
    pub(crate) vm_start: Callback<(u32, u32), u32>,
    pub(crate) configure: Callback<(u32, u32), u32>,
    pub(crate) headers: [Callback<(u32, u32, u32), u32>; 2],
    pub(crate) data: [Callback<(u32, u32, u32), u32>; 2],
    pub(crate) trailers: [Callback<(u32, u32), u32>; 2],
    pub(crate) done: Callback<u32, u32>,
    pub(crate) log: Callback<u32, ()>,
    pub(crate) delete: Callback<u32, ()>,
    pub(crate) tick: Callback<u32, ()>,
    pub(crate) call_response: Callback<CallAnswered, ()>,
}

impl Exports {
    /// `Err` names the export that is missing or has another signature than the ABI's.
    pub(crate) fn find(store: &mut Store<Host>, instance: &Instance) -> Result<Self, String> {
        let memory =
            instance.get_memory(&mut *store, "memory").ok_or_else(|| "no export \"memory\"".to_owned())?;
        let malloc = match optional(store, instance, "malloc")? {
            Some(f) => f,
            None => optional(store, instance, "proxy_on_memory_allocate")?
                .ok_or_else(|| "no export \"malloc\" or \"proxy_on_memory_allocate\"".to_owned())?,
        };
        Ok(Self {
            memory,
            malloc,
            context_create: optional(store, instance, "proxy_on_context_create")?,
            vm_start: optional(store, instance, "proxy_on_vm_start")?,
            configure: optional(store, instance, "proxy_on_configure")?,
            headers: [
                optional(store, instance, "proxy_on_request_headers")?,
                optional(store, instance, "proxy_on_response_headers")?,
            ],
            data: [
                optional(store, instance, "proxy_on_request_body")?,
                optional(store, instance, "proxy_on_response_body")?,
            ],
            trailers: [
                optional(store, instance, "proxy_on_request_trailers")?,
                optional(store, instance, "proxy_on_response_trailers")?,
            ],
            done: optional(store, instance, "proxy_on_done")?,
            log: optional(store, instance, "proxy_on_log")?,
            delete: optional(store, instance, "proxy_on_delete")?,
            tick: optional(store, instance, "proxy_on_tick")?,
            call_response: optional(store, instance, "proxy_on_http_call_response")?,
        })
    }
}

/// A function the module may leave out; one with the wrong signature is an error.
pub(crate) fn optional<P: WasmParams, R: WasmResults>(
    store: &mut Store<Host>,
    instance: &Instance,
    name: &str,
) -> Result<Option<TypedFunc<P, R>>, String> {
    match instance.get_func(&mut *store, name) {
        None => Ok(None),
        Some(f) => f.typed(&*store).map(Some).map_err(|e| format!("export {name:?}: {e}")),
    }
}

/// Work that a host function asks for and that is done when the module has returned.
pub(crate) enum Action {
    Continue(u32, Direction),
    Reply(u32, Reply),
    Reset(u32),
    ForgetCallResponse,
}

pub(crate) struct Host {
    pub(crate) version: EnvoyVersion,
    pub(crate) vm_id: String,
    pub(crate) vm_configuration: Vec<u8>,
    pub(crate) clusters: BTreeSet<String>,
    pub(crate) foreign: BTreeMap<String, ForeignFunction>,
    pub(crate) log_level: LogLevel,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) limits: StoreLimits,
    pub(crate) shared: SharedState,
    pub(crate) exports: Option<Rc<Exports>>,
    pub(crate) log: Vec<LogLine>,
    /// Nanoseconds since 1970 on the clock that the module sees; only the test moves it.
    pub(crate) now: u64,
    pub(crate) random: u64,
    /// Counts the instances made: 0 before the first.
    pub(crate) generation: u32,
    pub(crate) failed: Option<String>,
    /// When the VM was last made, or was tried to be.
    pub(crate) loaded_at: u64,
    pub(crate) plugins: Vec<PluginState>,
    pub(crate) streams: BTreeMap<u32, StreamState>,
    pub(crate) next_context: u32,
    pub(crate) current: u32,
    pub(crate) effective: u32,
    pub(crate) stop_next: bool,
    pub(crate) after_call: VecDeque<Action>,
    pub(crate) calls: Vec<HttpCall>,
    pub(crate) next_call: u32,
    pub(crate) call_response: Option<HttpResponse>,
    pub(crate) metric_ids: Vec<(u32, String)>,
    pub(crate) declared_properties: BTreeSet<Vec<u8>>,
    pub(crate) configuring: Option<Vec<u8>>,
    pub(crate) hazards: Vec<String>,
}

impl Host {
    /// The context a host function works on: the one set by `proxy_set_effective_context`, or the one called.
    pub(crate) fn context(&self) -> u32 {
        if self.effective != 0 { self.effective } else { self.current }
    }

    pub(crate) fn stream(&mut self) -> Option<&mut StreamState> {
        let id = self.context();
        self.streams.get_mut(&id)
    }

    pub(crate) fn plugin_of_root(&self, root: u32) -> Option<usize> {
        self.plugins.iter().position(|p| p.root == root)
    }

    /// The root context of the context a host function works on.
    pub(crate) fn root(&self) -> u32 {
        let id = self.context();
        self.streams.get(&id).map_or(id, |s| s.root)
    }

    pub(crate) fn is_context(&self, id: u32) -> bool {
        self.plugin_of_root(id).is_some() || self.streams.get(&id).is_some_and(|s| !s.destroyed)
    }

    /// Whether calls into the module for this stream are no longer possible.
    pub(crate) fn is_dead(&self, stream: u32) -> bool {
        self.failed.is_some() || self.streams.get(&stream).is_none_or(|s| s.generation != self.generation)
    }

    pub(crate) fn new_context_id(&mut self) -> u32 {
        let id = self.next_context;
        self.next_context += 1;
        id
    }

    pub(crate) fn write_log(&mut self, level: LogLevel, text: &[u8]) {
        let context = self.context();
        self.log.push(LogLine { level, context, text: String::from_utf8_lossy(text).into_owned() });
    }

    /// Notes something that the module did and that crashes or corrupts a real Envoy.
    pub(crate) fn hazard(&mut self, text: impl Into<String>) {
        self.hazards.push(text.into());
    }
}

/// Calls a function of the module in a context. `None`: there is no such function, the VM is dead, or it
/// died in this call.
pub(crate) fn call<P: WasmParams, R: WasmResults>(
    cx: &mut Cx<'_>,
    context: u32,
    pick: impl FnOnce(&Exports) -> Option<&TypedFunc<P, R>>,
    params: P,
) -> Option<R> {
    let host = cx.data_mut();
    if host.failed.is_some() {
        return None;
    }
    let exports = host.exports.clone()?;
    let function = pick(&exports)?;
    let saved = (host.current, host.effective);
    (host.current, host.effective) = (context, 0);
    let result = function.call(cx.as_context_mut(), params);
    let host = cx.data_mut();
    (host.current, host.effective) = saved;
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            fail(host, &error);
            None
        }
    }
}

fn fail(host: &mut Host, error: &wasmtime::Error) {
    let text = format!("{error:#}");
    host.log.push(LogLine { level: LogLevel::Critical, context: 0, text: format!("VM failed: {text}") });
    host.failed = Some(text);
    host.calls.clear();
}
