//! A route of the Gateway API, in the words of a VirtualService.

use istio_lint::Resource;
use serde_json::{Value, json};

/// The rules of an HTTPRoute as those of a VirtualService.
pub(super) fn rules(route: &Resource) -> Vec<Value> {
    route.list("/spec/rules").iter().map(|rule| of(rule, route.namespace())).collect()
}

fn of(rule: &Value, namespace: &str) -> Value {
    let list = |name: &str| rule.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let matches: Vec<Value> = list("matches").iter().map(conditions).collect();
    let routes: Vec<Value> =
        list("backendRefs").iter().map(|backend| destination(backend, namespace)).collect();
    json!({"match": matches, "route": routes})
}

fn conditions(one: &Value) -> Value {
    let mut found = json!({});
    for (name, condition) in one.as_object().into_iter().flatten() {
        let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
        match name.as_str() {
            "path" => {
                found["uri"] = match text("type") {
                    "Exact" => json!({"exact": text("value")}),
                    "RegularExpression" => json!({"regex": text("value")}),
                    _ => prefix(text("value")),
                }
            }
            "method" => found["method"] = json!({"exact": condition}),
            "headers" => {
                for header in condition.as_array().into_iter().flatten() {
                    let kind = if header["type"] == "RegularExpression" { "regex" } else { "exact" };
                    let name = header["name"].as_str().unwrap_or_default().to_ascii_lowercase();
                    found["headers"][name] = json!({kind: header["value"]});
                }
            }
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

fn destination(backend: &Value, namespace: &str) -> Value {
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
