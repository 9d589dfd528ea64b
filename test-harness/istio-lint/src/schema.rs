//! Resources against the schemas of their CustomResourceDefinitions (`schemas/NOTE.md` says where those are from).

mod kubernetes;

use std::collections::BTreeMap;

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::Problem;
use crate::resource::{Resource, items};

/// Each release with its schemas. The Gateway API and KServe have one set each: their releases add fields only.
const RELEASES: [(&str, &str); 4] = [
    ("Istio 1.28.10", include_str!("../schemas/istio-1.28.10.json")),
    ("Istio 1.30.3", include_str!("../schemas/istio-1.30.3.json")),
    ("Gateway API 1.5.1", include_str!("../schemas/gateway-api.json")),
    ("KServe 0.20.0", include_str!("../schemas/kserve-0.20.0.json")),
];

/// The releases whose schemas are here as published, oldest first: of KServe's most fields are left out.
pub(crate) fn whole_releases() -> impl Iterator<Item = (&'static str, &'static str)> {
    RELEASES.into_iter().filter(|(release, _)| !release.starts_with("KServe"))
}

/// Every schema, by release and by `apiVersion kind`.
pub struct Schemas {
    releases: Vec<(&'static str, BTreeMap<String, Validator>)>,
    kubernetes: BTreeMap<&'static str, Validator>,
}

impl Schemas {
    /// Compiles the schemas.
    ///
    /// # Errors
    /// If a file of this crate is damaged.
    pub fn load() -> Result<Self, String> {
        let release = |(release, text): (&'static str, &str)| {
            let specs: BTreeMap<String, Value> =
                serde_json::from_str(text).map_err(|error| format!("schemas of {release}: {error}"))?;
            let compiled = specs.into_iter().map(|(kind, mut spec)| {
                close(&mut spec);
                let parts = json!({"required": ["spec"], "properties": {"spec": spec}});
                compile(&kind, &resource_with(parts, true)).map(|validator| (kind, validator))
            });
            Ok::<_, String>((release, compiled.collect::<Result<_, _>>()?))
        };
        let kubernetes = kubernetes::kinds().into_iter().map(|kind| {
            let mut parts = kind.parts;
            close(&mut parts);
            let schema = resource_with(parts, kind.namespaced);
            compile(kind.name, &schema).map(|validator| (kind.name, validator))
        });
        Ok(Self {
            releases: RELEASES.into_iter().map(release).collect::<Result<_, _>>()?,
            kubernetes: kubernetes.collect::<Result<_, _>>()?,
        })
    }

    /// What every release that knows the kind finds wrong; a kind that none knows is wrong as well.
    #[must_use]
    pub fn check(&self, resource: &Resource) -> Vec<Problem> {
        let kind = format!("{} {}", resource.api_version(), resource.kind());
        if let Some(schema) = self.kubernetes.get(kind.as_str()) {
            return errors("Kubernetes", schema, resource);
        }
        let knowing = self.releases.iter().filter_map(|(name, schemas)| Some((*name, schemas.get(&kind)?)));
        let knowing: Vec<_> = knowing.collect();
        if knowing.is_empty() {
            return vec![Problem::new(resource, format!("unknown kind {kind}: there is no schema for it"))];
        }
        knowing.into_iter().flat_map(|(release, schema)| errors(release, schema, resource)).collect()
    }
}

fn errors(release: &str, schema: &Validator, resource: &Resource) -> Vec<Problem> {
    let problem = |error: jsonschema::ValidationError<'_>| {
        Problem::new(resource, format!("{release}: {}: {error}", error.instance_path()))
    };
    schema.iter_errors(&resource.value).map(problem).collect()
}

fn compile(kind: &str, schema: &Value) -> Result<Validator, String> {
    let options = jsonschema::options().with_draft(Draft::Draft7);
    options.build(schema).map_err(|error| format!("schema of {kind}: {error}"))
}

/// The schema of a whole resource: what every resource has, and the parts of its kind.
fn resource_with(mut parts: Value, namespaced: bool) -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let dns_name = json!({"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"});
    let mut metadata = json!({
        "type": "object",
        "required": ["name"],
        "additionalProperties": false,
        "properties": {"name": dns_name, "labels": texts, "annotations": texts},
    });
    if namespaced {
        metadata["required"] = json!(["name", "namespace"]);
        metadata["properties"]["namespace"] = dns_name;
    }
    let mut required = vec![json!("apiVersion"), json!("kind"), json!("metadata")];
    required.extend(items(&parts, "/required").iter().cloned());
    let mut properties = json!({
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": metadata,
    });
    if let (Some(all), Some(more)) =
        (properties.as_object_mut(), parts.get_mut("properties").and_then(Value::as_object_mut))
    {
        all.append(more);
    }
    json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
}

/// Refuses unknown fields, as an API server does when it is asked to validate strictly (kubectl's default). Only where
/// the schema is structural: `oneOf` and its like hold conditions on fields that are declared beside them.
pub(crate) fn close(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let open = object.contains_key("additionalProperties")
        || object.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(close);
        if !open {
            object.insert("additionalProperties".into(), Value::Bool(false));
        }
    }
    for below in ["items", "additionalProperties"] {
        if let Some(schema) = object.get_mut(below) {
            close(schema);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(spec: Value) -> Resource {
        Resource {
            value: json!({
                "apiVersion": "extensions.istio.io/v1alpha1",
                "kind": "WasmPlugin",
                "metadata": {"name": "a", "namespace": "b"},
                "spec": spec,
            }),
        }
    }

    fn problems(resource: &Resource) -> Vec<String> {
        Schemas::load().unwrap().check(resource).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_release_speaks_for_itself() {
        assert_eq!(problems(&plugin(json!({"url": "oci://x", "pluginConfig": {"any": ["thing"]}}))), [""; 0]);
        let wrong = problems(&plugin(json!({"url": "oci://x", "phase": "AUTHZZ"})));
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].starts_with("WasmPlugin b/a: Istio 1.28.10: /spec/phase: "), "{wrong:?}");
        assert!(wrong[1].starts_with("WasmPlugin b/a: Istio 1.30.3: /spec/phase: "), "{wrong:?}");
    }

    #[test]
    fn a_field_that_the_schema_does_not_have_is_refused_at_any_depth() {
        let vendor = plugin(json!({"url": "oci://x", "match": [{"ports": [{"number": 1, "nummer": 2}]}]}));
        assert!(problems(&vendor)[0].contains("nummer"), "{:?}", problems(&vendor));
        let mut top = plugin(json!({"url": "oci://x"}));
        top.value["spex"] = json!({});
        assert!(problems(&top)[0].contains("spex"));
    }

    #[test]
    fn fields_that_only_a_vendor_mesh_has_are_refused() {
        let virtual_service = Resource {
            value: json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {"name": "a", "namespace": "b"},
                "spec": {"hosts": ["*"], "http": [{"headerToDynamicSubsetKey": [{"header": "x", "key": "y"}]}]},
            }),
        };
        assert!(problems(&virtual_service)[0].contains("headerToDynamicSubsetKey"));
    }

    fn of_kubernetes(api_version: &str, kind: &str, spec: Value) -> Resource {
        Resource {
            value: json!({
                "apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "namespace": "b"}, "spec": spec,
            }),
        }
    }

    #[test]
    fn a_service_selects_pods_and_is_headless_or_has_an_address() {
        let service = |spec: Value| of_kubernetes("v1", "Service", spec);
        let ports = json!([{"name": "grpc", "port": 8033}]);
        let right = json!({"clusterIP": "None", "selector": {"name": "r"}, "ports": ports});
        assert_eq!(problems(&service(right)), [""; 0]);
        assert_eq!(problems(&service(json!({"selector": {"name": "r"}, "ports": ports}))), [""; 0]);
        let chosen = json!({"clusterIP": "10.0.0.1", "selector": {"name": "r"}, "ports": ports});
        assert!(problems(&service(chosen))[0].contains("/spec/clusterIP"));
        let all_pods = json!({"clusterIP": "None", "selector": {}, "ports": ports});
        assert!(problems(&service(all_pods))[0].contains("/spec/selector"));
    }

    #[test]
    fn a_deployment_has_limits_no_rights_and_its_secrets_by_reference() {
        let container = json!({
            "name": "c", "image": "registry.example/c:1",
            "env": [{"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true, "runAsNonRoot": true,
            },
            "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"memory": "1Mi"}},
        });
        let deployment = |container: &Value| {
            let spec = json!({"automountServiceAccountToken": false, "containers": [container]});
            let template = json!({"metadata": {"labels": {"app": "c"}}, "spec": spec});
            let spec =
                json!({"replicas": 1, "selector": {"matchLabels": {"app": "c"}}, "template": template});
            problems(&of_kubernetes("apps/v1", "Deployment", spec))
        };
        assert_eq!(deployment(&container), [""; 0]);
        let mut written = container.clone();
        written["env"][0] = json!({"name": "SECRET", "value": "s3cret"});
        assert!(deployment(&written)[0].contains("/env/0"), "{:?}", deployment(&written));
        let mut root = container.clone();
        root["securityContext"]["runAsNonRoot"] = json!(false);
        assert!(deployment(&root)[0].contains("runAsNonRoot"));
        let mut latest = container;
        latest["image"] = json!("registry.example/c");
        assert!(deployment(&latest)[0].contains("/image"));
    }

    #[test]
    fn a_kind_without_a_schema_does_not_pass() {
        let mut other = plugin(json!({}));
        other.value["kind"] = json!("WasmPlugins");
        assert_eq!(
            problems(&other),
            [
                "WasmPlugins b/a: unknown kind extensions.istio.io/v1alpha1 WasmPlugins: there is no schema for it"
            ]
        );
    }
}
