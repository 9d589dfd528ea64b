//! What the pods of a Gateway get: their parameters, and modules.

use serde_json::Value;

use super::at;
use crate::Problem;
use crate::embedded;
use crate::envoy_gateway::{GROUP, module_of};
use crate::resource::{Resource, items, text};
use crate::rules::{GATEWAY_API, Overlay, loading};

/// The keys of a Gateway's parameters that istiod reads; it takes them for patches of what it makes.
const KEYS: [&str; 5] =
    ["deployment", "service", "serviceAccount", "horizontalPodAutoscaler", "podDisruptionBudget"];
const REFERENCE: &str = "/spec/infrastructure/parametersRef";

pub(super) fn check(overlay: &Overlay<'_>, resource: &Resource) -> Vec<Problem> {
    match (resource.group(), resource.kind()) {
        (GATEWAY_API, "Gateway") if resource.text("/spec/gatewayClassName").starts_with("istio") => {
            parameters(overlay, resource).into_iter().collect()
        }
        (GROUP, "EnvoyProxy") => modules(resource),
        (GROUP, "EnvoyExtensionPolicy") => failing_open(resource),
        (GROUP, "EnvoyPatchPolicy") => {
            let wrong = loading(&resource.value, &mut 0).into_iter();
            wrong.map(|reason| at(resource, "loading", "/spec/jsonPatches", reason)).collect()
        }
        _ => Vec::new(),
    }
}

/// istiod looks for the ConfigMap in the Gateway's own namespace, and for known keys in it.
fn parameters(overlay: &Overlay<'_>, gateway: &Resource) -> Option<Problem> {
    gateway.at(REFERENCE)?;
    let (kind, name) =
        (gateway.text(&format!("{REFERENCE}/kind")), gateway.text(&format!("{REFERENCE}/name")));
    if kind != "ConfigMap" {
        let reason =
            format!("names a {kind}, and Istio takes the parameters of a Gateway from a ConfigMap only");
        return Some(at(gateway, "parameters", format!("{REFERENCE}/kind"), reason));
    }
    if let Some(map) = overlay.find("", "ConfigMap", gateway.namespace(), name) {
        let keys: Vec<&String> =
            map.at("/data").and_then(Value::as_object).map_or_else(Vec::new, |data| data.keys().collect());
        return (!keys.iter().any(|key| KEYS.contains(&key.as_str()))).then(|| {
            let reason = format!(
                "names {}, which has the keys {keys:?}, and Istio reads {}: nothing of it is applied",
                map.id(),
                KEYS.join(", ")
            );
            at(gateway, "parameters", REFERENCE, reason)
        });
    }
    let elsewhere = overlay.of_kind("ConfigMap").iter().find(|map| map.name() == name)?;
    let reason = format!(
        "names the ConfigMap {name}, which Istio takes from the Gateway's own namespace: these resources have it in {}",
        elsewhere.namespace()
    );
    Some(at(gateway, "parameters-elsewhere", REFERENCE, reason))
}

/// This project's module in Envoy Gateway, which neither waits for a module that it fetches nor keeps one by itself.
fn modules(proxy: &Resource) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, module) in items(&proxy.value, "/spec/dynamicModules").iter().enumerate() {
        let place = ["/name", "/source/local/path", "/source/remote/url"].map(|field| text(module, field));
        if !place.iter().any(|text| text.replace('-', "_").contains(embedded::MODULE)) {
            continue;
        }
        let pointer = format!("/spec/dynamicModules/{index}");
        if module.get("doNotClose") != Some(&Value::Bool(true)) {
            let reason =
                "doNotClose must be true: otherwise Envoy unloads code that still has to run, and dies";
            problems.push(at(proxy, "gateway-module", format!("{pointer}/doNotClose"), reason));
        }
        if text(module, "/source/type") == "Remote" {
            let reason = "is fetched while Envoy serves already, so that requests go past the filter until it is there, and \
                          where it cannot be fetched: bring the module in by an image and take the type Local";
            problems.push(at(proxy, "gateway-module-fetched", format!("{pointer}/source"), reason));
        }
    }
    problems
}

/// Envoy Gateway's default is to refuse requests while a module cannot be fetched, or has failed.
fn failing_open(policy: &Resource) -> Vec<Problem> {
    let filters = policy.list("/spec/wasm").iter().enumerate();
    let open = filters.filter(|(_, filter)| {
        filter.get("failOpen") == Some(&Value::Bool(true))
            && module_of(filter).is_ok_and(|module| embedded::is_ours(&module))
    });
    let reason =
        "serves without the filter while the module cannot be fetched or has failed: leave failOpen false";
    open.map(|(index, _)| at(policy, "gateway-fails-open", format!("/spec/wasm/{index}/failOpen"), reason))
        .collect()
}
