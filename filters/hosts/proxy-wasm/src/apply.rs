//! Applying what a core asks for besides its verdict.

use crate::foreign;
use crate::view::{HostView, map_type};
use filter_api::{Call, CallFailure, Level, Map, Metric, MetricKind, Op, Ops, Route};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{LogLevel, MetricType, Status};
use std::cell::Cell;

thread_local! {
    // One list for all streams of the VM. Taken out for the time of a callback rather than borrowed, so that a
    // callback inside a callback finds another one instead of a panic.
    static OPS: Cell<Ops> = Cell::new(Ops::default());
}

/// Takes the VM's list of operations, empty.
pub(crate) fn take_ops() -> Ops {
    OPS.take()
}

/// Gives the list back, with its memory.
pub(crate) fn give_back(mut ops: Ops) {
    ops.clear();
    OPS.set(ops);
}

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
        let define = |kind, metric: &str| hostcalls::define_metric(kind, &format!("{name}.{metric}")).ok();
        let kind = |kind| match kind {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Histogram => MetricType::Histogram,
            MetricKind::Gauge => MetricType::Gauge,
        };
        Self {
            name,
            metrics: metrics.iter().map(|metric| define(kind(metric.kind), metric.name)).collect(),
            dropped: define(MetricType::Counter, "dropped_operations"),
        }
    }

    /// Writes a log line, whose text is only made if the host wants it.
    pub(crate) fn log(&self, level: Level, text: impl FnOnce() -> String) {
        log(self.name, level, text);
    }

    /// Says that something a core asked for was dropped.
    pub(crate) fn dropped(&self, text: impl FnOnce() -> String) {
        if let Some(metric) = self.dropped {
            let _unknown = hostcalls::increment_metric(metric, 1);
        }
        self.log(Level::Warn, || format!("dropped: {}", text()));
    }

    /// Applies operations in order. Those on a map that is not in the filter's hands are dropped, and those that
    /// would change nothing are left out.
    pub(crate) fn apply(&self, ops: &Ops, view: &HostView) {
        let mut reselect = false;
        for op in ops.iter() {
            match op {
                Op::SetHeader(map, name, value) => {
                    if self.allows(view, map, name, value) && !view.is_already(map, name, &[value]) {
                        view.changes(map, name);
                        let _ok = hostcalls::set_map_value_bytes(map_type(map), name, Some(value));
                    }
                }
                Op::AddHeader(map, name, value) => {
                    if self.allows(view, map, name, value) {
                        view.changes(map, name);
                        let _ok = hostcalls::add_map_value_bytes(map_type(map), name, value);
                    }
                }
                Op::RemoveHeader(map, name) => {
                    if self.allows(view, map, name, b"") && !view.is_already(map, name, &[]) {
                        view.changes(map, name);
                        let _ok = hostcalls::remove_map_value(map_type(map), name);
                    }
                }
                Op::SetLbMetadata(key, _) => {
                    self.dropped(|| {
                        format!("{key:?} of the load balancer's metadata, which a module cannot write")
                    });
                }
                // The SDK panics where Envoy refuses, as it does a name that another module declared read-only.
                Op::SetProperty("", _) => self.dropped(|| "a property without a name".to_owned()),
                Op::SetProperty(name, value) => {
                    let _ok = hostcalls::set_property(vec![name], Some(value));
                }
                // Envoy selects the route again whenever a module changes a request header, and a core that
                // asks for less did not read the caps.
                Op::Route(route) => reselect = route == Route::Reselect,
                Op::Count(metric, by) => {
                    if let Some(id) = self.metric(metric) {
                        let by = i64::try_from(by).unwrap_or(i64::MAX);
                        let _unknown = hostcalls::increment_metric(id, by);
                    }
                }
                Op::Record(metric, value) => self.record(metric, value),
                Op::Log(level, text) => self.log(level, || text.to_owned()),
            }
        }
        if reselect && view.has(Map::RequestHeaders) && !view.has_changes(Map::RequestHeaders) {
            foreign::clear_route_cache();
        }
    }

    /// Applies what an event asks for besides calls: lines and values. Nothing else makes sense without an exchange.
    pub(crate) fn apply_event(&self, ops: &Ops) {
        for op in ops.iter() {
            match op {
                Op::Record(metric, value) => self.record(metric, value),
                Op::Log(level, text) => self.log(level, || text.to_owned()),
                _ => {}
            }
        }
    }

    /// Starts a call, or says why it cannot be started.
    pub(crate) fn dispatch(&self, call: &Call) -> Result<u32, CallFailure> {
        let mut headers = Vec::with_capacity(call.headers.len());
        for (name, value) in &call.headers {
            // The SDK takes text only.
            let Ok(value) = std::str::from_utf8(value) else {
                self.dropped(|| format!("{name} of a call to {:?}: not UTF-8", call.cluster));
                continue;
            };
            headers.push((name.as_str(), value));
        }
        let body = Some(call.body.as_slice()).filter(|body| !body.is_empty());
        // The ABI counts milliseconds in 32 bits, and 0 means no limit at all.
        let timeout = call.timeout.clamp(MILLISECOND, MILLISECOND * i32::MAX.unsigned_abs());
        match hostcalls::dispatch_http_call(&call.cluster, headers, body, Vec::new(), timeout) {
            Ok(token) => Ok(token),
            Err(status) => {
                self.log(Level::Warn, || {
                    format!("a call to the cluster {:?} was refused: {}", call.cluster, reason(status))
                });
                Err(failure(status))
            }
        }
    }

    fn record(&self, metric: usize, value: u64) {
        if let Some(id) = self.metric(metric) {
            let _unknown = hostcalls::record_metric(id, value);
        }
    }

    fn metric(&self, index: usize) -> Option<u32> {
        self.metrics.get(index).copied().flatten()
    }

    fn allows(&self, view: &HostView, map: Map, name: &str, value: &[u8]) -> bool {
        if !view.has(map) {
            self.dropped(|| format!("{name} of {map:?}, which are not here"));
            return false;
        }
        if name.is_empty() || !is_header_value(value) {
            self.dropped(|| format!("{name:?} of {map:?}: not a header that can be sent"));
            return false;
        }
        true
    }
}

const MILLISECOND: std::time::Duration = std::time::Duration::from_millis(1);

/// Writes a log line of the plugin called `name`, whose text is only made if the host wants it.
pub(crate) fn log(name: &str, level: Level, text: impl FnOnce() -> String) {
    let level = match level {
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    };
    let wanted = hostcalls::get_log_level().is_ok_and(|least| level as u32 >= least as u32);
    if wanted {
        let _ok = hostcalls::log(level, &format!("{name}: {}", text()));
    }
}

/// Whether a value can be sent: Envoy checks this in debug builds only, and a line break in a value would be
/// a header of the sender's choice (RFC 9110, section 5.5).
fn is_header_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n'))
}

fn reason(status: Status) -> &'static str {
    match status {
        Status::BadArgument => "it is unknown, or a header is missing",
        _ => "there is no endpoint that could take the call",
    }
}

/// Envoy says `InternalFailure` of a call that its router has answered before `proxy_http_call` returns, which it does
/// where there is no endpoint to ask; the answer itself is lost.
fn failure(status: Status) -> CallFailure {
    match status {
        Status::InternalFailure => CallFailure::NoEndpoint,
        _ => CallFailure::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_line_break_is_no_header() {
        assert!(is_header_value(b"caf\xe9"));
        assert!(!is_header_value(b"yes\r\nx-admin: yes"));
        assert!(!is_header_value(b"yes\0"));
    }

    #[test]
    fn a_cluster_without_an_endpoint_for_a_call_is_told_from_an_unknown_one() {
        assert_eq!(failure(Status::InternalFailure), CallFailure::NoEndpoint);
        assert_eq!(failure(Status::BadArgument), CallFailure::Refused);
    }
}
