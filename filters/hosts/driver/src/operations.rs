//! What a core asks for besides its verdict.

use crate::proxy::{Maps, Proxy};
use filter_api::{Dir, Level, Map, Op, Ops, Route};
use std::cell::Cell;
use std::fmt::Arguments;

thread_local! {
    // One list for all streams of the thread. Taken out for the time of a call rather than borrowed, so that a callback
    // inside a callback finds another one instead of a panic.
    static OPS: Cell<Option<Ops>> = const { Cell::new(None) };
}

/// Takes the thread's list of operations, empty.
pub(crate) fn take() -> Ops {
    OPS.take().unwrap_or_default()
}

/// Gives the list back, with its memory.
pub(crate) fn give_back(mut ops: Ops) {
    ops.clear();
    OPS.set(Some(ops));
}

/// Applies the operations of one call of a core about the direction `dir`, in order. Those on a map that is not in its
/// hands are dropped.
pub(crate) fn apply<P: Proxy>(ops: &Ops, dir: Dir, maps: Maps, proxy: &mut P) {
    let mut route = None;
    let mut request_changed = false;
    for op in ops.iter() {
        match op {
            Op::SetHeader(map, name, value) => {
                if allows(maps, map, name, value, proxy) {
                    request_changed |= proxy.set_header(map, name, value) && map == Map::RequestHeaders;
                }
            }
            Op::AddHeader(map, name, value) => {
                if allows(maps, map, name, value, proxy) {
                    proxy.add_header(map, name, value);
                    request_changed |= map == Map::RequestHeaders;
                }
            }
            Op::RemoveHeader(map, name) => {
                if allows(maps, map, name, b"", proxy) {
                    request_changed |= proxy.remove_header(map, name) && map == Map::RequestHeaders;
                }
            }
            Op::SetLbMetadata(key, _) if !maps.has(Map::RequestHeaders) => {
                drop_operation(
                    proxy,
                    format_args!("the load balancer's {key:?}: the request's headers have gone on"),
                );
            }
            Op::SetLbMetadata(key, value) => {
                if !proxy.set_lb_metadata(key, value) {
                    drop_operation(
                        proxy,
                        format_args!("the load balancer's {key:?}, which a filter cannot set here"),
                    );
                }
            }
            Op::SetProperty("", _) => drop_operation(proxy, format_args!("a property without a name")),
            Op::SetProperty(name, value) => proxy.set_property(name, value),
            Op::Describe(name, value) => proxy.describe(name, value),
            Op::Route(wanted) => route = Some(wanted),
            Op::Count(metric, by) => proxy.count(metric, by),
            Op::CountBy(metric, labels, by) => proxy.count_by(metric, labels, by),
            Op::Record(metric, value) => proxy.record(metric, value),
            Op::Log(level, text) => proxy.log(level, format_args!("{text}")),
        }
    }
    let reselect = match route {
        Some(Route::Reselect) => true,
        Some(Route::Keep) => false,
        // A core that says nothing gets what every host can do.
        None => request_changed,
    };
    if reselect && dir == Dir::Request && maps.has(Map::RequestHeaders) {
        proxy.reselect_route();
    }
}

/// Says, in the log and in the counter, that something a core asked for was dropped.
pub(crate) fn drop_operation<P: Proxy>(proxy: &mut P, what: Arguments<'_>) {
    proxy.count_dropped();
    proxy.log(Level::Warn, format_args!("dropped: {what}"));
}

fn allows<P: Proxy>(maps: Maps, map: Map, name: &str, value: &[u8], proxy: &mut P) -> bool {
    if !maps.has(map) {
        drop_operation(
            proxy,
            format_args!("the header {name} of {map:?}, which are not in the filter's hands"),
        );
        return false;
    }
    let wrong = match name {
        "" => "its name is empty",
        _ if !is_header_value(value) => "its value has a line break or NUL",
        _ => return true,
    };
    drop_operation(proxy, format_args!("the header {name} of {map:?}: {wrong}"));
    false
}

/// Whether a value can be sent: Envoy checks this in debug builds only, and a line break in a value would be a header of
/// the sender's choice (RFC 9110, section 5.5).
fn is_header_value(value: &[u8]) -> bool {
    // Without a way out at the first one, so that many bytes are looked at together.
    !value.iter().fold(false, |found, byte| found | matches!(byte, b'\0' | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_line_break_or_nul_is_not_a_header_value() {
        assert!(is_header_value(b"caf\xe9"));
        assert!(!is_header_value(b"yes\r\nx-admin: yes"));
        assert!(!is_header_value(b"yes\0"));
    }
}
