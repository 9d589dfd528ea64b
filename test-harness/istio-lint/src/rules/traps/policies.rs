//! Plugins and policies that hang on something that never takes them.

use serde_json::Value;

use super::{at, is_waypoint, label};
use crate::Problem;
use crate::resource::{Resource, items, text};
use crate::rules::{GATEWAY_API, Overlay};

/// Istio's root namespace, unless the mesh's configuration says otherwise.
const ROOT: &str = "istio-system";
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

pub(super) fn check(overlay: &Overlay<'_>, resource: &Resource) -> Vec<Problem> {
    let attached = matches!(
        resource.kind(),
        "WasmPlugin"
            | "TrafficExtension"
            | "EnvoyFilter"
            | "AuthorizationPolicy"
            | "RequestAuthentication"
            | "Telemetry"
    );
    if !attached {
        return Vec::new();
    }
    let mut problems = targets(overlay, resource);
    problems.extend(addresses(resource));
    problems.extend(selector(overlay, resource));
    problems.extend(behind_waypoint(overlay, resource));
    problems.extend(module(resource));
    problems.extend(secret(overlay, resource));
    problems
}

fn targets(overlay: &Overlay<'_>, resource: &Resource) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, reference) in resource.targets().iter().enumerate() {
        let place = if resource.list("/spec/targetRefs").is_empty() {
            "/spec/targetRef".to_owned()
        } else {
            format!("/spec/targetRefs/{index}")
        };
        let (pointer, name) = (place, text(reference, "/name"));
        match text(reference, "/kind") {
            "GatewayClass" if resource.namespace() != ROOT => problems.push(at(
                resource,
                "class-outside-root",
                pointer,
                format!("targets a GatewayClass, which Istio takes from the root namespace only: move it to {ROOT}"),
            )),
            "GatewayClass" if name.contains("agentgateway") => {
                problems.push(at(resource, "agentgateway", pointer, not_envoy(name)));
            }
            "Gateway" => {
                let gateway = overlay.find(GATEWAY_API, "Gateway", resource.namespace(), name);
                let class = gateway.map_or("", |gateway| gateway.text("/spec/gatewayClassName"));
                if class.contains("agentgateway") {
                    problems.push(at(resource, "agentgateway", pointer, not_envoy(class)));
                }
            }
            "Service" if resource.kind() != "EnvoyFilter" => {
                let missing = super::absent(overlay, resource.namespace(), name);
                problems.extend(missing.map(|why| {
                    at(resource, "missing-service", pointer.clone(), format!("targets the Service {name}, and {why}"))
                }));
                problems.extend(service(overlay, resource, pointer, name));
            }
            _ => {}
        }
    }
    problems
}

fn not_envoy(class: &str) -> String {
    format!("applies to a gateway of the class {class}, which is not Envoy: no filter runs there")
}

/// Addresses of keys that the webhook refuses.
fn addresses(policy: &Resource) -> Vec<Problem> {
    let rules = policy.list("/spec/jwtRules").iter().enumerate();
    let broken = rules.filter_map(|(index, rule)| {
        let address = rule.get("jwksUri")?.as_str()?;
        let whole = ["http://", "https://"].iter().any(|scheme| {
            address.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        });
        let reason = format!("{address:?} is not a URL with http or https: the webhook refuses it");
        (!whole).then(|| at(policy, "jwks-uri", format!("/spec/jwtRules/{index}/jwksUri"), reason))
    });
    broken.collect()
}

/// A Service that is attached to a waypoint in another namespace, or to one that is not for Services.
fn service(overlay: &Overlay<'_>, resource: &Resource, pointer: String, name: &str) -> Option<Problem> {
    let service = overlay.find("", "Service", resource.namespace(), name)?;
    let elsewhere = label(service, "istio.io/use-waypoint-namespace");
    if !elsewhere.is_empty() && elsewhere != service.namespace() && resource.kind() == "WasmPlugin" {
        let reason = format!(
            "targets {}, whose waypoint is in the namespace {elsewhere}: on Istio 1.30 that waypoint never becomes ready",
            service.id()
        );
        return Some(at(resource, "waypoint-elsewhere", pointer, reason));
    }
    let waypoint = overlay.find(
        GATEWAY_API,
        "Gateway",
        resource.namespace(),
        label(service, "istio.io/use-waypoint"),
    )?;
    let serves = label(waypoint, "istio.io/waypoint-for");
    matches!(serves, "workload" | "none").then(|| {
        let reason = format!(
            "targets {}, but its waypoint {} has istio.io/waypoint-for: {serves}: requests to the Service go past it",
            service.id(),
            waypoint.name()
        );
        at(resource, "waypoint-for", pointer, reason)
    })
}

/// Waypoints ignore selectors, also one that names their pods.
pub(in crate::rules) fn selector(overlay: &Overlay<'_>, resource: &Resource) -> Option<Problem> {
    let (pointer, labels) = ["/spec/selector/matchLabels", "/spec/workloadSelector/labels"]
        .into_iter()
        .find_map(|pointer| Some((pointer, resource.at(pointer)?.as_object()?)))?;
    let names = labels.get(GATEWAY_NAME).and_then(|name| name.as_str());
    let gateway = names.and_then(|name| overlay.find(GATEWAY_API, "Gateway", resource.namespace(), name));
    let managed = labels.get("gateway.istio.io/managed").is_some_and(|by| by == "istio.io-mesh-controller");
    (managed || gateway.is_some_and(is_waypoint)).then(|| {
        at(
            resource,
            "waypoint-selector",
            pointer,
            "selects the pods of a waypoint, and waypoints ignore selectors: use targetRefs",
        )
    })
}

/// A policy for pods behind a waypoint, by their labels: the waypoint ignores it, and ztunnel, which takes it, knows
/// connections only.
fn behind_waypoint(overlay: &Overlay<'_>, policy: &Resource) -> Option<Problem> {
    let labels = policy.at("/spec/selector/matchLabels")?.as_object()?;
    let namespace = overlay.find("", "Namespace", "", policy.namespace())?;
    let of_namespace = label(namespace, "istio.io/use-waypoint");
    let behind = |service: &Resource| {
        let own = label(service, "istio.io/use-waypoint");
        let waypoint = if own.is_empty() { of_namespace } else { own };
        let wanted = service.at("/spec/selector").and_then(Value::as_object);
        service.is("", "Service")
            && !matches!(waypoint, "" | "none")
            && wanted.is_some_and(|wanted| {
                !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
            })
            // Pods of an ingress gateway are Envoys, which take a selector.
            && !overlay.of_kind("Gateway").iter().any(|gateway| {
                let proxies = gateway.at("/spec/selector").and_then(Value::as_object);
                proxies.is_some_and(|proxies| proxies.iter().all(|(k, v)| labels.get(k) == Some(v)))
            })
    };
    let of_requests = match policy.kind() {
        "RequestAuthentication" => true,
        "AuthorizationPolicy" => policy.list("/spec/rules").iter().any(is_of_requests),
        _ => false,
    };
    if !of_requests || label(namespace, "istio.io/dataplane-mode") != "ambient" {
        return None;
    }
    let service = overlay.within(policy.namespace()).iter().copied().find(|service| behind(service))?;
    let reason = format!(
        "selects pods of {}, whose waypoint ignores selectors; ztunnel takes the policy and sees no requests, only \
         connections: use targetRefs of the Service",
        service.id()
    );
    Some(at(policy, "policy-past-waypoint", "/spec/selector", reason))
}

/// Whether a rule of an `AuthorizationPolicy` is about more than connections.
fn is_of_requests(rule: &Value) -> bool {
    let has = |list: &str, part: &str, fields: &[&str]| {
        let all = items(rule, list).iter().filter_map(|one| one.get(part)?.as_object());
        all.into_iter().any(|one| one.keys().any(|key| fields.contains(&key.as_str())))
    };
    let operation = ["hosts", "notHosts", "methods", "notMethods", "paths", "notPaths"];
    let source = ["requestPrincipals", "notRequestPrincipals", "remoteIpBlocks", "notRemoteIpBlocks"];
    has("/to", "operation", &operation)
        || has("/from", "source", &source)
        || items(rule, "/when").iter().any(|condition| text(condition, "/key").starts_with("request."))
}

/// Istio's agent gets the Secret for a registry from the plugin's own namespace. Most resources have no Secrets.
fn secret(overlay: &Overlay<'_>, plugin: &Resource) -> Option<Problem> {
    let pointer = ["/spec/imagePullSecret", "/spec/wasm/imagePullSecret"];
    let pointer = pointer.into_iter().find(|pointer| !plugin.text(pointer).is_empty())?;
    let name = plugin.text(pointer);
    let own = overlay.find("", "Secret", plugin.namespace(), name);
    let elsewhere = overlay.of_kind("Secret").iter().find(|secret| own.is_none() && secret.name() == name)?;
    let reason = format!(
        "is taken from the plugin's own namespace, and these resources have the Secret {name} in {}: without it the \
         module is not fetched, and every request is refused",
        elsewhere.namespace()
    );
    Some(at(plugin, "pull-secret", pointer, reason))
}

/// Fields of a module's source that do nothing.
fn module(resource: &Resource) -> Vec<Problem> {
    let source = match resource.kind() {
        "WasmPlugin" => "/spec",
        "TrafficExtension" => "/spec/wasm",
        _ => return Vec::new(),
    };
    let mut problems = Vec::new();
    let field = |name: &str| (format!("{source}/{name}"), resource.text(&format!("{source}/{name}")));
    let (pointer, key) = field("verificationKey");
    if !key.is_empty() {
        let reason = "verificationKey is not implemented, so nothing is verified: pin the module with sha256";
        problems.push(at(resource, "verification-key", pointer, reason));
    }
    let (pointer, digest) = field("sha256");
    if !digest.is_empty() && field("url").1.starts_with("file://") {
        problems.push(at(resource, "file-digest", pointer, "sha256 is not checked for a file:// URL"));
    }
    problems
}
