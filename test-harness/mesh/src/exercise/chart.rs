//! The Helm chart: every example before the API server, and one of them installed and tried.

use anyhow::{Context, Result, bail, ensure};
use chart::Helm;
use e2e::groups;

use super::inference::{NAMESPACE, Tried};
use super::{NAMESPACES, accepted, pulled};
use crate::api::Kind;
use crate::report::Report;
use crate::setup::Mesh;

/// The example that is installed. It has groups, routes, two plugins and a waypoint.
const INSTALLED: &str = "dynamic-subset/waypoint-routes";

/// Has the API server see every example, and installs one, sends requests through it and takes it away.
pub(super) fn run(mesh: &Mesh, helm: &Helm, report: &mut Report) -> Result<()> {
    let kubeconfig = mesh.world.plane.kubeconfig();
    let examples = chart::examples()?;
    for namespace in NAMESPACES {
        mesh.world.ambient_namespace(namespace)?;
    }
    let seen = examples.iter().try_for_each(|(name, values)| {
        let printed = helm.install(values, &kubeconfig, NAMESPACE, true).with_context(|| name.clone())?;
        ensure!(printed.contains("NOTES:"), "{name}: no notes");
        Ok(())
    });
    report.check("helm install --dry-run=server of every example", seen);

    let Some((_, values)) = examples.iter().find(|(name, _)| name == INSTALLED) else {
        bail!("the chart has no example {INSTALLED}")
    };
    let resources = helm.template(values)?;
    let install = || helm.install(values, &kubeconfig, NAMESPACE, false).map(|_| ());
    let mut tried = Tried::raise_by(mesh, &resources, install)?;
    report.check(&format!("helm install of {INSTALLED}"), Ok(()));
    report.check("first answer", tried.first_answer());
    report.check("accepted by Envoy", accepted(&tried.proxy));
    report.check("JSON over HTTP/1.1 and HTTP/2, and gRPC", tried.inferences());
    report.check("HBONE to the pods with the proxy's identity", tried.identities());
    report.check("modules pulled from the registry", pulled(mesh, &resources));
    report.check("each request to its group", tried.groups(&groups::cases(false)));
    report.check("helm uninstall", uninstalled(mesh, helm));
    Ok(())
}

/// Whether nothing of the chart is left.
fn uninstalled(mesh: &Mesh, helm: &Helm) -> Result<()> {
    let plane = &mesh.world.plane;
    helm.uninstall(&plane.kubeconfig(), NAMESPACE)?;
    for kind in [
        Kind("extensions.istio.io/v1alpha1", "WasmPlugin"),
        Kind("networking.istio.io/v1", "VirtualService"),
        Kind("security.istio.io/v1", "AuthorizationPolicy"),
    ] {
        let left = plane.cluster.list(kind, NAMESPACE)?;
        ensure!(left.is_empty(), "{} of {} are left", left.len(), kind.1);
    }
    Ok(())
}
