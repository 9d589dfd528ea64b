//! Routes for a request whose route is selected twice, and the subsets they name.

use serde_json::Value;

use super::traps::{full_name, of_virtual_service};
use super::{NETWORKING, Overlay, is_dns_label};
use crate::Problem;
use crate::resource::{Resource, items, text};

const GRPC: &str = "/inference.GRPCInferenceService/";

/// `DestinationRule`.
pub(super) fn check_subsets(rule: &Resource) -> Vec<Problem> {
    let names = rule.list("/spec/subsets").iter().map(|subset| text(subset, "/name")).enumerate();
    let bad = names.filter(|(_, name)| !is_dns_label(name));
    bad.map(|(index, name)| {
        let reason = format!("the subset's name {name:?} is not a DNS label: the webhook refuses it");
        Problem { pointer: format!("/spec/subsets/{index}/name"), ..Problem::new(rule, reason) }
    })
    .collect()
}

/// `VirtualService` and `HTTPRoute`.
pub(super) fn check(overlay: &Overlay<'_>, resource: &Resource) -> Vec<Problem> {
    let mut problems = Vec::new();
    if resource.kind() == "VirtualService" {
        problems.extend(destinations(overlay, resource));
    }
    let wrong = of_all(overlay, resource).into_iter();
    problems
        .extend(wrong.map(|reason| Problem { pointer: "/spec".into(), ..Problem::new(resource, reason) }));
    problems
}

/// What is wrong with its rules taken together.
fn of_all(overlay: &Overlay<'_>, resource: &Resource) -> Vec<String> {
    let mut wrong = Vec::new();
    let rules = if resource.kind() == "HTTPRoute" { "/spec/rules" } else { "/spec/http" };
    let rules: Vec<Rule<'_>> = resource.list(rules).iter().map(Rule::of).collect();
    if let Some(configuration) = overlay.transcoder().filter(|_| rules.iter().any(Rule::is_for_models)) {
        wrong.extend(match configuration.get("path").and_then(Value::as_str) {
            Some("route") => rewritten_by_routes(&rules),
            _ => rewritten_by_filter(&rules),
        });
        if rules.iter().flat_map(|rule| &rule.matches).any(|m| m.unstable && m.is_for_models()) {
            wrong.push("matches on the method or the content type, which the filter changes".into());
        }
    }
    if resource.kind() == "VirtualService" {
        wrong.extend(attachment(overlay, resource, &rules));
    } else {
        wrong.extend(parents(overlay, resource));
    }
    wrong
}

/// `GRPCRoute`.
pub(super) fn check_parents(overlay: &Overlay<'_>, resource: &Resource) -> Vec<Problem> {
    let wrong = parents(overlay, resource).into_iter();
    wrong.map(|reason| Problem { pointer: "/spec".into(), ..Problem::new(resource, reason) }).collect()
}

/// Gateways that are not there. A route of Envoy Gateway's is applied with one that is often elsewhere.
fn parents(overlay: &Overlay<'_>, resource: &Resource) -> Vec<String> {
    let mut wrong = Vec::new();
    if overlay.is_envoy_gateways(resource) {
        return wrong;
    }
    for parent in resource.list("/spec/parentRefs") {
        let (name, namespace) = (text(parent, "/name"), text(parent, "/namespace"));
        let own = namespace.is_empty() || namespace == resource.namespace();
        let namespace = if own { resource.namespace() } else { namespace };
        if matches!(text(parent, "/kind"), "" | "Gateway") && overlay.gateway(namespace, name).is_none() {
            wrong.push(if own {
                format!("its parent {name} is not in its namespace")
            } else {
                format!("its parent {name} of {namespace} is not among these resources")
            });
        }
    }
    wrong
}

/// One rule of a route: what it matches and what it writes.
struct Rule<'a> {
    matches: Vec<Match<'a>>,
    rewrite: Option<&'a str>,
}

/// One match of a rule. A rule with no match at all takes everything, as one with an empty prefix does.
struct Match<'a> {
    path: Path<'a>,
    /// It has conditions on more than the path.
    conditional: bool,
    unstable: bool,
    claims: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Path<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Regex(&'a str),
}

impl<'a> Rule<'a> {
    fn of(rule: &'a Value) -> Self {
        let matches = items(rule, "/match").iter().map(Match::of_virtual_service);
        let more = items(rule, "/matches").iter().map(Match::of_http_route);
        let mut matches: Vec<_> = matches.chain(more).collect();
        if matches.is_empty() {
            matches.push(Match {
                path: Path::Prefix(""),
                conditional: false,
                unstable: false,
                claims: false,
            });
        }
        Self { matches, rewrite: rule.pointer("/rewrite/uriRegexRewrite/rewrite").and_then(Value::as_str) }
    }

    /// Whether it takes a path whatever else the request is.
    fn takes(&self, path: &str) -> bool {
        self.matches.iter().filter(|m| !m.conditional).any(|m| match m.path {
            Path::Exact(exact) => exact == path,
            Path::Prefix(prefix) => path.starts_with(prefix),
            Path::Regex(_) => false,
        })
    }

    /// Whether it may take requests of the transcoder's clients. A route for other paths is none of its business.
    fn is_for_models(&self) -> bool {
        self.matches.iter().any(Match::is_for_models)
    }

    /// Whether it may take JSON requests: a regular expression that begins so is taken for one that does.
    fn is_for_json(&self) -> bool {
        let json = |text: &str| text.starts_with("/v2");
        self.matches.iter().any(|m| match m.path {
            Path::Exact(text) | Path::Prefix(text) | Path::Regex(text) => json(text),
        })
    }
}

impl<'a> Match<'a> {
    fn is_for_models(&self) -> bool {
        match self.path {
            Path::Exact(text) => text.starts_with("/v2") || text.starts_with(GRPC),
            Path::Prefix(text) => ["/v2", GRPC].iter().any(|p| p.starts_with(text) || text.starts_with(p)),
            Path::Regex(_) => true,
        }
    }

    fn of_virtual_service(value: &'a Value) -> Self {
        let headers =
            || ["headers", "withoutHeaders"].into_iter().filter_map(|all| value.get(all)?.as_object());
        let has = |name: &str| headers().flat_map(|all| all.keys()).any(|key| key.starts_with(name));
        let path = match value.get("uri").and_then(Value::as_object).and_then(|uri| uri.iter().next()) {
            Some((kind, Value::String(text))) if kind == "exact" => Path::Exact(text),
            Some((kind, Value::String(text))) if kind == "regex" => Path::Regex(text),
            Some((_, Value::String(text))) => Path::Prefix(text),
            _ => Path::Prefix(""),
        };
        let only_path = |key: &String| matches!(key.as_str(), "uri" | "name" | "port");
        Self {
            path,
            conditional: !value.as_object().is_some_and(|all| all.keys().all(only_path)),
            unstable: value.get("method").is_some() || has("content-type"),
            claims: has("@request.auth.claims"),
        }
    }

    fn of_http_route(value: &'a Value) -> Self {
        let text_at = |pointer: &str| text(value, pointer);
        let headers = items(value, "/headers");
        let path = match text_at("/path/type") {
            "Exact" => Path::Exact(text_at("/path/value")),
            "RegularExpression" => Path::Regex(text_at("/path/value")),
            _ => Path::Prefix(text_at("/path/value").trim_end_matches('/')),
        };
        Self {
            path,
            conditional: !value.as_object().is_some_and(|all| all.keys().all(|key| key == "path")),
            unstable: value.get("method").is_some()
                || headers.iter().any(|h| text(h, "/name").eq_ignore_ascii_case("content-type")),
            claims: false,
        }
    }
}

/// Once the filter has rewritten the path, the route is selected again: both paths must find one.
fn rewritten_by_filter(rules: &[Rule<'_>]) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in ["/v2", "/v2/models/m/infer", "/inference.GRPCInferenceService/ModelInfer"] {
        if !rules.iter().any(|rule| rule.takes(path)) {
            wrong.push(format!(
                "has no route for {path}: a request has this path before or after transcoding"
            ));
        }
    }
    if rules.iter().any(|rule| rule.rewrite.is_some()) {
        wrong
            .push("rewrites the path, but the filter does so already: to leave it to routes, set \"path\": \"route\" in the filter's configuration".into());
    }
    wrong
}

/// The filter leaves the path alone: every route that takes JSON must write a gRPC path.
fn rewritten_by_routes(rules: &[Rule<'_>]) -> Vec<String> {
    let json: Vec<_> = rules.iter().filter(|rule| rule.is_for_json()).collect();
    if json.is_empty() {
        return vec!["has no route under /v2 that rewrites the path, but \"path\" is \"route\"".into()];
    }
    let bad = json.into_iter().filter(|rule| !rule.rewrite.is_some_and(|to| to.starts_with(GRPC)));
    bad.map(|_| format!("a route for JSON does not rewrite the path to one under {GRPC}")).collect()
}

/// The gateways or Services that a VirtualService is for.
fn attachment(overlay: &Overlay<'_>, resource: &Resource, rules: &[Rule<'_>]) -> Vec<String> {
    let mut wrong = Vec::new();
    let gateways = resource.list("/spec/gateways");
    for gateway in gateways.iter().filter_map(Value::as_str).filter(|&g| g != "mesh") {
        let (namespace, name) = gateway.split_once('/').unwrap_or((resource.namespace(), gateway));
        if overlay.find(NETWORKING, "Gateway", namespace, name).is_none() {
            wrong.push(format!("its gateway {gateway} is not among these resources"));
        }
    }
    let in_mesh = gateways.is_empty() || gateways.iter().any(|g| g == "mesh");
    if in_mesh {
        if !rules.iter().any(|rule| rule.takes("/any/other")) {
            wrong.push("has conditional routes only: a waypoint then has no default route".into());
        }
        if rules.iter().flat_map(|rule| &rule.matches).any(|m| m.claims) {
            wrong.push("matches on claims, which works at gateways only".into());
        }
        if resource.list("/spec/hosts").iter().any(|host| host == "*") {
            wrong.push("is for the mesh and for every host: a waypoint needs the Service's name".into());
        }
    }
    wrong
}

/// A subset that no DestinationRule of the very same host defines is a route to nowhere: 503.
fn destinations(overlay: &Overlay<'_>, resource: &Resource) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (pointer, destination) in of_virtual_service(resource) {
        let mut wrong: Vec<String> = Vec::new();
        let (host, subset) = (text(destination, "/host"), text(destination, "/subset"));
        let full = full_name(host, resource.namespace());
        if overlay.known.entries.contains(host) {
            continue;
        }
        if !host.ends_with(".svc.cluster.local") {
            let port = destination.pointer("/port/number").map_or_else(String::new, Value::to_string);
            let names = [format!("outbound|{port}||{host}"), format!("inbound-vip|{port}|http|{host}")];
            if !host.contains('.') {
                wrong.push(format!(
                    "the destination {host:?} is not the full name of a Service: Istio takes {full} for it"
                ));
            } else if !names.iter().any(|name| overlay.known.clusters.contains(name.as_str())) {
                wrong.push(format!("the destination {host:?} is not a Service, no ServiceEntry among these resources has it, and no EnvoyFilter adds a cluster for it (one of {names:?})"));
            }
        }
        if !subset.is_empty() && !overlay.known.has_subset(full, subset) {
            wrong.push(format!("no DestinationRule for {host} has the subset {subset:?}"));
        }
        problems.extend(
            wrong
                .into_iter()
                .map(|reason| Problem { pointer: pointer.clone(), ..Problem::new(resource, reason) }),
        );
    }
    problems
}
