//! A plugin's log lines and metrics.

use filter_api::{Labels, Level, Metric, MetricKind};
use host_driver::DROPPED_OPERATIONS;
use proxy_wasm::hostcalls;
use proxy_wasm::types::{LogLevel, MetricType};
use std::collections::HashMap;
use std::fmt::{Arguments, Write as _};
use std::sync::{Mutex, PoisonError};

/// What a plugin's streams share for speaking to the host.
#[derive(Debug)]
pub(crate) struct Voice {
    name: &'static str,
    metrics: &'static [Metric],
    /// The host's numbers of the plugin's metrics; `None` for one that the host refused, or that has labels.
    numbers: Vec<Option<u32>>,
    /// The same of counters with labels, by their names; each is declared when it is first added to.
    labelled: Mutex<HashMap<String, Option<u32>>>,
    dropped: Option<u32>,
}

impl Voice {
    /// Declares the metrics of the plugin called `name`.
    pub(crate) fn declare(name: &'static str, metrics: &'static [Metric]) -> Self {
        let kind = |kind| match kind {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Histogram => MetricType::Histogram,
            MetricKind::Gauge => MetricType::Gauge,
        };
        let define = |metric: &Metric| {
            let without_labels = metric.labels.is_empty();
            let define =
                || hostcalls::define_metric(kind(metric.kind), &format!("{name}.{}", metric.name)).ok();
            without_labels.then(define).flatten()
        };
        Self {
            name,
            metrics,
            numbers: metrics.iter().map(define).collect(),
            labelled: Mutex::default(),
            dropped: define(&DROPPED_OPERATIONS),
        }
    }

    /// The plugin's name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
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

    /// Adds to one of the plugin's counters, for these values of its labels.
    pub(crate) fn count_by(&self, metric: usize, labels: Labels<'_>, by: u64) {
        let Some(metric) = self.metrics.get(metric) else { return };
        let name = labelled(self.name, metric, labels);
        let mut known = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match known.get(&name) {
            Some(number) => *number,
            None => {
                let number = hostcalls::define_metric(MetricType::Counter, &name).ok();
                known.insert(name, number);
                number
            }
        };
        increment(number, by);
    }

    /// Records a value in one of the plugin's histograms or gauges.
    pub(crate) fn record(&self, metric: usize, value: u64) {
        if let Some(id) = self.metric(metric) {
            let _unknown = hostcalls::record_metric(id, value);
        }
    }

    fn metric(&self, index: usize) -> Option<u32> {
        self.numbers.get(index).copied().flatten()
    }
}

/// The name of a counter with labels. The ABI knows none; in this form `stats_config.stats_tags` can take them out of
/// the name, and it is the form that Istio's own tags (`extraStatTags`) are for.
fn labelled(plugin: &str, metric: &Metric, labels: Labels<'_>) -> String {
    let mut name = format!("{plugin}.{}", metric.name);
    for (label, value) in metric.labels.iter().zip(labels.values()) {
        // Writing to a string cannot fail.
        let _ok = write!(name, "{label}=.={value};.;");
    }
    name
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
