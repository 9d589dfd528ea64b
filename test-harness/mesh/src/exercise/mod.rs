//! Our overlays, applied and tried.

mod claims;
mod inference;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use resources::Resource;

use crate::control_plane::ROOT_NAMESPACE;
use crate::proxy::Proxy;
use crate::report::Report;
use crate::setup::Mesh;

/// Where overlays and exercises put resources.
const NAMESPACES: &[&str] = &["apsara-demo", ROOT_NAMESPACE, "modelmesh-serving"];

/// The overlays, or those of them whose path ends with one of `wanted`, each tried on a cluster that has nothing else.
///
/// # Errors
/// If the overlays cannot be listed, or the cluster is lost.
pub fn overlays(mesh: &Mesh, wanted: &[String], report: &mut Report) -> Result<()> {
    // Raised for the first overlay that needs it. istiod keeps an issuer's keys, so it stays the same one.
    let mut issuer = None;
    for overlay in resources::overlays()? {
        let name = name_of(&overlay);
        let asked = |want: &String| name.ends_with(want.trim_end_matches('/').trim_start_matches("istio/"));
        if !wanted.is_empty() && !wanted.iter().any(asked) {
            continue;
        }
        report.begin(&name);
        let ran = match name.split('/').next() {
            Some("kserve-transcoder" | "dynamic-subset") => inference::run(mesh, &overlay, &name, report),
            Some("claim-headers") => claims::run(mesh, &mut issuer, &overlay, &name, report),
            _ => Ok(()),
        };
        report.end(ran);
        mesh.world.clear(NAMESPACES)?;
    }
    Ok(())
}

/// Whether Envoy took all of its configuration.
fn accepted(proxy: &Proxy) -> Result<()> {
    let rejected = proxy.rejected();
    ensure!(rejected.is_empty(), "Envoy refused: {}", rejected.join("; "));
    Ok(())
}

/// Whether agents asked the registry for every module that resources name.
fn pulled(mesh: &Mesh, resources: &[Resource]) -> Result<()> {
    let requests = mesh.registry.requests();
    for plugin in resources.iter().filter(|resource| resource.kind() == "WasmPlugin") {
        let url = plugin.text("/spec/url");
        let image = url.rsplit('/').next().unwrap_or(url);
        let repository = image.split(':').next().unwrap_or(image);
        let asked = requests.iter().any(|request| request.contains(&format!("/v2/{repository}/manifests/")));
        ensure!(asked, "the agent did not ask for {url}: {requests:?}");
    }
    Ok(())
}

/// `filter/overlay`.
fn name_of(overlay: &Path) -> String {
    let parts: Vec<_> = overlay.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match parts.as_slice() {
        [.., filter, _, name] => format!("{filter}/{name}"),
        _ => PathBuf::from(overlay).display().to_string(),
    }
}
