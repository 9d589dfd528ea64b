//! Which proxy has a route: its gateway must choose the proxy's pods, and listen where the request comes in.

use istio_lint::Resource;
use serde_json::{Map, Value};

use super::Asked;
use crate::explain::chain::{Chain, Proxy};
use crate::input::Located;

const NETWORKING: &str = "networking.istio.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// The label that Istio gives the pods of a Gateway of the Gateway API.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// Whether a route is for a proxy: `None` if it is not, otherwise what has to be taken for granted.
pub(super) fn served(chain: &Chain, route: &Resource, asked: Asked<'_>) -> Option<Vec<String>> {
    match route.kind() {
        "HTTPRoute" | "GRPCRoute" => http_route(chain, route, asked),
        _ => virtual_service(chain, route, asked),
    }
}

fn virtual_service(chain: &Chain, route: &Resource, asked: Asked<'_>) -> Option<Vec<String>> {
    let gateways = route.list("/spec/gateways");
    let mesh = gateways.is_empty() || gateways.iter().any(|gateway| gateway == "mesh");
    if let Proxy::Waypoint(namespace) = &chain.proxy {
        return (mesh && route.namespace() == namespace).then(Vec::new);
    }
    if mesh && matches!(chain.proxy, Proxy::Unknown) {
        return Some(Vec::new());
    }
    let named = gateways.iter().filter_map(Value::as_str).filter(|gateway| *gateway != "mesh");
    // One that is certain counts more than one that is not.
    named.filter_map(|gateway| at_gateway(chain, route, gateway, asked)).min_by_key(Vec::len)
}

/// Whether a proxy is one of a Gateway of Istio's, for this request.
fn at_gateway(chain: &Chain, route: &Resource, gateway: &str, asked: Asked<'_>) -> Option<Vec<String>> {
    let (namespace, own) = match gateway.split_once('/') {
        Some((".", own)) => (route.namespace(), own),
        Some((namespace, own)) => (namespace, own),
        None => (route.namespace(), gateway),
    };
    let Some(gateway) = find(chain, NETWORKING, namespace, own) else {
        return Some(vec![format!(
            "taken for granted: these resources have no Gateway {namespace}/{own}, which it is bound to"
        )]);
    };
    let listens = |server: &Value| {
        let number = server.pointer("/port/number").and_then(Value::as_u64);
        let hosts = server.get("hosts").and_then(Value::as_array).into_iter().flatten();
        let mut hosts = hosts.filter_map(Value::as_str);
        let takes = |host: &str, name: &str| is_host(host.rsplit('/').next().unwrap_or(host), name);
        asked.port.is_none_or(|port| number == Some(port))
            && asked.name.is_none_or(|name| hosts.any(|host| takes(host, name)))
    };
    if !gateway.list("/spec/servers").iter().any(listens) {
        return None;
    }
    let empty = Map::new();
    let selector = gateway.at("/spec/selector").and_then(Value::as_object).unwrap_or(&empty);
    let known = match &chain.proxy {
        Proxy::Pods { labels, namespace } => {
            return chosen(chain, selector, labels, namespace)
                .map(|sure| if sure { Vec::new() } else { vec![unsure(gateway, selector)] });
        }
        Proxy::Gateway { name, .. } => {
            Map::from_iter([(GATEWAY_NAME.to_owned(), Value::from(name.as_str()))])
        }
        Proxy::Waypoint(_) => return None,
        Proxy::Everywhere | Proxy::Unknown => return Some(Vec::new()),
    };
    has(&known, selector).then(Vec::new)
}

fn unsure(gateway: &Resource, selector: &Map<String, Value>) -> String {
    format!(
        "taken for granted: {} chooses pods with {}, and these resources do not show whether the proxy's pods have that",
        gateway.id(),
        Value::Object(selector.clone())
    )
}

/// Whether a selector chooses the pods that have these labels among others: `None` if it does not, false if the
/// resources do not show it.
fn chosen(
    chain: &Chain,
    selector: &Map<String, Value>,
    labels: &Map<String, Value>,
    namespace: &str,
) -> Option<bool> {
    if has(labels, selector) {
        return Some(true);
    }
    if selector.iter().any(|(name, value)| labels.get(name).is_some_and(|other| other != value)) {
        return None;
    }
    let mut pods =
        chain.resources.iter().filter_map(|l| pods(l, namespace)).filter(|pod| has(pod, labels)).peekable();
    match pods.peek() {
        None => Some(false),
        Some(_) => pods.any(|pod| has(pod, selector)).then_some(true),
    }
}

fn has(labels: &Map<String, Value>, wanted: &Map<String, Value>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// The labels of the pods that a resource makes in a namespace.
fn pods<'a>(located: &'a Located, namespace: &str) -> Option<&'a Map<String, Value>> {
    let pointer = match located.resource.kind() {
        "Deployment" | "DaemonSet" | "StatefulSet" => "/spec/template/metadata/labels",
        "Pod" => "/metadata/labels",
        _ => return None,
    };
    let here = located.resource.namespace() == namespace;
    located.resource.at(pointer).and_then(Value::as_object).filter(|_| here)
}

fn http_route(chain: &Chain, route: &Resource, asked: Asked<'_>) -> Option<Vec<String>> {
    let parents = route.list("/spec/parentRefs");
    let text =
        |parent: &Value, name: &str| parent.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mesh = parents.iter().any(|parent| text(parent, "kind") == "Service");
    let of = |wanted: Option<(&str, &str)>| {
        parents.iter().any(|parent| {
            let namespace = text(parent, "namespace");
            let namespace = if namespace.is_empty() { route.namespace() } else { &namespace };
            matches!(text(parent, "kind").as_str(), "" | "Gateway")
                && wanted.is_none_or(|wanted| wanted == (&text(parent, "name"), namespace))
                && listener(chain, parent, namespace, asked)
        })
    };
    let here = match &chain.proxy {
        Proxy::Waypoint(namespace) => mesh && route.namespace() == namespace,
        Proxy::Gateway { name, namespace } => of(Some((name, namespace))),
        Proxy::Pods { labels, namespace } => match labels.get(GATEWAY_NAME).and_then(Value::as_str) {
            Some(name) => of(Some((name, namespace))),
            None => of(None),
        },
        Proxy::Everywhere => of(None),
        Proxy::Unknown => mesh || of(None),
    };
    here.then(Vec::new)
}

/// Whether a listener that a route is bound to takes the request; one of a Gateway that is not known may.
fn listener(chain: &Chain, parent: &Value, namespace: &str, asked: Asked<'_>) -> bool {
    let name = parent.get("name").and_then(Value::as_str).unwrap_or_default();
    let Some(gateway) = find(chain, GATEWAY_API, namespace, name) else { return true };
    let port = |listener: &Value| listener.get("port").and_then(Value::as_u64);
    let host = |listener: &Value| {
        let host = listener.get("hostname").and_then(Value::as_str).unwrap_or_default();
        if host.is_empty() { "*".to_owned() } else { host.to_owned() }
    };
    let takes = |listener: &Value| {
        asked.port.is_none_or(|wanted| port(listener) == Some(wanted))
            && asked.name.is_none_or(|name| is_host(&host(listener), name))
    };
    let specific = |listener: &Value| (!host(listener).starts_with('*'), host(listener).len());
    let all = gateway.list("/spec/listeners");
    all.iter().filter(|listener| takes(listener)).any(|listener| {
        // Of the listeners of a port the one with the most specific host has the request.
        let other = |other: &&Value| {
            asked.name.is_some() && port(other) == port(listener) && specific(other) > specific(listener)
        };
        parent.get("sectionName").is_none_or(|section| listener.get("name") == Some(section))
            && parent.get("port").is_none_or(|wanted| listener.get("port") == Some(wanted))
            && !all.iter().filter(|listener| takes(listener)).any(|one| other(&one))
    })
}

fn find<'a>(chain: &'a Chain, group: &str, namespace: &str, name: &str) -> Option<&'a Resource> {
    let same = |r: &&Resource| r.is(group, "Gateway") && r.namespace() == namespace && r.name() == name;
    chain.resources.iter().map(|located| &located.resource).find(same)
}

/// Whether a host, or a pattern that begins with `*`, is the request's, whose name is in lower case.
pub(super) fn is_host(host: &str, name: &str) -> bool {
    let host = host.to_ascii_lowercase();
    match host.strip_prefix('*') {
        Some(end) => name.ends_with(end),
        None => host == name,
    }
}
