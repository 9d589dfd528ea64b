//! A plugin: one configuration of a module in a VM.

use super::call::{Call, GrpcHandle};
use super::vm::Vm;
use crate::state::options::{PluginOptions, PluginState};
use crate::state::version::EnvoyVersion;
use crate::vm::error::LoadError;

/// A loaded plugin. Clones are the same plugin.
#[derive(Clone)]
pub struct Plugin {
    pub(super) vm: Vm,
    pub(super) index: usize,
}

impl Vm {
    /// Loads a plugin into this VM: context, start and configuration, as Envoy does for each. One that differs from an
    /// earlier one in nothing shares its root context, and the module is not told of it.
    ///
    /// # Errors
    /// When the module refuses to start or to take the configuration, or traps. A plugin that refuses leaves
    /// the VM usable for others.
    pub fn plugin(&self, mut options: PluginOptions) -> Result<Plugin, LoadError> {
        let index = self.with_host(|host| {
            if host.version < EnvoyVersion::V1_40
                && let Some(earlier) =
                    host.plugins.iter().find(|p| p.options.same_key(&options, host.version))
            {
                options.allow_on_headers_stop_iteration = earlier.options.allow_on_headers_stop_iteration;
            }
            host.plugins.push(PluginState { options, ..PluginState::default() });
            host.plugins.len() - 1
        });
        let started = self.instance.borrow_mut().start_plugin(index);
        self.tell_queues();
        started.map_err(|reason| self.load_error(reason))?;
        Ok(Plugin { vm: self.clone(), index })
    }
}

impl Plugin {
    /// Calls not yet answered that were made from this plugin's root context or any of its streams.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let root = self.root_context();
        self.vm.calls().into_iter().filter(|c| c.root == root).collect()
    }

    /// gRPC calls and streams that have not ended, of this plugin's root context and all of its streams.
    #[must_use]
    pub fn grpc_calls(&self) -> Vec<GrpcHandle> {
        let root = self.root_context();
        self.vm.grpc_calls().into_iter().filter(|c| c.root == root).collect()
    }

    /// Id of the root context.
    #[must_use]
    pub fn root_context(&self) -> u32 {
        self.vm.with_host(|h| h.plugins[self.index].root)
    }

    /// The VM this plugin runs in.
    #[must_use]
    pub fn vm(&self) -> &Vm {
        &self.vm
    }
}
