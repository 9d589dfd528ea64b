//! Envoy's object of a filter's configuration.

#![allow(unsafe_code)]

use super::start;
use crate::abi::{self, ModuleBuffer};
use filter_api::{Call, Metric, MetricKind};

/// Envoy's object of one filter configuration, inside `config_new` and the hooks of its events.
pub(crate) struct EnvoyConfig(*mut abi::EnvoyConfig);

impl EnvoyConfig {
    /// Wraps the pointer that Envoy gave to a hook.
    ///
    /// # Safety
    /// The result is not used after the hook has returned.
    pub(crate) unsafe fn new(config: *mut abi::EnvoyConfig) -> Self {
        Self(config)
    }

    /// What has the configuration's `scheduled` hook called. Only inside `config_new`.
    pub(crate) fn scheduler(&self) -> ConfigScheduler {
        // SAFETY: the configuration is valid during the hook.
        ConfigScheduler(unsafe { abi::config_scheduler_new(self.0) })
    }

    /// Starts a call and returns Envoy's id of it, or `None` where none was started. Not inside `config_new`.
    pub(crate) fn call(&self, call: &Call) -> Option<u64> {
        start(call, |id, cluster, headers, body, timeout| {
            // SAFETY: the configuration is valid during the hook, which runs on the main thread; Envoy has copied all
            // buffers when this returns, and writes the id only before that.
            unsafe {
                abi::config_http_callout(self.0, id, cluster, headers.as_ptr(), headers.len(), body, timeout)
            }
        })
    }

    /// Sets a gauge, where Envoy has a function for it.
    pub(crate) fn set_gauge(&self, id: usize, value: u64) {
        if let Some(set_gauge) = abi::set_config_gauge() {
            // SAFETY: the configuration is valid during the hook, which runs on the main thread; no labels, so no label
            // values are read.
            unsafe { set_gauge(self.0, id, std::ptr::null(), 0, value) };
        }
    }

    /// Defines a metric and returns its id, or `None` where Envoy refuses.
    pub(crate) fn define(&self, filter: &str, metric: Metric) -> Option<usize> {
        let name = format!("{filter}.{}", metric.name);
        let define = match metric.kind {
            MetricKind::Counter => abi::define_counter,
            MetricKind::Histogram => abi::define_histogram,
            MetricKind::Gauge => abi::define_gauge,
        };
        let labels: Vec<ModuleBuffer> = metric.labels.iter().map(|label| label.as_bytes().into()).collect();
        let mut id = 0;
        // SAFETY: the configuration is valid during `config_new`; Envoy copies the name and those of the labels, and
        // writes the id before it returns.
        let code = unsafe { define(self.0, name.as_bytes().into(), labels.as_ptr(), labels.len(), &mut id) };
        (code == abi::SUCCESS).then_some(id)
    }
}

/// Has a configuration's `scheduled` hook called on Envoy's main thread, from any thread.
pub(crate) struct ConfigScheduler(*mut abi::EnvoyConfigScheduler);

// SAFETY: as for `Waker`.
unsafe impl Send for ConfigScheduler {}

impl ConfigScheduler {
    /// Has the hook called, if the configuration still exists then.
    pub(crate) fn schedule(&self) {
        // SAFETY: the object was made by `config_scheduler_new` and is not deleted yet.
        unsafe { abi::config_scheduler_commit(self.0, 0) };
    }
}

impl Drop for ConfigScheduler {
    fn drop(&mut self) {
        // SAFETY: as in `schedule`, and it is not used any more.
        unsafe { abi::config_scheduler_delete(self.0) };
    }
}
