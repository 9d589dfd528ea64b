//! `EnvoyFilter`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Overlay, Place};
use crate::Problem;
use crate::embedded::{self, Fragment, fragments};
use crate::resource::{Resource, items, text};

const MANAGER: &str = "envoy.filters.network.http_connection_manager";
const ROUTER: &str = "envoy.filters.http.router";

pub(super) fn check(overlay: &Overlay<'_>, filter: &Resource) -> Vec<Problem> {
    let problem = |pointer: String, reason: String| Problem { pointer, ..Problem::new(filter, reason) };
    let mut problems = Vec::new();
    // INSERT_FIRST needs no other filter's place.
    let beside = |patch: &Value| matches!(text(patch, "/patch/operation"), "INSERT_BEFORE" | "INSERT_AFTER");
    if filter.at("/spec/priority").is_none() && filter.list("/spec/configPatches").iter().any(beside) {
        let reason =
            "has no priority: the position of INSERT_BEFORE depends on the order of creation (IST0151)";
        problems.push(problem("/spec".into(), reason.into()));
    }
    if filter.targets().iter().any(|r| text(r, "/kind") == "Service") {
        let reason =
            "targetRefs of kind Service never match for an EnvoyFilter: target the waypoint's Gateway";
        problems.push(problem("/spec/targetRefs".into(), reason.into()));
    }
    problems.extend(overlay.place(filter).err().map(|reason| problem("/spec/targetRefs".into(), reason)));
    let Some(place) = overlay.likely_place(filter) else {
        return problems;
    };
    let ours = embedded::has_ours(filter);
    for (index, patch) in filter.list("/spec/configPatches").iter().enumerate() {
        let mut wrong: Vec<String> = context(place, patch).into_iter().collect();
        let of_listener = matches!(text(patch, "/applyTo"), "LISTENER" | "FILTER_CHAIN" | "NETWORK_FILTER");
        if of_listener && place == Place::Waypoint && patch.pointer("/match/listener/portNumber").is_some() {
            wrong.push("portNumber at a waypoint never matches".into());
        }
        if text(patch, "/applyTo") == "HTTP_FILTER" {
            wrong.extend(http_filter(place, patch, ours));
        }
        if text(patch, "/applyTo") == "CLUSTER" {
            wrong.extend(cluster(overlay, place, patch));
        }
        let pointer = format!("/spec/configPatches/{index}");
        problems.extend(wrong.into_iter().map(|reason| problem(pointer.clone(), reason)));
    }
    let all = discovery(overlay, filter)
        .into_iter()
        .chain(fragments(filter).into_iter().flat_map(|f| flag(filter, f)));
    problems.extend(all.map(|reason| problem("/spec/configPatches".into(), reason)));
    problems
}

fn context(place: Place, patch: &Value) -> Option<String> {
    // istiod adds these wherever the filter applies, whatever they match.
    if matches!(text(patch, "/applyTo"), "EXTENSION_CONFIG" | "BOOTSTRAP") {
        return None;
    }
    let context = text(patch, "/match/context");
    // The one patch that waypoints take from there: of the clusters of Services that are not attached to them.
    let outbound = context == "SIDECAR_OUTBOUND"
        && text(patch, "/applyTo") == "CLUSTER"
        && text(patch, "/patch/operation") == "MERGE";
    match place {
        Place::Waypoint if context != "SIDECAR_INBOUND" && !outbound => {
            Some(format!("context {context:?}: at a waypoint only SIDECAR_INBOUND applies"))
        }
        Place::Gateway if context != "GATEWAY" => {
            Some(format!("context {context:?}: at a gateway only GATEWAY applies"))
        }
        _ => None,
    }
}

/// Where in the chain a filter is added; of another project's it is not known whether it may come elsewhere.
fn http_filter(place: Place, patch: &Value, ours: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let chain = |pointer: &str| text(patch, &format!("/match/listener/filterChain{pointer}")).to_owned();
    if guards(patch) {
        if chain("/filter/name") != MANAGER || text(patch, "/patch/operation") != "INSERT_FIRST" {
            wrong
                .push("guards a header, and is not the first in the connection manager: INSERT_FIRST".into());
        }
    } else if ours {
        if chain("/filter/name") != MANAGER || chain("/filter/subFilter/name") != ROUTER {
            wrong.push("is not matched on the router of the connection manager".into());
        }
        if text(patch, "/patch/operation") != "INSERT_BEFORE" {
            wrong.push("is not inserted before the router, so it may come before authorisation".into());
        }
    }
    let port = patch.pointer("/match/listener/portNumber");
    match place {
        Place::Waypoint => {
            if text(patch, "/match/listener/name") != "main_internal" {
                wrong.push("does not name the listener main_internal: it would be added to connect_terminate as well".into());
            }
            if !chain("/name").starts_with("inbound-vip|") {
                wrong.push(
                    "does not name a filter chain inbound-vip|...: it would be added to direct-http as well"
                        .into(),
                );
            }
            if port.is_some() {
                wrong.push("portNumber at a waypoint never matches".into());
            }
        }
        Place::Gateway if port.is_none() && ours => {
            wrong.push("does not name a port: it would be added on every port".into());
        }
        Place::Gateway => {}
    }
    wrong
}

/// Whether a patch adds the instance of `claim-headers` that comes before `RequestAuthentication`.
fn guards(patch: &Value) -> bool {
    let Some(value) = patch.pointer("/patch/value") else { return false };
    let fragment = Fragment { apply_to: "HTTP_FILTER", operation: "", value };
    let found = embedded::configured(fragment).unwrap_or_default();
    let guards = |json: &str| serde_json::from_str::<Value>(json).is_ok_and(|json| json["source"] == "guard");
    found.iter().any(|c| c.filter == "claim-headers" && guards(&c.json))
}

/// A cluster that is added, under the name that Istio makes of a route's destination, or one that is changed.
fn cluster(overlay: &Overlay<'_>, place: Place, patch: &Value) -> Option<String> {
    let name = text(patch, "/patch/value/name");
    let prefix = if place == Place::Gateway { "outbound|" } else { "inbound-vip|" };
    match (text(patch, "/patch/operation"), place) {
        ("ADD", _) if name.starts_with(prefix) || overlay.known.is_named(name, overlay.resources) => None,
        // A name as Istio makes it for the other kind of proxy is meant for a route.
        ("ADD", _) if name.contains('|') => Some(format!(
            "adds the cluster {name:?}, which no route here can name: the name must begin with {prefix}"
        )),
        ("ADD", _) if name.is_empty() => Some("adds a cluster without a name".into()),
        ("ADD", _) => Some(format!(
            "adds the cluster {name:?}, which nothing in these resources names; for routes to name it, the name must \
             begin with {prefix}"
        )),
        ("MERGE", Place::Gateway) if text(patch, "/match/cluster/name").is_empty() => {
            Some("changes a cluster without naming it: every cluster would be changed".into())
        }
        ("MERGE", Place::Gateway) => None,
        ("MERGE", Place::Waypoint) if text(patch, "/match/context") == "SIDECAR_OUTBOUND" => None,
        (other, _) => Some(format!(
            "{other} on a cluster: at a waypoint only ADD applies; at a gateway use ADD or MERGE"
        )),
    }
}

/// A filter that takes its configuration from an `EXTENSION_CONFIG` of a name waits for it; a configuration that is not
/// asked for does no harm. Either may be in another `EnvoyFilter` for the same proxy.
fn discovery(overlay: &Overlay<'_>, filter: &Resource) -> Vec<String> {
    let given = |filter: &Resource| -> BTreeSet<String> {
        let fragments = fragments(filter).into_iter().filter(|f| f.apply_to == "EXTENSION_CONFIG");
        fragments.map(|f| text(f.value, "/name").to_owned()).collect()
    };
    let asked = |filter: &Resource| -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        fragments(filter).into_iter().for_each(|f| discovered(f.value, &mut names));
        names
    };
    let (own_given, own_asked) = (given(filter), asked(filter));
    let others = |find: &dyn Fn(&Resource) -> BTreeSet<String>, name: &str| {
        overlay.of_kind("EnvoyFilter").iter().any(|other| find(other).contains(name))
    };
    let waits = own_asked.difference(&own_given).filter(|name| !others(&given, name));
    let waits = waits.map(|name| {
        format!("{name:?} is not both configured and discovered: the listener would wait forever")
    });
    let idle = own_given.difference(&own_asked).filter(|name| !others(&asked, name));
    let idle = idle.map(|name| {
        format!("configures {name:?}, which nothing in these resources discovers: an HTTP_FILTER with config_discovery would")
    });
    waits.chain(idle).collect()
}

/// The names that are discovered, at any depth.
fn discovered(value: &Value, names: &mut BTreeSet<String>) {
    if value.get("config_discovery").is_some() {
        names.insert(text(value, "/name").to_owned());
    }
    match value {
        Value::Object(fields) => fields.values().for_each(|below| discovered(below, names)),
        Value::Array(items) => items.iter().for_each(|below| discovered(below, names)),
        _ => {}
    }
}

/// The flag and the key that promises it.
fn flag(filter: &Resource, fragment: Fragment<'_>) -> Vec<String> {
    let Some(config) = fragment.value.pointer("/typed_config/config") else { return Vec::new() };
    let mut wrong = Vec::new();
    let flag = config.pointer("/allow_on_headers_stop_iteration") == Some(&Value::Bool(true));
    let key = text(config, "/configuration/value");
    let key = serde_json::from_str::<Value>(key)
        .is_ok_and(|json| json["hold_response_headers"] == true || json["hold_request_headers"] == true);
    if flag != key {
        wrong.push("allow_on_headers_stop_iteration and hold_response_headers or hold_request_headers must be set together: with the key alone, exchanges hang".into());
    }
    if flag && (text(config, "/name").is_empty() || text(config, "/root_id").is_empty()) {
        wrong.push("a flagged plugin needs a name and a root_id of its own: on Envoy 1.38 the flag is shared otherwise".into());
    }
    if !flag && items(&filter.value, "/spec/configPatches").len() == 2 {
        wrong.push("a plugin without the flag needs no EnvoyFilter: use a WasmPlugin".into());
    }
    wrong
}
