//! What Envoy itself looks for in a message's headers: a route, and a status.

use crate::state::headers::HeaderMap;
use crate::state::stream::StreamState;

/// Selects the route for good. False: no route matches.
pub(super) fn route(s: &mut StreamState, headers: &HeaderMap) -> bool {
    s.route.path = headers.get(":path").map(<[u8]>::to_vec);
    // Envoy gives every request an x-forwarded-proto and selects no route without it; a filter that replaces all headers
    // may lose it.
    if s.forwarded_proto && headers.get("x-forwarded-proto").is_none() {
        return false;
    }
    let Some(routes) = &s.routes else { return true };
    if s.route.clears > 0 {
        s.selected_cluster = routes(headers);
    }
    s.route.cluster = s.selected_cluster.clone();
    s.route.cluster.is_some()
}

/// The status of a response. Envoy takes one that is not a number for none.
pub(super) fn status(headers: &HeaderMap) -> Option<u64> {
    std::str::from_utf8(headers.get(":status")?).ok()?.parse().ok()
}
