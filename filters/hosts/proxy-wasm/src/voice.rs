//! A plugin's log lines and metrics.

use filter_api::{Level, Metric, MetricKind};
use host_driver::DROPPED_OPERATIONS;
use proxy_wasm::hostcalls;
use proxy_wasm::types::{LogLevel, MetricType};
use std::fmt::Arguments;

/// What a plugin's streams share for speaking to the host.
#[derive(Debug)]
pub(crate) struct Voice {
    name: &'static str,
    /// The host's numbers of the plugin's metrics; `None` for one that the host refused.
    metrics: Vec<Option<u32>>,
    dropped: Option<u32>,
}

impl Voice {
    /// Declares the metrics of the plugin called `name`.
    pub(crate) fn declare(name: &'static str, metrics: &[Metric]) -> Self {
        let kind = |kind| match kind {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Histogram => MetricType::Histogram,
            MetricKind::Gauge => MetricType::Gauge,
        };
        let define = |metric: &Metric| {
            hostcalls::define_metric(kind(metric.kind), &format!("{name}.{}", metric.name)).ok()
        };
        Self { name, metrics: metrics.iter().map(define).collect(), dropped: define(&DROPPED_OPERATIONS) }
    }

    /// Writes a log line, whose text is only made if the host wants it.
    pub(crate) fn log(&self, level: Level, text: Arguments<'_>) {
        log(self.name, level, text);
    }

    /// Counts something that a core asked for and does not get.
    pub(crate) fn count_dropped(&self) {
        increment(self.dropped, 1);
    }

    /// Adds to one of the plugin's counters.
    pub(crate) fn count(&self, metric: usize, by: u64) {
        increment(self.metric(metric), by);
    }

    /// Records a value in one of the plugin's histograms or gauges.
    pub(crate) fn record(&self, metric: usize, value: u64) {
        if let Some(id) = self.metric(metric) {
            let _unknown = hostcalls::record_metric(id, value);
        }
    }

    fn metric(&self, index: usize) -> Option<u32> {
        self.metrics.get(index).copied().flatten()
    }
}

fn increment(metric: Option<u32>, by: u64) {
    if let Some(id) = metric {
        let _unknown = hostcalls::increment_metric(id, i64::try_from(by).unwrap_or(i64::MAX));
    }
}

/// Writes a log line of the plugin called `name`, whose text is only made if the host wants it.
pub(crate) fn log(name: &str, level: Level, text: Arguments<'_>) {
    let level = match level {
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    };
    let wanted = hostcalls::get_log_level().is_ok_and(|least| level as u32 >= least as u32);
    if wanted {
        let _ok = hostcalls::log(level, &format!("{name}: {text}"));
    }
}
