//! Hosts, ports and rules that lead nowhere.

use serde_json::Value;

use super::{at, destinations, full_name};
use crate::Problem;
use crate::resource::{Resource, items};
use crate::rules::{NETWORKING, Overlay};

const IN_CLUSTER: &str = ".svc.cluster.local";

pub(super) fn check(overlay: &Overlay<'_>, resource: &Resource) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (pointer, host, port) in destinations(resource) {
        problems.extend(port.and_then(|port| missing_port(overlay, resource, &pointer, &host, port)));
        problems.extend(missing_service(overlay, resource, &pointer, &host));
    }
    match (resource.group(), resource.kind()) {
        (NETWORKING, "DestinationRule") => {
            problems.extend(unnamed(overlay, resource));
            problems.extend(localities(overlay, resource));
        }
        (NETWORKING, "VirtualService") => problems.extend(unreached(resource)),
        _ => {}
    }
    problems
}

/// A port that the Service does not have is a cluster that does not exist.
fn missing_port(
    overlay: &Overlay<'_>,
    route: &Resource,
    pointer: &str,
    host: &str,
    port: u64,
) -> Option<Problem> {
    let (name, namespace) = host.strip_suffix(IN_CLUSTER)?.split_once('.')?;
    let service = overlay.find("", "Service", namespace, name)?;
    let ports: Vec<u64> =
        service.list("/spec/ports").iter().filter_map(|p| p.get("port")?.as_u64()).collect();
    (!ports.contains(&port)).then(|| {
        let (does, so) = if pointer.contains("irror") {
            ("sends copies to", "they go nowhere")
        } else {
            ("sends to", "every request is answered 503")
        };
        let reason = format!("{does} port {port} of {}, which has {ports:?}: {so}", service.id());
        at(route, "missing-port", format!("{pointer}/port"), reason)
    })
}

/// A Service that is not there, in a namespace of which the resources have others. Those that have a name for the pods
/// of a group only do not count.
fn missing_service(overlay: &Overlay<'_>, route: &Resource, pointer: &str, host: &str) -> Option<Problem> {
    let (name, namespace) = host.strip_suffix(IN_CLUSTER)?.split_once('.')?;
    let reason = super::absent(overlay, namespace, name)?;
    (!overlay.known.entries.contains(host))
        .then(|| at(route, "missing-service", pointer, format!("sends to {host}, and {reason}")))
}

/// A rule for a host that no route names, no Service has and no ServiceEntry adds. Where none of these are known
/// nothing can be said.
fn unnamed(overlay: &Overlay<'_>, rule: &Resource) -> Option<Problem> {
    let host = full_name(rule.text("/spec/host"), rule.namespace());
    if host.contains('*') {
        return None;
    }
    let here = overlay.known.services.get(rule.namespace())?;
    (!overlay.known.hosts.contains(&host)).then(|| {
        let here: Vec<_> = here.iter().collect();
        let reason = format!(
            "is for {host}, which no route names and no Service has among these resources, so nothing of it applies; \
             there are {here:?}"
        );
        at(rule, "unnamed-host", "/spec/host", reason)
    })
}

/// Envoy rejects a load-balancing policy together with locality weights.
fn localities(overlay: &Overlay<'_>, rule: &Resource) -> Option<Problem> {
    let pointer = "/spec/trafficPolicy/loadBalancer/localityLbSetting";
    let setting = rule.at(pointer)?;
    let ejects = rule.at("/spec/trafficPolicy/outlierDetection").is_some();
    let weighted = setting.get("distribute").is_some() || (ejects && setting.get("failover").is_some());
    let policy = overlay.known.balancer(overlay.resources)?;
    weighted.then(|| {
        let reason = format!(
            "gives localities weights, which Envoy rejects together with the policy of {}",
            policy.id()
        );
        at(rule, "locality-weights", pointer, reason)
    })
}

/// The first rule that takes everything is the last one that counts.
fn unreached(route: &Resource) -> Option<Problem> {
    let rules = route.list("/spec/http");
    let all = |rule: &Value| items(rule, "/match").is_empty();
    let first = rules.iter().position(all)?;
    (first + 1 < rules.len()).then(|| {
        let reason =
            format!("comes after /spec/http/{first}, which takes every request: this route is never taken");
        at(route, "unreached-route", format!("/spec/http/{}", first + 1), reason)
    })
}
