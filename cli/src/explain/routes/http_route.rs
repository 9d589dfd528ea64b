//! Routes of the Gateway API, in the words of a VirtualService, and which of them takes a request: the most specific one
//! of all (HTTPRouteRule.matches).

use std::cmp::Reverse;

use istio_lint::Resource;
use serde_json::{Value, json};

use super::{End, attachment, conditions, destination};
use crate::explain::Step;
use crate::explain::exchange::Way;
use crate::input::Located;

/// The step of all HTTPRoutes and GRPCRoutes of a proxy: those of a listener are one list.
pub(super) fn step(
    resources: &[Located],
    routes: &[(&Located, Vec<String>)],
    way: &Way,
    name: &str,
    port: Option<u64>,
) -> Option<(Step, End)> {
    let (mut found, mut lines): (Vec<Candidate<'_>>, Vec<String>) = (Vec::new(), Vec::new());
    let several = routes.len() > 1;
    for (located, granted) in routes {
        lines.extend(granted.iter().cloned());
        for (index, rule) in located.resource.list("/spec/rules").iter().enumerate() {
            let of = if several { format!("{} ", located.resource.id()) } else { String::new() };
            let said = format!("{of}rules[{index}]");
            match candidate(located, rule, name, way, port) {
                Ok((rank, why)) => found.push(Candidate { located, rule, said, why, rank }),
                Err(why) => lines.push(format!("route: {said} does not: {why}")),
            }
        }
    }
    // Of equals the first in the list: the sort is stable.
    found.sort_by_key(|candidate| Reverse(candidate.rank.clone()));
    let (first, _) = routes.first()?;
    let place = |l: &Located| format!("{}, {}:{}", l.resource.id(), l.file, l.line_of("/spec/rules"));
    let Some((taken, others)) = found.split_first() else {
        lines.push("no route takes it: 404".into());
        return Some((Step { title: place(first), lines }, End::Nowhere));
    };
    for other in others {
        let why = taken.rank.over(&other.rank);
        lines.push(format!("route: {} would too, and gives way: {why}", other.said));
    }
    lines.push(format!("route: {} takes it: {}", taken.said, taken.why));
    let resource = &taken.located.resource;
    let filters = taken.rule.get("filters").and_then(Value::as_array).into_iter().flatten();
    let filters: Vec<&str> = filters.filter_map(|filter| filter.get("type")?.as_str()).collect();
    lines.extend(filters.iter().map(|name| format!("filter of the route: {name}")));
    for backend in taken.rule.get("backendRefs").and_then(Value::as_array).into_iter().flatten() {
        let target = target(backend, resource.namespace());
        lines.extend(destination(resources, resource, &target, way));
    }
    let end = if filters.contains(&"RequestRedirect") { End::Answer } else { End::Server };
    Some((Step { title: place(taken.located), lines }, end))
}

/// A rule that takes the request.
struct Candidate<'a> {
    located: &'a Located,
    rule: &'a Value,
    said: String,
    why: String,
    rank: Rank,
}

/// How specific a match is; a greater one comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Whether the host is written out, and how long it is.
    host: (u8, usize),
    /// Exact, prefix or expression.
    path: u8,
    path_length: usize,
    method: bool,
    headers: usize,
    query: usize,
    /// The older one comes first; then the alphabet counts.
    created: Reverse<String>,
    name: Reverse<String>,
}

impl Rank {
    /// Why it comes before another one.
    fn over(&self, other: &Self) -> &'static str {
        let reasons = [
            (self.host != other.host, "the other's host is more specific"),
            (self.path != other.path, "the other's path is exact, or a prefix where this is an expression"),
            (self.path_length != other.path_length, "the other's path is longer"),
            (self.method != other.method, "the other asks for the method"),
            (self.headers != other.headers, "the other asks for more headers"),
            (self.query != other.query, "the other asks for more query parameters"),
            (self.created != other.created, "the other is older"),
            (self.name != other.name, "the other's name comes first"),
        ];
        let found = reasons.into_iter().find(|(differ, _)| *differ);
        found.map_or("the other comes first in the list", |(_, why)| why)
    }
}

/// The most specific match of a rule, or why none is met.
fn candidate(
    located: &Located,
    rule: &Value,
    name: &str,
    way: &Way,
    port: Option<u64>,
) -> Result<(Rank, String), String> {
    let all = rule.get("matches").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let anything = [json!({})];
    let all = if all.is_empty() { &anything[..] } else { all };
    let grpc = located.resource.kind() == "GRPCRoute";
    let (mut best, mut why_not) = (None, Vec::new());
    for one in all {
        let one = if grpc { of_grpc(one) } else { one.clone() };
        match conditions(&translated(&one), way, port) {
            Ok(why) => {
                let rank = rank(&located.resource, &one, name);
                if best.as_ref().is_none_or(|(known, _)| *known < rank) {
                    best = Some((rank, why));
                }
            }
            Err(why) => why_not.push(why),
        }
    }
    best.ok_or_else(|| why_not.join("; "))
}

/// A match of a GRPCRoute as one of an HTTPRoute has it: a method is a path (gRPC over HTTP/2).
fn of_grpc(one: &Value) -> Value {
    let mut found = one.clone();
    let method = found.as_object_mut().and_then(|all| all.remove("method"));
    let text = |field: &str| {
        let method = method.as_ref()?.get(field)?.as_str()?;
        Some(method).filter(|text| !text.is_empty())
    };
    let expression = text("type") == Some("RegularExpression");
    let any = "[^/]+";
    found["path"] = match (text("service"), text("method")) {
        (None, None) => return found,
        (service, method) if expression => {
            let value = format!("/{}/{}", service.unwrap_or(any), method.unwrap_or(any));
            json!({"type": "RegularExpression", "value": value})
        }
        (Some(service), Some(method)) => json!({"type": "Exact", "value": format!("/{service}/{method}")}),
        (Some(service), None) => json!({"type": "PathPrefix", "value": format!("/{service}")}),
        (None, Some(method)) => {
            json!({"type": "RegularExpression", "value": format!("/{any}/{}", regex::escape(method))})
        }
    };
    found
}

fn rank(route: &Resource, one: &Value, name: &str) -> Rank {
    let hosts = route.list("/spec/hostnames").iter().filter_map(Value::as_str);
    let hosts = hosts.filter(|host| attachment::is_host(host, name));
    let text = |pointer: &str| one.pointer(pointer).and_then(Value::as_str);
    let number = |name: &str| one.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    Rank {
        host: hosts.map(|host| (u8::from(!host.starts_with('*')), host.len())).max().unwrap_or_default(),
        path: match text("/path/type") {
            Some("Exact") => 2,
            Some("RegularExpression") => 0,
            _ => 1,
        },
        path_length: text("/path/value").unwrap_or("/").len(),
        method: one.get("method").is_some(),
        headers: number("headers"),
        query: number("queryParams"),
        created: Reverse(route.text("/metadata/creationTimestamp").to_owned()),
        name: Reverse(format!("{}/{}", route.namespace(), route.name())),
    }
}

fn translated(one: &Value) -> Value {
    let mut found = json!({});
    for (name, condition) in one.as_object().into_iter().flatten() {
        let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
        let by_name = |lower: bool| {
            let mut all = json!({});
            for one in condition.as_array().into_iter().flatten() {
                let kind = if one["type"] == "RegularExpression" { "regex" } else { "exact" };
                let name = one["name"].as_str().unwrap_or_default();
                let name = if lower { name.to_ascii_lowercase() } else { name.to_owned() };
                all[name] = json!({kind: one["value"]});
            }
            all
        };
        match name.as_str() {
            "path" => {
                found["uri"] = match text("type") {
                    "Exact" => json!({"exact": text("value")}),
                    "RegularExpression" => json!({"regex": text("value")}),
                    _ => prefix(text("value")),
                }
            }
            "method" => found["method"] = json!({"exact": condition}),
            "headers" => found["headers"] = by_name(true),
            "queryParams" => found["queryParams"] = by_name(false),
            other => found[other] = condition.clone(),
        }
    }
    found
}

/// A prefix of whole segments.
fn prefix(path: &str) -> Value {
    let path = path.trim_end_matches('/');
    json!({"regex": format!("{}(/.*)?", regex::escape(path))})
}

fn target(backend: &Value, namespace: &str) -> Value {
    let name = backend["name"].as_str().unwrap_or_default();
    let namespace = backend["namespace"].as_str().unwrap_or(namespace);
    let mut route = json!({"destination": {
        "host": format!("{name}.{namespace}.svc.cluster.local"), "port": {"number": backend["port"]},
    }});
    if let Some(weight) = backend.get("weight") {
        route["weight"] = weight.clone();
    }
    route
}
