//! ModelMesh's own controller: what it makes of the article's two models, and what our overlays assume of it.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::Process;
use istio_lint::kustomize;
use serde_json::{Value, json};

use crate::api::Kind;
use crate::report::Report;
use crate::setup::Mesh;
use crate::world::has_condition;

const NAMESPACE: &str = "modelmesh-serving";
const CRD: Kind<'static> = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition");
/// The runtime that each model needs, by the article.
const RUNTIMES: [&str; 2] = ["triton-2.x", "ovms-1.x"];
/// How long the controller may take over a resource.
const SOON: Duration = Duration::from_secs(60);

/// The controller's program and the folder with its `config/`, if this run is to try it.
pub(super) fn programs() -> Option<(PathBuf, PathBuf)> {
    let path = |name| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    Some((path("MODELMESH_CONTROLLER")?, path("MODELMESH_FILES")?))
}

/// Runs the controller on the article's `InferenceService`s.
pub(super) fn run(mesh: &Mesh, controller: &Path, files: &Path, report: &mut Report) -> Result<()> {
    let crds = define(mesh, files)?;
    let ran = try_it(mesh, controller, files, report);
    for name in crds {
        mesh.world.plane.cluster.delete(CRD, "", &name)?;
    }
    ran
}

fn try_it(mesh: &Mesh, controller: &Path, files: &Path, report: &mut Report) -> Result<()> {
    prepare(mesh, files)?;
    let mut controller = start(mesh, controller, files)?;
    let folder = e2e::repository().join("examples/ai-application/k8s/base/modelmesh");
    mesh.world.apply(&kustomize::build(&folder)?)?;
    for runtime in RUNTIMES {
        let what = format!("a Deployment for {runtime}, with the labels that our overlays select");
        let made = deployment(mesh, runtime);
        report.check(&what, made.with_context(|| controller.last_lines()));
    }
    report.check("the Service, with the port that our routes name", service(mesh));
    // The controller reads its configuration again by itself.
    mesh.world.plane.cluster.apply_value(&user_configuration(json!({
        "allowAnyPVC": true, "headlessService": false, "podsPerRuntime": 1, "restProxy": {"enabled": false},
    })))?;
    report
        .check("a virtual address with headlessService: false, as waypoints need it", virtual_address(mesh));
    controller.stop().map(drop).context("end the controller")
}

/// Teaches the API server ModelMesh's kinds; their names.
fn define(mesh: &Mesh, files: &Path) -> Result<Vec<String>> {
    let cluster = &mesh.world.plane.cluster;
    let mut names = Vec::new();
    for file in files_of(&files.join("config/crd/bases"))? {
        for crd in istio_lint::read(&file)? {
            cluster.apply(&crd)?;
            cluster.wait(CRD, "", crd.name(), SOON, |crd| has_condition(crd, "Established").then_some(()))?;
            names.push(crd.name().to_owned());
        }
    }
    Ok(names)
}

/// What ModelMesh's installation makes, besides the controller.
fn prepare(mesh: &Mesh, files: &Path) -> Result<()> {
    let (world, cluster) = (&mesh.world, &mesh.world.plane.cluster);
    cluster.apply_value(&crate::control_plane::namespace(
        NAMESPACE,
        json!({"modelmesh-enabled": "true", "istio.io/dataplane-mode": "ambient"}),
    ))?;
    for account in ["modelmesh", "modelmesh-controller"] {
        world.account(NAMESPACE, account)?;
    }
    let etcd = json!({"endpoints": "http://127.0.0.1:2379", "root_prefix": NAMESPACE}).to_string();
    cluster.apply_value(&json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "model-serving-etcd", "namespace": NAMESPACE},
        "stringData": {"etcd_connection": etcd},
    }))?;
    cluster.apply_value(&json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "storage-config", "namespace": NAMESPACE}, "stringData": {},
    }))?;
    for file in files_of(&files.join("config/runtimes"))? {
        if file.file_name().is_some_and(|name| name != "kustomization.yaml") {
            world.apply(&istio_lint::read(&file)?)?;
        }
    }
    Ok(())
}

/// Starts the controller where it finds its templates, its defaults and a certificate for its webhook.
fn start(mesh: &Mesh, controller: &Path, files: &Path) -> Result<Process> {
    let directory = tempfile::Builder::new().prefix("modelmesh-").tempdir().context("make a directory")?;
    let config = files.join("config");
    symlink(&config, directory.path().join("config")).context("link the controller's templates")?;
    // Its defaults are under /etc, or where its source was when it was compiled: -trimpath leaves the module's name.
    let source = directory.path().join("github.com/kserve/modelmesh-serving@v0.12.0");
    fs::create_dir_all(&source).context("make the folder of the controller's defaults")?;
    symlink(&config, source.join("config")).context("link the controller's defaults")?;
    let certificates = directory.path().join("k8s-webhook-server/serving-certs");
    fs::create_dir_all(&certificates).context("make the folder of the webhook's certificate")?;
    let leaf = mesh.authority.leaf(&["modelmesh-webhook-server-service.modelmesh-serving.svc"])?;
    fs::write(certificates.join("tls.crt"), leaf.certificate_pem)
        .context("write the webhook's certificate")?;
    fs::write(certificates.join("tls.key"), leaf.key_pem).context("write the webhook's key")?;

    let mut command = Command::new(controller);
    command.current_dir(directory.path()).env("TMPDIR", directory.path());
    command.env("KUBECONFIG", mesh.world.plane.kubeconfig());
    command.envs([("NAMESPACE", NAMESPACE), ("ETCD_SECRET_NAME", "model-serving-etcd")]);
    Process::start("modelmesh-controller", command, directory).map_err(anyhow::Error::from)
}

fn user_configuration(configuration: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "model-serving-config", "namespace": NAMESPACE},
        "data": {"config.yaml": configuration.to_string()},
    })
}

/// The Deployment of a runtime that a model needs has pods, and the labels and names that overlays go by.
fn deployment(mesh: &Mesh, runtime: &str) -> Result<()> {
    let name = format!("{NAMESPACE}-{runtime}");
    let kind = Kind("apps/v1", "Deployment");
    // Runtimes without a model are there as well, with no pods.
    let made = mesh.world.plane.cluster.wait(kind, NAMESPACE, &name, SOON, |made| {
        (made["spec"]["replicas"].as_u64()? > 0).then(|| made.clone())
    })?;
    let labels = &made["spec"]["template"]["metadata"]["labels"];
    ensure!(labels["name"] == name, "pods' label `name`: {labels}");
    ensure!(labels["modelmesh-service"] == NAMESPACE, "pods' label `modelmesh-service`: {labels}");
    let containers = made["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let ports = containers.iter().filter_map(|container| container["ports"].as_array()).flatten();
    let grpc = ports.clone().any(|port| port["name"] == "grpc" && port["containerPort"] == 8033);
    ensure!(grpc, "no container has the port grpc, 8033");
    Ok(())
}

fn service(mesh: &Mesh) -> Result<()> {
    let kind = Kind("v1", "Service");
    let made = mesh.world.plane.cluster.wait(kind, NAMESPACE, NAMESPACE, SOON, |made| Some(made.clone()))?;
    let spec = &made["spec"];
    let ports = spec["ports"].as_array().cloned().unwrap_or_default();
    let grpc = ports.iter().any(|port| port["name"] == "grpc" && port["port"] == 8033);
    ensure!(grpc, "ports: {}", spec["ports"]);
    ensure!(spec["selector"]["modelmesh-service"] == NAMESPACE, "selector: {}", spec["selector"]);
    ensure!(spec["clusterIP"] == "None", "by default it is headless, and not {}", spec["clusterIP"]);
    Ok(())
}

fn virtual_address(mesh: &Mesh) -> Result<()> {
    let kind = Kind("v1", "Service");
    mesh.world.plane.cluster.wait(kind, NAMESPACE, NAMESPACE, SOON, |made| {
        made["spec"]["clusterIP"].as_str().filter(|address| *address != "None").map(drop)
    })
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}
