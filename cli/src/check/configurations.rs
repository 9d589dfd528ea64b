//! The filters' configurations, read by the filters' own parsers.

use istio_lint::embedded::{self, Configuration};
use istio_lint::envoy_gateway;
use istio_lint::{Level, Resource, rules};
use serde_json::Value;

use super::Finding;
use crate::input::{Document, Located};

/// What a filter would refuse to load.
pub(super) fn check(located: &Located) -> Vec<Finding> {
    let resource = &located.resource;
    if resource.group() == envoy_gateway::GROUP {
        return of_envoy_gateway(located);
    }
    let found = match embedded::configurations(resource) {
        Ok(found) => found,
        Err(reason) if matches!(resource.kind(), "WasmPlugin" | "TrafficExtension" | "EnvoyFilter") => {
            return vec![Finding::error("configuration", located, "/spec", &reason)];
        }
        Err(_) => return Vec::new(),
    };
    let mut findings = Vec::new();
    for configuration in found.iter().filter(|found| embedded::is_ours(&found.filter)) {
        let Err(reason) = embedded::read(configuration) else { continue };
        let pointer = match resource.kind() {
            "WasmPlugin" => format!("/spec/pluginConfig{}", key(&reason)),
            "TrafficExtension" => format!("/spec/wasm/pluginConfig{}", key(&reason)),
            _ => place(&resource.value, configuration, "").unwrap_or_default(),
        };
        let reason = format!("{} refuses its configuration: {reason}", configuration.filter);
        findings.push(Finding::error("configuration", located, &pointer, &reason));
    }
    findings
}

/// The same in a policy of Envoy Gateway's.
fn of_envoy_gateway(located: &Located) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (pointer, configuration) in envoy_gateway::configurations(&located.resource) {
        let Err(reason) = embedded::read(&configuration) else { continue };
        let pointer = match located.resource.kind() {
            "EnvoyExtensionPolicy" => format!("{pointer}{}", key(&reason)),
            _ => place(&located.resource.value, &configuration, "").unwrap_or(pointer),
        };
        let reason = format!("{} refuses its configuration: {reason}", configuration.filter);
        findings.push(Finding::error("configuration", located, &pointer, &reason));
    }
    findings
}

/// Whether a resource of Envoy Gateway's is one of which this command reads something: modules, or filters.
pub(super) fn is_read(resource: &Resource) -> bool {
    resource.kind() == "EnvoyProxy" || !envoy_gateway::configurations(resource).is_empty()
}

/// Whether a document is a bootstrap of Envoy's.
pub(super) fn is_bootstrap(document: &Document) -> bool {
    document.root.as_ref().is_some_and(|root| root.get("static_resources").is_some())
}

/// What is wrong with a bootstrap of Envoy's.
pub(super) fn bootstrap(document: &Document) -> Vec<Finding> {
    let Some(root) = document.root.as_ref().filter(|_| is_bootstrap(document)) else {
        return Vec::new();
    };
    let value = root.value();
    let mut reasons = rules::loading(&value, &mut 0);
    reasons.extend(rules::verified_claims(&value));
    let finding = |reason: String, pointer: String| Finding {
        level: Level::Error,
        rule: "bootstrap",
        file: document.file.clone(),
        line: document.line - 1 + root.line_of(&pointer),
        pointer,
        resource: "Envoy bootstrap".into(),
        reason,
    };
    let mut findings: Vec<_> =
        reasons.into_iter().map(|reason| finding(reason, "/static_resources".into())).collect();
    for (pointer, configuration) in embedded::within(&value) {
        if embedded::is_ours(&configuration.filter)
            && let Err(reason) = embedded::read(&configuration)
        {
            findings.push(finding(
                format!("{} refuses its configuration: {reason}", configuration.filter),
                pointer,
            ));
        }
    }
    findings
}

/// `/map/0/claim` of `configuration key map[0].claim: ...`.
fn key(reason: &str) -> String {
    let path = reason.strip_prefix("configuration key ").and_then(|rest| rest.split(": ").next());
    let Some(path) = path.filter(|path| *path != ".") else { return String::new() };
    let mut pointer = String::new();
    for step in path.replace('[', ".").replace(']', "").split('.').filter(|step| !step.is_empty()) {
        pointer.push('/');
        pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
    }
    pointer
}

/// Where the configuration's text stands.
fn place(value: &Value, wanted: &Configuration, at: &str) -> Option<String> {
    match value {
        Value::String(text) if *text == wanted.json => Some(at.to_owned()),
        Value::Object(fields) => fields.iter().find_map(|(name, below)| {
            place(below, wanted, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")))
        }),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, below)| place(below, wanted, &format!("{at}/{index}")))
        }
        _ => None,
    }
}
