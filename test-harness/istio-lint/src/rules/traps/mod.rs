//! What Istio accepts and then ignores, whatever filters there are.
//!
//! The other rules are about the resources of this project; these are about anyone's. Each was seen in what istiod makes
//! of a resource, on Istio 1.28 to 1.31.

mod envoy_filters;
mod fields;
mod hosts;
mod messages;
mod policies;
mod waypoints;

pub(super) use policies::selector;

use super::Overlay;
use crate::Problem;
use crate::resource::{Resource, text};

use serde_json::Value;

/// Everything that is ignored among the resources, or that is believed without a reason.
pub(super) fn check(overlay: &Overlay<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for resource in overlay.resources {
        problems.extend(policies::check(overlay, resource));
        problems.extend(waypoints::check(overlay, resource));
        problems.extend(hosts::check(overlay, resource));
        if resource.kind() == "EnvoyFilter" {
            problems.extend(envoy_filters::check(overlay, resource));
        }
    }
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

/// The hosts that a VirtualService or a route of the Gateway API sends to, as `(pointer, full name, port)`.
pub(super) fn destinations(resource: &Resource) -> Vec<(String, String, Option<u64>)> {
    let mut found = Vec::new();
    if resource.is(super::NETWORKING, "VirtualService") {
        for protocol in ["http", "tcp", "tls"] {
            for (i, rule) in resource.list(&format!("/spec/{protocol}")).iter().enumerate() {
                for (j, route) in crate::resource::items(rule, "/route").iter().enumerate() {
                    let pointer = format!("/spec/{protocol}/{i}/route/{j}/destination");
                    let host = full_name(text(route, "/destination/host"), resource.namespace());
                    let port = route.pointer("/destination/port/number").and_then(Value::as_u64);
                    found.push((pointer, host, port));
                }
            }
        }
    } else if resource.group() == super::GATEWAY_API && resource.kind().ends_with("Route") {
        for (i, rule) in resource.list("/spec/rules").iter().enumerate() {
            for (j, backend) in crate::resource::items(rule, "/backendRefs").iter().enumerate() {
                let namespace = match text(backend, "/namespace") {
                    "" => resource.namespace(),
                    other => other,
                };
                let host = format!("{}.{namespace}.svc.cluster.local", text(backend, "/name"));
                let port = backend.get("port").and_then(Value::as_u64);
                if matches!(text(backend, "/kind"), "" | "Service") {
                    found.push((format!("/spec/rules/{i}/backendRefs/{j}"), host, port));
                }
            }
        }
    }
    found
}

/// Whether a VirtualService applies to calls within the mesh.
pub(super) fn in_mesh(resource: &Resource) -> bool {
    let gateways = resource.list("/spec/gateways");
    gateways.is_empty() || gateways.iter().any(|gateway| gateway == "mesh")
}
