//! Our overlays, applied and tried.

mod inference;
mod lifecycle;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::control_plane::ROOT_NAMESPACE;
use crate::report::Report;
use crate::setup::Mesh;

/// Where overlays and exercises put resources.
const NAMESPACES: &[&str] = &["apsara-demo", ROOT_NAMESPACE, "modelmesh-serving"];

/// The overlays, or those of them whose path ends with one of `wanted`, each tried on a cluster that has nothing else.
///
/// # Errors
/// If the overlays cannot be listed, or the cluster is lost.
pub fn overlays(mesh: &Mesh, wanted: &[String], report: &mut Report) -> Result<()> {
    for overlay in resources::overlays()? {
        let name = name_of(&overlay);
        let asked = |want: &String| name.ends_with(want.trim_end_matches('/').trim_start_matches("istio/"));
        if !wanted.is_empty() && !wanted.iter().any(asked) {
            continue;
        }
        report.begin(&name);
        let ran = match name.split('/').next() {
            Some("kserve-transcoder" | "dynamic-subset") => inference::run(mesh, &overlay, &name, report),
            _ => Ok(()),
        };
        report.end(ran);
        mesh.world.clear(NAMESPACES)?;
    }
    Ok(())
}

/// What happens while modules, configurations and the control plane change.
///
/// # Errors
/// If the cluster is lost.
pub fn lifecycle(mesh: &Mesh, report: &mut Report) -> Result<()> {
    report.begin("lifecycle");
    let ran = lifecycle::run(mesh, report);
    report.end(ran);
    mesh.world.clear(NAMESPACES)
}

/// `filter/overlay`.
fn name_of(overlay: &Path) -> String {
    let parts: Vec<_> = overlay.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match parts.as_slice() {
        [.., filter, _, name] => format!("{filter}/{name}"),
        _ => PathBuf::from(overlay).display().to_string(),
    }
}
