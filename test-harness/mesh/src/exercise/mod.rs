//! Our overlays, applied and tried.

mod application;
mod chart;
mod claims;
mod inference;
mod lifecycle;
mod migration;
mod modelmesh;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail, ensure};
use istio_lint::Resource;

use crate::control_plane::ROOT_NAMESPACE;
use crate::proxy::Proxy;
use crate::report::Report;
use crate::setup::Mesh;

/// Where overlays and exercises put resources.
const NAMESPACES: &[&str] = &["apsara-demo", ROOT_NAMESPACE, "modelmesh-serving"];

/// The name under which the Helm chart is asked for.
const CHART: &str = "chart";
/// The name under which the life cycle is asked for.
const LIFECYCLE: &str = "lifecycle";
/// The name under which the vendor's resources, migrated, are asked for.
const MIGRATE: &str = "migrate";
/// The name under which ModelMesh's controller is asked for.
const MODELMESH: &str = "modelmesh-controller";
/// The versions that the READMEs' tables name: what the pins are.
const ISTIO: &str = "1.31 (development)";
const ENVOY: &str = "1.40 (stock)";

/// Tries everything, or what ends with one of `wanted`: each overlay on a cluster that has nothing else. If it `stays`, the
/// last one is left running once it has been tried, and this returns only if it could not be.
///
/// # Errors
/// If a name is unknown, or the cluster is lost.
pub fn run(mesh: &Mesh, wanted: &[String], stays: bool, report: &mut Report) -> Result<()> {
    let overlays: Vec<_> = istio_lint::overlays()?
        .into_iter()
        .chain(istio_lint::applications()?)
        .map(|path| (name_of(&path), path))
        .collect();
    let names =
        || overlays.iter().map(|(name, _)| name.as_str()).chain([MIGRATE, CHART, LIFECYCLE, MODELMESH]);
    if let Some(unknown) = wanted.iter().find(|want| !names().any(|name| is_meant(name, want))) {
        let known: Vec<&str> = names().collect();
        bail!("unknown overlay {unknown}; there are {}", known.join(", "));
    }
    let asked = |name: &str| wanted.is_empty() || wanted.iter().any(|want| is_meant(name, want));
    // Raised for the first overlay that needs it. istiod keeps an issuer's keys, so it stays the same one.
    let mut issuer = None;
    let last = overlays.iter().rfind(|(name, _)| stays && asked(name)).map(|(name, _)| name);
    for (name, path) in overlays.iter().filter(|(name, _)| asked(name)) {
        let stays = last == Some(name);
        report.begin(name);
        mesh.registry.forget();
        let ran = match name.split('/').next() {
            Some("kserve-transcoder" | "dynamic-subset") => inference::run(mesh, path, name, stays, report),
            Some("claim-headers") => claims::run(mesh, &mut issuer, path, name, stays, report),
            Some("examples") => application::run(mesh, &mut issuer, path, stays, report),
            _ => Err(anyhow!("nothing here tries this overlay")),
        };
        report.end(ran);
        mesh.world.clear(NAMESPACES)?;
    }
    if asked(MIGRATE) {
        report.begin(MIGRATE);
        mesh.registry.forget();
        let ran = migration::run(mesh, &mut issuer, report);
        report.end(ran);
        mesh.world.clear(NAMESPACES)?;
    }
    if asked(CHART) {
        report.begin(CHART);
        mesh.registry.forget();
        match ::chart::Helm::from_environment() {
            Some(helm) => {
                let ran = chart::run(mesh, &helm, report);
                report.end(ran);
            }
            None => report.skip("the Helm chart", "Helm is missing: run this through `cargo xtask mesh`"),
        }
        mesh.world.clear(NAMESPACES)?;
    }
    if asked(LIFECYCLE) {
        report.begin(LIFECYCLE);
        let ran = lifecycle::run(mesh, report);
        report.end(ran);
        mesh.world.clear(NAMESPACES)?;
    }
    if asked(MODELMESH) {
        report.begin(MODELMESH);
        match modelmesh::programs() {
            Some((controller, files)) => {
                let ran = modelmesh::run(mesh, &controller, &files, report);
                report.end(ran);
            }
            None => report.skip("its controller", "it is run by `cargo xtask acceptance`"),
        }
        mesh.world.clear(NAMESPACES)?;
    }
    Ok(())
}

/// Sees that each README's table is what a whole run tried, or writes it if `UPDATE_DOCS` is set.
///
/// # Errors
/// If one is not.
pub fn documents(report: &Report) -> Result<()> {
    for filter in ["kserve-transcoder", "dynamic-subset", "claim-headers"] {
        let readme = e2e::repository().join("istio").join(filter).join("README.md");
        report.document(&readme, &format!("{filter}/"), ISTIO, ENVOY)?;
    }
    let readme = e2e::repository().join("examples/ai-application/README.md");
    report.document(&readme, "examples/ai-application/", ISTIO, ENVOY)
}

/// Raises the AI application for users outside, prints how they get to it, and goes on until the program ends.
///
/// # Errors
/// If a part does not come up.
pub fn serve(mesh: &Mesh) -> Result<Infallible> {
    application::serve(mesh)
}

/// Whether what has this name, or this end of one, can stay up once it has been tried: overlays do.
#[must_use]
pub fn can_stay(name: &str) -> bool {
    ![MIGRATE, CHART, LIFECYCLE, MODELMESH].contains(&name)
}

/// Leaves the mesh as it is after the last check, having said how that ended and how to send requests of one's own.
fn stay(mesh: &Mesh, report: &mut Report, how: &str) -> Result<Infallible> {
    report.end(Ok(()));
    let (passed, failed) = report.totals();
    let place = &mesh.world.place;
    let (enter, kubeconfig) = (place.entered()?, mesh.world.plane.kubeconfig());
    println!(
        "\n{passed} passed, {failed} failed\n\n{how}\n\n\
        The API server, if there is a kubectl:\n\n  {enter} kubectl --kubeconfig {} get pods -A\n\nCtrl-C ends it.",
        kubeconfig.display()
    );
    place.stay()
}

/// Whether Envoy took all of its configuration.
fn accepted(proxy: &Proxy) -> Result<()> {
    let rejected = proxy.rejected();
    ensure!(rejected.is_empty(), "Envoy refused: {}", rejected.join("; "));
    Ok(())
}

/// Whether agents asked the registry, since this overlay was begun, for every module that its resources name: a
/// `WasmPlugin` by its URL, an `EnvoyFilter` within what it gives to Envoy.
fn pulled(mesh: &Mesh, resources: &[Resource]) -> Result<()> {
    let requests = mesh.registry.requests();
    let text: String = resources.iter().map(|resource| resource.value.to_string()).collect();
    let urls = text.match_indices("oci://").map(|(at, _)| &text[at..]);
    let urls: BTreeSet<&str> = urls.filter_map(|rest| rest.split(['"', '\\']).next()).collect();
    ensure!(!urls.is_empty(), "the resources name no module");
    for url in urls {
        let image = url.rsplit('/').next().unwrap_or(url);
        let repository = image.split([':', '@']).next().unwrap_or(image);
        let asked = requests.iter().any(|request| request.contains(&format!("/v2/{repository}/manifests/")));
        ensure!(asked, "the agent did not ask for {url}: {requests:?}");
    }
    Ok(())
}

/// Whether `wanted` is the end of a path that means this overlay.
fn is_meant(name: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_end_matches('/').replace("/overlays/", "/");
    let wanted = wanted.trim_start_matches("istio/");
    name.strip_suffix(wanted).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// `filter/overlay`, or `examples/application/k8s/overlay`.
fn name_of(overlay: &Path) -> String {
    let parts: Vec<_> = overlay.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match parts.as_slice() {
        [.., examples, application, k8s, _, name] if k8s == "k8s" => {
            format!("{examples}/{application}/{k8s}/{name}")
        }
        [.., filter, _, name] => format!("{filter}/{name}"),
        _ => PathBuf::from(overlay).display().to_string(),
    }
}
