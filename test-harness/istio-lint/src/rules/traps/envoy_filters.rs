//! Patches that never apply, or that apply and then do nothing.

use serde_json::Value;

use super::{at, fields, http_filters, in_mesh, values};
use crate::Problem;
use crate::resource::{Resource, items, text};
use crate::rules::{NETWORKING, Overlay, Place};

pub(super) fn check(overlay: &Overlay<'_>, filter: &Resource) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, patch) in filter.list("/spec/configPatches").iter().enumerate() {
        let pointer = format!("/spec/configPatches/{index}");
        let value = patch.pointer("/patch/value").unwrap_or(&Value::Null);
        let apply_to = text(patch, "/applyTo");
        if apply_to == "CLUSTER" {
            problems.extend(cluster(overlay, filter, patch, value, &pointer));
        }
        if matches!(apply_to, "ROUTE_CONFIGURATION" | "VIRTUAL_HOST" | "HTTP_ROUTE") {
            problems.extend(route(overlay, filter, &pointer));
        }
        let names = "/match/listener/filterChain/filter/subFilter/name";
        if text(patch, names).starts_with("extensions.istio.io/") {
            let reason = "is placed by the name of a plugin's filter, which Istio 1.30 changed: place it by a filter \
                          of Envoy's, and by priority";
            problems.push(at(filter, "plugin-name", format!("{pointer}{names}"), reason));
        }
        let chain = "/match/listener/filterChain/name";
        if let Some(reason) = missing_chain(overlay, text(patch, chain)) {
            problems.push(at(filter, "missing-chain", format!("{pointer}{chain}"), reason));
        }
        problems.extend(http_filters::check(filter, value, &format!("{pointer}/patch/value")));
        let values = values::unknown(apply_to, value);
        problems.extend(values.into_iter().map(|(place, reason)| {
            at(filter, "unknown-envoy-value", format!("{pointer}/patch/value{place}"), reason)
        }));
        let unknown = fields::unknown(apply_to, value);
        problems.extend(unknown.into_iter().map(|(place, message)| {
            let name = place.rsplit('/').next().unwrap_or_default();
            let reason = format!("{message} has no field {name}: istiod drops it with a warning (IST0133)");
            at(filter, "unknown-envoy-field", format!("{pointer}/patch/value{place}"), reason)
        }));
    }
    problems
}

/// A waypoint has a chain for each port of each of its Services.
fn missing_chain(overlay: &Overlay<'_>, chain: &str) -> Option<String> {
    let [port, _, host] = chain.strip_prefix("inbound-vip|")?.split('|').collect::<Vec<_>>()[..] else {
        return None;
    };
    let (name, namespace) = host.strip_suffix(".svc.cluster.local")?.split_once('.')?;
    let service = overlay.find("", "Service", namespace, name)?;
    let ports = service.list("/spec/ports").iter().filter_map(|port| port.get("port")?.as_u64());
    let has = ports.map(|port| port.to_string()).any(|number| number == port);
    (!has).then(|| format!("names a chain for the port {port}, which {} does not have", service.id()))
}

fn cluster(
    overlay: &Overlay<'_>,
    filter: &Resource,
    patch: &Value,
    value: &Value,
    pointer: &str,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let operation = text(patch, "/patch/operation");
    if operation == "MERGE" && value.get("lb_subset_config").is_some() {
        let reason = "gives a cluster of Istio's subsets, but istiod tells Envoy no labels of pods, so no endpoint is in \
                      any: use the subsets of a DestinationRule, or add a cluster with endpoints of its own";
        problems.push(at(
            filter,
            "subsets-without-labels",
            format!("{pointer}/patch/value/lb_subset_config"),
            reason,
        ));
    }
    if operation == "ADD" && overlay.place(filter) == Ok(Place::Waypoint) {
        problems.extend(discovered(overlay, filter, value, pointer));
    }
    if operation == "ADD"
        && value.get("transport_socket").is_none()
        && value.get("transport_socket_matches").is_none()
    {
        let groups = items(value, "/load_assignment/endpoints").iter();
        for endpoint in groups.flat_map(|group| items(group, "/lb_endpoints")) {
            let address = text(endpoint, "/endpoint/address/socket_address/address");
            let Some((_, namespace)) =
                address.strip_suffix(".svc.cluster.local").and_then(|a| a.split_once('.'))
            else {
                continue;
            };
            let strict = |r: &&Resource| {
                r.kind() == "PeerAuthentication"
                    && (r.namespace() == namespace || r.namespace() == "istio-system")
                    && r.text("/spec/mtls/mode") == "STRICT"
            };
            if let Some(policy) = overlay.resources.iter().find(strict) {
                let reason = format!(
                    "adds a cluster that speaks plain text to {address}, which {} refuses",
                    policy.id()
                );
                problems.push(at(filter, "plain-text", format!("{pointer}/patch/value"), reason));
                break;
            }
        }
    }
    problems
}

/// A cluster that a waypoint asks istiod for the endpoints of.
fn discovered(overlay: &Overlay<'_>, filter: &Resource, value: &Value, pointer: &str) -> Vec<Problem> {
    let place = "/eds_cluster_config/service_name";
    let service = text(value, place).rsplit('|').next().unwrap_or_default();
    let Some((name, namespace)) =
        service.strip_suffix(".svc.cluster.local").and_then(|host| host.split_once('.'))
    else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    let found = overlay.find("", "Service", namespace, name);
    if let Some(service) = found.filter(|service| service.text("/spec/clusterIP") == "None") {
        let reason = format!(
            "takes its endpoints from {}, which is headless: istiod tells a waypoint none of them, so the cluster stays empty",
            service.id()
        );
        problems.push(at(filter, "empty-cluster", format!("{pointer}/patch/value{place}"), reason));
    }
    if value.get("transport_socket").is_none() && value.get("transport_socket_matches").is_none() {
        let reason = "takes its endpoints from istiod, which at a waypoint are addresses of HBONE, and has no \
                      transport_socket internal_upstream, which tells Istio's listener where they lead";
        problems.push(at(filter, "endpoints-without-socket", format!("{pointer}/patch/value"), reason));
    }
    problems
}

/// A waypoint builds the routes of a Service with a VirtualService in another way, which no patch reaches.
fn route(overlay: &Overlay<'_>, filter: &Resource, pointer: &str) -> Option<Problem> {
    if overlay.place(filter) != Ok(Place::Waypoint) {
        return None;
    }
    let routes = overlay.resources.iter().find(|r| {
        let mesh = r.is(NETWORKING, "VirtualService") && in_mesh(r);
        let service = r.kind() == "HTTPRoute"
            && r.list("/spec/parentRefs").iter().any(|p| text(p, "/kind") == "Service");
        r.namespace() == filter.namespace() && (mesh || service)
    })?;
    let reason = format!(
        "changes routes at a waypoint, which works only for Services without a VirtualService or HTTPRoute: {} is one",
        routes.id()
    );
    Some(at(filter, "waypoint-routes", format!("{pointer}/applyTo"), reason))
}
