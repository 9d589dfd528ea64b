//! Applies what a filter asks for besides its verdict.

use crate::envoy::{self, Envoy};
use crate::registry::Configured;
use filter_api::{Dir, Level, Map, MetricKind, Op, Ops, Route};

/// Applies the operations of one call of a filter, in order. `released` says whose headers have gone on: they are
/// not written any more.
pub(crate) fn apply(
    filter: &Configured,
    envoy: Envoy<'_>,
    dir: Dir,
    ops: &Ops,
    released: impl Fn(Dir) -> bool,
) {
    let metric = |index: usize| filter.metrics.get(index).copied().flatten();
    let mut route = None;
    let mut request_changed = false;
    for op in ops.iter() {
        if let Op::SetHeader(map, name, _) | Op::AddHeader(map, name, _) | Op::RemoveHeader(map, name) = op {
            if is_late(map, &released) {
                // Right after a wait Envoy would still take it, and at other times not: it must not depend on that.
                let text = format!("the header {name} is not changed, because the headers have gone on");
                envoy::log(Level::Debug, filter.name, &text);
                continue;
            }
            request_changed |= map == Map::RequestHeaders;
        }
        match op {
            Op::SetHeader(_, name, value) | Op::AddHeader(_, name, value) if !is_legal(value) => {
                let text = format!("a value of the header {name} has a line break or NUL and is left out");
                envoy::log(Level::Error, filter.name, &text);
            }
            Op::SetHeader(map, name, value) => envoy.set_header(map, name, value),
            Op::AddHeader(map, name, value) => envoy.add_header(map, name, value),
            Op::RemoveHeader(map, name) => envoy.remove_header(map, name),
            Op::SetLbMetadata(key, value) if !released(Dir::Request) => envoy.set_lb_metadata(key, value),
            Op::SetLbMetadata(key, _) => {
                let text = format!("the load balancer's {key} is not set, because the headers have gone on");
                envoy::log(Level::Debug, filter.name, &text);
            }
            Op::SetProperty(name, value) => envoy.set_filter_state(name, value),
            Op::Route(wanted) => route = Some(wanted),
            Op::Count(index, by) => {
                if let Some((id, _)) = metric(index) {
                    envoy.count(id, by);
                }
            }
            Op::Record(index, value) => match metric(index) {
                Some((id, MetricKind::Gauge)) => envoy.set_gauge(id, value),
                Some((id, _)) => envoy.record(id, value),
                None => {}
            },
            Op::Log(level, text) => envoy::log(level, filter.name, text),
        }
    }
    let reselect = match route {
        Some(Route::Reselect) => true,
        Some(Route::Keep) => false,
        // A filter that says nothing gets what every host can do.
        None => request_changed,
    };
    if reselect && dir == Dir::Request && !released(Dir::Request) {
        envoy.clear_route_cache();
    }
}

fn is_late(map: Map, released: impl Fn(Dir) -> bool) -> bool {
    [Dir::Request, Dir::Response].into_iter().any(|dir| map == dir.headers() && released(dir))
}

/// Envoy does not check header values, and a line break in one would split the message.
fn is_legal(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n'))
}
