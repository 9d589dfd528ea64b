//! Dynamic modules: filters and policies, and the Deployment that must have the module.

use serde_json::Value;

use super::{GATEWAY_API, Overlay};
use crate::embedded::{self, MODULE, fragments};
use crate::resource::{Resource, items, text};

const SEARCH_PATH: &str = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH";

pub(super) fn check(overlay: &Overlay<'_>, filter: &Resource) -> Vec<String> {
    let fragments = fragments(filter);
    let policies = fragments.iter().flat_map(|f| items(f.value, "/load_balancing_policy/policies"));
    let policies = policies.filter_map(|policy| policy.pointer("/typed_extension_config/typed_config"));
    let modules = fragments.iter().filter_map(|f| f.value.get("typed_config")).chain(policies);
    let ours = |config: &&Value| {
        ["/filter_name", "/lb_policy_name"].iter().any(|name| embedded::is_ours(text(config, name)))
    };
    let modules = modules.filter(ours);
    let modules: Vec<&Value> = modules.filter_map(|config| config.get("dynamic_module_config")).collect();
    if modules.is_empty() {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    for module in modules {
        if text(module, "/name") != MODULE {
            wrong.push(format!("the module's name must be {MODULE}"));
        }
    }
    for reference in filter.targets() {
        let name = text(reference, "/name");
        if let Some(gateway) = overlay.find(GATEWAY_API, "Gateway", filter.namespace(), name) {
            wrong.extend(deployment(overlay, gateway));
        }
    }
    if filter.targets().is_empty() {
        wrong.push(
            "does not name a Gateway in targetRefs, so it is not known whether the pods have the module"
                .into(),
        );
    }
    wrong
}

/// Whether the Gateway's pods get the module, and Envoy is told where.
fn deployment(overlay: &Overlay<'_>, gateway: &Resource) -> Vec<String> {
    let reference = "/spec/infrastructure/parametersRef";
    let name = gateway.text(&format!("{reference}/name"));
    let map = overlay.find("", "ConfigMap", gateway.namespace(), name);
    let Some(map) = map.filter(|_| gateway.text(&format!("{reference}/kind")) == "ConfigMap") else {
        return vec![format!(
            "the Gateway {} has no parametersRef to a ConfigMap of these resources",
            gateway.name()
        )];
    };
    let deployment = match serde_saphyr::from_str::<Value>(map.text("/data/deployment")) {
        Ok(deployment) if deployment.is_object() => deployment,
        Ok(_) => return vec![format!("{} has no key \"deployment\"", map.id())],
        Err(error) => return vec![format!("{}: {error}", map.id())],
    };
    let pod = "/spec/template/spec";
    let container = |kind: &str, of: fn(&Value) -> bool| {
        items(&deployment, &format!("{pod}/{kind}")).iter().find(|c| of(c)).unwrap_or(&Value::Null)
    };
    let proxy = container("containers", |c| text(c, "/name") == "istio-proxy");
    let path =
        items(proxy, "/env").iter().find(|v| text(v, "/name") == SEARCH_PATH).map(|v| text(v, "/value"));
    let Some(path) = path else {
        return vec![format!("{}: istio-proxy has no {SEARCH_PATH}", map.id())];
    };
    let mount = items(proxy, "/volumeMounts").iter().find(|m| text(m, "/mountPath") == path);
    let Some(volume) = mount.map(|m| text(m, "/name")) else {
        return vec![format!("{}: istio-proxy has no mount at {path}", map.id())];
    };
    let mut wrong = Vec::new();
    if !items(&deployment, &format!("{pod}/volumes")).iter().any(|v| text(v, "/name") == volume) {
        wrong.push(format!("{}: the volume {volume} is missing", map.id()));
    }
    let fills = |c: &Value| {
        let mount = items(c, "/volumeMounts").iter().find(|m| text(m, "/name") == volume);
        let target = mount.map_or("", |m| text(m, "/mountPath"));
        let command: Vec<&str> = items(c, "/command").iter().filter_map(Value::as_str).collect();
        !target.is_empty()
            && command.iter().any(|word| word.ends_with(&format!("/lib{MODULE}.so")))
            && command.iter().any(|word| word.trim_end_matches('/') == target)
    };
    if !items(&deployment, &format!("{pod}/initContainers")).iter().any(fills) {
        wrong.push(format!("{}: no init container copies lib{MODULE}.so into {volume}", map.id()));
    }
    wrong
}
