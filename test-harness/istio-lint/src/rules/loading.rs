//! How filters are loaded, in any part of Envoy's configuration: an Envoy that has lost or never got its filter must
//! refuse requests, not serve them unfiltered.

use serde_json::Value;

use crate::embedded::{self, DYNAMIC_MODULE, POLICY, TYPE_PREFIX, WASM};
use crate::resource::text;

/// What is wrong with the loading of each filter and policy of this project within `value`, a bootstrap or a part of
/// one; they are counted in `found`.
///
/// The fields are those of Envoy's `PluginConfig` (`extensions/wasm/v3`) and `DynamicModuleConfig`
/// (`extensions/dynamic_modules/v3`).
pub fn loading(value: &Value, found: &mut usize) -> Vec<String> {
    let mut wrong = Vec::new();
    match text(value, "/@type").strip_prefix(TYPE_PREFIX) {
        Some(WASM) => {
            *found += 1;
            wrong.extend(wasm(value.pointer("/config").unwrap_or(&Value::Null)));
        }
        Some(DYNAMIC_MODULE | POLICY) if !embedded::is_anothers(value) => {
            *found += 1;
            wrong.extend(native(value.pointer("/dynamic_module_config").unwrap_or(&Value::Null)));
        }
        _ => {}
    }
    match value {
        Value::Object(fields) => wrong.extend(fields.values().flat_map(|field| loading(field, found))),
        Value::Array(items) => wrong.extend(items.iter().flat_map(|item| loading(item, found))),
        _ => {}
    }
    wrong
}

fn wasm(config: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if text(config, "/failure_policy") != "FAIL_RELOAD" {
        wrong.push("failure_policy must be FAIL_RELOAD: after a VM has died, FAIL_CLOSED answers 503 until a restart, and FAIL_OPEN serves without the filter".to_owned());
    }
    if config.pointer("/fail_open") == Some(&Value::Bool(true)) {
        wrong.push("fail_open serves without the filter".to_owned());
    }
    let interval = text(config, "/reload_config/backoff/base_interval");
    let seconds = interval.strip_suffix('s').and_then(|number| number.parse::<f64>().ok());
    if seconds.is_some_and(|seconds| seconds < SHORTEST) {
        wrong.push(format!(
            "reload_config.backoff.base_interval {interval} ends Envoy at the first reload: it divides by half of the \
             milliseconds, so take 0.1s or more"
        ));
    }
    wrong
}

/// In seconds: half of it in whole milliseconds must not be zero.
const SHORTEST: f64 = 0.002;

fn native(module: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if module.pointer("/do_not_close") != Some(&Value::Bool(true)) {
        wrong
            .push("do_not_close must be true: otherwise Envoy unloads code that still has to run".to_owned());
    }
    let refuses = module.pointer("/nack_on_cache_miss") == Some(&Value::Bool(true));
    if module.pointer("/module/remote").is_some() && !refuses {
        wrong.push("a remote module needs nack_on_cache_miss: until it has been fetched, Envoy serves without the filter".to_owned());
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(filter: &Value) -> Vec<String> {
        let mut found = 0;
        let wrong = loading(&json!({"http_filters": [{"name": "f", "typed_config": filter}]}), &mut found);
        assert_eq!(found, 1);
        wrong
    }

    #[test]
    fn a_wasm_filter_that_would_be_left_out_is_seen() {
        let filter = |config: Value| json!({"@type": format!("{TYPE_PREFIX}{WASM}"), "config": config});
        assert!(wrong(&filter(json!({"failure_policy": "FAIL_RELOAD"}))).is_empty());
        assert!(wrong(&filter(json!({})))[0].contains("failure_policy must be"));
        let open = filter(json!({"failure_policy": "FAIL_RELOAD", "fail_open": true}));
        assert!(wrong(&open)[0].contains("without the filter"));
        let reloads = |interval: &str| {
            let backoff = json!({"backoff": {"base_interval": interval}});
            wrong(&filter(json!({"failure_policy": "FAIL_RELOAD", "reload_config": backoff})))
        };
        assert!(reloads("0.1s").is_empty());
        assert!(reloads("0.001s")[0].contains("ends Envoy at the first reload"));
    }

    #[test]
    fn how_another_projects_module_is_loaded_is_its_own_matter() {
        let module = |config: Value| {
            let mut config = config;
            config["@type"] = format!("{TYPE_PREFIX}{DYNAMIC_MODULE}").into();
            config
        };
        for filter in [
            module(json!({"dynamic_module_config": {"name": "acme"}, "filter_name": "acme_waf"})),
            module(json!({"dynamic_module_config": {"name": "acme"}})),
            module(
                json!({"dynamic_module_config": {"name": "mesh_filters"}, "lb_policy_name": "runtime_group"}),
            ),
        ] {
            let mut found = 0;
            assert_eq!((loading(&filter, &mut found), found), (Vec::new(), 0), "{filter}");
        }
    }

    #[test]
    fn a_native_filter_that_would_be_left_out_or_unloaded_is_seen() {
        let filter = |config: Value| json!({"@type": format!("{TYPE_PREFIX}{DYNAMIC_MODULE}"), "dynamic_module_config": config});
        assert!(wrong(&filter(json!({"do_not_close": true, "name": "inference_filters"}))).is_empty());
        assert!(wrong(&filter(json!({"name": "inference_filters"})))[0].contains("do_not_close"));
        let policy = json!({"@type": format!("{TYPE_PREFIX}{POLICY}"), "dynamic_module_config": {"name": "inference_filters"}});
        assert!(wrong(&policy)[0].contains("do_not_close"));
        let remote = json!({"do_not_close": true, "module": {"remote": {"sha256": "x"}}});
        assert!(wrong(&filter(remote.clone()))[0].contains("nack_on_cache_miss"));
        let mut refusing = remote;
        refusing["nack_on_cache_miss"] = json!(true);
        assert!(wrong(&filter(refusing)).is_empty());
    }
}
