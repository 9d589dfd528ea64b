//! An instance of a module in its store: made, started, and made anew after a trap.

use std::rc::Rc;

use wasmtime::{AsContextMut, Linker, Module, Store};

use super::engine::Engine;
use super::host::{Cx, Exports, Host, after_call, call, optional};
use super::{hostcalls, imports, trap};
use crate::state::options::FailPolicy;

/// The exports by which a module says which version of the ABI it is for.
const ABI: [&str; 2] = ["proxy_abi_version_0_2_1", "proxy_abi_version_0_2_0"];

pub(crate) struct Instance {
    store: Store<Host>,
    linker: Linker<Host>,
    module: Module,
}

impl Instance {
    /// Compiles the module and makes everything but the instance itself.
    pub(crate) fn new(engine: &Engine, wasm: &[u8], host: Host) -> Result<Self, String> {
        let module = engine.module(wasm)?;
        if !ABI.iter().any(|name| module.get_export(name).is_some()) {
            return Err("missing or unknown proxy-wasm ABI version".to_owned());
        }
        let version = host.version;
        let mut linker = Linker::new(engine.wasmtime());
        hostcalls::register(&mut linker, version).map_err(|e| format!("{e:#}"))?;
        let mut store = Store::new(engine.wasmtime(), host);
        store.limiter(|host| &mut host.limits);
        imports::check(&mut store, &linker, &module, version)?;
        Ok(Self { store, linker, module })
    }

    pub(crate) fn cx(&mut self) -> Cx<'_> {
        self.store.as_context_mut()
    }

    pub(crate) fn host(&mut self) -> &mut Host {
        self.store.data_mut()
    }

    /// Memory that the module has, in bytes.
    pub(crate) fn memory_size(&mut self) -> usize {
        let exports = self.store.data().exports.clone();
        exports.map_or(0, |e| e.memory.data_size(&mut self.store))
    }

    /// Makes the VM anew if a plugin's policy asks for it and the back-off time is over.
    pub(crate) fn reload_if_due(&mut self, policy: FailPolicy) {
        let FailPolicy::Reload { backoff } = policy else { return };
        let host = self.host();
        if host.failed.is_none() || u128::from(host.now) < u128::from(host.loaded_at) + backoff.as_nanos() {
            return;
        }
        host.failed = None;
        host.loaded_at = host.now;
        let plugins = host.plugins.len();
        let restarted = self.start().and_then(|()| (0..plugins).try_for_each(|i| self.start_plugin(i)));
        if let Err(reason) = restarted {
            self.host().failed = Some(reason);
        }
    }

    /// Instantiates the module and runs what it runs first.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        let store = &mut self.store;
        store.data_mut().exports = None;
        let failed = |e: wasmtime::Error| format!("module failed to start: {}", trap::describe(&e));
        let instance = self.linker.instantiate(&mut *store, &self.module).map_err(failed)?;
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
            f.call(&mut *store, ()).map_err(failed)?;
        }
        if let Some(f) = main {
            f.call(&mut *store, (0, 0)).map_err(failed)?;
        }
        Ok(())
    }

    /// Starts a plugin: context, start and configuration, as Envoy does for each.
    pub(crate) fn start_plugin(&mut self, index: usize) -> Result<(), String> {
        let cx = &mut self.cx();
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
    }
}
