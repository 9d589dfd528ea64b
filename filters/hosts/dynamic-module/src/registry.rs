//! The filters of the module, by name.

use crate::configured::{Configured, Instance, Open};
use crate::envoy::{self, config::EnvoyConfig};
use crate::events::{Events, lock};
use crate::module::is_meant;
use filter_api::{Caps, ConfigError, Level, Memory, Metric, Plugin};
use host_driver::DROPPED_OPERATIONS;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// How many bytes all filters of the process may hold at a time. Generous, because each configuration sets its
/// own, smaller limit (`memory_budget_bytes`).
const PROCESS_BUDGET_BYTES: usize = 4 << 30;

/// What an instance is known by: the filter's name and the configuration's bytes.
type Key = (&'static str, Vec<u8>);

/// The instances in use. They end with the last configuration that has them.
static INSTANCES: Mutex<Option<HashMap<Key, Weak<Instance>>>> = Mutex::new(None);

/// The instance of a configuration: the one that is there, or a new one.
fn instance(entry: &FilterEntry, json: &[u8]) -> Result<Arc<Instance>, ConfigError> {
    let mut instances = lock(&INSTANCES);
    let instances = instances.get_or_insert_default();
    let key = (entry.name, json.to_vec());
    if let Some(instance) = instances.get(&key).and_then(Weak::upgrade) {
        return Ok(instance);
    }
    let instance = Arc::new(Instance { plugin: (entry.configure)(json)?, events: Events::default() });
    instances.retain(|_, instance| instance.strong_count() > 0);
    instances.insert(key, Arc::downgrade(&instance));
    Ok(instance)
}

/// Finds a filter among those of the module and configures it.
///
/// # Errors
/// One line for the log: the name is unknown, or the configuration is refused.
pub(crate) fn configure(
    filters: &[FilterEntry],
    name: &[u8],
    json: &[u8],
    config: &EnvoyConfig,
) -> Result<Configured, String> {
    let Some(entry) = filters.iter().find(|entry| is_meant(entry.name, name)) else {
        let known: Vec<&str> = filters.iter().map(|entry| entry.name).collect();
        let name = String::from_utf8_lossy(name);
        return Err(format!("unknown filter_name {name:?}; this module has: {}", known.join(", ")));
    };
    let instance = instance(entry, json).map_err(|error| format!("{}: {error}", entry.name))?;
    let define = |metric: &Metric| {
        let id = config.define(entry.name, *metric);
        if id.is_none() {
            envoy::log(Level::Warn, entry.name, format_args!("Envoy refused the metric {}", metric.name));
        }
        id.map(|id| (id, metric.kind))
    };
    for warning in instance.plugin.warnings() {
        envoy::log(Level::Warn, entry.name, &warning);
    }
    let period = instance.plugin.tick();
    let number = instance.events.join(period.map(|period| (config.scheduler(), period)));
    let metrics = entry.metrics.iter().map(define).collect();
    let dropped = define(&DROPPED_OPERATIONS).map(|(id, _)| id);
    Ok(Configured { name: entry.name, instance, number, metrics, dropped })
}

type Configure = fn(&[u8]) -> Result<Box<dyn Open>, ConfigError>;

/// What is known of a filter before it is configured.
pub struct FilterEntry {
    name: &'static str,
    metrics: &'static [Metric],
    configure: Configure,
}

impl FilterEntry {
    /// That of a filter.
    pub const fn of<P: Plugin>() -> Self {
        Self { name: P::NAME, metrics: P::METRICS, configure: configure_plugin::<P> }
    }
}

/// The memory that all filters of the process share.
static MEMORY: OnceLock<Arc<Memory>> = OnceLock::new();

fn configure_plugin<P: Plugin>(json: &[u8]) -> Result<Box<dyn Open>, ConfigError> {
    let memory = MEMORY.get_or_init(|| Memory::new(PROCESS_BUDGET_BYTES)).clone();
    Ok(Box::new(Arc::new(P::configure(json, Caps::DYNAMIC_MODULE, memory)?)))
}
