//! What is embedded in resources: the filters' configurations, and parts of Envoy's.

use filter_api::Caps;
use serde_json::Value;

use crate::resource::{self, Resource};

pub(crate) const TYPE_PREFIX: &str = "type.googleapis.com/";
pub(crate) const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
pub(crate) const DYNAMIC_MODULE: &str =
    "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";

/// In which host a filter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// In a wasm VM of Envoy.
    Wasm,
    /// As a dynamic module.
    Native,
}

/// A filter's configuration as found in a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The filter's name, with hyphens.
    pub filter: String,
    /// Where it is to run.
    pub host: Host,
    /// The configuration's text, as the filter gets it.
    pub json: String,
}

/// Every filter configuration in a resource.
///
/// # Errors
/// If a filter is there whose configuration or name cannot be found.
pub fn configurations(resource: &Resource) -> Result<Vec<Configuration>, String> {
    if resource.kind() == "WasmPlugin" {
        // Istio makes JSON of it.
        let json = resource.at("/spec/pluginConfig").map_or_else(String::new, Value::to_string);
        let filter = module_name(resource.text("/spec/url"))?;
        return Ok(vec![Configuration { filter, host: Host::Wasm, json }]);
    }
    let mut found = Vec::new();
    for fragment in fragments(resource) {
        let Some(config) = fragment.value.get("typed_config") else { continue };
        match resource::text(config, "/@type").strip_prefix(TYPE_PREFIX) {
            Some(WASM) => found.push(Configuration {
                filter: module_name(resource::text(config, "/config/vm_config/code/remote/http_uri/uri"))?,
                host: Host::Wasm,
                json: string_value(config, "/config/configuration")?,
            }),
            Some(DYNAMIC_MODULE) => found.push(Configuration {
                filter: resource::text(config, "/filter_name").replace('_', "-"),
                host: Host::Native,
                json: string_value(config, "/filter_config")?,
            }),
            _ => {}
        }
    }
    Ok(found)
}

/// Runs a configuration through the parser of its filter.
///
/// # Errors
/// What the filter would say when it refuses to load, or that there is no such filter.
pub fn read(configuration: &Configuration) -> Result<(), String> {
    let Configuration { filter, host, json } = configuration;
    let caps = match host {
        Host::Wasm => Caps::PROXY_WASM,
        Host::Native => Caps::DYNAMIC_MODULE,
    };
    match filter.as_str() {
        "kserve-transcoder" => {
            kserve_transcoder::Config::read(json.as_bytes(), caps).map(|_| ()).map_err(|e| e.to_string())
        }
        other => Err(format!("there is no filter {other:?}")),
    }
}

/// A part of Envoy's configuration that an `EnvoyFilter` adds.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// `applyTo`: what kind of part it is.
    pub apply_to: &'a str,
    /// The part itself.
    pub value: &'a Value,
}

/// Every part of Envoy's configuration in a resource; none unless it is an `EnvoyFilter`.
#[must_use]
pub fn fragments(resource: &Resource) -> Vec<Fragment<'_>> {
    if resource.kind() != "EnvoyFilter" {
        return Vec::new();
    }
    let fragment = |patch| {
        let value = Value::pointer(patch, "/patch/value")?;
        Some(Fragment { apply_to: resource::text(patch, "/applyTo"), value })
    };
    resource.list("/spec/configPatches").iter().filter_map(fragment).collect()
}

/// `kserve-transcoder` of `oci://registry.example/kserve-transcoder:0.1.0`.
fn module_name(url: &str) -> Result<String, String> {
    let last = url.rsplit('/').next().unwrap_or_default();
    let name = last.split([':', '@']).next().unwrap_or_default();
    let name = name.strip_suffix(".wasm").unwrap_or(name).replace('_', "-");
    if name.is_empty() { Err(format!("no module in the URL {url:?}")) } else { Ok(name) }
}

fn string_value(config: &Value, pointer: &str) -> Result<String, String> {
    let Some(any) = config.pointer(pointer) else { return Ok(String::new()) };
    let value = any.get("value").and_then(Value::as_str);
    match (resource::text(any, "/@type"), value) {
        ("type.googleapis.com/google.protobuf.StringValue", Some(value)) => Ok(value.to_owned()),
        _ => Err(format!("{pointer} is no StringValue with a text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_known_by_the_last_part_of_its_url() {
        for url in [
            "oci://registry.example/team/kserve-transcoder:0.1.0",
            "oci://registry.example/kserve-transcoder@sha256:00",
            "file:///modules/kserve_transcoder.wasm",
        ] {
            assert_eq!(module_name(url).unwrap(), "kserve-transcoder", "{url}");
        }
        assert!(module_name("").is_err());
    }

    #[test]
    fn a_configuration_is_read_as_its_host_reads_it() {
        let read = |filter: &str, host, json: &str| {
            read(&Configuration { filter: filter.into(), host, json: json.into() })
        };
        assert_eq!(read("kserve-transcoder", Host::Native, r#"{"reselect_route":false}"#), Ok(()));
        let error = read("kserve-transcoder", Host::Wasm, r#"{"reselect_route":false}"#).unwrap_err();
        assert!(error.contains("reselect_route"), "{error}");
        let error = read("kserve-transcoder", Host::Wasm, r#"{"max_bytes":1}"#).unwrap_err();
        assert!(error.contains("max_bytes"), "{error}");
        assert!(read("kserve", Host::Wasm, "").unwrap_err().contains("no filter"));
    }
}
