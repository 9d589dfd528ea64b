//! Groups as Envoy's own subset load balancing has them: a cluster with an endpoint for each group's pods, and stock
//! `header_to_metadata`, which takes a header's value for a key's as the vendor's mesh does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::account::{Account, Action};
use super::super::spot::Spot;
use super::super::tree::{item, map, text};
use super::super::{Settings, transcoder};
use super::groups::Group;
use super::route::Route;
use super::{Dynamic, Mapping, Otherwise, filter};
use crate::arguments::Shape;
use crate::input::{Item, Located};

/// The very text that the chart installs.
const BODY_FOR_GET: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/inference-filters/files/body-for-get.lua"));
/// In front of a transcoder by `EnvoyFilter`, which has 10.
const PRIORITY: i64 = 5;

/// The host that stands for the added cluster, and which only routes know.
pub(super) fn host(of: &str) -> String {
    format!("{}.groups.internal", of.trim_end_matches(".svc.cluster.local"))
}

/// The resources that take the place of a DestinationRule.
pub(super) fn resources(
    rule: &Dynamic<'_>,
    routes: &[Route<'_>],
    groups: &[Group],
    all: &[Located],
    settings: &Settings,
    account: &mut Account,
) -> Option<Vec<Item>> {
    let of = routes.first()?.host.clone();
    if let Otherwise::Subset(labels) = &rule.otherwise
        && !groups.iter().any(|group| labels.iter().all(|(key, value)| group.pairs.get(key) == Some(value)))
    {
        let why = "no group of the selectors has all of these labels, and the added cluster has the pods of groups only: take \
                   --groups routes";
        let place = "/spec/trafficPolicy/loadBalancer/dynamicSubset/defaultSubset";
        account.refuse(rule.located, place, why);
        return None;
    }
    let service = service(rule, &of, all, account)?;
    let mut ports = BTreeSet::new();
    let mut spots: Vec<(Spot, Vec<Mapping>)> = Vec::new();
    for route in routes {
        ports.extend(route.ports(account)?);
        for spot in route.spots(all, account)? {
            match spots.iter().find(|(known, _)| *known == spot) {
                Some((_, mappings)) if *mappings != route.mappings => {
                    let why = "another route of this gateway has other mappings, and both would be made of every request: take --groups routes";
                    account.refuse(route.located, &route.headers(), why);
                    return None;
                }
                Some(_) => {}
                None => spots.push((spot, route.mappings.clone())),
            }
        }
    }
    let name = filter(rule);
    let transcoded = |spot: &Spot| match spot {
        Spot::Gateway { labels, ports } => transcoder::at_gateway(all, labels, ports),
        Spot::Waypoint { .. } => service.is_some_and(|service| transcoder::at_service(all, service)),
    };
    let models = spots.iter().any(|(spot, _)| transcoded(spot));
    let mut endpoints = BTreeMap::new();
    for port in ports {
        endpoints.insert(port, endpoint(rule, service, port, models, account)?);
    }
    let targets: BTreeSet<u64> = endpoints.values().map(|endpoint| endpoint.port).collect();
    // Before the cluster, which looks their names up when it is added.
    let mut made: Vec<Item> = groups.iter().map(|group| headless(&of, group, &targets)).collect();
    for (index, (spot, mappings)) in spots.iter().enumerate() {
        let own = if index == 0 { name.clone() } else { format!("{name}-{}", index + 1) };
        let mut patches = spot.filters(&keys(mappings));
        // In wasm a transcoder sends a request without a body beside its route, where no group counts.
        if transcoded(spot) && settings.form == Shape::Hold {
            patches.extend(spot.filters(&lua()));
        }
        for (port, endpoint) in &endpoints {
            let cluster = cluster(rule, spot.cluster(*port, &host(&of)), groups, &of, endpoint);
            patches.push(spot.added("CLUSTER", &cluster));
        }
        made.push(map(vec![
            ("apiVersion", text("networking.istio.io/v1alpha3")),
            ("kind", text("EnvoyFilter")),
            ("metadata", metadata(&own, spot.namespace())),
            ("spec", spot.spec(PRIORITY, patches)),
        ]));
        if transcoded(spot) && settings.form == Shape::Wasm {
            made.push(traffic_extension(&own, spot));
        }
    }
    if spots.iter().any(|(spot, _)| matches!(spot, Spot::Gateway { .. })) {
        let what =
            "the EnvoyFilter is in istio-system, from where it is for the gateway's pods in any namespace";
        account.add(Action::Assumed, rule.located, "", what);
    }
    let what = "the added cluster speaks plain text to the pods, which a PeerAuthentication with mode STRICT refuses";
    account.add(Action::Assumed, rule.located, "", what);
    let what = "only pods of a group get requests, also those of no group";
    account.add(Action::Assumed, rule.located, "", what);
    Some(made)
}

/// Name and namespace of a Service in the cluster.
fn parts(host: &str) -> Option<(&str, &str)> {
    host.strip_suffix(".svc.cluster.local")?.split_once('.')
}

/// The Service, if the input has it; the outer `None` if its groups cannot have names in DNS.
pub(super) fn service<'a>(
    rule: &Dynamic<'_>,
    host: &str,
    all: &'a [Located],
    account: &mut Account,
) -> Option<Option<&'a Located>> {
    let Some((name, namespace)) = parts(host) else {
        let why = format!(
            "{host} is not a Service of the cluster, so its groups cannot be given names: take --groups routes"
        );
        account.refuse(rule.located, "/spec/host", why);
        return None;
    };
    let is_it = |l: &&Located| {
        l.resource.is("", "Service") && l.resource.namespace() == namespace && l.resource.name() == name
    };
    Some(all.iter().find(is_it))
}

/// What a pod listens on.
struct Endpoint {
    port: u64,
    http2: bool,
}

/// Whether a Service's port speaks HTTP/2; `None` if the input does not say it.
pub(super) fn speaks_http2(
    rule: &Dynamic<'_>,
    service: Option<&Located>,
    port: u64,
    transcoded: bool,
    account: &mut Account,
) -> Option<bool> {
    let found = service.and_then(|s| s.resource.list("/spec/ports").iter().find(|p| p["port"] == port));
    match (service, found) {
        (_, Some(found)) => Some(is_http2(found)),
        (None, None) => endpoint(rule, None, port, transcoded, account).map(|endpoint| endpoint.http2),
        (Some(service), None) => {
            let why = format!("{} has no port {port}", service.resource.id());
            account.refuse(rule.located, "/spec/host", why);
            None
        }
    }
}

fn is_http2(port: &Value) -> bool {
    let says = |field: &str| port.get(field).and_then(Value::as_str).unwrap_or_default();
    let protocol = if says("appProtocol").is_empty() { says("name") } else { says("appProtocol") };
    let protocol = protocol.rsplit('/').next().unwrap_or_default();
    ["grpc", "http2", "h2c"].iter().any(|one| protocol.starts_with(one))
}

fn endpoint(
    rule: &Dynamic<'_>,
    service: Option<&Located>,
    port: u64,
    transcoded: bool,
    account: &mut Account,
) -> Option<Endpoint> {
    let Some(service) = service else {
        if !transcoded {
            let why = "the Service is not in the input, and its port says whether the added cluster speaks HTTP/2: add it, or take --groups routes";
            account.refuse(rule.located, "/spec/host", why);
            return None;
        }
        let what = format!(
            "the Service is not in the input: its pods are taken to listen on {port} and to speak gRPC"
        );
        account.add(Action::Assumed, rule.located, "/spec/host", what);
        return Some(Endpoint { port, http2: true });
    };
    let found = service.resource.list("/spec/ports").iter().find(|p| p["port"] == port);
    let target = found.map(|found| found.get("targetPort").unwrap_or(&found["port"]));
    let Some((found, target)) = found.zip(target.and_then(Value::as_u64)) else {
        let why = format!(
            "{} has no port {port} with a number as its targetPort: write the number, or take --groups routes",
            service.resource.id()
        );
        account.refuse(rule.located, "/spec/host", why);
        return None;
    };
    Some(Endpoint { port: target, http2: is_http2(found) })
}

/// The cluster that a route's destination names.
fn cluster(rule: &Dynamic<'_>, name: String, groups: &[Group], of: &str, at: &Endpoint) -> Value {
    let selectors: BTreeSet<Vec<&String>> = groups.iter().map(|group| group.pairs.keys().collect()).collect();
    let selectors: Vec<Value> = selectors.into_iter().map(|keys| json!({"keys": keys})).collect();
    let protocol = if at.http2 { "http2_protocol_options" } else { "http_protocol_options" };
    let endpoint = |group: &Group| {
        let address = json!({"address": address(of, group), "port_value": at.port});
        json!({
            "endpoint": {"address": {"socket_address": address}},
            "metadata": {"filter_metadata": {"envoy.lb": group.pairs}},
        })
    };
    let endpoints: Vec<Value> = groups.iter().map(endpoint).collect();
    let mut subsets = json!({
        "fallback_policy": match rule.otherwise {
            Otherwise::Any => "ANY_ENDPOINT",
            Otherwise::Refusal => "NO_FALLBACK",
            Otherwise::Subset(_) => "DEFAULT_SUBSET",
        },
        "subset_selectors": selectors,
    });
    if let Otherwise::Subset(labels) = &rule.otherwise {
        subsets["default_subset"] = json!(labels);
    }
    json!({
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "10s",
        "dns_lookup_family": "V4_PREFERRED",
        "respect_dns_ttl": true,
        "lb_policy": "LEAST_REQUEST",
        "lb_subset_config": subsets,
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {protocol: {}},
        }},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    })
}

/// The name of a group's pods in DNS.
fn address(of: &str, group: &Group) -> String {
    let namespace = parts(of).map_or("", |(_, namespace)| namespace);
    format!("{}.{namespace}.svc.cluster.local", service_name(of, group))
}

fn service_name(of: &str, group: &Group) -> String {
    let own = parts(of).map_or("", |(name, _)| name);
    let name = format!("{own}-{}", group.name);
    let cut = name.len().saturating_sub(63);
    name[cut..].trim_start_matches(|c: char| !c.is_ascii_lowercase()).to_owned()
}

/// A headless Service: the pods of a group, under a name.
fn headless(of: &str, group: &Group, ports: &BTreeSet<u64>) -> Item {
    let namespace = parts(of).map_or("", |(_, namespace)| namespace);
    let ports: Vec<Value> =
        ports.iter().map(|port| json!({"name": format!("port-{port}"), "port": port})).collect();
    let spec = vec![
        ("clusterIP", text("None")),
        ("selector", item(&json!(group.labels()))),
        ("ports", item(&json!(ports))),
    ];
    map(vec![
        ("apiVersion", text("v1")),
        ("kind", text("Service")),
        ("metadata", metadata(&service_name(of, group), namespace)),
        ("spec", map(spec)),
    ])
}

fn metadata(name: &str, namespace: &str) -> Item {
    map(vec![("name", text(name)), ("namespace", text(namespace))])
}

/// One rule for each key; an empty header sets none.
fn keys(mappings: &[Mapping]) -> Value {
    let rule = |mapping: &Mapping| json!({"header": mapping.header, "on_header_present": {"metadata_namespace": "envoy.lb", "key": mapping.key}});
    json!({
        "name": "dynamic-subset-keys",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config",
            "request_rules": mappings.iter().map(rule).collect::<Vec<_>>(),
        },
    })
}

fn lua() -> Value {
    json!({
        "name": "body-for-get",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": BODY_FOR_GET},
        },
    })
}

/// The same before a `WasmPlugin`, which no `EnvoyFilter` comes before.
fn traffic_extension(name: &str, spot: &Spot) -> Item {
    let mut spec = spot.plugin();
    spec.extend([
        ("phase", text("UNSPECIFIED")),
        ("priority", item(&json!(10))),
        ("lua", map(vec![("inlineCode", text(BODY_FOR_GET))])),
    ]);
    map(vec![
        ("apiVersion", text("extensions.istio.io/v1alpha1")),
        ("kind", text("TrafficExtension")),
        ("metadata", metadata(name, spot.namespace())),
        ("spec", map(spec)),
    ])
}
