//! What Istio accepts and then ignores, whatever filters there are.
//!
//! The other rules are about the resources of this project; these are about anyone's. Each was seen in what istiod makes
//! of a resource, on Istio 1.28 to 1.31.

mod envoy_filters;
mod fields;
mod gateways;
mod hosts;
mod http_filters;
mod messages;
mod policies;
mod protocols;
mod references;
mod transcoders;
mod values;
mod waypoints;

pub(super) use policies::selector;

use super::Overlay;
use crate::Problem;
use crate::resource::{Resource, items, text};

use serde_json::Value;

/// Everything that is ignored among the resources, or that is believed without a reason.
pub(super) fn check(overlay: &Overlay<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for resource in overlay.resources {
        problems.extend(policies::check(overlay, resource));
        problems.extend(waypoints::check(overlay, resource));
        problems.extend(hosts::check(overlay, resource));
        problems.extend(protocols::check(overlay, resource));
        problems.extend(references::check(overlay, resource));
        problems.extend(gateways::check(overlay, resource));
        if resource.kind() == "EnvoyFilter" {
            problems.extend(envoy_filters::check(overlay, resource));
        }
    }
    problems.extend(transcoders::check(overlay));
    problems.extend(twice(overlay));
    problems
}

/// A problem at a field.
fn at(
    resource: &Resource,
    rule: &'static str,
    pointer: impl Into<String>,
    reason: impl Into<String>,
) -> Problem {
    Problem { rule, pointer: pointer.into(), ..Problem::new(resource, reason) }
}

/// The same resource twice: the last one that is applied wins.
fn twice(overlay: &Overlay<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for resource in overlay.resources {
        let first = overlay.find(resource.group(), resource.kind(), resource.namespace(), resource.name());
        if first.is_some_and(|first| !std::ptr::eq(first, resource)) {
            problems.push(at(resource, "twice", "", "is there twice: only what is applied last counts"));
        }
    }
    problems
}

/// The value of a label; empty if it is missing.
fn label<'a>(resource: &'a Resource, name: &str) -> &'a str {
    resource.at("/metadata/labels").and_then(|all| all.get(name)).and_then(Value::as_str).unwrap_or_default()
}

/// Why a Service is taken to be missing: these resources have others of its namespace, and the namespace itself, or one
/// of nearly the same name. A headless one may be there for the name of some pods only, and a Gateway or a model server may
/// make one for itself.
fn absent(overlay: &Overlay<'_>, namespace: &str, name: &str) -> Option<String> {
    let others = overlay.known.reachable.get(namespace)?;
    let makers = overlay.known.makers.get(namespace).map_or(&[][..], Vec::as_slice);
    let whole = overlay.find("", "Namespace", "", namespace).is_some();
    if overlay.find("", "Service", namespace, name).is_some()
        || makers.iter().any(|maker| name.starts_with(maker))
        || !(whole || others.iter().any(|other| is_nearly(other, name)))
    {
        return None;
    }
    let more = if others.len() > 5 { ", ..." } else { "" };
    let shown = others[..others.len().min(5)].join(", ");
    Some(format!("these resources have no such Service: in {namespace} they have {shown}{more}"))
}

/// Whether two names differ by so little that one is a misspelling of the other: by two letters that are missing, other
/// or too many (the edit distance of Levenshtein).
fn is_nearly(one: &str, other: &str) -> bool {
    if one.len().abs_diff(other.len()) > 2 || one.len().min(other.len()) < 4 {
        return false;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.bytes().enumerate() {
        let mut before = index;
        let mut next = vec![index + 1];
        for (at, own) in other.bytes().enumerate() {
            let changed = before + usize::from(own != letter);
            before = row[at + 1];
            next.push(changed.min(before + 1).min(next[at] + 1));
        }
        row = next;
    }
    row.last().is_some_and(|distance| *distance <= 2)
}

/// The full name of a host as a resource of `namespace` means it: Istio completes a name without dots.
pub(super) fn full_name(host: &str, namespace: &str) -> String {
    if host.contains('.') || host.contains('*') {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.cluster.local")
    }
}

/// Whether a Gateway is a waypoint.
pub(super) fn is_waypoint(gateway: &Resource) -> bool {
    gateway.is(super::GATEWAY_API, "Gateway") && gateway.text("/spec/gatewayClassName") == "istio-waypoint"
}

/// Whether there is a waypoint in a namespace.
fn has_waypoint(overlay: &Overlay<'_>, namespace: &str) -> bool {
    overlay.known.waypoints.contains(namespace)
}

/// The hosts that a VirtualService or a route of the Gateway API sends requests or copies of them to, as `(pointer, full
/// name, port)`.
pub(super) fn destinations(resource: &Resource) -> Vec<(String, String, Option<u64>)> {
    let mut found = Vec::new();
    for (pointer, destination) in of_virtual_service(resource) {
        let host = full_name(text(destination, "/host"), resource.namespace());
        found.push((pointer, host, destination.pointer("/port/number").and_then(Value::as_u64)));
    }
    for (pointer, backend) in of_gateway_api(resource) {
        let namespace = match text(backend, "/namespace") {
            "" => resource.namespace(),
            other => other,
        };
        if matches!(text(backend, "/kind"), "" | "Service") {
            let host = format!("{}.{namespace}.svc.cluster.local", text(backend, "/name"));
            found.push((pointer, host, backend.get("port").and_then(Value::as_u64)));
        }
    }
    found
}

/// The destinations of a VirtualService, each with its place, those of copies among them.
pub(super) fn of_virtual_service(resource: &Resource) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    if !resource.is(super::NETWORKING, "VirtualService") {
        return found;
    }
    for protocol in ["http", "tcp", "tls"] {
        for (i, rule) in resource.list(&format!("/spec/{protocol}")).iter().enumerate() {
            for list in ["route", "mirrors"] {
                for (j, one) in items(rule, &format!("/{list}")).iter().enumerate() {
                    let place = format!("/spec/{protocol}/{i}/{list}/{j}/destination");
                    found.extend(one.get("destination").map(|destination| (place, destination)));
                }
            }
            let place = format!("/spec/{protocol}/{i}/mirror");
            found.extend(rule.get("mirror").map(|destination| (place, destination)));
        }
    }
    found
}

/// The backends of a route of the Gateway API, each with its place, those of copies among them.
fn of_gateway_api(resource: &Resource) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    if resource.group() != super::GATEWAY_API || !resource.kind().ends_with("Route") {
        return found;
    }
    for (i, rule) in resource.list("/spec/rules").iter().enumerate() {
        for (j, backend) in items(rule, "/backendRefs").iter().enumerate() {
            found.push((format!("/spec/rules/{i}/backendRefs/{j}"), backend));
        }
        for (j, filter) in items(rule, "/filters").iter().enumerate() {
            let place = format!("/spec/rules/{i}/filters/{j}/requestMirror/backendRef");
            found.extend(filter.pointer("/requestMirror/backendRef").map(|backend| (place, backend)));
        }
    }
    found
}

/// Whether a VirtualService applies to calls within the mesh.
pub(super) fn in_mesh(resource: &Resource) -> bool {
    let gateways = resource.list("/spec/gateways");
    gateways.is_empty() || gateways.iter().any(|gateway| gateway == "mesh")
}

#[cfg(test)]
mod tests {
    use super::is_nearly;

    #[test]
    fn a_misspelt_name_is_near_and_another_is_not() {
        for (one, other) in
            [("style-transfer", "style-transfers"), ("modelmesh", "modelmehs"), ("backend", "bckend")]
        {
            assert!(is_nearly(one, other) && is_nearly(other, one), "{one} {other}");
        }
        for (one, other) in [("style-transfer", "oauth2-proxy"), ("app", "api"), ("backend", "frontend")] {
            assert!(!is_nearly(one, other), "{one} {other}");
        }
    }
}
