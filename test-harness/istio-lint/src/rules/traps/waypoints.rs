//! Routes, Services and Gateways that a waypoint takes otherwise than they read.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{at, destinations, full_name, has_waypoint, in_mesh, is_waypoint, label};
use crate::Problem;
use crate::resource::{Resource, items, text};
use crate::rules::{GATEWAY_API, NETWORKING, Overlay, Place, belief};

const USE_WAYPOINT: &str = "istio.io/use-waypoint";
const IN_CLUSTER: &str = ".svc.cluster.local";

pub(super) fn check(overlay: &Overlay<'_>, resource: &Resource) -> Vec<Problem> {
    match (resource.group(), resource.kind()) {
        (NETWORKING, "VirtualService") => {
            let mut problems = Vec::new();
            if in_mesh(resource) {
                problems.extend(routes(overlay, resource));
                problems.extend(believed(overlay, resource));
            }
            if resource.list("/spec/gateways").iter().any(|gateway| gateway != "mesh") {
                problems.extend(past_the_waypoint(overlay, resource));
            }
            problems
        }
        (GATEWAY_API, "HTTPRoute" | "GRPCRoute") => {
            let mut problems = mixed(overlay, resource);
            let of_gateway = |parent: &Value| matches!(text(parent, "/kind"), "" | "Gateway");
            if resource.list("/spec/parentRefs").iter().any(of_gateway) {
                problems.extend(past_the_waypoint(overlay, resource));
            }
            problems
        }
        (GATEWAY_API, "Gateway") => gateway(resource),
        ("", "Service") => headless(overlay, resource).into_iter().collect(),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(resource).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn routes(overlay: &Overlay<'_>, resource: &Resource) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, host) in resource.list("/spec/hosts").iter().filter_map(Value::as_str).enumerate() {
        let host = full_name(host, resource.namespace());
        let Some((_, namespace)) = host.strip_suffix(IN_CLUSTER).and_then(|name| name.split_once('.')) else {
            continue;
        };
        let own = namespace == resource.namespace() || has_waypoint(overlay, resource.namespace());
        if !own && has_waypoint(overlay, namespace) {
            problems.push(at(
                resource,
                "route-elsewhere",
                format!("/spec/hosts/{index}"),
                format!("is for {host}, whose waypoint ignores VirtualServices of other namespaces: move it to {namespace}"),
            ));
        }
    }
    for (i, rule) in resource.list("/spec/http").iter().enumerate() {
        for (j, one) in items(rule, "/match").iter().enumerate() {
            if one.get("sourceLabels").is_some() && has_waypoint(overlay, resource.namespace()) {
                problems.push(at(
                    resource,
                    "source-labels",
                    format!("/spec/http/{i}/match/{j}/sourceLabels"),
                    "a waypoint drops a match with sourceLabels: requests never take this route",
                ));
            }
            if one.get("sourceNamespace").is_some() && has_waypoint(overlay, resource.namespace()) {
                problems.push(at(
                    resource,
                    "source-namespace",
                    format!("/spec/http/{i}/match/{j}/sourceNamespace"),
                    "a waypoint compares sourceNamespace with its own namespace, not with the caller's: match on a header, or \
                     limit callers with an AuthorizationPolicy",
                ));
            }
        }
    }
    problems
}

/// A header that a gateway makes of a verified claim is a client's own word to a waypoint that takes it from anyone.
fn believed(overlay: &Overlay<'_>, resource: &Resource) -> Vec<Problem> {
    if !has_waypoint(overlay, resource.namespace()) {
        return Vec::new();
    }
    let waypoint = Some((Place::Waypoint, resource.namespace().to_owned()));
    let mut read = BTreeSet::new();
    for one in resource.list("/spec/http").iter().flat_map(|rule| items(rule, "/match")) {
        read.extend(one.get("headers").and_then(Value::as_object).into_iter().flat_map(|all| all.keys()));
    }
    let sets = |policy: &Resource, header: &str| {
        let claims =
            policy.list("/spec/jwtRules").iter().flat_map(|rule| items(rule, "/outputClaimToHeaders"));
        claims.into_iter().any(|claim| text(claim, "/header").eq_ignore_ascii_case(header))
    };
    let mut problems = Vec::new();
    for header in read {
        let setters: Vec<_> =
            overlay.of_kind("RequestAuthentication").iter().filter(|policy| sets(policy, header)).collect();
        if !setters.is_empty() && !setters.iter().any(|policy| overlay.proxy(policy) == waypoint) {
            let found = belief::strangers(overlay, resource, header, &waypoint);
            problems.extend(found.into_iter().map(|problem| Problem { rule: "believed-header", ..problem }));
        }
    }
    problems
}

/// Istio leaves undefined what a Service does with routes of both kinds.
fn mixed(overlay: &Overlay<'_>, route: &Resource) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, parent) in route.list("/spec/parentRefs").iter().enumerate() {
        if text(parent, "/kind") != "Service" {
            continue;
        }
        let host = format!("{}.{}{IN_CLUSTER}", text(parent, "/name"), route.namespace());
        if let Some(other) = overlay.known.in_mesh.get(&host) {
            problems.push(at(
                route,
                "mixed-routes",
                format!("/spec/parentRefs/{index}"),
                format!("{} is for the same Service: which of the two applies is undefined", other.id()),
            ));
        }
    }
    problems
}

/// What comes in at a gateway goes past the waypoint, and so past its policies, unless the Service asks for it.
fn past_the_waypoint(overlay: &Overlay<'_>, route: &Resource) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (pointer, host, _) in destinations(route) {
        let Some((name, namespace)) = host.strip_suffix(IN_CLUSTER).and_then(|host| host.split_once('.'))
        else {
            continue;
        };
        let Some(service) = overlay.find("", "Service", namespace, name) else { continue };
        let own = |label_name: &str| {
            let of_namespace =
                overlay.find("", "Namespace", "", namespace).map_or("", |n| label(n, label_name));
            if label(service, label_name).is_empty() { of_namespace } else { label(service, label_name) }
        };
        let skipped =
            !matches!(own(USE_WAYPOINT), "" | "none") && own("istio.io/ingress-use-waypoint") != "true";
        if !skipped {
            continue;
        }
        let policy = guarding(overlay, service).map(|policy| ("ingress-past-waypoint", policy));
        let plugin =
            || changing(overlay, service, own(USE_WAYPOINT)).map(|other| ("ingress-past-plugin", other));
        if let Some((rule, passed)) = policy.or_else(plugin) {
            let reason = format!(
                "sends to {}, whose waypoint an ingress gateway goes past, and so past {}: label the Service \
                 istio.io/ingress-use-waypoint=true",
                service.id(),
                passed.id()
            );
            problems.push(at(route, rule, pointer, reason));
        }
    }
    problems
}

/// A policy that is meant for every request to a Service.
fn guarding<'a>(overlay: &Overlay<'a>, service: &Resource) -> Option<&'a Resource> {
    overlay.known.policies.get(&[service.namespace(), service.name()]).copied()
}

/// A plugin that takes every request to a Service, or every one at its waypoint; callers in the mesh may be all that it
/// is meant for.
fn changing<'a>(overlay: &Overlay<'a>, service: &Resource, waypoint: &str) -> Option<&'a Resource> {
    let at = |kind, name| overlay.known.plugins.get(&[service.namespace(), kind, name]).copied();
    at("Service", service.name()).or_else(|| at("Gateway", waypoint))
}

/// A waypoint for a service account, as older ambient meshes had them.
fn gateway(gateway: &Resource) -> Vec<Problem> {
    let annotation = "istio.io/for-service-account";
    let account = gateway.at("/metadata/annotations").and_then(|all| all.get(annotation));
    let found = account.filter(|_| is_waypoint(gateway)).map(|account| {
        let reason = format!(
            "{annotation}: {account} is ignored: waypoints are for Services and namespaces now; label them \
             {USE_WAYPOINT}={}",
            gateway.name()
        );
        at(gateway, "account-waypoint", "/metadata/annotations/istio.io~1for-service-account", reason)
    });
    found.into_iter().collect()
}

/// A headless Service of a namespace that is enrolled as a whole: its label has a rule of its own.
fn headless(overlay: &Overlay<'_>, service: &Resource) -> Option<Problem> {
    let namespace = overlay.find("", "Namespace", "", service.namespace())?;
    let enrolled =
        !matches!(label(namespace, USE_WAYPOINT), "" | "none") && label(service, USE_WAYPOINT).is_empty();
    let targeted = |r: &Resource| {
        let references = r.targets().iter();
        r.namespace() == service.namespace()
            && references
                .into_iter()
                .any(|t| text(t, "/kind") == "Service" && text(t, "/name") == service.name())
    };
    let wrong = enrolled
        && service.text("/spec/clusterIP") == "None"
        && overlay.within(service.namespace()).iter().any(|r| targeted(r));
    wrong.then(|| {
        at(
            service,
            "headless",
            "/spec/clusterIP",
            "is headless: calls go to the pods' addresses, past the waypoint",
        )
    })
}

/// istiod ignores GRPCRoute, TCPRoute and TLSRoute without it.
fn definition(definition: &Resource) -> Option<Problem> {
    let version = definition
        .at("/metadata/annotations")
        .and_then(|all| all.get("gateway.networking.k8s.io/bundle-version"));
    let ours = definition.text("/spec/group") == GATEWAY_API;
    (ours && version.is_none()).then(|| {
        let reason = "has no annotation gateway.networking.k8s.io/bundle-version: istiod then ignores GRPCRoute, \
                      TCPRoute and TLSRoute";
        at(definition, "bundle-version", "/metadata", reason)
    })
}
