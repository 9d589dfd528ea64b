//! Two transcoders that one request meets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::at;
use crate::Problem;
use crate::embedded;
use crate::resource::{Resource, items, text};
use crate::rules::{Overlay, Place};

const TRANSCODER: &str = "kserve-transcoder";
/// What is there is for the pods of every namespace.
const ROOT: &str = "istio-system";

/// Where one is within its proxy; what is empty is for all.
struct Spot<'a> {
    resource: &'a Resource,
    services: BTreeSet<&'a str>,
    ports: BTreeSet<String>,
}

pub(super) fn check(overlay: &Overlay<'_>) -> Vec<Problem> {
    let mut proxies: BTreeMap<(Place, String), Vec<Spot<'_>>> = BTreeMap::new();
    let mut problems = Vec::new();
    for kind in ["WasmPlugin", "TrafficExtension", "EnvoyFilter"] {
        for resource in overlay.of_kind(kind).iter().copied() {
            let Some(proxy) = overlay.proxy(resource) else { continue };
            let all = embedded::configurations(resource).unwrap_or_default();
            if !all.iter().any(|configuration| configuration.filter == TRANSCODER) {
                continue;
            }
            let spot = Spot { resource, services: services(resource), ports: ports(resource) };
            let known = proxies.entry(proxy).or_default();
            if let Some(other) = known.iter().find(|other| other.meets(&spot)) {
                let reason = format!(
                    "is a transcoder where {} is one already, so that a request meets the filter twice: keep one of the two",
                    other.resource.id()
                );
                problems.push(at(resource, "two-transcoders", "/spec", reason));
            }
            known.push(spot);
        }
    }
    problems
}

impl Spot<'_> {
    fn meets(&self, other: &Self) -> bool {
        let namespaces = [self.resource.namespace(), other.resource.namespace()];
        (namespaces[0] == namespaces[1] || namespaces.contains(&ROOT))
            && !apart(&self.services, &other.services)
            && !apart(&self.ports, &other.ports)
    }
}

fn apart<T: Ord>(one: &BTreeSet<T>, other: &BTreeSet<T>) -> bool {
    !one.is_empty() && !other.is_empty() && one.is_disjoint(other)
}

/// The Services that it is for at a waypoint.
fn services(resource: &Resource) -> BTreeSet<&str> {
    let targets = resource.targets();
    if targets.iter().any(|target| text(target, "/kind") != "Service") {
        return chains(resource).map(|(_, service)| service).collect();
    }
    targets.iter().map(|target| text(target, "/name")).collect()
}

fn ports(resource: &Resource) -> BTreeSet<String> {
    let entries = resource.list("/spec/match");
    if entries.iter().any(|entry| items(entry, "/ports").is_empty()) {
        return BTreeSet::new();
    }
    let numbers =
        entries.iter().flat_map(|entry| items(entry, "/ports")).filter_map(|port| port.get("number"));
    let patches = resource.list("/spec/configPatches").iter();
    let listeners = patches.filter_map(|patch| patch.pointer("/match/listener/portNumber"));
    let numbers = numbers.chain(listeners).map(Value::to_string);
    numbers.chain(chains(resource).map(|(port, _)| port.to_owned())).collect()
}

/// The port and the Service of each chain of a waypoint that an `EnvoyFilter` names.
fn chains(resource: &Resource) -> impl Iterator<Item = (&str, &str)> {
    let patches = resource.list("/spec/configPatches").iter();
    patches.filter_map(|patch| {
        let name = text(patch, "/match/listener/filterChain/name").strip_prefix("inbound-vip|")?;
        let mut parts = name.split('|');
        let port = parts.next()?;
        Some((port, parts.next_back()?.split('.').next()?))
    })
}
