//! Mistakes that no schema sees: the resource is accepted, and then does nothing or the wrong thing.
//!
//! Each rule looks at the resources of one overlay together. `tests/rules.rs` breaks every one of them.

mod belief;
mod claims;
mod envoy_filter;
mod header;
mod instance;
mod known;
mod loading;
mod native;
mod payload;
mod plugin;
mod prefixes;
mod routes;
mod sign_on;
mod subsets;
mod traps;
mod workloads;

use std::cell::OnceCell;

use crate::envoy_gateway::EnvoyGateway;
use crate::resource::{self, Resource};
use crate::{Problem, embedded};
use known::Known;

use serde_json::Value;

pub use loading::loading;
pub use payload::verified_claims;
pub use prefixes::denies;
pub use sign_on::sign_on;

const NETWORKING: &str = "networking.istio.io";
pub(crate) const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Everything that is wrong with the resources of one overlay.
#[must_use]
pub fn check(resources: &[Resource]) -> Vec<Problem> {
    check_beside(resources, &[])
}

/// Everything that is wrong with the resources of one overlay that is applied beside others, of which `gateways` has the
/// Gateways that it may target.
#[must_use]
pub fn check_beside(resources: &[Resource], gateways: &[Resource]) -> Vec<Problem> {
    let overlay = Overlay { gateways, ..Overlay::of(resources) };
    let mut problems = Vec::new();
    for resource in resources {
        let mut add = |rule: &'static str, found: Vec<Problem>| {
            problems.extend(found.into_iter().map(|problem| problem.by(rule)));
        };
        let whole = |reasons: Vec<String>, pointer: &str| -> Vec<Problem> {
            let problem = |reason| Problem { pointer: pointer.to_owned(), ..Problem::new(resource, reason) };
            reasons.into_iter().map(problem).collect()
        };
        match resource.kind() {
            "WasmPlugin" | "TrafficExtension" => add("plugin", plugin::check(&overlay, resource)),
            "EnvoyFilter" => {
                add("envoy-filter", envoy_filter::check(&overlay, resource));
                add("loading", whole(loading(&resource.value, &mut 0), "/spec/configPatches"));
                add("native-module", whole(native::check(&overlay, resource), "/spec"));
            }
            "VirtualService" | "HTTPRoute" => add("routes", routes::check(&overlay, resource)),
            "GRPCRoute" => add("routes", routes::check_parents(&overlay, resource)),
            "DestinationRule" => add("subset-name", routes::check_subsets(resource)),
            "AuthorizationPolicy" | "RequestAuthentication" => {
                add("policy", whole(policy(&overlay, resource), "/spec"));
            }
            _ => {}
        }
    }
    problems.extend(subsets::check(&overlay).into_iter().map(|problem| problem.by("dynamic-subset")));
    problems.extend(claims::check(&overlay).into_iter().map(|problem| problem.by("claim-headers")));
    problems.extend(workloads::check(&overlay).into_iter().map(|problem| problem.by("workloads")));
    problems.extend(prefixes::check(&overlay).into_iter().map(|problem| problem.by("path-prefixes")));
    problems.extend(traps::check(&overlay));
    problems
}

/// What a resource with `selector` or `targetRefs` is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Ingress gateways.
    Gateway,
    /// A waypoint, or a Service behind one.
    Waypoint,
}

/// The resources of one overlay.
struct Overlay<'a> {
    resources: &'a [Resource],
    /// Gateways that are there besides.
    gateways: &'a [Resource],
    known: Known<'a>,
    envoy_gateway: OnceCell<EnvoyGateway>,
}

impl<'a> Overlay<'a> {
    fn of(resources: &'a [Resource]) -> Self {
        Self { resources, gateways: &[], known: Known::of(resources), envoy_gateway: OnceCell::new() }
    }

    fn find(&self, group: &str, kind: &str, namespace: &str, name: &str) -> Option<&'a Resource> {
        self.known.names.get(&[group, kind, namespace, name]).copied()
    }

    /// Whether a resource is Envoy Gateway's, and what Istio makes of it does not matter.
    fn is_envoy_gateways(&self, resource: &Resource) -> bool {
        self.envoy_gateway.get_or_init(|| EnvoyGateway::among(self.resources.iter())).has(resource)
    }

    /// A Gateway of the Gateway API, of these resources or of those that are there besides.
    fn gateway(&self, namespace: &str, name: &str) -> Option<&'a Resource> {
        let is_it = |gateway: &&Resource| gateway.namespace() == namespace && gateway.name() == name;
        self.find(GATEWAY_API, "Gateway", namespace, name).or_else(|| self.gateways.iter().find(is_it))
    }

    /// The resources of a kind, of whatever group.
    fn of_kind(&self, kind: &str) -> &[&'a Resource] {
        self.known.kinds.get(kind).map_or(&[], Vec::as_slice)
    }

    /// The resources in a namespace.
    fn within(&self, namespace: &str) -> &[&'a Resource] {
        self.known.namespaces.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Where a resource applies.
    ///
    /// # Errors
    /// It applies nowhere, or the overlay does not show where.
    fn place(&self, resource: &Resource) -> Result<Place, String> {
        let references = resource.targets();
        let selector = resource.at("/spec/selector").or_else(|| resource.at("/spec/workloadSelector"));
        match (references, selector) {
            ([], None) => {
                Err("has neither a selector nor targetRefs: it would apply to every proxy except waypoints"
                    .into())
            }
            ([], Some(_)) => Ok(Place::Gateway),
            (_, Some(_)) => Err("has a selector and targetRefs".into()),
            ([first, rest @ ..], None) => {
                let place = self.place_of(resource, first)?;
                for other in rest {
                    if self.place_of(resource, other)? != place {
                        return Err("targets gateways and waypoints, whose rules differ".into());
                    }
                }
                Ok(place)
            }
        }
    }

    /// Where a resource applies, or would if its Gateway were among the resources: it is taken for a waypoint if its
    /// name says so. One that selects a waypoint's pods, which has no effect, is meant for the waypoint.
    fn likely_place(&self, resource: &Resource) -> Option<Place> {
        if traps::selector(self, resource).is_some() {
            return Some(Place::Waypoint);
        }
        let guess = |reference: &Value| {
            let gateway = resource::text(reference, "/kind") == "Gateway";
            let waypoint = resource::text(reference, "/name").contains("waypoint");
            gateway.then_some(if waypoint { Place::Waypoint } else { Place::Gateway })
        };
        self.place(resource).ok().or_else(|| resource.targets().first().and_then(guess))
    }

    fn place_of(&self, resource: &Resource, reference: &Value) -> Result<Place, String> {
        let (group, kind) = (resource::text(reference, "/group"), resource::text(reference, "/kind"));
        let name = resource::text(reference, "/name");
        match (group, kind) {
            ("" | "core", "Service") | (NETWORKING, "ServiceEntry") => Ok(Place::Waypoint),
            (GATEWAY_API, "GatewayClass") if name == "istio-waypoint" => Ok(Place::Waypoint),
            (GATEWAY_API, "Gateway") => {
                let gateway = self
                    .gateway(resource.namespace(), name)
                    .ok_or_else(|| format!("targets the Gateway {name}, which is not in its namespace"))?;
                let waypoint = gateway.text("/spec/gatewayClassName") == "istio-waypoint";
                Ok(if waypoint { Place::Waypoint } else { Place::Gateway })
            }
            _ => Err(format!("targets {group}/{kind}: Istio ignores such a target")),
        }
    }

    /// Which proxy a resource applies to: two resources with the same answer meet in one proxy. A Service's is the
    /// waypoint of its namespace. What applies nowhere, or to every proxy, has none.
    fn proxy(&self, resource: &Resource) -> Option<(Place, String)> {
        let place = self.place(resource).ok()?;
        let labels = ["/spec/selector/matchLabels", "/spec/workloadSelector/labels"];
        let labels = labels.into_iter().find_map(|pointer| resource.at(pointer));
        let name = match (place, labels) {
            (Place::Waypoint, _) => resource.namespace().to_owned(),
            (Place::Gateway, Some(labels)) => labels.to_string(),
            (Place::Gateway, None) => {
                resource.targets().first().map_or("", |t| resource::text(t, "/name")).to_owned()
            }
        };
        Some((place, name))
    }

    /// The configuration of the one transcoder in this overlay.
    fn transcoder(&self) -> Option<&Value> {
        self.known.transcoder.get_or_init(|| self.first_transcoder()).as_ref()
    }

    fn first_transcoder(&self) -> Option<Value> {
        let configurations = self.resources.iter().filter_map(|r| embedded::configurations(r).ok()).flatten();
        let mut transcoders = configurations.filter(|c| c.filter == "kserve-transcoder");
        let json = transcoders.next()?.json;
        if json.trim().is_empty() { Some(Value::Null) } else { serde_json::from_str(&json).ok() }
    }
}

/// Istio accepts a policy that selects nothing at a waypoint; it then never applies.
fn policy(overlay: &Overlay<'_>, resource: &Resource) -> Vec<String> {
    overlay.place(resource).err().into_iter().collect()
}

/// Whether a name is a DNS label (RFC 1123).
fn is_dns_label(name: &str) -> bool {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    letters && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-')
}
