//! What the chart renders, object by object beside what the overlays of `istio/` have.

use std::collections::BTreeMap;
use std::path::Path;

use chart::{Helm, examples};
use istio_lint::{Resource, Schemas, embedded, kustomize, rules};
use serde_json::{Map, Value, json};

/// Overlays that the chart does not make: a login is an application with a Secret of its own.
const WITHOUT_EXAMPLE: [&str; 2] = ["claim-headers/sign-on", "claim-headers/sign-on-forwarded-token"];

fn overlay(name: &str) -> std::path::PathBuf {
    let (filter, overlay) = name.split_once('/').unwrap();
    istio_lint::directory().join(filter).join("overlays").join(overlay)
}

pub(crate) fn complete() {
    let mut expected: Vec<String> = istio_lint::overlays()
        .unwrap()
        .iter()
        .map(|path| {
            let filter = path.ancestors().nth(2).unwrap().file_name().unwrap().to_string_lossy();
            format!("{filter}/{}", path.file_name().unwrap().to_string_lossy())
        })
        .filter(|name| !WITHOUT_EXAMPLE.contains(&name.as_str()))
        .collect();
    expected.sort();
    let mut found: Vec<String> = examples().unwrap().into_iter().map(|(name, _)| name).collect();
    found.sort();
    assert_eq!(found, expected);
}

pub(crate) fn same(helm: &Helm) {
    let mut compared = 0;
    for (name, values) in examples().unwrap() {
        let rendered = by_id(&helm.template(&values).unwrap_or_else(|why| panic!("{name}: {why:#}")));
        let expected = by_id(&kustomize::build(&overlay(&name)).unwrap());
        let ids = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(ids(&rendered), ids(&expected), "{name}");
        for (id, expected) in &expected {
            let rendered = &rendered[id];
            assert!(rendered == expected, "{name}: {id}:\n{rendered:#}\nbut the overlay has\n{expected:#}");
            compared += 1;
        }
    }
    assert_eq!(compared, 150);
}

/// Resources by group, kind, namespace and name, in one form.
fn by_id(resources: &[Resource]) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for resource in resources {
        let mut value = resource.value.clone();
        without_labels(&mut value);
        read_texts(&mut value);
        let id = format!("{} {}", resource.group(), resource.id());
        assert!(all.insert(id.clone(), value).is_none(), "{id} is there twice");
    }
    all
}

/// Takes off the labels by which Helm's users find what a chart has made.
fn without_labels(resource: &mut Value) {
    let metadata = resource["metadata"].as_object_mut().unwrap();
    let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) else { return };
    let charts = |label: &String| label.starts_with("app.kubernetes.io/") || label == "helm.sh/chart";
    labels.retain(|label, _| !charts(label));
    if labels.is_empty() {
        metadata.remove("labels");
    }
}

/// Reads what is text within a resource as what it says: configurations, which are JSON, and a Deployment's part, which is
/// YAML. Spaces are no difference there.
fn read_texts(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let is_string = object.get("@type").and_then(Value::as_str)
                == Some("type.googleapis.com/google.protobuf.StringValue");
            for (key, value) in object.iter_mut() {
                match value {
                    Value::String(text) if key == "deployment" => {
                        *value = serde_saphyr::from_str(text).unwrap();
                    }
                    Value::String(text) if key == "value" && is_string => {
                        *value = serde_json::from_str(text).unwrap();
                    }
                    _ => read_texts(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(read_texts),
        _ => {}
    }
}

pub(crate) fn checked(helm: &Helm) {
    let schemas = Schemas::load().unwrap();
    for (name, values) in examples().unwrap() {
        check(&schemas, &name, &helm.template(&values).unwrap());
    }
}

/// The overlays' own checks: schemas, known traps, and each configuration by its filter's parser.
pub(crate) fn check(schemas: &Schemas, name: &str, resources: &[Resource]) {
    let mut problems: Vec<_> = resources.iter().flat_map(|resource| schemas.check(resource)).collect();
    problems.extend(rules::check(resources));
    assert!(problems.is_empty(), "{name}: {problems:#?}");
    for resource in resources {
        for configuration in embedded::configurations(resource).unwrap() {
            embedded::read(&configuration).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
}

pub(crate) fn linted(helm: &Helm) {
    helm.lint(None).unwrap();
    for (name, values) in examples().unwrap() {
        helm.lint(Some(&values)).unwrap_or_else(|why| panic!("{name}: {why:#}"));
    }
}

/// Every resource of an example with other images.
fn with_images(helm: &Helm, example: &str, images: &Value) -> Vec<Resource> {
    let (_, path) = examples().unwrap().into_iter().find(|(name, _)| name == example).unwrap();
    let mut values: Map<String, Value> = istio_lint::yaml(Path::new(&path)).unwrap().remove(0);
    values.insert("images".into(), images.clone());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!(values).to_string()).unwrap();
    helm.template(file.path()).unwrap()
}

fn of_kind<'a>(resources: &'a [Resource], kind: &str) -> &'a Value {
    &resources.iter().find(|resource| resource.kind() == kind).unwrap().value
}

pub(crate) fn pinned(helm: &Helm) {
    let digits = "0123456789abcdef".repeat(4);
    let digest = format!("sha256:{digits}");
    let image = json!({"repository": "r.example:5000/a/kserve-transcoder", "tag": "7", "digest": digest});
    let images = json!({"kserveTranscoder": image, "native": image, "pullPolicy": "IfNotPresent"});
    let plugin = with_images(helm, "kserve-transcoder/gateway-wasm", &images);
    let spec = &of_kind(&plugin, "WasmPlugin")["spec"];
    assert_eq!(spec["url"], "oci://r.example:5000/a/kserve-transcoder:7");
    assert_eq!((&spec["sha256"], &spec["imagePullPolicy"]), (&json!(digits), &json!("IfNotPresent")));
    let held = with_images(helm, "kserve-transcoder/waypoint-wasm-hold", &images);
    let code = "/spec/configPatches/0/patch/value/typed_config/config/vm_config/code/remote";
    let remote = of_kind(&held, "EnvoyFilter").pointer(code).unwrap();
    assert_eq!(remote["sha256"], json!(digits));
    let native = with_images(helm, "kserve-transcoder/waypoint-native", &images);
    let deployment = of_kind(&native, "ConfigMap")["data"]["deployment"].as_str().unwrap();
    let deployment: Value = serde_saphyr::from_str(deployment).unwrap();
    let container = deployment.pointer("/spec/template/spec/initContainers/0").unwrap();
    assert_eq!(container["image"], format!("r.example:5000/a/kserve-transcoder:7@{digest}"));
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
}

pub(crate) fn image_volume(helm: &Helm) {
    let images = json!({"native": {"delivery": "imageVolume"}, "pullSecret": "registry"});
    let resources = with_images(helm, "kserve-transcoder/gateway-native", &images);
    let deployment = of_kind(&resources, "ConfigMap")["data"]["deployment"].as_str().unwrap();
    let deployment: Value = serde_saphyr::from_str(deployment).unwrap();
    let pod = deployment.pointer("/spec/template/spec").unwrap();
    assert!(pod.get("initContainers").is_none());
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
    let volume = &pod["volumes"][0];
    let reference = format!("registry.example/inference-filters:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(*volume, json!({"name": "inference-filters", "image": {"reference": reference}}));
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/modules");
}
