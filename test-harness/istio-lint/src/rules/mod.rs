//! Mistakes that no schema sees: the resource is accepted, and then does nothing or the wrong thing.
//!
//! Each rule looks at the resources of one overlay together. `tests/rules.rs` breaks every one of them.

mod belief;
mod claims;
mod envoy_filter;
mod header;
mod instance;
mod loading;
mod native;
mod payload;
mod plugin;
mod prefixes;
mod routes;
mod sign_on;
mod subsets;
mod workloads;

use crate::resource::{self, Resource};
use crate::{Problem, embedded};

use serde_json::Value;

pub use loading::loading;
pub use payload::verified_claims;
pub use prefixes::denies;
pub use sign_on::sign_on;

const NETWORKING: &str = "networking.istio.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Everything that is wrong with the resources of one overlay.
#[must_use]
pub fn check(resources: &[Resource]) -> Vec<Problem> {
    let overlay = Overlay { resources };
    let mut problems = Vec::new();
    for resource in resources {
        let found = match resource.kind() {
            "WasmPlugin" | "TrafficExtension" => plugin::check(&overlay, resource),
            "EnvoyFilter" => {
                let mut found = envoy_filter::check(&overlay, resource);
                found.extend(loading(&resource.value, &mut 0));
                found.extend(native::check(&overlay, resource));
                found
            }
            "VirtualService" | "HTTPRoute" => routes::check(&overlay, resource),
            "DestinationRule" => routes::check_subsets(resource),
            "AuthorizationPolicy" | "RequestAuthentication" => policy(&overlay, resource),
            _ => Vec::new(),
        };
        problems.extend(found.into_iter().map(|reason| Problem::new(resource, reason)));
    }
    problems.extend(subsets::check(&overlay));
    problems.extend(claims::check(&overlay));
    problems.extend(workloads::check(&overlay));
    problems.extend(prefixes::check(&overlay));
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
}

impl<'a> Overlay<'a> {
    fn find(&self, group: &str, kind: &str, namespace: &str, name: &str) -> Option<&'a Resource> {
        let same = |r: &&Resource| r.is(group, kind) && r.namespace() == namespace && r.name() == name;
        self.resources.iter().find(same)
    }

    /// Where a resource applies.
    ///
    /// # Errors
    /// It applies nowhere, or the overlay does not show where.
    fn place(&self, resource: &Resource) -> Result<Place, String> {
        let references = resource.list("/spec/targetRefs");
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

    fn place_of(&self, resource: &Resource, reference: &Value) -> Result<Place, String> {
        let (group, kind) = (resource::text(reference, "/group"), resource::text(reference, "/kind"));
        let name = resource::text(reference, "/name");
        match (group, kind) {
            ("" | "core", "Service") | (NETWORKING, "ServiceEntry") => Ok(Place::Waypoint),
            (GATEWAY_API, "GatewayClass") if name == "istio-waypoint" => Ok(Place::Waypoint),
            (GATEWAY_API, "Gateway") => {
                let gateway = self.find(GATEWAY_API, kind, resource.namespace(), name);
                let gateway = gateway
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
            (Place::Gateway, None) => resource.text("/spec/targetRefs/0/name").to_owned(),
        };
        Some((place, name))
    }

    /// The configuration of the one transcoder in this overlay.
    fn transcoder(&self) -> Option<Value> {
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
