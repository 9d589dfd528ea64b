//! Where an `EnvoyFilter` has its patches: some ports of a gateway's pods, or the chain of a Service at a waypoint.

use serde_json::{Value, json};

use super::tree::{item, list, map, text};
use crate::input::{Item, Located};

/// Where Istio looks for what is for the pods of every namespace.
pub(super) const ROOT_NAMESPACE: &str = "istio-system";

/// A place in a proxy.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Spot {
    /// The pods with these labels.
    Gateway { labels: Item, ports: Vec<u64> },
    /// A port of a Service, by its full name.
    Waypoint { gateway: String, namespace: String, host: String, port: u64 },
}

impl Spot {
    /// The waypoint of a namespace; `None` if the input has none.
    pub(super) fn at_waypoint(all: &[Located], namespace: &str, host: &str, port: u64) -> Option<Self> {
        let waypoint = |l: &&Located| {
            l.resource.text("/spec/gatewayClassName") == "istio-waypoint"
                && l.resource.namespace() == namespace
        };
        let gateway = all.iter().find(waypoint)?.resource.name().to_owned();
        Some(Self::Waypoint { gateway, namespace: namespace.to_owned(), host: host.to_owned(), port })
    }

    /// The namespace of resources that are for it, where the pods' own is not known.
    pub(super) fn namespace(&self) -> &str {
        match self {
            Self::Gateway { .. } => ROOT_NAMESPACE,
            Self::Waypoint { namespace, .. } => namespace,
        }
    }

    /// The name that Istio gives here to the cluster of a route's destination.
    pub(super) fn cluster(&self, port: u64, host: &str) -> String {
        match self {
            Self::Gateway { .. } => format!("outbound|{port}||{host}"),
            Self::Waypoint { .. } => format!("inbound-vip|{port}|http|{host}"),
        }
    }

    /// The `spec` of an `EnvoyFilter`. Of those that insert before the router, the one with the lower priority comes first.
    pub(super) fn spec(&self, priority: i64, patches: Vec<Item>) -> Item {
        let attached = match self {
            Self::Gateway { labels, .. } => ("workloadSelector", map(vec![("labels", labels.clone())])),
            Self::Waypoint { gateway, .. } => {
                let gateway =
                    json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway});
                ("targetRefs", list(vec![item(&gateway)]))
            }
        };
        map(vec![attached, ("priority", item(&json!(priority))), ("configPatches", list(patches))])
    }

    /// What `selector` or `targetRefs` of a plugin is, with its ports where they can be said.
    pub(super) fn plugin(&self) -> Vec<(&'static str, Item)> {
        match self {
            Self::Gateway { labels, ports } => {
                let ports: Vec<Value> = ports.iter().map(|port| json!({"number": port})).collect();
                vec![
                    ("selector", map(vec![("matchLabels", labels.clone())])),
                    ("match", item(&json!([{"ports": ports}]))),
                ]
            }
            Self::Waypoint { host, .. } => {
                let name = host.split('.').next().unwrap_or_default();
                vec![("targetRefs", item(&json!([{"group": "", "kind": "Service", "name": name}])))]
            }
        }
    }

    /// Patches that insert a filter right before the router, and so after authorisation.
    pub(super) fn filters(&self, value: &Value) -> Vec<Item> {
        let router = json!({"name": "envoy.filters.http.router"});
        self.inserted("INSERT_BEFORE", Some(router), value)
    }

    /// Patches that insert a filter before all others.
    pub(super) fn first(&self, value: &Value) -> Vec<Item> {
        self.inserted("INSERT_FIRST", None, value)
    }

    fn inserted(&self, operation: &str, before: Option<Value>, value: &Value) -> Vec<Item> {
        let mut manager = json!({"name": "envoy.filters.network.http_connection_manager"});
        if let Some(before) = before {
            manager["subFilter"] = before;
        }
        let listeners = match self {
            Self::Gateway { ports, .. } => {
                let listener = |port: &u64| {
                    let chain = map(vec![("filter", item(&manager))]);
                    map(vec![("portNumber", item(&json!(port))), ("filterChain", chain)])
                };
                ports.iter().map(listener).collect()
            }
            Self::Waypoint { host, port, .. } => {
                let chain = vec![("name", text(self.cluster(*port, host))), ("filter", item(&manager))];
                vec![map(vec![("name", text("main_internal")), ("filterChain", map(chain))])]
            }
        };
        listeners
            .into_iter()
            .map(|listener| self.matched("HTTP_FILTER", vec![("listener", listener)], operation, value))
            .collect()
    }

    /// A patch that adds something.
    pub(super) fn added(&self, apply_to: &str, value: &Value) -> Item {
        self.matched(apply_to, Vec::new(), "ADD", value)
    }

    /// A patch that changes a cluster of Istio's.
    pub(super) fn merged(&self, cluster: String, value: &Value) -> Item {
        self.matched("CLUSTER", vec![("cluster", map(vec![("name", text(cluster))]))], "MERGE", value)
    }

    fn matched(
        &self,
        apply_to: &str,
        more: Vec<(&'static str, Item)>,
        operation: &str,
        value: &Value,
    ) -> Item {
        // A waypoint is SIDECAR_INBOUND; WAYPOINT is accepted and matches nothing.
        let context = if matches!(self, Self::Gateway { .. }) { "GATEWAY" } else { "SIDECAR_INBOUND" };
        let matched = [("context", text(context))].into_iter().chain(more).collect();
        map(vec![
            ("applyTo", text(apply_to)),
            ("match", map(matched)),
            ("patch", map(vec![("operation", text(operation)), ("value", item(value))])),
        ])
    }
}

/// A filter of this project's as a dynamic module.
pub(super) fn native(name: &str, filter: &str, config: &str) -> Value {
    json!({
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"name": "inference_filters", "do_not_close": true},
            "filter_name": filter,
            "filter_config": string(config),
        },
    })
}

/// A text as Envoy's configurations embed it.
pub(super) fn string(text: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text})
}

/// What is left to do for a dynamic module.
pub(super) const MODULE: &str = "give the pods the module, libinference_filters.so, and ENVOY_DYNAMIC_MODULES_SEARCH_PATH (istio/kserve-transcoder, *-native); Istio 1.31";
