//! Envoy's own `header_to_metadata`, which tells the load balancer the group of a request.

use istio_lint::embedded;
use serde_json::Value;

use super::Step;
use super::chain::{self, Chain, Proxy};
use super::exchange::Way;

const FILTER: &str = "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config";
/// Where the load balancer looks.
const LB: &str = "envoy.lb";

/// The pairs that these filters make of a request's headers; `None` if the proxy has none of them.
pub(super) fn step(chain: &Chain, way: &mut Way) -> Option<Step> {
    let (mut titles, mut lines): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for located in &chain.resources {
        if !is_here(&chain.proxy, &chain::proxy(&located.resource).1) {
            continue;
        }
        for fragment in embedded::fragments(&located.resource) {
            let Some(config) = fragment.value.get("typed_config").filter(|config| config["@type"] == FILTER)
            else {
                continue;
            };
            let title = format!(
                "header_to_metadata ({}, {}:{})",
                located.resource.id(),
                located.file,
                located.line_of("/spec")
            );
            if titles.last() != Some(&title) {
                titles.push(title);
            }
            for rule in config["request_rules"].as_array().into_iter().flatten() {
                lines.extend(pair(rule, way).filter(|line| !lines.contains(line)));
            }
        }
    }
    if lines.is_empty() {
        lines.push("none of its headers is there".into());
    }
    (!titles.is_empty()).then(|| Step { title: titles.join("; "), lines })
}

/// A rule sets a key if its header is there and not empty.
fn pair(rule: &Value, way: &mut Way) -> Option<String> {
    let set = rule.get("on_header_present").filter(|set| set["metadata_namespace"] == LB)?;
    let header = rule["header"].as_str()?.to_ascii_lowercase();
    let value = way.text(&header).filter(|value| !value.is_empty())?;
    let value = set["value"].as_str().filter(|value| !value.is_empty()).map_or(value, str::to_owned);
    let key = set["key"].as_str()?.to_owned();
    let line = format!("subset: {key}={value} ({header}, metadata {LB})");
    way.subset.insert(key, value);
    Some(line)
}

/// Whether a filter for one proxy is in another.
fn is_here(proxy: &Proxy, of: &Proxy) -> bool {
    proxy == of || matches!(proxy, Proxy::Unknown | Proxy::Everywhere)
}
