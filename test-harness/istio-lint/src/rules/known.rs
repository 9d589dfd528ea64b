//! What the rules look up of an overlay, gathered in one pass over its resources.
//!
//! A rule that is about one resource must not walk through all of them, or the time for a cluster's resources grows with
//! the square of their number.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::traps::{destinations, full_name, in_mesh, is_waypoint};
use super::{GATEWAY_API, NETWORKING};
use crate::embedded;
use crate::resource::{Resource, text};

const IN_CLUSTER: &str = ".svc.cluster.local";

/// Of several resources with one name, or for one host, the first.
#[derive(Default)]
pub(super) struct Known<'a> {
    /// By group, kind, namespace and name.
    pub(super) names: HashMap<[&'a str; 4], &'a Resource>,
    pub(super) kinds: HashMap<&'a str, Vec<&'a Resource>>,
    pub(super) namespaces: HashMap<&'a str, Vec<&'a Resource>>,
    /// The namespaces that have a waypoint.
    pub(super) waypoints: HashSet<&'a str>,
    /// The names of Services with an address of their own, by their namespaces.
    pub(super) reachable: HashMap<&'a str, Vec<&'a str>>,
    /// The names of what makes Services for itself, by their namespaces.
    pub(super) makers: HashMap<&'a str, Vec<&'a str>>,
    /// The hosts of ServiceEntries.
    pub(super) entries: HashSet<&'a str>,
    /// The names of the clusters that EnvoyFilters add.
    pub(super) clusters: HashSet<&'a str>,
    /// What the plugins and EnvoyFilters say, without the clusters that they add.
    pub(super) said: OnceCell<String>,
    /// The full name of a host and a subset that it has.
    pub(super) subsets: HashSet<(String, &'a str)>,
    /// The VirtualService that is for a host within the mesh.
    pub(super) in_mesh: HashMap<String, &'a Resource>,
    /// The policy that is for a Service, by its namespace and name.
    pub(super) policies: HashMap<[&'a str; 2], &'a Resource>,
    /// The plugin or `RequestAuthentication` that is for a Service or a Gateway, by its namespace, the kind and the name.
    pub(super) plugins: HashMap<[&'a str; 3], &'a Resource>,
    /// The hosts that a route names, a Service has or a ServiceEntry adds.
    pub(super) hosts: HashSet<String>,
    /// Those of them that are Services, by their namespaces.
    pub(super) services: BTreeMap<String, BTreeSet<String>>,
    pub(super) transcoder: OnceCell<Option<Value>>,
    /// The resource with this project's load-balancing policy.
    pub(super) balancer: OnceCell<Option<&'a Resource>>,
}

impl<'a> Known<'a> {
    pub(super) fn of(resources: &'a [Resource]) -> Self {
        let mut known = Self::default();
        for resource in resources {
            let name = [resource.group(), resource.kind(), resource.namespace(), resource.name()];
            known.names.entry(name).or_insert(resource);
            known.kinds.entry(resource.kind()).or_default().push(resource);
            known.namespaces.entry(resource.namespace()).or_default().push(resource);
            if is_waypoint(resource) {
                known.waypoints.insert(resource.namespace());
            }
            known.add(resource);
            known.add_hosts(resource);
        }
        known
    }

    fn add(&mut self, resource: &'a Resource) {
        match (resource.group(), resource.kind()) {
            ("", "Service") if resource.text("/spec/clusterIP") != "None" => {
                self.reachable.entry(resource.namespace()).or_default().push(resource.name());
            }
            (GATEWAY_API, "Gateway") | (_, "InferenceService" | "InferenceGraph") => {
                self.makers.entry(resource.namespace()).or_default().push(resource.name());
            }
            (NETWORKING, "ServiceEntry") => self.entries.extend(texts(resource)),
            (NETWORKING, "DestinationRule") => {
                let host = full_name(resource.text("/spec/host"), resource.namespace());
                let names = resource.list("/spec/subsets").iter().map(|subset| text(subset, "/name"));
                self.subsets.extend(names.map(|name| (host.clone(), name)));
            }
            (NETWORKING, "VirtualService") if in_mesh(resource) => {
                for host in texts(resource) {
                    self.in_mesh.entry(full_name(host, resource.namespace())).or_insert(resource);
                }
            }
            (_, "AuthorizationPolicy") => {
                for target in resource.targets().iter().filter(|t| text(t, "/kind") == "Service") {
                    let service = [resource.namespace(), text(target, "/name")];
                    self.policies.entry(service).or_insert(resource);
                }
            }
            (_, "WasmPlugin" | "TrafficExtension" | "RequestAuthentication") => {
                for target in resource.targets() {
                    let target = [resource.namespace(), text(target, "/kind"), text(target, "/name")];
                    self.plugins.entry(target).or_insert(resource);
                }
            }
            (_, "EnvoyFilter") => {
                let patches = resource.list("/spec/configPatches").iter();
                let added = patches.filter(|patch| {
                    text(patch, "/applyTo") == "CLUSTER" && text(patch, "/patch/operation") == "ADD"
                });
                self.clusters.extend(added.map(|patch| text(patch, "/patch/value/name")));
            }
            _ => {}
        }
    }

    fn add_hosts(&mut self, resource: &'a Resource) {
        let hosts: Vec<String> = match (resource.group(), resource.kind()) {
            ("", "Service") => vec![format!("{}.{}{IN_CLUSTER}", resource.name(), resource.namespace())],
            (NETWORKING, "ServiceEntry") => texts(resource).map(str::to_owned).collect(),
            _ => destinations(resource).into_iter().map(|(_, host, _)| host).collect(),
        };
        for host in hosts {
            if let Some((_, namespace)) = host.strip_suffix(IN_CLUSTER).and_then(|name| name.rsplit_once('.'))
            {
                self.services.entry(namespace.to_owned()).or_default().insert(host.clone());
            }
            self.hosts.insert(host);
        }
    }

    /// Whether a plugin or EnvoyFilter names a cluster, in whatever field: filters of all kinds call clusters.
    pub(super) fn is_named(&self, cluster: &str, resources: &[Resource]) -> bool {
        let said = self.said.get_or_init(|| {
            let mut said = String::new();
            for resource in resources {
                match resource.kind() {
                    "WasmPlugin" | "TrafficExtension" => said.push_str(&resource.value.to_string()),
                    "EnvoyFilter" => {
                        let patches = resource.list("/spec/configPatches").iter();
                        let others = patches.filter(|patch| text(patch, "/applyTo") != "CLUSTER");
                        others.for_each(|patch| said.push_str(&patch.to_string()));
                    }
                    _ => {}
                }
            }
            said
        });
        !cluster.is_empty() && said.contains(cluster)
    }

    /// Whether a rule for a host, or for every host that ends like it, has a subset.
    pub(super) fn has_subset<'b>(&'b self, host: String, subset: &'b str) -> bool {
        let subsets: &HashSet<(String, &'b str)> = &self.subsets;
        let parents = host.match_indices('.').map(|(at, _)| format!("*{}", &host[at..]));
        let mut rules = parents.chain(["*".to_owned(), host.clone()]);
        rules.any(|rule| subsets.contains(&(rule, subset)))
    }

    pub(super) fn balancer(&self, resources: &'a [Resource]) -> Option<&'a Resource> {
        let has = |r: &&Resource| r.value.to_string().contains(embedded::POLICY);
        *self.balancer.get_or_init(|| resources.iter().find(has))
    }
}

fn texts(resource: &Resource) -> impl Iterator<Item = &str> {
    resource.list("/spec/hosts").iter().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_several_with_one_name_the_first_is_found() {
        let gateway = |class: &str| Resource {
            value: json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": {"name": "w", "namespace": "a"}, "spec": {"gatewayClassName": class}}),
        };
        let resources = [gateway("istio"), gateway("istio-waypoint")];
        let known = Known::of(&resources);
        let found = known.names[&[GATEWAY_API, "Gateway", "a", "w"]];
        assert_eq!(found.text("/spec/gatewayClassName"), "istio");
        assert_eq!(known.kinds["Gateway"].len(), 2);
        assert!(known.waypoints.contains("a"));
    }

    #[test]
    fn hosts_are_known_by_their_namespaces() {
        let service = Resource {
            value: json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "m", "namespace": "a"}}),
        };
        let known = Known::of(std::slice::from_ref(&service));
        assert!(known.hosts.contains("m.a.svc.cluster.local"));
        assert_eq!(known.services["a"].len(), 1);
    }
}
