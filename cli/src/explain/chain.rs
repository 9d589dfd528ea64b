//! The filters of a configuration, in the order in which a request passes them.

use std::collections::BTreeSet;

use istio_lint::Resource;
use istio_lint::embedded::{self, Configuration, Host};
use istio_lint::envoy_gateway::EnvoyGateway;
use serde_json::{Map, Value};

use super::refused;
use crate::arguments::{Explain, In};
use crate::input::{self, Set};
use crate::{Error, input::Located};

/// What is said where a folder has resources of Envoy Gateway's besides.
const WITHOUT: &str = ", without the resources of Envoy Gateway, which this command does not follow";

/// The filters of one proxy.
pub(super) struct Chain {
    /// Which proxy.
    pub(super) name: String,
    /// What is known of it.
    pub(super) proxy: Proxy,
    /// Its filters in order.
    pub(super) links: Vec<Link>,
    /// All resources, among which are the routes.
    pub(super) resources: Vec<Located>,
}

/// A proxy, as far as resources show which one it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proxy {
    /// That of pods with these labels, among others.
    Pods { labels: Map<String, Value>, namespace: String },
    /// The waypoint of a namespace.
    Waypoint(String),
    /// That of a Gateway of the Gateway API.
    Gateway { name: String, namespace: String },
    /// Every one that is not a waypoint.
    Everywhere,
    /// Nothing says which.
    Unknown,
}

/// A filter in a chain.
pub(super) struct Link {
    /// Where its configuration is.
    pub(super) origin: String,
    /// What it is.
    pub(super) configuration: Configuration,
}

/// The chains of what the command line names: of the resources one for each proxy that they are for.
pub(super) fn read(options: &Explain) -> Result<Vec<Chain>, Error> {
    if let Some(filter) = &options.filter {
        return alone(options, filter).map(|chain| vec![chain]);
    }
    let sets = input::sets(std::slice::from_ref(&options.config), "default")?;
    let mut chains = Vec::new();
    let mut of_envoy_gateway = false;
    for set in sets {
        let envoy_gateway = among(&set);
        of_envoy_gateway |= set.resources.iter().any(|located| envoy_gateway.has(&located.resource));
        chains.extend(of_bootstraps(&set, options.port)?);
        chains.extend(of_resources(set, &envoy_gateway));
    }
    if chains.is_empty() {
        let shown = options.config.display().to_string();
        let why = if of_envoy_gateway {
            "these resources are for Envoy Gateway, which this command does not follow: give it a filter's own \
             configuration, with --filter and --host"
        } else {
            "no configuration of a filter is in there, and no routes"
        };
        return Err(refused(&shown, why));
    }
    Ok(chains)
}

/// A filter's own configuration, without a resource around it.
fn alone(options: &Explain, filter: &str) -> Result<Chain, Error> {
    let shown = options.config.display().to_string();
    if !embedded::is_ours(filter) || filter.replace('_', "-") == "runtime-group" {
        return Err(refused(
            "--filter",
            format!("unknown filter {filter}: one of claim-headers, dynamic-subset, kserve-transcoder"),
        ));
    }
    let value = input::plain(&options.config)?;
    if value.get("apiVersion").is_some() {
        return Err(refused(
            &shown,
            "this is a resource: leave --filter out, it says itself which filter it configures",
        ));
    }
    let host = match options.host {
        In::Native => Host::Native,
        In::Wasm => Host::Wasm,
    };
    let configuration = Configuration { filter: filter.replace('_', "-"), host, json: value.to_string() };
    let links = vec![Link { origin: shown.clone(), configuration }];
    Ok(Chain { name: format!("with {shown}"), proxy: Proxy::Unknown, links, resources: Vec::new() })
}

/// A chain for each listener that has filters of ours: a request comes in at one of them only.
fn of_bootstraps(set: &Set, port: Option<u64>) -> Result<Vec<Chain>, Error> {
    let mut chains = Vec::new();
    for document in &set.others {
        let Some(root) = &document.root else { continue };
        let value = root.value();
        let mut found = embedded::within(&value);
        found.retain(|(_, configuration)| {
            embedded::is_ours(&configuration.filter)
                && configuration.filter.replace('_', "-") != "runtime-group"
        });
        // In the order of the file, which is that of the filters.
        found.sort_by_key(|(pointer, _)| (root.line_of(pointer), pointer.clone()));
        let mut own: Vec<(Option<Listener>, Chain)> = Vec::new();
        for (pointer, configuration) in found {
            let origin = format!("{}:{}", document.file, document.line - 1 + root.line_of(&pointer));
            let link = Link { origin, configuration };
            let listener = Listener::around(&value, &pointer);
            match own.iter_mut().find(|(known, _)| *known == listener) {
                Some((_, chain)) => chain.links.push(link),
                None => {
                    let name = match &listener {
                        Some(listener) => format!("at {} in {}", listener.name, document.file),
                        None => format!("in {}", document.file),
                    };
                    let chain =
                        Chain { name, proxy: Proxy::Unknown, links: vec![link], resources: Vec::new() };
                    own.push((listener, chain));
                }
            }
        }
        if let Some(port) = port {
            let listening =
                |listener: &Option<Listener>| listener.as_ref().and_then(|listener| listener.port);
            let ports: BTreeSet<u64> = own.iter().filter_map(|(listener, _)| listening(listener)).collect();
            own.retain(|(listener, _)| listening(listener).is_none_or(|own| own == port));
            if own.is_empty() && !ports.is_empty() {
                let ports: Vec<_> = ports.iter().map(u64::to_string).collect();
                let why =
                    format!("no listener with a filter has the port {port}: there are {}", ports.join(", "));
                return Err(refused(&document.file, why));
            }
        }
        chains.extend(own.into_iter().map(|(_, chain)| chain));
    }
    Ok(chains)
}

/// A chain of a listener of a bootstrap.
#[derive(PartialEq, Eq)]
struct Listener {
    /// The list of network filters that the chain is of.
    place: String,
    name: String,
    port: Option<u64>,
}

impl Listener {
    /// The listener that a filter is in: `None` for one in a cluster.
    fn around(root: &Value, pointer: &str) -> Option<Self> {
        let at = pointer.find("/listeners/")? + "/listeners/".len();
        let end = at + pointer.get(at..)?.find('/')?;
        let (listener, below) = pointer.split_at_checked(end)?;
        let value = root.pointer(listener)?;
        let port = value.pointer("/address/socket_address/port_value").and_then(Value::as_u64);
        let mut name = match value.get("name").and_then(Value::as_str) {
            Some(name) => format!("the listener {name}"),
            None => format!("the listener {}", pointer.get(at..end)?),
        };
        if let Some(port) = port {
            name.push_str(&format!(", port {port},"));
        }
        let chain = below.find("/filters/").and_then(|end| below.get(..end)).unwrap_or_default();
        if value.get("filter_chains").and_then(Value::as_array).is_some_and(|chains| chains.len() > 1) {
            let own = root.pointer(&format!("{listener}{chain}/name")).and_then(Value::as_str);
            let index = chain.rsplit('/').next().unwrap_or_default();
            name.push_str(&format!(" its filter chain {},", own.unwrap_or(index)));
        }
        Some(Self { place: format!("{listener}{chain}"), name, port })
    }
}

fn among(set: &Set) -> EnvoyGateway {
    EnvoyGateway::among(set.resources.iter().map(|located| &located.resource))
}

/// Those of Istio's resources. Which filters Envoy Gateway puts where, and which route it then takes, this command does not
/// know: its resources are left out, and the name of a chain says so.
fn of_resources(mut set: Set, envoy_gateway: &EnvoyGateway) -> Vec<Chain> {
    let all = set.resources.len();
    set.resources.retain(|located| !envoy_gateway.has(&located.resource));
    let without = if set.resources.len() < all { WITHOUT } else { "" };
    let mut found = Vec::new();
    for (index, located) in set.resources.iter().enumerate() {
        let resource = &located.resource;
        let configurations = embedded::configurations(resource).unwrap_or_default();
        for configuration in
            configurations.into_iter().filter(|c| embedded::is_ours(&c.filter) && c.filter != "runtime-group")
        {
            let origin = format!("{}, {}:{}", resource.id(), located.file, located.line_of("/spec"));
            found.push((
                proxy(resource),
                place(resource, index, &configuration),
                Link { origin, configuration },
            ));
        }
    }
    found.sort_by_key(|(_, place, _)| *place);
    let mut chains: Vec<Chain> = Vec::new();
    for ((name, proxy), _, link) in found {
        match chains.iter_mut().find(|chain| chain.name == name) {
            Some(chain) => chain.links.push(link),
            None => chains.push(Chain { name, proxy, links: vec![link], resources: set.resources.clone() }),
        }
    }
    let routes = set
        .resources
        .iter()
        .any(|l| matches!(l.resource.kind(), "VirtualService" | "HTTPRoute" | "GRPCRoute"));
    if chains.is_empty() && routes {
        let name = "without filters".into();
        chains.push(Chain { name, proxy: Proxy::Unknown, links: Vec::new(), resources: set.resources });
    }
    for chain in &mut chains {
        chain.name.push_str(without);
    }
    chains
}

/// What the resource is for, in words: resources with the same words meet in one proxy.
pub(super) fn proxy(resource: &Resource) -> (String, Proxy) {
    let namespace = resource.namespace().to_owned();
    let labels = ["/spec/selector/matchLabels", "/spec/workloadSelector/labels"];
    if let Some(Value::Object(labels)) = labels.into_iter().find_map(|pointer| resource.at(pointer)) {
        let words: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
            .collect();
        let name = format!("at the pods with {} in {namespace}", words.join(", "));
        return (name, Proxy::Pods { labels: labels.clone(), namespace });
    }
    let Some(target) = resource.list("/spec/targetRefs").first() else {
        return (format!("at every proxy but waypoints in {namespace}"), Proxy::Everywhere);
    };
    let text = |name: &str| target.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("kind") {
        // A Service's filters and its Gateway's meet in the waypoint of their namespace.
        "Service" => (format!("at the waypoint in {namespace}"), Proxy::Waypoint(namespace)),
        "Gateway" if text("name").contains("waypoint") => {
            (format!("at the waypoint in {namespace}"), Proxy::Waypoint(namespace))
        }
        "Gateway" => {
            let name = text("name").to_owned();
            (format!("at the Gateway {name} in {namespace}"), Proxy::Gateway { name, namespace })
        }
        kind => (format!("at the {kind} {} in {namespace}", text("name")), Proxy::Everywhere),
    }
}

/// Where in the chain: first what is inserted there, then plugins by phase and falling priority, then what comes before
/// the router, by rising priority.
fn place(resource: &Resource, index: usize, configuration: &Configuration) -> (u8, i64, usize) {
    let priority = resource.at("/spec/priority").and_then(Value::as_i64).unwrap_or(0);
    if resource.kind() == "EnvoyFilter" {
        let guard = configuration.json.contains("\"guard\"");
        return (if guard { 0 } else { 5 }, priority, index);
    }
    let phase = match resource.text("/spec/phase") {
        "AUTHN" => 1,
        "AUTHZ" => 2,
        "STATS" => 3,
        _ => 4,
    };
    (phase, -priority, index)
}
