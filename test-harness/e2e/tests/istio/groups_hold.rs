//! The chains of `istio/dynamic-subset` with two groups of two servers behind them. What istiod does is done here: it
//! orders the filters, makes routes of a VirtualService, and knows the endpoints.

use std::path::Path;

use e2e::groups::{self, NAMES, who};
use e2e::{Envoy, Installed, Protocol, send};
use istio_lint::{Resource, embedded, kustomize};
use odd_server::OddServer;
use serde_json::{Value, json};

use crate::{as_the_agent_hands_it_on, in_istios_cluster, listening, lua_filter, module, options};

const SERVICE: &str = "modelmesh-serving.modelmesh-serving.svc.cluster.local";
/// A runtime, its pods' Deployment, and the beginning of its servers' names.
const RUNTIMES: [(&str, &str, &str); 2] = [
    ("triton-2-x", "modelmesh-serving-triton-2.x", "tensorflow-"),
    ("ovms-1-x", "modelmesh-serving-ovms-1.x", "pytorch-"),
];

pub(crate) fn hold(installed: &Installed, overlay: &Path, name: &str) {
    let resources = kustomize::build(overlay).unwrap();
    let servers = groups::start().unwrap();
    let gateway = name.starts_with("gateway-");
    let clusters = clusters(&resources, gateway, &servers);
    let bootstrap = listening(chain(&resources), routes(&resources, gateway), clusters);
    let envoy = Envoy::start(&installed.path, &bootstrap.to_string(), &options()).unwrap();
    let address = envoy.address("inference").unwrap();

    let reads_bodies = name.ends_with("-hold") || name.ends_with("-native");
    for (request, expected) in groups::cases(reads_bodies) {
        let grpc = request.path.starts_with("/inference");
        let protocols = if grpc { &[Protocol::Http2][..] } else { &Protocol::BOTH };
        for round in 0..12 {
            let answer = send(protocols[round % protocols.len()], address, &request).unwrap();
            let answer = answer.complete().unwrap();
            let name = who(&answer);
            let right = NAMES.contains(&name.as_str()) && name.starts_with(expected);
            assert!(right, "{request:?}: {name}, not {expected:?}: {}", answer.text());
        }
    }
}

/// The HTTP filters: plugins by falling priority, then what `EnvoyFilter`s insert, by rising priority.
fn chain(resources: &[Resource]) -> Vec<Value> {
    let priority = |r: &&Resource| r.at("/spec/priority").and_then(Value::as_i64).unwrap_or(0);
    let of_kind = |kinds: &[&str]| -> Vec<&Resource> {
        let mut found: Vec<_> = resources.iter().filter(|r| kinds.contains(&r.kind())).collect();
        found.sort_by_key(priority);
        found
    };
    let mut filters = Vec::new();
    for plugin in of_kind(&["WasmPlugin", "TrafficExtension"]).into_iter().rev() {
        filters.push(embedded::lua(plugin).map_or_else(|| wasm(plugin), lua_filter));
    }
    for resource in of_kind(&["EnvoyFilter"]) {
        let all = embedded::fragments(resource);
        for filter in all.iter().filter(|f| f.apply_to == "HTTP_FILTER") {
            let given = |f: &&embedded::Fragment<'_>| {
                f.apply_to == "EXTENSION_CONFIG" && f.value["name"] == filter.value["name"]
            };
            let discovered = filter.value.get("config_discovery").is_some();
            let filter = if discovered { all.iter().find(given).unwrap() } else { filter };
            filters.push(as_the_agent_hands_it_on(filter.value.clone()));
        }
    }
    filters
}

/// What Istio makes of a `WasmPlugin`.
pub(crate) fn wasm(plugin: &Resource) -> Value {
    let configuration = plugin.at("/spec/pluginConfig").unwrap().to_string();
    json!({"name": plugin.name(), "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": plugin.name(),
            "failure_policy": plugin.text("/spec/failStrategy"),
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration},
            "vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": module(plugin.text("/spec/url"))}},
            },
        },
    }})
}

/// The routes of the VirtualService; of an HTTPRoute, the one to the Service.
fn routes(resources: &[Resource], gateway: bool) -> Value {
    let Some(service) = resources.iter().find(|r| r.kind() == "VirtualService") else {
        return json!([{"match": {"prefix": "/"}, "route": {"cluster": cluster_name(gateway, "", SERVICE)}}]);
    };
    let route = |rule: &Value| {
        let headers = rule.pointer("/match/0/headers").and_then(Value::as_object).into_iter().flatten();
        let headers: Vec<_> =
            headers.map(|(name, value)| json!({"name": name, "string_match": value})).collect();
        let text = |key: &str| rule["route"][0]["destination"].get(key).and_then(Value::as_str);
        let cluster = cluster_name(gateway, text("subset").unwrap_or_default(), text("host").unwrap());
        json!({"match": {"prefix": "/", "headers": headers}, "route": {"cluster": cluster}})
    };
    service.list("/spec/http").iter().map(route).collect()
}

/// The name that istiod gives to the cluster of a route's destination.
fn cluster_name(gateway: bool, subset: &str, host: &str) -> String {
    let slash = if subset.is_empty() { "" } else { "/" };
    if gateway {
        format!("outbound|8033|{subset}|{host}")
    } else {
        format!("inbound-vip|8033|http{slash}{subset}|{host}")
    }
}

/// The cluster that the overlay adds or changes; else Istio's own, and one for each subset.
fn clusters(resources: &[Resource], gateway: bool, servers: &[OddServer]) -> Vec<Value> {
    let fragments = resources.iter().flat_map(embedded::fragments);
    let patch = fragments.filter(|f| f.apply_to == "CLUSTER").map(|f| f.value).next();
    let Some(patch) = patch else {
        let subsets = RUNTIMES.map(|(runtime, _, names)| {
            istios(cluster_name(gateway, runtime, SERVICE), endpoints(servers, names, istio_workload))
        });
        let all = istios(cluster_name(gateway, "", SERVICE), endpoints(servers, "", istio_workload));
        return subsets.into_iter().chain([all]).collect();
    };
    let own = istios(cluster_name(gateway, "", SERVICE), endpoints(servers, "", istio_workload));
    let name = patch.get("name").unwrap_or(&own["name"]).clone();
    let mut cluster = in_istios_cluster(patch, own);
    // A name in the DNS is a runtime's pods. istiod's endpoints say whose they are; its listener for HBONE is not here.
    let of_name = |endpoint: &Value| {
        let address = endpoint["endpoint"]["address"]["socket_address"]["address"].as_str().unwrap();
        let runtime =
            RUNTIMES.iter().find(|(runtime, ..)| address.starts_with(&format!("modelmesh-{runtime}.")));
        let metadata = &endpoint["metadata"]["filter_metadata"];
        endpoints(servers, runtime.unwrap().2, |_| metadata.clone())
    };
    let named = cluster.pointer("/load_assignment/endpoints/0/lb_endpoints").and_then(Value::as_array);
    let there = match named {
        Some(named) if patch.get("load_assignment").is_some() => named.iter().flat_map(of_name).collect(),
        _ => endpoints(servers, "", istio_workload),
    };
    for key in ["eds_cluster_config", "transport_socket", "dns_lookup_family", "respect_dns_ttl"] {
        cluster.as_object_mut().unwrap().remove(key);
    }
    cluster["type"] = json!("STATIC");
    cluster["load_assignment"] = json!({"cluster_name": name, "endpoints": [{"lb_endpoints": there}]});
    cluster["name"] = name;
    vec![cluster]
}

fn istios(name: String, endpoints: Vec<Value>) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    })
}

/// The servers whose names begin so, with metadata by their names.
fn endpoints(servers: &[OddServer], names: &str, metadata: impl Fn(&str) -> Value) -> Vec<Value> {
    let of = NAMES.iter().zip(servers).filter(|(name, _)| name.starts_with(names));
    let endpoint = |(name, server): (&&str, &OddServer)| {
        let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": server.port()}});
        json!({"endpoint": {"address": address}, "metadata": {"filter_metadata": metadata(name)}})
    };
    of.map(endpoint).collect()
}

/// What istiod says of every endpoint.
fn istio_workload(server: &str) -> Value {
    let (_, deployment, _) = RUNTIMES.iter().find(|(.., names)| server.starts_with(names)).unwrap();
    json!({"istio": {"workload": format!("{deployment};modelmesh-serving;modelmesh-controller;;Kubernetes")}})
}
