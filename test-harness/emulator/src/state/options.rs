//! Configuration of VMs and plugins, and what the host keeps about a plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::abi::LogLevel;
use super::foreign::ForeignFunction;
use super::properties::Properties;
use super::shared::SharedState;
use super::version::EnvoyVersion;

/// How requests are treated when the VM is dead (`envoy.extensions.wasm.v3.FailurePolicy`).
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
    /// Whether a release of Envoy takes the two for one plugin.
    pub(crate) fn same_key(&self, other: &Self, version: EnvoyVersion) -> bool {
        let key = |plugin: &Self| {
            let flag = version >= EnvoyVersion::V1_40 && plugin.allow_on_headers_stop_iteration;
            (plugin.name.clone(), plugin.root_id.clone(), plugin.configuration.clone(), flag)
        };
        key(self) == key(other)
    }
}

#[derive(Default)]
pub(crate) struct PluginState {
    pub(crate) options: PluginOptions,
    /// The root context in the present instance.
    pub(crate) root: u32,
    /// It has taken its configuration.
    pub(crate) running: bool,
    /// Nanoseconds between two ticks.
    pub(crate) tick_period: Option<u64>,
    pub(crate) next_tick: u64,
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
    /// Foreign functions by name, beside `clear_route_cache`, `declare_property` and `set_envoy_filter_state`. Give
    /// here what else the module needs of Envoy's, `verify_signature` for instance: without it the call ends the module.
    pub foreign_functions: BTreeMap<String, ForeignFunction>,
    /// Properties that every context of the VM can read, `node.id` for instance.
    pub properties: Properties,
    /// The release to behave as.
    pub version: EnvoyVersion,
    /// What `proxy_get_log_level` tells. Lines are captured at every level.
    pub log_level: LogLevel,
    /// Statistics, shared data and queues; give several VMs the same to let them share.
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
            properties: Properties::default(),
            version: EnvoyVersion::default(),
            log_level: LogLevel::Info,
            shared: SharedState::default(),
            start_time: 1_767_225_600_000_000_000,
            random_seed: 0x9e37_79b9_7f4a_7c15,
        }
    }
}
