//! The state behind the host functions, one per VM, and the way into the module.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use wasmtime::{
    AsContextMut, Instance, Memory, Store, StoreContextMut, StoreLimits, StoreLimitsBuilder, TypedFunc,
    WasmParams, WasmResults,
};

use super::trap;
use crate::state::abi::{Abi, LogLevel};
use crate::state::attributes::Facts;
use crate::state::calls::{HttpCall, HttpResponse};
use crate::state::connection::ConnectionState;
use crate::state::crossings::Crossings;
use crate::state::foreign::ForeignFunction;
use crate::state::grpc::{self, GrpcCall};
use crate::state::headers::HeaderMap;
use crate::state::log::LogLine;
use crate::state::options::{PluginState, VmOptions};
use crate::state::properties::{FilterState, Properties};
use crate::state::shared::SharedState;
use crate::state::stream::StreamState;
use crate::state::version::EnvoyVersion;

/// Memory that one VM may have, as in Envoy: 1 GiB.
const MEMORY_LIMIT: usize = 1 << 30;

pub(crate) type Cx<'a> = StoreContextMut<'a, Host>;

/// A callback of the module that it may leave out.
type Callback<P, R> = Option<Export<P, R>>;
/// Parameters of `proxy_on_http_call_response`: context, token, and three sizes.
type CallAnswered = (u32, u32, u32, u32, u32);

/// A function that the module exports.
pub(crate) struct Export<P, R> {
    name: &'static str,
    function: TypedFunc<P, R>,
}

impl<P: WasmParams, R: WasmResults> Export<P, R> {
    /// Calls it, and counts that.
    pub(crate) fn call(&self, cx: &mut Cx<'_>, params: P) -> wasmtime::Result<R> {
        cx.data_mut().crossings.callback(self.name);
        self.function.call(cx.as_context_mut(), params)
    }
}

/// Functions that the module exports, looked up once.
pub(crate) struct Exports {
    pub(crate) memory: Memory,
    pub(crate) malloc: Export<u32, u32>,
    pub(crate) context_create: Callback<(u32, u32), ()>,
    pub(crate) vm_start: Callback<(u32, u32), u32>,
    pub(crate) configure: Callback<(u32, u32), u32>,
    pub(crate) headers: [Callback<(u32, u32, u32), u32>; 2],
    /// The same in the first version of the ABI, which does not tell whether the message ends with them.
    pub(crate) headers_without_end: [Callback<(u32, u32), u32>; 2],
    pub(crate) data: [Callback<(u32, u32, u32), u32>; 2],
    pub(crate) trailers: [Callback<(u32, u32), u32>; 2],
    pub(crate) done: Callback<u32, u32>,
    pub(crate) log: Callback<u32, ()>,
    pub(crate) delete: Callback<u32, ()>,
    pub(crate) tick: Callback<u32, ()>,
    pub(crate) call_response: Callback<CallAnswered, ()>,
    pub(crate) grpc_initial_metadata: Callback<(u32, u32, u32), ()>,
    pub(crate) grpc_receive: Callback<(u32, u32, u32), ()>,
    pub(crate) grpc_trailing_metadata: Callback<(u32, u32, u32), ()>,
    pub(crate) grpc_close: Callback<(u32, u32, u32), ()>,
    pub(crate) queue_ready: Callback<(u32, u32), ()>,
    pub(crate) new_connection: Callback<u32, u32>,
    pub(crate) connection_data: [Callback<(u32, u32, u32), u32>; 2],
    pub(crate) connection_close: [Callback<(u32, u32), ()>; 2],
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
        let (request_headers, response_headers) = ("proxy_on_request_headers", "proxy_on_response_headers");
        let (mut headers, mut headers_without_end) = ([None, None], [None, None]);
        if store.data().abi == Abi::V0_1_0 {
            headers_without_end =
                [optional(store, instance, request_headers)?, optional(store, instance, response_headers)?];
        } else {
            headers =
                [optional(store, instance, request_headers)?, optional(store, instance, response_headers)?];
        }
        Ok(Self {
            memory,
            malloc,
            context_create: optional(store, instance, "proxy_on_context_create")?,
            vm_start: optional(store, instance, "proxy_on_vm_start")?,
            configure: optional(store, instance, "proxy_on_configure")?,
            headers,
            headers_without_end,
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
            grpc_initial_metadata: optional(store, instance, "proxy_on_grpc_receive_initial_metadata")?,
            grpc_receive: optional(store, instance, "proxy_on_grpc_receive")?,
            grpc_trailing_metadata: optional(store, instance, "proxy_on_grpc_receive_trailing_metadata")?,
            grpc_close: optional(store, instance, "proxy_on_grpc_close")?,
            queue_ready: optional(store, instance, "proxy_on_queue_ready")?,
            new_connection: optional(store, instance, "proxy_on_new_connection")?,
            connection_data: [
                optional(store, instance, "proxy_on_downstream_data")?,
                optional(store, instance, "proxy_on_upstream_data")?,
            ],
            connection_close: [
                optional(store, instance, "proxy_on_downstream_connection_close")?,
                optional(store, instance, "proxy_on_upstream_connection_close")?,
            ],
        })
    }
}

/// A function the module may leave out; one with the wrong signature is an error.
pub(crate) fn optional<P: WasmParams, R: WasmResults>(
    store: &mut Store<Host>,
    instance: &Instance,
    name: &'static str,
) -> Result<Option<Export<P, R>>, String> {
    match instance.get_func(&mut *store, name) {
        None => Ok(None),
        Some(f) => {
            let function = f.typed(&*store).map_err(|e| format!("export {name:?}: {e}"))?;
            Ok(Some(Export { name, function }))
        }
    }
}

/// Work that a host function asks for and that is done when the module has returned (`addAfterVmCallAction`).
pub(crate) type Action = Box<dyn FnOnce(&mut Cx<'_>)>;

/// What a root context reads in the callbacks of gRPC calls.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) initial: Option<HeaderMap>,
    pub(crate) message: Vec<u8>,
    pub(crate) trailing: Option<HeaderMap>,
}

pub(crate) struct Host {
    pub(crate) version: EnvoyVersion,
    pub(crate) abi: Abi,
    pub(crate) vm_id: String,
    pub(crate) vm_configuration: Vec<u8>,
    pub(crate) clusters: BTreeSet<String>,
    pub(crate) foreign: BTreeMap<String, ForeignFunction>,
    pub(crate) log_level: LogLevel,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) limits: StoreLimits,
    pub(crate) shared: SharedState,
    pub(crate) exports: Option<Rc<Exports>>,
    pub(crate) crossings: Crossings,
    pub(crate) log: Vec<LogLine>,
    /// Nanoseconds since 1970 on the clock that the module sees; only the test moves it.
    pub(crate) now: u64,
    pub(crate) random: u64,
    /// The module runs what it runs first, in which Envoy offers it little.
    pub(crate) starting: bool,
    /// What it called then and may not.
    pub(crate) called_too_early: Option<&'static str>,
    /// Counts the instances made: 0 before the first.
    pub(crate) generation: u32,
    pub(crate) failed: Option<String>,
    /// When the VM was last made, or was tried to be.
    pub(crate) loaded_at: u64,
    pub(crate) plugins: Vec<PluginState>,
    /// What the test gave for every context.
    pub(crate) properties: Properties,
    pub(crate) streams: BTreeMap<u32, StreamState>,
    pub(crate) connections: BTreeMap<u32, ConnectionState>,
    pub(crate) next_context: u32,
    pub(crate) current: u32,
    pub(crate) effective: u32,
    pub(crate) stop_next: bool,
    pub(crate) after_call: VecDeque<Action>,
    pub(crate) calls: Vec<HttpCall>,
    pub(crate) next_call: u32,
    pub(crate) call_response: Option<HttpResponse>,
    pub(crate) grpc_calls: Vec<GrpcCall>,
    /// Streams that the other side has closed and the module has not.
    pub(crate) closed_streams: BTreeSet<u32>,
    /// The last token given out for calls and for streams.
    pub(crate) last_grpc: [u32; 2],
    pub(crate) received: Received,
    /// What `proxy_get_status` tells, by root context.
    pub(crate) statuses: BTreeMap<u32, (u32, String)>,
    /// The number under which the shared state knows this VM.
    pub(crate) listener: usize,
    pub(crate) metric_ids: Vec<(u32, String)>,
    /// By context and name: whether the property can be set once only.
    pub(crate) declared_properties: BTreeMap<u32, BTreeMap<Vec<u8>, bool>>,
    pub(crate) configuring: Option<Vec<u8>>,
    pub(crate) hazards: Vec<String>,
    pub(crate) hints: Vec<String>,
}

impl Host {
    pub(crate) fn new(options: VmOptions) -> Self {
        Self {
            version: options.version,
            abi: Abi::default(),
            vm_id: options.vm_id,
            vm_configuration: options.configuration,
            clusters: options.clusters,
            foreign: options.foreign_functions,
            log_level: options.log_level,
            environment: options.environment,
            limits: StoreLimitsBuilder::new().memory_size(MEMORY_LIMIT).build(),
            shared: options.shared,
            exports: None,
            crossings: Crossings::default(),
            log: Vec::new(),
            now: options.start_time,
            random: options.random_seed.max(1),
            starting: false,
            called_too_early: None,
            generation: 0,
            failed: None,
            loaded_at: options.start_time,
            plugins: Vec::new(),
            properties: options.properties,
            streams: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_context: 1,
            current: 0,
            effective: 0,
            stop_next: false,
            after_call: VecDeque::new(),
            calls: Vec::new(),
            next_call: grpc::TOKEN_STEP,
            call_response: None,
            grpc_calls: Vec::new(),
            closed_streams: BTreeSet::new(),
            last_grpc: [0; 2],
            received: Received::default(),
            statuses: BTreeMap::new(),
            listener: 0,
            metric_ids: Vec::new(),
            declared_properties: BTreeMap::new(),
            configuring: None,
            hazards: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// The context a host function works on: the one set by `proxy_set_effective_context`, or the one called.
    pub(crate) fn context(&self) -> u32 {
        if self.effective != 0 { self.effective } else { self.current }
    }

    pub(crate) fn stream(&mut self) -> Option<&mut StreamState> {
        let id = self.context();
        self.streams.get_mut(&id)
    }

    /// The connection of a network filter that a host function works on.
    pub(crate) fn connection(&mut self) -> Option<&mut ConnectionState> {
        let id = self.context();
        self.connections.get_mut(&id)
    }

    pub(crate) fn filter_state(&mut self) -> Option<&mut FilterState> {
        let id = self.context();
        let connection = self.connections.get_mut(&id).map(|c| &mut c.filter_state);
        self.streams.get_mut(&id).map(|s| &mut s.filter_state).or(connection)
    }

    /// What properties follow from in the context that a host function works on.
    pub(crate) fn facts(&self) -> Facts<'_> {
        let context = self.context();
        let (stream, connection) = (self.streams.get(&context), self.connections.get(&context));
        let plugin = stream.map(|s| s.plugin).or(connection.map(|c| c.plugin));
        let plugin = plugin.or_else(|| self.plugin_of_root(context)).map(|at| &self.plugins[at].options);
        Facts { context, stream, connection, plugin, vm_id: &self.vm_id, vm: &self.properties }
    }

    /// The next token for a gRPC call or stream: its kind is in the two lowest bits.
    pub(crate) fn grpc_token(&mut self, stream: bool) -> u32 {
        let last = &mut self.last_grpc[usize::from(stream)];
        *last += grpc::TOKEN_STEP;
        *last | if stream { grpc::STREAM } else { grpc::CALL }
    }

    pub(crate) fn plugin_of_root(&self, root: u32) -> Option<usize> {
        self.plugins.iter().position(|p| p.root == root)
    }

    /// The root context of the context a host function works on.
    pub(crate) fn root(&self) -> u32 {
        let id = self.context();
        let connection = self.connections.get(&id).map(|c| c.root);
        self.streams.get(&id).map(|s| s.root).or(connection).unwrap_or(id)
    }

    pub(crate) fn is_context(&self, id: u32) -> bool {
        self.plugin_of_root(id).is_some()
            || self.streams.get(&id).is_some_and(|s| !s.destroyed)
            || self.connections.get(&id).is_some_and(|c| !c.over)
    }

    /// Whether calls into the module for this stream or connection are no longer possible.
    pub(crate) fn is_dead(&self, context: u32) -> bool {
        let connection = self.connections.get(&context).map(|c| c.generation);
        let generation = self.streams.get(&context).map(|s| s.generation).or(connection);
        self.failed.is_some() || generation != Some(self.generation)
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

    /// Puts work off until the module has returned.
    pub(crate) fn defer(&mut self, action: impl FnOnce(&mut Cx<'_>) + 'static) {
        self.after_call.push_back(Box::new(action));
    }

    /// Notes why a host function refused something, where the status alone does not say.
    pub(crate) fn hint(&mut self, text: impl Into<String>) {
        self.hints.push(text.into());
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
    pick: impl FnOnce(&Exports) -> Option<&Export<P, R>>,
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
    let result = function.call(cx, params);
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

/// Does what host functions asked for during a call, now that the module has returned
/// (`DeferAfterCallActions`).
pub(crate) fn after_call(cx: &mut Cx<'_>) {
    cx.data_mut().stop_next = false;
    while let Some(action) = cx.data_mut().after_call.pop_front() {
        action(cx);
    }
}

fn fail(host: &mut Host, error: &wasmtime::Error) {
    let text = trap::describe(error);
    host.log.push(LogLine { level: LogLevel::Critical, context: 0, text: format!("VM failed: {text}") });
    host.failed = Some(text);
    host.calls.clear();
    host.grpc_calls.clear();
    host.closed_streams.clear();
}
