//! A plugin: one configuration of a module in a VM.

use std::fmt;
use std::time::Duration;

use crate::calls::HttpCall;
use crate::host::LogLine;
use crate::stream::{Stream, StreamOptions};
use crate::vm::Vm;

/// What becomes of requests when the VM is dead (`envoy.extensions.wasm.v3.FailurePolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailPolicy {
    /// 503 for good.
    #[default]
    Closed,
    /// Later requests pass as if there were no filter. The ones in flight still get a 503.
    Open,
    /// The next request gets a fresh VM, but 503 until the back-off time since the last one was made is over.
    Reload {
        /// The least time between two VMs. Envoy's default is one second, and it adds up to a half at random.
        backoff: Duration,
    },
}

/// Configuration of a plugin (`envoy.extensions.wasm.v3.PluginConfig`).
#[derive(Clone, Debug, Default)]
pub struct PluginOptions {
    /// `name`.
    pub name: String,
    /// `root_id`.
    pub root_id: String,
    /// `configuration`, as the bytes the module reads.
    pub configuration: Vec<u8>,
    /// `allow_on_headers_stop_iteration`: code 1 from a headers callback lets the body callbacks run.
    pub allow_on_headers_stop_iteration: bool,
    /// `failure_policy`.
    pub fail_policy: FailPolicy,
}

impl PluginOptions {
    /// Whether Envoy before 1.40 takes the two for one plugin.
    pub(crate) fn same_key(&self, other: &Self) -> bool {
        (&self.name, &self.root_id, &self.configuration)
            == (&other.name, &other.root_id, &other.configuration)
    }
}

/// Why a VM or a plugin did not load. The log tells what the module said about it.
#[derive(Clone, Debug)]
pub struct LoadError {
    /// What failed.
    pub reason: String,
    /// Everything the module logged until then.
    pub log: Vec<LogLine>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        for line in &self.log {
            write!(f, "\n  {:?}: {}", line.level, line.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

pub(crate) struct PluginState {
    pub(crate) options: PluginOptions,
    /// The root context in the present instance.
    pub(crate) root: u32,
    pub(crate) tick_period: Option<u64>,
    pub(crate) next_tick: u64,
}

/// A loaded plugin. Clones are the same plugin.
#[derive(Clone)]
pub struct Plugin {
    pub(crate) vm: Vm,
    pub(crate) index: usize,
}

impl Plugin {
    /// Opens a stream: an HTTP exchange that passes this plugin's filter.
    #[must_use]
    pub fn open(&self, options: StreamOptions) -> Stream {
        Stream::open(self, options)
    }

    /// Calls not yet answered that were made from this plugin's root context or any of its streams.
    #[must_use]
    pub fn calls(&self) -> Vec<HttpCall> {
        let root = self.root_context();
        self.vm.calls().into_iter().filter(|c| c.root == root).collect()
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
