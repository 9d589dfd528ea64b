//! An instance of a module in its store: made, started, and made anew after a trap.

use std::rc::Rc;

use wasmtime::{AsContextMut, Linker, Module, Store};

use super::engine::Engine;
use super::host::{Cx, Exports, Host, after_call, call, optional};
use super::{hostcalls, imports, trap};
use crate::state::abi::Abi;
use crate::state::options::{FailPolicy, PluginState};

pub(crate) struct Instance {
    store: Store<Host>,
    linker: Linker<Host>,
    module: Module,
}

impl Instance {
    /// Compiles the module and makes everything but the instance itself.
    pub(crate) fn new(engine: &Engine, wasm: &[u8], mut host: Host) -> Result<Self, String> {
        let module = engine.module(wasm)?;
        let abi = module.exports().find_map(|export| Abi::of_export(export.name()));
        host.abi = abi.ok_or_else(|| {
            "missing or unknown proxy-wasm ABI version: the module exports none of proxy_abi_version_0_2_1, \
             proxy_abi_version_0_2_0 and proxy_abi_version_0_1_0"
                .to_owned()
        })?;
        let (version, abi) = (host.version, host.abi);
        let mut linker = Linker::new(engine.wasmtime());
        hostcalls::register(&mut linker, version, abi).map_err(|e| format!("{e:#}"))?;
        let mut store = Store::new(engine.wasmtime(), host);
        store.limiter(|host| &mut host.limits);
        imports::check(&mut store, &linker, &module, version, abi)?;
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
        host.declared_properties.clear();
        let running = (0..host.plugins.len()).filter(|i| std::mem::take(&mut host.plugins[*i].running));
        let running: Vec<usize> = running.collect();
        let restarted =
            self.start().and_then(|()| running.into_iter().try_for_each(|i| self.start_plugin(i)));
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
        host.starting = true;
        if let Some(f) = initialize.or(start) {
            f.call(&mut store.as_context_mut(), ()).map_err(failed)?;
        }
        if let Some(f) = main {
            f.call(&mut store.as_context_mut(), (0, 0)).map_err(failed)?;
        }
        let host = store.data_mut();
        host.starting = false;
        match host.called_too_early.take() {
            None => Ok(()),
            Some(function) => Err(format!(
                "module failed to start: it called {function} from _initialize, _start or main, where Envoy allows \
                 the log and most of WASI alone; call it in proxy_on_vm_start or proxy_on_configure"
            )),
        }
    }

    /// Starts a plugin: context, start and configuration, as Envoy does for each that it has not already.
    pub(crate) fn start_plugin(&mut self, index: usize) -> Result<(), String> {
        let cx = &mut self.cx();
        let host = cx.data_mut();
        let (earlier, rest) = host.plugins.split_at_mut(index);
        let same = |p: &&PluginState| p.running && p.options.same_key(&rest[0].options, host.version);
        if let Some(root) = earlier.iter().find(same).map(|p| p.root) {
            host.plugins[index].root = root;
            return Ok(());
        }
        let root = host.new_context_id();
        let plugin = &mut host.plugins[index];
        plugin.root = root;
        plugin.tick_period = None;
        plugin.running = false;
        let configuration = plugin.options.configuration.clone();
        let vm_size = host.vm_configuration.len() as u32;
        let size = configuration.len() as u32;
        call(cx, root, |e| e.context_create.as_ref(), (root, 0));
        after_call(cx);
        let started = call(cx, root, |e| e.vm_start.as_ref(), (root, vm_size)) != Some(0);
        after_call(cx);
        cx.data_mut().configuring = Some(configuration);
        let configured = started && call(cx, root, |e| e.configure.as_ref(), (root, size)) != Some(0);
        after_call(cx);
        let host = cx.data_mut();
        host.configuring = None;
        match &host.failed {
            Some(trap) => Err(format!("module trapped: {trap}")),
            None if !started => Err("proxy_on_vm_start refused".to_owned()),
            None if !configured => Err("proxy_on_configure refused the configuration".to_owned()),
            None => {
                host.plugins[index].running = true;
                Ok(())
            }
        }
    }
}
