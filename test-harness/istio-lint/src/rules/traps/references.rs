//! Routes of the Gateway API that refer to what does not take them.

use serde_json::Value;

use super::at;
use crate::Problem;
use crate::resource::{Resource, items, text};
use crate::rules::{GATEWAY_API, Overlay};

pub(super) fn check(overlay: &Overlay<'_>, route: &Resource) -> Vec<Problem> {
    if route.group() != GATEWAY_API || !route.kind().ends_with("Route") {
        return Vec::new();
    }
    let mut problems = parents(overlay, route);
    let at_waypoint = route.list("/spec/parentRefs").iter().any(|parent| text(parent, "/kind") == "Service");
    for (i, rule) in route.list("/spec/rules").iter().enumerate() {
        for (j, backend) in items(rule, "/backendRefs").iter().enumerate() {
            let pointer = format!("/spec/rules/{i}/backendRefs/{j}");
            problems.extend(granted(overlay, route, backend, &pointer));
            if text(backend, "/kind") == "InferencePool" {
                problems.push(pool(route, pointer, at_waypoint));
            }
        }
    }
    problems
}

fn parents(overlay: &Overlay<'_>, route: &Resource) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, parent) in route.list("/spec/parentRefs").iter().enumerate() {
        let pointer = format!("/spec/parentRefs/{index}");
        let group = parent.get("group").and_then(Value::as_str).unwrap_or(GATEWAY_API);
        match text(parent, "/kind") {
            "Service" if group == GATEWAY_API => {
                let reason = "a parent of the kind Service needs group: \"\": without it the group is the Gateway API's, \
                              which has no Service, and Istio ignores the parent";
                problems.push(at(route, "parent-group", pointer, reason));
            }
            "" | "Gateway" => {
                let namespace = namespace(parent, route);
                let gateway = overlay.find(GATEWAY_API, "Gateway", namespace, text(parent, "/name"));
                let admits = |listener: &Value| {
                    matches!(text(listener, "/allowedRoutes/namespaces/from"), "All" | "Selector")
                };
                if namespace != route.namespace()
                    && let Some(gateway) = gateway
                    && !gateway.list("/spec/listeners").iter().any(admits)
                {
                    let reason = format!(
                        "{} takes routes of its own namespace only: set allowedRoutes.namespaces of a listener",
                        gateway.id()
                    );
                    problems.push(at(route, "route-not-allowed", pointer, reason));
                }
            }
            _ => {}
        }
    }
    problems
}

/// What a reference to another namespace needs there.
fn granted(overlay: &Overlay<'_>, route: &Resource, backend: &Value, pointer: &str) -> Option<Problem> {
    let namespace = namespace(backend, route);
    let grants = |grant: &&Resource| {
        let from = |from: &Value| {
            text(from, "/kind") == route.kind() && text(from, "/namespace") == route.namespace()
        };
        grant.namespace() == namespace && grant.list("/spec/from").iter().any(from)
    };
    if namespace == route.namespace() || overlay.of_kind("ReferenceGrant").iter().any(grants) {
        return None;
    }
    let reason = format!(
        "sends to the namespace {namespace}, which needs a ReferenceGrant there for {}s of {}, and these resources have no such: \
         without it requests are answered 500",
        route.kind(),
        route.namespace()
    );
    Some(at(route, "reference-grant", format!("{pointer}/namespace"), reason))
}

fn pool(route: &Resource, pointer: String, at_waypoint: bool) -> Problem {
    if at_waypoint {
        let reason = "sends to an InferencePool, which only gateways do: a waypoint ignores it";
        return at(route, "inference-pool", pointer, reason);
    }
    let reason = "sends to an InferencePool, which istiod takes only with ENABLE_GATEWAY_API_INFERENCE_EXTENSION=true: by \
                  default it does not";
    at(route, "inference-pool-off", pointer, reason)
}

fn namespace<'a>(reference: &'a Value, route: &'a Resource) -> &'a str {
    match text(reference, "/namespace") {
        "" => route.namespace(),
        other => other,
    }
}
