//! The engine that compiles modules and the VM that runs one of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use wasmtime::{AsContextMut, Config, Linker, Module, OptLevel, Store, StoreLimitsBuilder};

use crate::abi::{LogLevel, Status};
use crate::calls::{HttpCall, HttpResponse};
use crate::filter::after_call;
use crate::headers::HeaderMap;
use crate::host::{Action, Cx, Exports, ForeignFunction, Host, LogLine, call, optional};
use crate::hostcalls;
use crate::plugin::{FailPolicy, LoadError, Plugin, PluginOptions, PluginState};
use crate::shared::SharedState;
use crate::version::EnvoyVersion;

/// Memory that one VM may have, as in Envoy: 1 GiB.
const MEMORY_LIMIT: usize = 1 << 30;

/// Compiles modules; each only once.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    modules: Rc<RefCell<HashMap<Vec<u8>, Module>>>,
}

impl Engine {
    /// An engine whose code is made quickly, and runs at about the speed of a debug build.
    ///
    /// # Panics
    /// When the machine is none that cranelift makes code for.
    #[must_use]
    pub fn new() -> Self {
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::None);
        #[allow(clippy::expect_used, reason = "documented; a test cannot go on without an engine")]
        let engine = wasmtime::Engine::new(&config).expect("cranelift supports this machine");
        Self { engine, modules: Rc::default() }
    }

    fn module(&self, wasm: &[u8]) -> Result<Module, String> {
        if let Some(module) = self.modules.borrow().get(wasm) {
            return Ok(module.clone());
        }
        let module = Module::new(&self.engine, wasm).map_err(|e| format!("{e:#}"))?;
        self.modules.borrow_mut().insert(wasm.to_vec(), module.clone());
        Ok(module)
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

/// Configuration of a VM (`envoy.extensions.wasm.v3.VmConfig`) and of the proxy around it.
#[derive(Clone)]
pub struct VmOptions {
    /// `vm_id`; shared data belongs to it.
    pub vm_id: String,
    /// `configuration` of the VM.
    pub configuration: Vec<u8>,
    /// `environment_variables`.
    pub environment: Vec<(String, String)>,
    /// Clusters that exist; calls to others are refused.
    pub clusters: BTreeSet<String>,
    /// Foreign functions by name, beside `clear_route_cache` and `declare_property`. Give `verify_signature`
    /// here if the module needs it.
    pub foreign_functions: BTreeMap<String, ForeignFunction>,
    /// The release to behave as.
    pub version: EnvoyVersion,
    /// What `proxy_get_log_level` tells. Lines are captured at every level.
    pub log_level: LogLevel,
    /// Statistics and shared data; give several VMs the same to let them share.
    pub shared: SharedState,
    /// Where the clock starts, in nanoseconds since 1970.
    pub start_time: u64,
    /// Seed of the numbers that `random_get` gives, so that runs repeat.
    pub random_seed: u64,
}

impl Default for VmOptions {
    fn default() -> Self {
        Self {
            vm_id: String::new(),
            configuration: Vec::new(),
            environment: Vec::new(),
            clusters: BTreeSet::new(),
            foreign_functions: BTreeMap::new(),
            version: EnvoyVersion::default(),
            log_level: LogLevel::Info,
            shared: SharedState::default(),
            start_time: 1_767_225_600_000_000_000,
            random_seed: 0x9e37_79b9_7f4a_7c15,
        }
    }
}

pub(crate) struct VmInner {
    store: Store<Host>,
    linker: Linker<Host>,
    module: Module,
}

/// A VM with one module, in which any number of plugins and streams live. Clones are the same VM.
#[derive(Clone)]
pub struct Vm {
    inner: Rc<RefCell<VmInner>>,
}

impl Vm {
    /// Loads a module, given in binary form or as text.
    ///
    /// # Errors
    /// When it is no valid module, imports what Envoy does not offer, is for another ABI than 0.2.0 or 0.2.1,
    /// or traps while it starts.
    pub fn new(engine: &Engine, wasm: &[u8], options: VmOptions) -> Result<Self, LoadError> {
        let no_log = |reason| LoadError { reason, log: Vec::new() };
        let module = engine.module(wasm).map_err(no_log)?;
        let abi = ["proxy_abi_version_0_2_1", "proxy_abi_version_0_2_0"];
        if !abi.iter().any(|name| module.get_export(name).is_some()) {
            return Err(no_log("missing or unknown proxy-wasm ABI version".to_owned()));
        }
        let mut linker = Linker::new(&engine.engine);
        hostcalls::register(&mut linker).map_err(|e| no_log(format!("{e:#}")))?;
        let mut store = Store::new(&engine.engine, new_host(options));
        store.limiter(|host| &mut host.limits);
        let vm = Self { inner: Rc::new(RefCell::new(VmInner { store, linker, module })) };
        vm.instantiate().map_err(|reason| vm.load_error(reason))?;
        Ok(vm)
    }

    /// Loads a plugin into this VM: context, start and configuration, as Envoy does for each.
    ///
    /// # Errors
    /// When the module refuses to start or to take the configuration, or traps. A plugin that refuses leaves
    /// the VM usable for others.
    pub fn plugin(&self, mut options: PluginOptions) -> Result<Plugin, LoadError> {
        let index = self.with_host(|host| {
            if host.version < EnvoyVersion::V1_40
                && let Some(earlier) = host.plugins.iter().find(|p| p.options.same_key(&options))
            {
                options.allow_on_headers_stop_iteration = earlier.options.allow_on_headers_stop_iteration;
            }
            host.plugins.push(PluginState { options, root: 0, tick_period: None, next_tick: 0 });
            host.plugins.len() - 1
        });
        self.start_plugin(index).map_err(|reason| self.load_error(reason))?;
        Ok(Plugin { vm: self.clone(), index })
    }

    /// Everything that was logged so far.
    #[must_use]
    pub fn log(&self) -> Vec<LogLine> {
        self.with_host(|host| host.log.clone())
    }

    /// Takes the log, leaving it empty.
    #[must_use]
    pub fn take_log(&self) -> Vec<LogLine> {
        self.with_host(|host| std::mem::take(&mut host.log))
    }

    /// Why the VM is dead, if it is.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.with_host(|host| host.failed.clone())
    }

    /// Things the module did that have no defined outcome in Envoy: writes into a body that is gone, or
    /// continuing what has not begun. Empty for a correct module.
    #[must_use]
    pub fn hazards(&self) -> Vec<String> {
        self.with_host(|host| host.hazards.clone())
    }

    /// Statistics and shared data.
    #[must_use]
    pub fn shared(&self) -> SharedState {
        self.with_host(|host| host.shared.clone())
    }

    /// Memory that the module has, in bytes. It never shrinks.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        let mut inner = self.inner.borrow_mut();
        let exports = inner.store.data().exports.clone();
        exports.map_or(0, |e| e.memory.data_size(&mut inner.store))
    }

    /// Calls that were not yet answered, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<HttpCall> {
        self.with_host(|host| host.calls.clone())
    }

    /// Answers a call. False: there is no such call (any more).
    pub fn answer_call(&self, token: u32, response: HttpResponse) -> bool {
        self.with(|cx| answer(cx, token, Some(response)))
    }

    /// Fails a call as a connection that breaks does. False: there is no such call (any more).
    pub fn fail_call(&self, token: u32) -> bool {
        self.with(|cx| answer(cx, token, None))
    }

    /// Moves the clock: ticks that are due are given, calls that are late get Envoy's 504, and what
    /// [`FailPolicy::Reload`] waits for becomes possible.
    pub fn advance(&self, time: Duration) {
        let until = self.now() + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2);
        while let Some((at, event)) = self.with_host(|host| next_event(host, until)) {
            self.with_host(|host| host.now = at.max(host.now));
            match event {
                Event::Tick(index) => self.tick(index),
                Event::Timeout(token) => {
                    self.answer_call(token, HttpResponse::new(504, "upstream request timeout"));
                }
            }
        }
        self.with_host(|host| host.now = until);
    }

    /// The clock, in nanoseconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.with_host(|host| host.now)
    }

    /// Changes which clusters exist.
    pub fn set_clusters<S: Into<String>>(&self, clusters: impl IntoIterator<Item = S>) {
        self.with_host(|host| host.clusters = clusters.into_iter().map(Into::into).collect());
    }

    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        f(&mut self.inner.borrow_mut().store.as_context_mut())
    }

    pub(crate) fn with_host<T>(&self, f: impl FnOnce(&mut Host) -> T) -> T {
        f(self.inner.borrow_mut().store.data_mut())
    }

    /// Makes the VM anew if a plugin's policy asks for it and the back-off time is over.
    pub(crate) fn reload_if_due(&self, policy: FailPolicy) {
        let FailPolicy::Reload { backoff } = policy else { return };
        let due = self.with_host(|host| {
            host.failed.is_some() && u128::from(host.now) >= u128::from(host.loaded_at) + backoff.as_nanos()
        });
        if !due {
            return;
        }
        self.with_host(|host| {
            host.failed = None;
            host.loaded_at = host.now;
        });
        let plugins = self.with_host(|host| host.plugins.len());
        let restarted = self.instantiate().and_then(|()| (0..plugins).try_for_each(|i| self.start_plugin(i)));
        if let Err(reason) = restarted {
            self.with_host(|host| host.failed = Some(reason));
        }
    }

    fn load_error(&self, reason: String) -> LoadError {
        LoadError { reason, log: self.log() }
    }

    fn instantiate(&self) -> Result<(), String> {
        let inner = &mut *self.inner.borrow_mut();
        let store = &mut inner.store;
        store.data_mut().exports = None;
        let instance = inner.linker.instantiate(&mut *store, &inner.module).map_err(|e| format!("{e:#}"))?;
        let exports = Exports::find(store, &instance)?;
        let initialize = optional::<(), ()>(store, &instance, "_initialize")?;
        let start = optional::<(), ()>(store, &instance, "_start")?;
        let main = match initialize {
            Some(_) => optional::<(u32, u32), u32>(store, &instance, "main")?,
            None => None,
        };
        let host = store.data_mut();
        host.exports = Some(Rc::new(exports));
        host.generation += 1;
        if let Some(f) = initialize.or(start) {
            f.call(&mut *store, ()).map_err(|e| format!("module failed to start: {e:#}"))?;
        }
        if let Some(f) = main {
            f.call(&mut *store, (0, 0)).map_err(|e| format!("module failed to start: {e:#}"))?;
        }
        Ok(())
    }

    fn start_plugin(&self, index: usize) -> Result<(), String> {
        self.with(|cx| {
            let host = cx.data_mut();
            let root = host.new_context_id();
            let plugin = &mut host.plugins[index];
            plugin.root = root;
            plugin.tick_period = None;
            let configuration = plugin.options.configuration.clone();
            let vm_size = host.vm_configuration.len() as u32;
            let size = configuration.len() as u32;
            host.configuring = Some(configuration);
            call(cx, root, |e| e.context_create.as_ref(), (root, 0));
            after_call(cx);
            let started = call(cx, root, |e| e.vm_start.as_ref(), (root, vm_size)) != Some(0);
            after_call(cx);
            let configured = started && call(cx, root, |e| e.configure.as_ref(), (root, size)) != Some(0);
            after_call(cx);
            let host = cx.data_mut();
            host.configuring = None;
            match &host.failed {
                Some(trap) => Err(format!("module trapped: {trap}")),
                None if !started => Err("proxy_on_vm_start refused".to_owned()),
                None if !configured => Err("proxy_on_configure refused the configuration".to_owned()),
                None => Ok(()),
            }
        })
    }

    fn tick(&self, index: usize) {
        self.with(|cx| {
            let host = cx.data_mut();
            let plugin = &mut host.plugins[index];
            let root = plugin.root;
            plugin.next_tick += plugin.tick_period.unwrap_or(0);
            call(cx, root, |e| e.tick.as_ref(), root);
            after_call(cx);
        });
    }
}

fn new_host(options: VmOptions) -> Host {
    Host {
        version: options.version,
        vm_id: options.vm_id,
        vm_configuration: options.configuration,
        clusters: options.clusters,
        foreign: options.foreign_functions,
        log_level: options.log_level,
        environment: options.environment,
        limits: StoreLimitsBuilder::new().memory_size(MEMORY_LIMIT).build(),
        shared: options.shared,
        exports: None,
        log: Vec::new(),
        now: options.start_time,
        random: options.random_seed.max(1),
        generation: 0,
        failed: None,
        loaded_at: options.start_time,
        plugins: Vec::new(),
        streams: BTreeMap::new(),
        next_context: 1,
        current: 0,
        effective: 0,
        stop_next: false,
        after_call: VecDeque::new(),
        calls: Vec::new(),
        next_call: 1,
        call_response: None,
        metric_ids: Vec::new(),
        declared_properties: BTreeSet::new(),
        configuring: None,
        hazards: Vec::new(),
    }
}

enum Event {
    Tick(usize),
    Timeout(u32),
}

/// The earliest thing that happens until then, if any.
fn next_event(host: &Host, until: u64) -> Option<(u64, Event)> {
    let ticks = host
        .plugins
        .iter()
        .enumerate()
        .filter(|(_, p)| p.tick_period.is_some() && host.failed.is_none())
        .map(|(i, p)| (p.next_tick, Event::Tick(i)));
    let timeouts = host.calls.iter().filter_map(|c| Some((c.deadline?, Event::Timeout(c.token))));
    ticks.chain(timeouts).filter(|(at, _)| *at <= until).min_by_key(|(at, _)| *at)
}

/// `Context::onHttpCallSuccess` and `onHttpCallFailure`: a failed call has neither headers nor body.
fn answer(cx: &mut Cx<'_>, token: u32, response: Option<HttpResponse>) -> bool {
    let host = cx.data_mut();
    let Some(at) = host.calls.iter().position(|c| c.token == token) else { return false };
    let root = host.calls.remove(at).root;
    let sizes = response.as_ref().map_or((0, 0, 0), |r| {
        (r.headers.len() as u32, r.body.len() as u32, r.trailers.as_ref().map_or(0, HeaderMap::len) as u32)
    });
    host.call_response = response;
    host.after_call.push_back(Action::ForgetCallResponse);
    call(cx, root, |e| e.call_response.as_ref(), (root, token, sizes.0, sizes.1, sizes.2));
    after_call(cx);
    true
}

impl From<Status> for i32 {
    fn from(status: Status) -> Self {
        status as Self
    }
}
