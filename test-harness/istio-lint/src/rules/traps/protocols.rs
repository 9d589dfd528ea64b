//! Ports that are not HTTP: what is for requests never applies to them.
//!
//! Istio goes by `appProtocol`, and without it by the first word of the port's name. A port of neither is looked at when
//! a connection comes in, so nothing is said of it here.

use serde_json::Value;

use super::{at, full_name, in_mesh};
use crate::Problem;
use crate::resource::{Resource, items, text};
use crate::rules::{GATEWAY_API, NETWORKING, Overlay};

const RULE: &str = "tcp-port";

pub(super) fn check(overlay: &Overlay<'_>, resource: &Resource) -> Vec<Problem> {
    match (resource.group(), resource.kind()) {
        (_, "WasmPlugin") if resource.text("/spec/type") != "NETWORK" => plugin(overlay, resource),
        (_, "TrafficExtension") if resource.text("/spec/wasm/type") != "NETWORK" => plugin(overlay, resource),
        (NETWORKING, "VirtualService") if in_mesh(resource) && !resource.list("/spec/http").is_empty() => {
            hosts(overlay, resource)
        }
        (GATEWAY_API, "HTTPRoute" | "GRPCRoute") => parents(overlay, resource),
        _ => Vec::new(),
    }
}

fn plugin(overlay: &Overlay<'_>, plugin: &Resource) -> Vec<Problem> {
    let targets = plugin.targets().iter().enumerate().filter(|(_, t)| text(t, "/kind") == "Service");
    let found = targets.filter_map(|(index, target)| {
        let service = overlay.find("", "Service", plugin.namespace(), text(target, "/name"))?;
        let ports = only_connections(service)?;
        let reason = format!(
            "is for requests, and {} has {ports} only, which its waypoint passes on as connections: {RENAME}",
            service.id()
        );
        let list =
            if plugin.list("/spec/targetRefs").is_empty() { String::new() } else { format!("s/{index}") };
        Some(at(plugin, RULE, format!("/spec/targetRef{list}"), reason))
    });
    found.collect()
}

fn hosts(overlay: &Overlay<'_>, route: &Resource) -> Vec<Problem> {
    let hosts = route.list("/spec/hosts").iter().filter_map(Value::as_str).enumerate();
    let found = hosts.filter_map(|(index, host)| {
        let host = full_name(host, route.namespace());
        let (name, namespace) = host.strip_suffix(".svc.cluster.local")?.split_once('.')?;
        let service = overlay.find("", "Service", namespace, name)?;
        Some(at(route, RULE, format!("/spec/hosts/{index}"), ignored(service)?))
    });
    found.collect()
}

fn parents(overlay: &Overlay<'_>, route: &Resource) -> Vec<Problem> {
    let parents = route.list("/spec/parentRefs").iter().enumerate();
    let found =
        parents.filter(|(_, parent)| text(parent, "/kind") == "Service").filter_map(|(index, parent)| {
            let service = overlay.find("", "Service", route.namespace(), text(parent, "/name"))?;
            Some(at(route, RULE, format!("/spec/parentRefs/{index}"), ignored(service)?))
        });
    found.collect()
}

const RENAME: &str = "name the port http-... or grpc-..., or set its appProtocol, if it is HTTP";

fn ignored(service: &Resource) -> Option<String> {
    let ports = only_connections(service)?;
    Some(format!(
        "has routes for requests to {}, which has {ports} only, so they never apply: {RENAME}",
        service.id()
    ))
}

/// The ports of a Service, in words, if none of them is HTTP for certain.
fn only_connections(service: &Resource) -> Option<String> {
    let ports = items(&service.value, "/spec/ports");
    (!ports.is_empty() && ports.iter().all(is_of_connections)).then(|| {
        let word = |port: &Value| {
            let number = port.get("port").map_or_else(String::new, Value::to_string);
            format!("{number} ({})", protocol(port))
        };
        let words: Vec<_> = ports.iter().map(word).collect();
        let noun = if words.len() == 1 { "the port" } else { "the ports" };
        format!("{noun} {}", words.join(", "))
    })
}

fn is_of_connections(port: &Value) -> bool {
    matches!(protocol(port).as_str(), "tcp" | "tls" | "https" | "udp" | "mongo" | "mysql" | "redis")
}

fn protocol(port: &Value) -> String {
    if text(port, "/protocol") == "UDP" {
        return "udp".into();
    }
    let said = match text(port, "/appProtocol") {
        "" => text(port, "/name").split('-').next().unwrap_or_default(),
        own => own,
    };
    said.to_ascii_lowercase()
}
