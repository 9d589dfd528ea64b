//! What the controllers of KServe and of ModelMesh make of the application's `InferenceService`s. Neither runs here.
//!
//! **KServe 0.20** in its mode `Standard` (`pkg/controller/v1beta1/inferenceservice` of its module) makes of each one:
//!
//! - a Deployment `NAME-predictor` with `minReplicas` pods. Their labels are those of the `ServingRuntime`'s pods, of the
//!   `InferenceService` and of its predictor, and three of its own (`app`, `component`,
//!   `serving.kserve.io/inferenceservice`); their container is the runtime's;
//! - a Service `NAME-predictor`, by the label `app`: port 80, which leads to the first port of the container and has its
//!   name, with `appProtocol` `kubernetes.io/h2c` because that name is `grpc`.
//!
//! **ModelMesh 0.12** (`config/internal/base/deployment.yaml.tmpl`, `pkg/mmesh/modelmesh_service.go`) makes for all of
//! them in a namespace:
//!
//! - a Deployment `modelmesh-serving-RUNTIME` for each runtime that a model needs, with `podsPerRuntime` pods of the
//!   labels `modelmesh-service`, `name` and three of `app.kubernetes.io`, whose container `mm` has the ports `grpc`
//!   (8033) and `prometheus` (2112);
//! - a headless Service `modelmesh-serving` by the first of these labels, with the same two ports. (A third one, 8008, is
//!   for its REST proxy, which the overlay turns off.)
//!
//! Which runtime a model without one gets is ModelMesh's choice by format: of its own runtimes, `triton-2.x` alone has
//! TensorFlow's.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use istio_lint::Resource;
use serde_json::{Map, Value, json};

use crate::api::Kind;
use crate::world::World;

const CRD: Kind<'static> = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition");
/// How often a kind that is being removed is looked at.
const POLL: Duration = Duration::from_millis(100);
const MODELMESH: &str = "modelmesh-serving";
/// Ports of ModelMesh's pods.
const GRPC: u16 = 8033;
const PROMETHEUS: u16 = 2112;

/// Who serves the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    KServe,
    ModelMesh,
}

/// A Deployment that a controller makes, and which model its pods serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) deployment: String,
    pub(super) model: String,
}

impl Controller {
    /// Which controller an overlay's resources are for.
    pub(super) fn of(resources: &[Resource]) -> Result<Self> {
        let service = inference_services(resources).next().context("the overlay has no InferenceService")?;
        Ok(match service.at("/metadata/annotations").map(|all| &all["serving.kserve.io/deploymentMode"]) {
            Some(mode) if mode == "ModelMesh" => Self::ModelMesh,
            Some(mode) if mode == "Standard" => Self::KServe,
            other => bail!("{} is for {other:?}, and not for Standard or ModelMesh", service.id()),
        })
    }

    /// Teaches the API server the kinds of `serving.kserve.io`, in place of another controller's.
    pub(super) fn define(self, world: &World) -> Result<()> {
        let files = self.definitions()?;
        for kind in ["inferenceservices", "servingruntimes"] {
            let file = files.join(format!("serving.kserve.io_{kind}.yaml"));
            for resource in istio_lint::read(&file)? {
                world.plane.cluster.apply(&resource)?;
                world.plane.cluster.wait(CRD, "", resource.name(), super::SOON, |crd| {
                    crate::world::has_condition(crd, "Established").then_some(())
                })?;
            }
        }
        Ok(())
    }

    /// Where its definitions of kinds are.
    fn definitions(self) -> Result<PathBuf> {
        let (variable, folder) = match self {
            Self::KServe => ("KSERVE_FILES", "config/crd/full"),
            Self::ModelMesh => ("MODELMESH_FILES", "config/crd/bases"),
        };
        Ok(super::named(variable)?.join(folder))
    }

    /// Makes its Deployments and Services.
    pub(super) fn make(self, world: &World, resources: &[Resource]) -> Result<Vec<Made>> {
        let mut all = Vec::new();
        match self {
            Self::KServe => {
                for service in inference_services(resources) {
                    let (deployment, made) = kserve_deployment(service, resources)?;
                    world.plane.cluster.apply_value(&deployment)?;
                    world.plane.cluster.apply_value(&kserve_service(&deployment))?;
                    all.push(made);
                }
            }
            Self::ModelMesh => {
                let replicas = pods_per_runtime(resources)?;
                world.account(MODELMESH, "modelmesh")?;
                world.plane.cluster.apply_value(&modelmesh_service())?;
                for service in inference_services(resources) {
                    let (deployment, made) = modelmesh_deployment(service, replicas)?;
                    world.plane.cluster.apply_value(&deployment)?;
                    all.push(made);
                }
            }
        }
        Ok(all)
    }
}

/// Removes the kinds, and with them all resources of theirs. They are gone when this returns: what is applied to one that
/// is being removed goes with it.
pub(in crate::exercise) fn forget(world: &World) -> Result<()> {
    let cluster = &world.plane.cluster;
    let names = ["inferenceservices.serving.kserve.io", "servingruntimes.serving.kserve.io"];
    names.iter().try_for_each(|name| cluster.delete(CRD, "", name))?;
    let deadline = Instant::now() + super::SOON;
    for name in names {
        while cluster.get(CRD, "", name)?.is_some() {
            ensure!(
                Instant::now() < deadline,
                "{name} is still there {:?} after it was deleted",
                super::SOON
            );
            thread::sleep(POLL);
        }
    }
    Ok(())
}

fn inference_services(resources: &[Resource]) -> impl Iterator<Item = &Resource> {
    resources.iter().filter(|resource| resource.is("serving.kserve.io", "InferenceService"))
}

fn kserve_deployment(service: &Resource, resources: &[Resource]) -> Result<(Value, Made)> {
    let runtime = service.text("/spec/predictor/model/runtime");
    let found = resources.iter().find(|r| r.is("serving.kserve.io", "ServingRuntime") && r.name() == runtime);
    let found = found.with_context(|| format!("{} names the runtime {runtime:?}", service.id()))?;
    let name = format!("{}-predictor", service.name());
    let mut labels = Map::new();
    for (resource, pointer) in
        [(found, "/spec/labels"), (service, "/metadata/labels"), (service, "/spec/predictor/labels")]
    {
        labels.extend(resource.at(pointer).and_then(Value::as_object).cloned().unwrap_or_default());
    }
    let app = json!({"app": format!("isvc.{name}")});
    labels.insert("serving.kserve.io/inferenceservice".into(), service.name().into());
    labels.insert("component".into(), "predictor".into());
    labels.insert("app".into(), app["app"].clone());
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": service.namespace(), "labels": labels},
        "spec": {
            "replicas": service.at("/spec/predictor/minReplicas"),
            "selector": {"matchLabels": app},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": found.at("/spec/containers")},
            },
        },
    });
    Ok((deployment, Made { deployment: name, model: service.name().to_owned() }))
}

fn kserve_service(deployment: &Value) -> Value {
    let port = &deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0];
    let h2c = port["name"].as_str().is_some_and(|name| name.contains("grpc") || name.contains("h2c"));
    let mut service_port = json!({
        "name": port["name"], "port": 80, "targetPort": port["containerPort"], "protocol": port["protocol"],
    });
    if h2c {
        service_port["appProtocol"] = "kubernetes.io/h2c".into();
    }
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": deployment["metadata"],
        "spec": {"selector": deployment["spec"]["selector"]["matchLabels"], "ports": [service_port]},
    })
}

/// As the overlay's ConfigMap says; the controller's own default is the same two.
fn pods_per_runtime(resources: &[Resource]) -> Result<u64> {
    let map = resources.iter().find(|r| r.kind() == "ConfigMap" && r.name() == "model-serving-config");
    let text =
        map.map_or("", |map| map.at("/data").and_then(|data| data["config.yaml"].as_str()).unwrap_or(""));
    let line = text.lines().find_map(|line| line.strip_prefix("podsPerRuntime:"));
    line.map_or(Ok(2), |number| number.trim().parse().context("podsPerRuntime"))
}

fn modelmesh_labels() -> Map<String, Value> {
    let mut labels = Map::new();
    labels.insert("modelmesh-service".into(), MODELMESH.into());
    for name in ["instance", "managed-by", "name"] {
        labels.insert(format!("app.kubernetes.io/{name}"), "modelmesh-controller".into());
    }
    labels
}

fn modelmesh_deployment(service: &Resource, replicas: u64) -> Result<(Value, Made)> {
    let runtime = match service.text("/spec/predictor/model/runtime") {
        "" if service.text("/spec/predictor/model/modelFormat/name") == "tensorflow" => "triton-2.x",
        "" => bail!("which runtime ModelMesh takes for {} is not known here", service.id()),
        named => named,
    };
    let name = format!("{MODELMESH}-{runtime}");
    let mut labels = modelmesh_labels();
    labels.insert("name".into(), name.as_str().into());
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": MODELMESH, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"modelmesh-service": MODELMESH, "name": name}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": "modelmesh",
                    "containers": [{
                        "name": "mm",
                        "image": "kserve/modelmesh:v0.12.0",
                        "ports": [
                            {"name": "grpc", "containerPort": GRPC},
                            {"name": "prometheus", "containerPort": PROMETHEUS},
                        ],
                    }],
                },
            },
        },
    });
    Ok((deployment, Made { deployment: name, model: service.name().to_owned() }))
}

fn modelmesh_service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": MODELMESH, "namespace": MODELMESH, "labels": modelmesh_labels()},
        "spec": {
            "clusterIP": "None",
            "selector": {"modelmesh-service": MODELMESH},
            "ports": [
                {"name": "grpc", "port": GRPC, "targetPort": "grpc"},
                {"name": "prometheus", "port": PROMETHEUS, "targetPort": "prometheus"},
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use istio_lint::{examples, kustomize};

    use super::*;

    fn overlay(name: &str) -> Vec<Resource> {
        kustomize::build(&examples().join("ai-application/k8s/overlays").join(name)).unwrap()
    }

    /// The labels that the overlay's subsets tell the pods apart by.
    fn subsets(resources: &[Resource]) -> Vec<Value> {
        let rule = resources
            .iter()
            .find(|r| r.kind() == "DestinationRule" && r.name() == "modelmesh-serving")
            .unwrap();
        rule.list("/spec/subsets").iter().map(|subset| subset["labels"].clone()).collect()
    }

    fn has(labels: &Value, wanted: &Value) -> bool {
        wanted.as_object().unwrap().iter().all(|(key, value)| labels[key] == *value)
    }

    #[test]
    fn kserve_gives_pods_the_labels_by_which_service_and_subsets_find_them() {
        let resources = overlay("kserve");
        assert_eq!(Controller::of(&resources).unwrap(), Controller::KServe);
        let service = resources.iter().find(|r| r.kind() == "Service" && r.name() == MODELMESH).unwrap();
        for (inference, subset) in inference_services(&resources).zip(subsets(&resources)) {
            let (deployment, made) = kserve_deployment(inference, &resources).unwrap();
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            assert!(has(labels, service.at("/spec/selector").unwrap()) && has(labels, &subset), "{labels}");
            assert!(has(labels, &deployment["spec"]["selector"]["matchLabels"]), "{labels}");
            assert_eq!(labels["networking.kserve.io/visibility"], "cluster-local");
            assert_eq!(deployment["spec"]["replicas"], 2);
            assert_eq!(made.deployment, format!("{}-predictor", made.model));
            let spec = &kserve_service(&deployment)["spec"];
            assert_eq!(spec["selector"], json!({"app": format!("isvc.{}", made.deployment)}));
            let port = json!({
                "name": "grpc", "port": 80, "targetPort": 8081, "protocol": "TCP",
                "appProtocol": "kubernetes.io/h2c",
            });
            assert_eq!(spec["ports"], json!([port]));
        }
    }

    #[test]
    fn modelmesh_gives_each_runtime_a_deployment_that_a_subset_finds() {
        let resources = overlay("modelmesh");
        assert_eq!(Controller::of(&resources).unwrap(), Controller::ModelMesh);
        assert_eq!(pods_per_runtime(&resources).unwrap(), 2);
        let expected = ["modelmesh-serving-triton-2.x", "modelmesh-serving-ovms-1.x"];
        let services = inference_services(&resources).zip(subsets(&resources)).zip(expected);
        for ((inference, subset), expected) in services {
            let (deployment, made) = modelmesh_deployment(inference, 2).unwrap();
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            assert_eq!(made.deployment, expected);
            assert!(has(labels, &subset), "{labels} without {subset}");
            assert!(has(labels, &modelmesh_service()["spec"]["selector"]), "{labels}");
        }
    }
}
