//! `dynamic-subset`: what it sets, who reads that, and in which order a request passes the filters.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Overlay;
use crate::Problem;
use crate::embedded::{self, Configuration, Fragment, Host, fragments};
use crate::resource::{Resource, items, text};

const FILTER: &str = "dynamic-subset";
const TRANSCODER: &str = "kserve-transcoder";
const HEADER_TO_METADATA: &str =
    "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config";
const LUA: &str = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua";
const LB_METADATA: &str = "envoy.lb";
/// The property with all pairs, where Lua finds it.
const PROPERTY: &str = "wasm.dynamic_subset";

/// Everything that is wrong with an overlay that has `dynamic-subset`; nothing for other overlays.
pub(super) fn check(overlay: &Overlay<'_>) -> Vec<Problem> {
    let steps = chain(overlay);
    let filter = steps.iter().find_map(|step| match &step.filter {
        Filter::Ours(configuration) if configuration.filter == FILTER => Some((step.resource, configuration)),
        _ => None,
    });
    let Some((resource, configuration)) = filter else { return Vec::new() };
    let Some(keys) = Keys::set_by(configuration) else {
        return vec![Problem::new(resource, "the configuration of dynamic-subset is not valid JSON")];
    };
    let mut problems = order(&steps);
    problems.extend(gets(&steps));
    problems.extend(readers(overlay, &steps, resource, configuration.host, &keys));
    problems.extend(endpoints(overlay));
    problems
}

/// A filter in the chain of a gateway or waypoint.
pub(super) struct Step<'a> {
    pub(super) filter: Filter<'a>,
    pub(super) resource: &'a Resource,
    /// Kind of resource, phase and priority: what the order is made from.
    pub(super) place: (u8, u8, i64),
}

pub(super) enum Filter<'a> {
    Ours(Configuration),
    HeaderToMetadata(&'a Value),
    Lua(&'a str),
}

impl Filter<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Ours(configuration) => &configuration.filter,
            Self::HeaderToMetadata(_) => "header_to_metadata",
            Self::Lua(_) => "Lua",
        }
    }

    /// Its place among the filters that have an order.
    fn rank(&self) -> Option<u8> {
        match self {
            Self::Ours(configuration) if configuration.filter == FILTER => Some(0),
            Self::Ours(configuration) if configuration.filter == TRANSCODER => Some(2),
            Self::Ours(_) => None,
            Self::HeaderToMetadata(_) | Self::Lua(_) => Some(1),
        }
    }
}

/// The filters in the order in which a request passes them: plugins by phase and by falling priority, then what
/// `EnvoyFilter`s insert before the router, by rising priority and in the order of their patches.
pub(super) fn chain<'a>(overlay: &Overlay<'a>) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    for resource in overlay.resources {
        let priority = resource.at("/spec/priority").and_then(Value::as_i64).unwrap_or(0);
        if resource.kind() == "EnvoyFilter" {
            let all = fragments(resource);
            let filters = all.iter().filter(|f| f.apply_to == "HTTP_FILTER");
            // What comes first guards, and sets nothing that another filter reads.
            let filters = filters.filter(|fragment| fragment.operation != "INSERT_FIRST");
            let filters = filters.filter_map(|fragment| filter_of(*fragment, &all));
            steps.extend(filters.map(|filter| Step { filter, resource, place: (1, 0, priority) }));
        } else if matches!(resource.kind(), "WasmPlugin" | "TrafficExtension") {
            let phase = match resource.text("/spec/phase") {
                "AUTHN" => 0,
                "AUTHZ" => 1,
                "STATS" => 2,
                _ => 3,
            };
            let ours = embedded::configurations(resource).unwrap_or_default().into_iter().map(Filter::Ours);
            let filters = ours.chain(embedded::lua(resource).map(Filter::Lua));
            steps.extend(filters.map(|filter| Step { filter, resource, place: (0, phase, -priority) }));
        }
    }
    steps.sort_by_key(|step| step.place);
    steps
}

/// The filter that a fragment inserts, among all fragments of its resource.
fn filter_of<'a>(fragment: Fragment<'a>, all: &[Fragment<'a>]) -> Option<Filter<'a>> {
    let name = text(fragment.value, "/name");
    let discovered = fragment.value.get("config_discovery").is_some();
    let configures = |f: &&Fragment<'_>| f.apply_to == "EXTENSION_CONFIG" && text(f.value, "/name") == name;
    let fragment = if discovered { *all.iter().find(configures)? } else { fragment };
    match text(fragment.value, "/typed_config/@type") {
        HEADER_TO_METADATA => fragment.value.get("typed_config").map(Filter::HeaderToMetadata),
        LUA => Some(Filter::Lua(text(fragment.value, "/typed_config/default_source_code/inline_string"))),
        _ => embedded::configured(fragment).ok()?.pop().map(Filter::Ours),
    }
}

/// First the filter that makes the keys, then what reads them, then the transcoder, which replaces the path.
fn order(steps: &[Step<'_>]) -> Vec<Problem> {
    let ranked = steps.iter().filter_map(|step| Some((step, step.filter.rank()?)));
    let ranked: Vec<_> = ranked.collect();
    let mut problems = Vec::new();
    for pair in ranked.windows(2) {
        let [(first, before), (second, after)] = pair else { continue };
        let names = (first.filter.name(), second.filter.name());
        if first.place == second.place && first.resource != second.resource {
            let reason =
                format!("has the same priority as {}: their order is undefined", first.resource.id());
            problems.push(Problem::new(second.resource, reason));
        } else if before > after {
            let reason = format!(
                "{} runs before {}: the order must be dynamic-subset, what reads its keys, kserve-transcoder",
                names.0, names.1
            );
            problems.push(Problem::new(second.resource, reason));
        }
    }
    problems
}

/// In wasm, a request without a body goes past its route, and so past its group, unless it is given one.
fn gets(steps: &[Step<'_>]) -> Option<Problem> {
    let transcoder = steps.iter().position(|step| match &step.filter {
        Filter::Ours(configuration) => configuration.filter == TRANSCODER && configuration.host == Host::Wasm,
        _ => false,
    })?;
    let gives_body =
        |step: &Step<'_>| matches!(step.filter, Filter::Lua(code) if code.contains(":body(true)"));
    if steps[..transcoder].iter().any(gives_body) {
        return None;
    }
    let reason = "no Lua before it gives a GET a body: the transcoder would send a GET past its route, outside of its group";
    Some(Problem::new(steps[transcoder].resource, reason))
}

/// The keys that a configuration can set.
struct Keys {
    prefix: String,
    /// With the values, as far as they are known.
    keys: BTreeMap<String, Values>,
    /// There are rules that make keys of headers' names.
    open: bool,
}

enum Values {
    Any,
    Literal(BTreeSet<String>),
}

impl Keys {
    fn set_by(configuration: &Configuration) -> Option<Self> {
        let json: Value = serde_json::from_str(&configuration.json).ok()?;
        let rules = items(&json, "/rules").iter().chain(items(&json, "/headerToDynamicSubsetKey"));
        let prefix = json.get("emit_prefix").and_then(Value::as_str).unwrap_or("x-subset-").to_owned();
        let mut keys = Self { prefix, keys: BTreeMap::new(), open: false };
        for rule in rules {
            keys.open |= rule.get("key_prefix").is_some();
            let Some(key) = rule.get("key").and_then(Value::as_str) else { continue };
            let values = keys.keys.entry(key.to_owned()).or_insert(Values::Literal(BTreeSet::new()));
            match (rule.get("value").and_then(Value::as_str), &mut *values) {
                (Some(value), Values::Literal(literal)) => drop(literal.insert(value.to_owned())),
                (None, _) => *values = Values::Any,
                (Some(_), Values::Any) => {}
            }
        }
        Some(keys)
    }

    fn header(&self, key: &str) -> String {
        format!("{}{}", self.prefix, key.to_ascii_lowercase().replace('/', "-"))
    }

    /// The key that a header carries.
    fn of_header(&self, header: &str) -> Option<&str> {
        self.keys.keys().map(String::as_str).find(|key| self.header(key) == header.to_ascii_lowercase())
    }
}

/// Every key has a reader, and every reader reads a key.
fn readers(
    overlay: &Overlay<'_>,
    steps: &[Step<'_>],
    filter: &Resource,
    host: Host,
    keys: &Keys,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut read: BTreeSet<&str> = BTreeSet::new();
    let mut from_header = |resource: &Resource, header: &str| match keys.of_header(header) {
        Some(key) => {
            read.insert(key);
            None
        }
        None if keys.open || !header.starts_with(&keys.prefix) => None,
        None => Some(Problem::new(resource, format!("reads {header}, which dynamic-subset never sets"))),
    };
    for (resource, header, value) in matched_headers(overlay) {
        problems.extend(from_header(resource, header));
        if let (Some(Values::Literal(known)), Some(value)) =
            (keys.of_header(header).and_then(|key| keys.keys.get(key)), value)
            && !known.contains(value)
        {
            let reason = format!("matches {header}: {value}, which dynamic-subset never sets");
            problems.push(Problem::new(resource, reason));
        }
    }
    for (resource, header) in policy_headers(overlay) {
        problems.extend(from_header(resource, &header));
    }

    // What is written into envoy.lb.
    let mut written: BTreeSet<&str> = BTreeSet::new();
    let lua = steps.iter().any(|step| matches!(step.filter, Filter::Lua(code) if code.contains(PROPERTY)));
    if lua || host == Host::Native {
        written.extend(keys.keys.keys().map(String::as_str));
    }
    for step in steps {
        let Filter::HeaderToMetadata(config) = step.filter else { continue };
        for rule in items(config, "/request_rules") {
            let key = text(rule, "/on_header_present/key");
            if keys.of_header(text(rule, "/header")) != Some(key)
                || text(rule, "/on_header_present/metadata_namespace") != LB_METADATA
            {
                let reason = format!("does not write the header of the key {key:?} to {LB_METADATA}");
                problems.push(Problem::new(step.resource, reason));
            } else {
                written.insert(key);
            }
        }
    }
    for (resource, cluster) in clusters(overlay) {
        for key in items(cluster, "/lb_subset_config/subset_selectors").iter().flat_map(|s| items(s, "/keys"))
        {
            let key = key.as_str().unwrap_or_default();
            if !keys.open && !written.contains(key) {
                let reason = format!("selects by {key}, which nothing writes to {LB_METADATA}");
                problems.push(Problem::new(resource, reason));
            }
            let lb = "/load_assignment/endpoints";
            let endpoints = items(cluster, lb).iter().flat_map(|e| items(e, "/lb_endpoints"));
            let has = |endpoint: &Value| {
                endpoint.pointer("/metadata/filter_metadata/envoy.lb").and_then(|m| m.get(key)).is_some()
            };
            if !endpoints.into_iter().any(has) {
                problems.push(Problem::new(resource, format!("selects by {key}, which no endpoint has")));
            }
            read.extend(keys.keys.keys().map(String::as_str).filter(|known| *known == key));
        }
    }
    for key in keys.keys.keys().filter(|key| !read.contains(key.as_str())) {
        problems.push(Problem::new(filter, format!("sets {key}, which nothing among these resources reads")));
    }
    problems
}

/// The headers that routes match on, with the value if it must be exactly one.
pub(super) fn matched_headers<'a>(overlay: &Overlay<'a>) -> Vec<(&'a Resource, &'a str, Option<&'a str>)> {
    let mut found = Vec::new();
    for route in overlay.resources.iter().filter(|r| r.kind() == "VirtualService") {
        for one in route.list("/spec/http").iter().flat_map(|rule| items(rule, "/match")) {
            let headers = one.get("headers").and_then(Value::as_object).into_iter().flatten();
            found.extend(
                headers
                    .map(|(name, value)| (route, name.as_str(), value.get("exact").and_then(Value::as_str))),
            );
        }
    }
    found
}

/// The headers that policies read.
fn policy_headers<'a>(overlay: &Overlay<'a>) -> Vec<(&'a Resource, String)> {
    let mut found = Vec::new();
    for resource in overlay.resources {
        let configurations = embedded::configurations(resource).unwrap_or_default();
        for policy in configurations.into_iter().filter(|c| c.filter == "runtime-group") {
            let json: Value = serde_json::from_str(&policy.json).unwrap_or_default();
            let headers = items(&json, "/keys").iter().map(|key| match text(key, "/header") {
                "" => format!("x-subset-{}", text(key, "/key").to_ascii_lowercase().replace('/', "-")),
                header => header.to_owned(),
            });
            found.extend(headers.map(|header| (resource, header)));
        }
    }
    found
}

/// The clusters that `EnvoyFilter`s add or change.
fn clusters<'a>(overlay: &Overlay<'a>) -> Vec<(&'a Resource, &'a Value)> {
    let of = |resource: &'a Resource| {
        let all = fragments(resource).into_iter().filter(|f| f.apply_to == "CLUSTER");
        all.map(move |fragment| (resource, fragment.value))
    };
    overlay.resources.iter().flat_map(of).collect()
}

/// An endpoint that is a name in the DNS of Kubernetes: only a headless Service's is its pods.
fn endpoints(overlay: &Overlay<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (resource, cluster) in clusters(overlay) {
        let groups = items(cluster, "/load_assignment/endpoints").iter();
        for endpoint in groups.flat_map(|group| items(group, "/lb_endpoints")) {
            let address = text(endpoint, "/endpoint/address/socket_address/address");
            let mut parts = address.split('.');
            let (name, namespace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let service = overlay.find("", "Service", namespace, name);
            if service.is_none_or(|service| service.text("/spec/clusterIP") != "None") {
                let reason = format!("the endpoint {address} is not a headless Service of these resources");
                problems.push(Problem::new(resource, reason));
            }
        }
    }
    problems
}
