//! What is embedded in resources: the filters' configurations, and parts of Envoy's.

use claim_headers::ClaimHeaders;
use dynamic_subset::DynamicSubset;
use filter_api::{Caps, Memory, Plugin};
use kserve_transcoder::KserveTranscoder;
use serde_json::Value;

use crate::resource::{self, Resource, items};

pub(crate) const TYPE_PREFIX: &str = "type.googleapis.com/";
pub(crate) const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
pub(crate) const DYNAMIC_MODULE: &str =
    "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
pub(crate) const POLICY: &str =
    "envoy.extensions.load_balancing_policies.dynamic_modules.v3.DynamicModulesLoadBalancerConfig";

/// What a configuration may hold while it is read.
const MEMORY_BYTES: usize = 64 << 20;

/// In which host a filter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// In a wasm VM of Envoy.
    Wasm,
    /// As a dynamic module.
    Native,
}

/// The configuration of a filter or a load-balancing policy as found in a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The name of the filter or policy, with hyphens.
    pub filter: String,
    /// Where it is to run.
    pub host: Host,
    /// The configuration's text, as the filter gets it.
    pub json: String,
}

/// The filters and policies of this project.
const OURS: [&str; 4] = ["claim-headers", "dynamic-subset", "kserve-transcoder", "runtime-group"];

/// Whether a filter or policy is one of this project's, with hyphens or underscores.
#[must_use]
pub fn is_ours(filter: &str) -> bool {
    OURS.contains(&filter.replace('_', "-").as_str())
}

/// The dynamic module with this project's filters and policies.
pub(crate) const MODULE: &str = "inference_filters";

/// Whether the configuration of a dynamic module's filter or policy is for another project's: it names a filter, a policy
/// or a module that is not one of this project's.
pub(crate) fn is_anothers(config: &Value) -> bool {
    let names = ["/filter_name", "/lb_policy_name"].map(|name| resource::text(config, name));
    let module = resource::text(config, "/dynamic_module_config/name");
    names.iter().any(|name| !name.is_empty() && !is_ours(name)) || !matches!(module, "" | MODULE)
}

/// Whether a resource has a filter or policy of this project.
#[must_use]
pub fn has_ours(resource: &Resource) -> bool {
    configurations(resource).is_ok_and(|all| all.iter().any(|c| is_ours(&c.filter)))
}

/// Every configuration of a filter or policy in a resource.
///
/// # Errors
/// If one is there whose configuration or name cannot be found.
pub fn configurations(resource: &Resource) -> Result<Vec<Configuration>, String> {
    let plugin = match resource.kind() {
        "WasmPlugin" => "/spec",
        "TrafficExtension" => "/spec/wasm",
        _ => {
            let found: Result<Vec<_>, _> = fragments(resource).into_iter().map(configured).collect();
            return Ok(found?.concat());
        }
    };
    let Some(plugin) = resource.at(plugin) else { return Ok(Vec::new()) };
    // Istio makes JSON of it.
    let json = plugin.get("pluginConfig").map_or_else(String::new, Value::to_string);
    let filter = module_name(resource::text(plugin, "/url"))?;
    Ok(vec![Configuration { filter, host: Host::Wasm, json }])
}

/// Every configuration in a part of Envoy's.
pub(crate) fn configured(fragment: Fragment<'_>) -> Result<Vec<Configuration>, String> {
    let policies = items(fragment.value, "/load_balancing_policy/policies").iter();
    let policies = policies.filter_map(|policy| policy.pointer("/typed_extension_config/typed_config"));
    let mut found = Vec::new();
    for config in fragment.value.get("typed_config").into_iter().chain(policies) {
        let native = |name: &str, json: &str| {
            let filter = resource::text(config, name).replace('_', "-");
            Ok::<_, String>(Configuration { filter, host: Host::Native, json: string_value(config, json)? })
        };
        match resource::text(config, "/@type").strip_prefix(TYPE_PREFIX) {
            Some(WASM) => found.push(Configuration {
                filter: module_name(code(config))?,
                host: Host::Wasm,
                json: string_value(config, "/config/configuration")?,
            }),
            Some(DYNAMIC_MODULE) => found.push(native("/filter_name", "/filter_config")?),
            Some(POLICY) => found.push(native("/lb_policy_name", "/lb_policy_config")?),
            _ => {}
        }
    }
    Ok(found)
}

/// Every configuration at any depth of a part of Envoy's, each with the place of its filter as a JSON pointer.
#[must_use]
pub fn within(value: &Value) -> Vec<(String, Configuration)> {
    let mut found = Vec::new();
    let mut left = vec![(String::new(), value)];
    while let Some((place, value)) = left.pop() {
        if value.get("typed_config").is_some() || value.get("load_balancing_policy").is_some() {
            let fragment = Fragment { apply_to: "", operation: "", value };
            let here = configured(fragment).unwrap_or_default().into_iter();
            found.extend(here.map(|configuration| (place.clone(), configuration)));
        }
        match value {
            Value::Object(fields) => left.extend(fields.iter().map(|(name, below)| {
                (format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")), below)
            })),
            Value::Array(items) => {
                left.extend(
                    items.iter().enumerate().map(|(index, below)| (format!("{place}/{index}"), below)),
                );
            }
            _ => {}
        }
    }
    found
}

/// Where a wasm filter's module comes from: a URL, or in a bootstrap also a file.
fn code(config: &Value) -> &str {
    let code = "/config/vm_config/code";
    let [remote, local] = ["remote/http_uri/uri", "local/filename"]
        .map(|place| resource::text(config, &format!("{code}/{place}")));
    if remote.is_empty() { local } else { remote }
}

/// The Lua code of a `TrafficExtension`, which Istio makes an HTTP filter of.
#[must_use]
pub fn lua(resource: &Resource) -> Option<&str> {
    let code = resource.at("/spec/lua/inlineCode").and_then(Value::as_str);
    code.filter(|_| resource.kind() == "TrafficExtension")
}

/// Runs a configuration through the parser of its filter or policy.
///
/// # Errors
/// The error with which it would refuse to load, or that the name is unknown.
pub fn read(configuration: &Configuration) -> Result<(), String> {
    let Configuration { filter, host, json } = configuration;
    let caps = match host {
        Host::Wasm => Caps::PROXY_WASM,
        Host::Native => Caps::DYNAMIC_MODULE,
    };
    match filter.as_str() {
        "kserve-transcoder" => KserveTranscoder::configure(json.as_bytes(), caps, Memory::new(MEMORY_BYTES))
            .map(|_| ())
            .map_err(|e| e.to_string()),
        "dynamic-subset" => DynamicSubset::configure(json.as_bytes(), caps, Memory::new(0))
            .map(|_| ())
            .map_err(|e| e.to_string()),
        "claim-headers" => ClaimHeaders::configure(json.as_bytes(), caps, Memory::new(0))
            .map(|_| ())
            .map_err(|e| e.to_string()),
        "runtime-group" if *host == Host::Native => {
            runtime_group::Config::read(json.as_bytes()).map(|_| ()).map_err(|e| e.to_string())
        }
        other => Err(format!("unknown filter {other:?}")),
    }
}

/// A part of Envoy's configuration that an `EnvoyFilter` adds.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// `applyTo`: what kind of part it is.
    pub apply_to: &'a str,
    /// Where it is added, such as `INSERT_BEFORE`.
    pub operation: &'a str,
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
        let operation = resource::text(patch, "/patch/operation");
        Some(Fragment { apply_to: resource::text(patch, "/applyTo"), operation, value })
    };
    resource.list("/spec/configPatches").iter().filter_map(fragment).collect()
}

/// `kserve-transcoder` of `oci://registry.example/kserve-transcoder:0.2.0`.
pub(crate) fn module_name(url: &str) -> Result<String, String> {
    let last = url.rsplit('/').next().unwrap_or_default();
    let name = last.split([':', '@']).next().unwrap_or_default();
    let name = name.strip_suffix(".wasm").unwrap_or(name).replace('_', "-");
    if name.is_empty() { Err(format!("the URL {url:?} does not name a module")) } else { Ok(name) }
}

fn string_value(config: &Value, pointer: &str) -> Result<String, String> {
    let Some(any) = config.pointer(pointer) else { return Ok(String::new()) };
    let value = any.get("value").and_then(Value::as_str);
    match (resource::text(any, "/@type"), value) {
        ("type.googleapis.com/google.protobuf.StringValue", Some(value)) => Ok(value.to_owned()),
        _ => Err(format!("{pointer} is not a StringValue with a text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_known_by_the_last_part_of_its_url() {
        for url in [
            "oci://registry.example/team/kserve-transcoder:0.2.0",
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
        let body = r#"{"rules":[{"model":["*"],"key":"m"}],"model_from":["body"]}"#;
        assert_eq!(read("dynamic-subset", Host::Native, body), Ok(()));
        let error = read("dynamic-subset", Host::Wasm, body).unwrap_err();
        assert!(error.contains("model_from[0]"), "{error}");
        let claims = r#"{"map":[{"header":"x-user","claim":["sub"],"type":"string"}]}"#;
        assert_eq!(read("claim-headers", Host::Wasm, claims), Ok(()));
        let error = read("claim-headers", Host::Native, claims).unwrap_err();
        assert!(error.contains("payload_header"), "{error}");
        let policy = r#"{"keys":[{"key":"model.format"}]}"#;
        assert_eq!(read("runtime-group", Host::Native, policy), Ok(()));
        let error = read("runtime-group", Host::Native, r#"{"keys":[]}"#).unwrap_err();
        assert!(error.contains("keys"), "{error}");
        assert!(read("runtime-group", Host::Wasm, policy).unwrap_err().contains("unknown filter"));
        assert!(read("kserve", Host::Wasm, "").unwrap_err().contains("unknown filter"));
    }
}
