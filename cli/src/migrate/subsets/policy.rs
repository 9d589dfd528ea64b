//! Groups as the load-balancing policy `runtime-group` has them: an endpoint says of itself which group it is in, by what
//! istiod tells of every endpoint: of its labels only those that make a pod's canonical name and revision.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::account::{Account, Action};
use super::super::spot::{self, Spot};
use super::super::transcoder;
use super::super::tree::{map, text};
use super::cluster;
use super::route::Route;
use super::{Dynamic, Otherwise, filter};
use crate::input::{Item, Located};

/// Among `EnvoyFilter`s that change a cluster the order does not matter.
const PRIORITY: i64 = 5;

/// The resource that stands beside a DestinationRule.
pub(super) fn resource(
    rule: &Dynamic<'_>,
    routes: &[Route<'_>],
    all: &[Located],
    account: &mut Account,
) -> Option<Item> {
    let first = routes.first()?;
    let mut keys = Vec::new();
    for route in routes {
        if route.mappings != first.mappings {
            let why = "another route for this host has other mappings, and a policy is for the whole cluster: take --groups routes";
            account.refuse(route.located, &route.headers(), why);
            return None;
        }
    }
    for (index, mapping) in first.mappings.iter().enumerate() {
        let Some(part) = part(&mapping.key) else {
            let here = format!("{}/{index}/key", first.headers());
            let why = format!(
                "istiod tells the policy nothing of the label {}, only what app and version are: take --groups routes or subset-lb, or give \
                 the pods service.istio.io/canonical-revision and name that here",
                mapping.key
            );
            account.refuse(first.located, &here, why);
            return None;
        };
        let what = format!("the {part} of pods is taken to be their label {}", mapping.key);
        account.add(Action::Assumed, first.located, &format!("{}/{index}/key", first.headers()), what);
        keys.push(json!({"header": mapping.header, "istio_workload": part}));
    }
    every_combination(rule, first, account)?;
    let (mut ports, mut spots) = (BTreeSet::new(), Vec::new());
    for route in routes {
        ports.extend(route.ports(account)?);
        for spot in route.spots(all, account)? {
            if !spots.contains(&spot) {
                spots.push(spot);
            }
        }
    }
    let [spot] = &spots[..] else {
        let why = "is at several gateways, or at one and in the mesh: take --groups routes, or a DestinationRule and a route for each";
        account.refuse(first.located, "/spec/gateways", why);
        return None;
    };
    let otherwise = match rule.otherwise {
        Otherwise::Any => "any",
        Otherwise::Refusal => "none",
        Otherwise::Subset(_) => {
            let why =
                "the policy falls back on any pod or on none, not on some: take --groups routes or subset-lb";
            let place = "/spec/trafficPolicy/loadBalancer/dynamicSubset/fallbackPolicy";
            account.refuse(rule.located, place, why);
            return None;
        }
    };
    let config = json!({"keys": keys, "no_group": otherwise, "unknown_group": otherwise, "unhealthy_group": otherwise});
    let value = balancer(&config);
    let mut patches = Vec::new();
    for port in ports {
        if matches!(spot, Spot::Gateway { .. }) {
            patches.push(spot.merged(spot.cluster(port, &first.host), &value));
            continue;
        }
        let service = cluster::service(rule, &first.host, all, account)?;
        let models = service.is_some_and(|service| transcoder::at_service(all, service));
        let http2 = cluster::speaks_http2(rule, service, port, models, account)?;
        patches.push(spot.added("CLUSTER", &beside(spot, port, &first.host, http2, &value)));
    }
    account.add(Action::Todo, rule.located, "", spot::MODULE);
    let what = match spot {
        Spot::Gateway { .. } => {
            "the EnvoyFilter is in istio-system, from where it is for the gateway's pods in any namespace"
        }
        Spot::Waypoint { .. } => {
            "at a waypoint the policy is in a cluster beside the Service's own, with the endpoints that istiod has for that one"
        }
    };
    account.add(Action::Assumed, rule.located, "", what);
    Some(map(vec![
        ("apiVersion", text("networking.istio.io/v1alpha3")),
        ("kind", text("EnvoyFilter")),
        ("metadata", map(vec![("name", text(filter(rule))), ("namespace", text(spot.namespace()))])),
        ("spec", spot.spec(PRIORITY, patches)),
    ]))
}

/// A cluster with the endpoints of a waypoint's own, and with the policy.
fn beside(spot: &Spot, port: u64, host: &str, http2: bool, balancer: &Value) -> Value {
    let protocol = if http2 { "http2_protocol_options" } else { "http_protocol_options" };
    let mut cluster = json!({
        "name": spot.cluster(port, &cluster::host(host)),
        "type": "EDS",
        "connect_timeout": "10s",
        "eds_cluster_config": {
            "service_name": spot.cluster(port, host),
            "eds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {protocol: {}},
        }},
        // The endpoints are addresses of Istio's listener connect_originate, which takes from their metadata where a
        // connection goes.
        "transport_socket": {
            "name": "internal_upstream",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
                "passthrough_metadata": [
                    {"kind": {"host": {}}, "name": "envoy.filters.listener.original_dst"},
                    {"kind": {"host": {}}, "name": "istio"},
                ],
                "transport_socket": {
                    "name": "envoy.transport_sockets.raw_buffer",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
                    },
                },
            },
        },
    });
    cluster["load_balancing_policy"] = balancer["load_balancing_policy"].clone();
    cluster
}

/// The part of an endpoint's `istio.workload` that is made of a label.
fn part(key: &str) -> Option<&'static str> {
    match key {
        "service.istio.io/canonical-revision" | "app.kubernetes.io/version" | "version" => {
            Some("canonical_revision")
        }
        "service.istio.io/canonical-name" | "app.kubernetes.io/name" | "app" => Some("canonical_name"),
        _ => None,
    }
}

/// The policy goes by all headers that a request has, so there must be a selector for each combination of them.
fn every_combination(rule: &Dynamic<'_>, route: &Route<'_>, account: &mut Account) -> Option<()> {
    let keys: Vec<&String> = route.mappings.iter().map(|mapping| &mapping.key).collect();
    let has = |bits: usize| {
        let wanted: BTreeSet<&String> =
            keys.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, key)| *key).collect();
        rule.selectors.iter().any(|selector| selector.iter().collect::<BTreeSet<_>>() == wanted)
    };
    if keys.len() <= 4 && (1..1_usize << keys.len()).all(has) {
        return Some(());
    }
    let why = "the policy goes by every header that a request has, and there is not a selector for each combination of the keys: take --groups routes or subset-lb";
    account.refuse(rule.located, "/spec/trafficPolicy/loadBalancer/dynamicSubset/subsetSelectors", why);
    None
}

fn balancer(config: &Value) -> Value {
    let policy = json!({
        "name": "envoy.load_balancing_policies.dynamic_modules",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.dynamic_modules.v3.DynamicModulesLoadBalancerConfig",
            "dynamic_module_config": {"name": "inference_filters", "do_not_close": true},
            "lb_policy_name": "runtime-group",
            "lb_policy_config": spot::string(&config.to_string()),
        },
    });
    json!({"load_balancing_policy": {"policies": [{"typed_extension_config": policy}]}})
}
