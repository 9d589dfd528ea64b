//! Routes, subsets and groups of endpoints, as Istio and Envoy choose them.

mod attachment;
mod http_route;

use istio_lint::Resource;
use istio_lint::embedded;
use serde_json::Value;

use super::Step;
use super::chain::Chain;
use super::exchange::Way;
use crate::input::Located;

/// The routes of every VirtualService that is for this proxy and for the request's host, those of all HTTPRoutes
/// together, and what follows from them.
pub(super) fn steps(chain: &Chain, way: &Way, port: Option<u64>) -> (Vec<Step>, End) {
    let name = name(way);
    let of_kind = |kind: &'static str| {
        let of_kind = chain.resources.iter().filter(move |located| located.resource.kind() == kind);
        let here = of_kind.filter(|located| is_for(&located.resource, &name));
        let asked = Asked { name: Some(&name), port };
        here.filter_map(|located| Some((located, attachment::served(chain, &located.resource, asked)?)))
            .collect::<Vec<_>>()
    };
    let services = of_kind("VirtualService").into_iter().map(|(located, granted)| {
        let (mut step, end) = route(&chain.resources, located, way, port);
        step.lines.splice(0..0, granted);
        (step, end)
    });
    let mut routes = of_kind("HTTPRoute");
    routes.extend(of_kind("GRPCRoute"));
    let of_gateway_api = http_route::step(&chain.resources, &routes, way, &name, port);
    let (steps, ends): (Vec<Step>, Vec<End>) = services.chain(of_gateway_api).unzip();
    if steps.is_empty() {
        let unserved = unserved(chain, &name, port);
        // Without any route nothing is known of where a request goes.
        let end = if unserved.is_some() { End::Nowhere } else { End::Server };
        return (unserved.into_iter().collect(), end);
    }
    let end = [End::Server, End::Answer].into_iter().find(|end| ends.contains(end));
    (steps, end.unwrap_or(End::Nowhere))
}

/// Where a request's way ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At a server, or where one may be.
    Server,
    /// At a route that answers by itself.
    Answer,
    /// At the proxy: no route takes it.
    Nowhere,
}

/// What is asked for; `None` for any.
#[derive(Clone, Copy)]
struct Asked<'a> {
    /// The host, without a port.
    name: Option<&'a str>,
    /// The port that the request comes in at.
    port: Option<u64>,
}

/// Why none of the routes at a proxy is for the request.
fn unserved(chain: &Chain, name: &str, port: Option<u64>) -> Option<Step> {
    let mut lines = Vec::new();
    for resource in chain.resources.iter().map(|located| &located.resource) {
        let hosts = match resource.kind() {
            // One without hosts is for those that delegate to it.
            "VirtualService" if !resource.list("/spec/hosts").is_empty() => resource.list("/spec/hosts"),
            "HTTPRoute" | "GRPCRoute" => resource.list("/spec/hostnames"),
            _ => continue,
        };
        if attachment::served(chain, resource, Asked { name: None, port: None }).is_none() {
            continue;
        }
        let id = resource.id();
        if !is_for(resource, name) {
            let mut hosts: Vec<_> = hosts.iter().filter_map(Value::as_str).collect();
            if hosts.is_empty() {
                let parents = resource.list("/spec/parentRefs").iter();
                hosts.extend(parents.filter_map(|parent| parent.get("name").and_then(Value::as_str)));
            }
            lines.push(format!("{id} is not for this host, {name}: its hosts are {}", hosts.join(", ")));
            continue;
        }
        let port = port.map_or_else(String::new, |port| format!(" at port {port}"));
        lines.push(format!("{id} is bound to nothing at this proxy that listens for {name}{port}"));
    }
    if lines.is_empty() {
        return None;
    }
    lines.push("none of these routes takes it".into());
    Some(Step { title: "routes".into(), lines })
}

/// The request's host without its port, in lower case, as hosts are compared.
fn name(way: &Way) -> String {
    let authority = way.text(":authority").unwrap_or_default().to_ascii_lowercase();
    // The colons of an IPv6 address are inside brackets.
    let split = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    split.map_or(authority.as_str(), |(name, _)| name).to_owned()
}

/// Whether one of its hosts is the request's; in the mesh a Service has shorter names as well.
fn is_for(route: &Resource, name: &str) -> bool {
    let gateways = route.list("/spec/gateways");
    let (hosts, mesh) = match route.kind() {
        "HTTPRoute" | "GRPCRoute" if route.list("/spec/hostnames").is_empty() => {
            return is_for_parent(route, name);
        }
        "HTTPRoute" | "GRPCRoute" => (route.list("/spec/hostnames"), false),
        _ => (
            route.list("/spec/hosts"),
            gateways.is_empty() || gateways.iter().any(|gateway| gateway == "mesh"),
        ),
    };
    hosts.iter().filter_map(Value::as_str).any(|host| {
        attachment::is_host(host, name)
            || mesh && names(host, route.namespace()).iter().any(|own| own == name)
    })
}

/// Whether a route without hosts is bound to a Gateway, whose hosts it has then, or to the Service that is named.
fn is_for_parent(route: &Resource, name: &str) -> bool {
    let parents = route.list("/spec/parentRefs");
    let of = |parent: &Value| {
        let text = |field: &str| parent.get(field).and_then(Value::as_str).unwrap_or_default();
        let namespace = Some(text("namespace")).filter(|own| !own.is_empty()).unwrap_or(route.namespace());
        text("kind") != "Service" || names(text("name"), namespace).iter().any(|own| own == name)
    };
    parents.is_empty() || parents.iter().any(of)
}

/// The names of a Service of the cluster that sidecars and waypoints know.
fn names(host: &str, namespace: &str) -> Vec<String> {
    let full = full(&host.to_ascii_lowercase(), namespace);
    let Some(short) = full.strip_suffix(".svc.cluster.local") else { return Vec::new() };
    let service = short.split('.').next().unwrap_or_default();
    vec![full.clone(), format!("{short}.svc"), short.to_owned(), service.to_owned()]
}

/// A host as Istio completes it.
fn full(host: &str, namespace: &str) -> String {
    if host.contains('.') || host.contains('*') {
        return host.to_owned();
    }
    format!("{host}.{namespace}.svc.cluster.local")
}

fn route(resources: &[Located], located: &Located, way: &Way, port: Option<u64>) -> (Step, End) {
    let resource = &located.resource;
    let mut lines = Vec::new();
    let mut end = End::Nowhere;
    for (index, rule) in resource.list("/spec/http").iter().enumerate() {
        let said = format!("http[{index}]");
        match matched(rule, way, port) {
            Ok(why) => {
                lines.push(format!("route: {said}{} takes it: {why}", named(rule)));
                end = match rule.get("delegate") {
                    Some(child) => delegated(resources, resource, child, way, port, &mut lines),
                    None => {
                        lines.extend(action(resources, resource, rule, way));
                        end_of(rule)
                    }
                };
                if end != End::Nowhere {
                    break;
                }
            }
            Err(why) => lines.push(format!("route: {said} does not: {why}")),
        }
    }
    if end == End::Nowhere {
        lines.push("no route takes it: 404".into());
    }
    let title = format!("{}, {}:{}", resource.id(), located.file, located.line_of("/spec/http"));
    (Step { title, lines }, end)
}

/// Where a request ends that a rule takes.
fn end_of(rule: &Value) -> End {
    let answers = ["redirect", "directResponse"].iter().any(|own| rule.get(own).is_some());
    if answers { End::Answer } else { End::Server }
}

/// A rule's name, as it is shown.
fn named(rule: &Value) -> String {
    rule.get("name").and_then(Value::as_str).map_or_else(String::new, |name| format!(" ({name})"))
}

/// Goes on with the routes of the VirtualService that a rule delegates to, which hold in addition; returns where the
/// request ends, if one of them takes it, or could.
fn delegated(
    resources: &[Located],
    parent: &Resource,
    delegate: &Value,
    way: &Way,
    port: Option<u64>,
    lines: &mut Vec<String>,
) -> End {
    let text = |field: &str| delegate.get(field).and_then(Value::as_str).unwrap_or_default();
    let namespace = Some(text("namespace")).filter(|own| !own.is_empty()).unwrap_or(parent.namespace());
    let id = format!("VirtualService {namespace}/{}", text("name"));
    let is_it = |l: &&Located| {
        let resource = &l.resource;
        resource.kind() == "VirtualService"
            && (resource.namespace(), resource.name()) == (namespace, text("name"))
    };
    let Some(child) = resources.iter().find(is_it).map(|located| &located.resource) else {
        lines.push(format!("delegates to {id}, which these resources do not have"));
        return End::Server;
    };
    if !child.list("/spec/hosts").is_empty() {
        lines.push(format!("delegates to {id}, which has hosts of its own: Istio takes only one without"));
        return End::Nowhere;
    }
    lines.push(format!("delegates to {id}"));
    for (index, rule) in child.list("/spec/http").iter().enumerate() {
        let said = format!("{id} http[{index}]");
        match matched(rule, way, port) {
            Ok(why) => {
                lines.push(format!("route: {said}{} takes it: {why}", named(rule)));
                lines.extend(action(resources, child, rule, way));
                return end_of(rule);
            }
            Err(why) => lines.push(format!("route: {said} does not: {why}")),
        }
    }
    End::Nowhere
}

/// What a rule does with a request that it takes.
fn action(resources: &[Located], service: &Resource, rule: &Value, way: &Way) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(to) = rule.get("redirect") {
        let code = to.get("redirectCode").and_then(Value::as_u64).unwrap_or(301);
        lines.push(format!("redirects: {code} to {to}, so that no server is asked"));
        return lines;
    }
    if let Some(answer) = rule.get("directResponse") {
        let status = answer.get("status").map(Value::to_string).unwrap_or_default();
        let body = answer.get("body").map_or_else(String::new, |body| format!(", {body}"));
        lines.push(format!("answers by itself: {status}{body}, so that no server is asked"));
        return lines;
    }
    if let Some(to) = rule.pointer("/rewrite") {
        lines.push(format!("rewrites: {to}"));
    }
    for target in rule.get("route").and_then(Value::as_array).into_iter().flatten() {
        lines.extend(destination(resources, service, target, way));
    }
    lines
}

/// Why a rule takes a request, or why it does not.
fn matched(rule: &Value, way: &Way, port: Option<u64>) -> Result<String, String> {
    let matches = rule.get("match").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if matches.is_empty() {
        return Ok("it has no conditions".into());
    }
    let mut why = Vec::new();
    for one in matches {
        match conditions(one, way, port) {
            Ok(reason) => return Ok(reason),
            Err(reason) => why.push(reason),
        }
    }
    Err(why.join("; "))
}

fn conditions(one: &Value, way: &Way, port: Option<u64>) -> Result<String, String> {
    let mut met = Vec::new();
    let path = way.text(":path").unwrap_or_default();
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    for (name, condition) in one.as_object().into_iter().flatten() {
        match name.as_str() {
            "name" | "ignoreUriCase" | "statPrefix" => {}
            "uri" if one.get("ignoreUriCase") == Some(&Value::Bool(true)) => {
                met.push(caseless("the path", path, condition)?);
            }
            "uri" => met.push(text("the path", Some(path), condition, false)?),
            "method" => met.push(text("the method", way.text(":method").as_deref(), condition, false)?),
            "scheme" => met.push(text("the scheme", way.text(":scheme").as_deref(), condition, false)?),
            "authority" => met.push(text("the host", way.text(":authority").as_deref(), condition, false)?),
            "headers" | "withoutHeaders" => {
                for (header, condition) in condition.as_object().into_iter().flatten() {
                    let value = way.text(&header.to_ascii_lowercase());
                    met.push(text(header, value.as_deref(), condition, name == "withoutHeaders")?);
                }
            }
            "queryParams" => {
                for (parameter, condition) in condition.as_object().into_iter().flatten() {
                    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                    let value = pairs.into_iter().find(|(name, _)| name == parameter).map(|(_, value)| value);
                    met.push(text(&format!("the query parameter {parameter}"), value, condition, false)?);
                }
            }
            "port" => match (condition.as_u64(), port) {
                (Some(wanted), Some(port)) if wanted == port => met.push(format!("port {port}")),
                (Some(wanted), Some(port)) => return Err(format!("the port is {port}, not {wanted}")),
                (wanted, None) => {
                    met.push(format!("port {} (taken for granted: --port)", wanted.unwrap_or_default()));
                }
                (None, Some(_)) => return Err("its port is not a number".into()),
            },
            other => return Err(format!("its condition {other} is not understood by this command")),
        }
    }
    Ok(if met.is_empty() { "it has no conditions".into() } else { met.join(", ") })
}

/// A StringMatch of Istio's.
fn text(what: &str, found: Option<&str>, condition: &Value, not: bool) -> Result<String, String> {
    let said = found.map_or_else(|| "absent".to_owned(), |value| format!("{value:?}"));
    let (kind, wanted) = condition
        .as_object()
        .and_then(|all| all.iter().next())
        .map_or(("present", ""), |(kind, wanted)| (kind.as_str(), wanted.as_str().unwrap_or_default()));
    let holds = match (kind, found) {
        ("present", found) => found.is_some(),
        (_, None) => false,
        ("exact", Some(value)) => value == wanted,
        ("prefix", Some(value)) => value.starts_with(wanted),
        ("regex", Some(value)) => match regex::Regex::new(&format!("^(?:{wanted})$")) {
            Ok(expression) => expression.is_match(value),
            Err(error) => return Err(format!("its regular expression for {what} is malformed: {error}")),
        },
        (other, Some(_)) => {
            return Err(format!("its condition {other} for {what} is not understood by this command"));
        }
    };
    let condition = if kind == "present" { "present".to_owned() } else { format!("{kind} {wanted:?}") };
    match holds != not {
        true => Ok(format!("{what} is {said}, {}{condition}", if not { "not " } else { "" })),
        false => {
            Err(format!("{what} is {said}, {}{condition}", if not { "but must not be " } else { "not " }))
        }
    }
}

/// A StringMatch for which upper and lower case are the same, where that is not an expression.
fn caseless(what: &str, found: &str, condition: &Value) -> Result<String, String> {
    let mut lower = condition.clone();
    for (kind, wanted) in lower.as_object_mut().into_iter().flatten() {
        match wanted.as_str() {
            Some(text) if kind != "regex" => *wanted = text.to_ascii_lowercase().into(),
            _ => return text(what, Some(found), condition, false),
        }
    }
    text(what, Some(&found.to_ascii_lowercase()), &lower, false).map(|why| format!("{why}, in any case"))
}

/// A destination: its subset's labels, or the group of an added cluster, or what a policy reads.
fn destination(resources: &[Located], service: &Resource, target: &Value, way: &Way) -> Vec<String> {
    let at = |pointer: &str| target.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (host, subset) = (at("/destination/host"), at("/destination/subset"));
    let port = target.pointer("/destination/port/number").and_then(Value::as_u64);
    let name = full(host, service.namespace());
    let shown = port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
    let weight = target.get("weight").map_or_else(String::new, |weight| format!(", weight {weight}"));
    let mut lines = vec![format!("destination: {shown}{weight}")];
    let full_host = name.clone();
    if !subset.is_empty() {
        let rules = resources.iter().filter(|l| {
            l.resource.kind() == "DestinationRule"
                && full(l.resource.text("/spec/host"), l.resource.namespace()) == name
        });
        let mut subsets = rules.flat_map(|l| l.resource.list("/spec/subsets"));
        match subsets.find(|one| one.get("name").and_then(Value::as_str) == Some(subset)) {
            Some(one) => lines.push(format!(
                "subset: {subset}, the pods with {}",
                one.get("labels").unwrap_or(&Value::Null)
            )),
            None => lines.push(format!("subset: {subset}, which no DestinationRule for this host has: 503")),
        }
    }
    for located in resources.iter().filter(|located| located.resource.kind() == "EnvoyFilter") {
        for patch in located.resource.list("/spec/configPatches") {
            let value = patch.pointer("/patch/value").unwrap_or(&Value::Null);
            let names = [value.get("name"), patch.pointer("/match/cluster/name")];
            let is_it = |name: &Value| {
                name.as_str().is_some_and(|name| name.split('|').next_back() == Some(full_host.as_str()))
            };
            if names.into_iter().flatten().any(is_it) {
                lines.extend(group(value, way));
                let policies = embedded::within(value).into_iter().map(|(_, policy)| policy);
                let ours = policies.filter(|policy| policy.filter == "runtime-group");
                lines.extend(ours.flat_map(|policy| policy_of(&policy.json, way)));
            }
        }
    }
    lines
}

/// The endpoints that `lb_subset_config` picks: those of the first selector whose keys the request has.
fn group(cluster: &Value, way: &Way) -> Vec<String> {
    let Some(config) = cluster.get("lb_subset_config") else { return Vec::new() };
    let selectors = config.get("subset_selectors").and_then(Value::as_array).into_iter().flatten();
    let keys = |selector: &Value| -> Vec<String> {
        let all = selector.get("keys").and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let given: Vec<&String> = way.subset.keys().collect();
    let fallback = config.get("fallback_policy").and_then(Value::as_str).unwrap_or("NO_FALLBACK");
    let otherwise = |why: &str| match fallback {
        "ANY_ENDPOINT" => format!("group: {why}, so any endpoint (ANY_ENDPOINT)"),
        "NO_FALLBACK" => format!("group: {why}, so 503 (NO_FALLBACK)"),
        other => format!("group: {why}, so {other}"),
    };
    // Envoy takes a selector whose keys are those of the request, no more and no fewer.
    let selector = selectors.into_iter().map(keys).find(|keys| {
        let mut keys: Vec<&String> = keys.iter().collect();
        keys.sort();
        keys == given
    });
    let Some(selector) = selector else {
        let pairs: Vec<_> = way.subset.iter().map(|(key, value)| format!("{key}={value}")).collect();
        return vec![otherwise(&format!("no selector has exactly the keys of [{}]", pairs.join(", ")))];
    };
    let groups =
        cluster.pointer("/load_assignment/endpoints").and_then(Value::as_array).into_iter().flatten();
    let endpoints =
        groups.flat_map(|group| group.get("lb_endpoints").and_then(Value::as_array).into_iter().flatten());
    let has = |endpoint: &&Value| {
        let metadata = endpoint.pointer("/metadata/filter_metadata/envoy.lb");
        selector.iter().all(|key| {
            let value = metadata.and_then(|all| all.get(key)).and_then(Value::as_str);
            value.is_some() && value == way.subset.get(key).map(String::as_str)
        })
    };
    let address = |endpoint: &Value| {
        endpoint
            .pointer("/endpoint/address/socket_address/address")
            .and_then(Value::as_str)
            .unwrap_or("?")
            .to_owned()
    };
    let found: Vec<_> = endpoints.filter(has).map(address).collect();
    if found.is_empty() {
        return vec![otherwise(&format!("no endpoint has {}", selector.join(", ")))];
    }
    vec![format!("group: by {}: {}", selector.join(", "), found.join(", "))]
}

/// What the policy `runtime-group` reads of the request.
fn policy_of(json: &str, way: &Way) -> Vec<String> {
    let config: Value = serde_json::from_str(json).unwrap_or_default();
    let mut lines = Vec::new();
    for key in config.get("keys").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
        let header = match text("header") {
            "" => format!("x-subset-{}", text("key").to_ascii_lowercase().replace('/', "-")),
            header => header.to_ascii_lowercase(),
        };
        lines.push(match way.text(&header) {
            Some(value) => format!(
                "group: the policy runtime-group takes endpoints with {}={value} ({header})",
                text("key")
            ),
            None => format!("group: the policy runtime-group finds no {header}"),
        });
    }
    lines
}
