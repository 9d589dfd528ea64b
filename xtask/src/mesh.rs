//! Istio's control plane, stock Envoy and our resources in one process tree: set up, and started.

mod go;

use std::path::PathBuf;
use std::process::Command;

use crate::Stop;
use crate::become_it;
use crate::emulated;
use crate::envoy;
use crate::image;
use crate::node;
use crate::python;
use crate::run::{self, Checked};
use crate::test;
use crate::workspace::Workspace;

/// What every mesh runs.
const CONTROL_PLANE: [&go::Tree; 4] = [&go::ETCD, &go::KUBERNETES, &go::ISTIO, &go::OAUTH2_PROXY];
/// How the mesh makes a place of its own: user, network, mount and process namespaces.
const PLACE: [&str; 3] = ["-Urnmpf", "--kill-child", "--mount-proc"];

/// Runs the mesh with what it is asked for.
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), Stop> {
    let (program, arguments) = match arguments {
        ["--with", program, arguments @ ..] => (Some(PathBuf::from(program)), arguments),
        ["--with"] => return Err(Stop::new("mesh --with needs a program")),
        _ => (None, arguments),
    };
    if program.is_none() {
        flags(arguments)?;
    }
    prerequisites()?;
    start(workspace, program, arguments, Vec::new())
}

/// Refuses a flag that the mesh does not know, half an hour before it would.
fn flags(arguments: &[&str]) -> Result<(), Stop> {
    match arguments.iter().find(|argument| argument.starts_with('-') && **argument != "--once") {
        Some(flag) => Err(Stop::new(format!("mesh takes --once, --with PROGRAM and overlays, not {flag}"))),
        None => Ok(()),
    }
}

/// What takes too long for every change: all real servers and clients, the native library for other processors, Envoy Gateway,
/// and the mesh with ModelMesh's controller.
pub(crate) fn acceptance(workspace: &Workspace) -> Result<(), Stop> {
    prerequisites()?;
    test::interop(workspace)?;
    emulated::run(workspace)?;
    try_envoy_gateway(workspace, &[])?;
    let environment = go::MODELMESH.build(workspace)?;
    start(workspace, None, &["--once"], environment)
}

/// The real Envoy Gateway without Kubernetes, with the resources of `envoy-gateway/`, or those of the named folders.
pub(crate) fn envoy_gateway(workspace: &Workspace, folders: &[&str]) -> Result<(), Stop> {
    prerequisites()?;
    try_envoy_gateway(workspace, folders)
}

fn try_envoy_gateway(workspace: &Workspace, folders: &[&str]) -> Result<(), Stop> {
    let mut environment = envoy::matrix(workspace)?;
    environment.extend(go::ENVOY_GATEWAY.build(workspace)?);
    environment.push(image::wasm(workspace)?);
    run::step("envoy-gateway: build", || {
        workspace.cargo().args(["build", "-p", "mesh", "--bin", "envoy-gateway"]).checked()
    })?;
    run::step("envoy-gateway", || {
        Command::new(workspace.target.join("debug/envoy-gateway")).args(folders).envs(environment).checked()
    })
}

/// Builds all that a mesh is made of, and becomes `program`, or the one that tries this repository's resources.
fn start(
    workspace: &Workspace,
    program: Option<PathBuf>,
    arguments: &[&str],
    mut environment: Vec<(&'static str, PathBuf)>,
) -> Result<(), Stop> {
    let envoy = envoy::newest(workspace)?;
    if let Some(why) = envoy::too_old(&envoy)? {
        return Err(Stop::new(format!(
            "{why}, which Istio's control plane needs: set ENVOY to another, or unset it"
        )));
    }
    let python = python::models(workspace)?;
    environment.push(("APPLICATION_MODELS", python::application_models(workspace, &python)?));
    environment.extend([("ENVOY", envoy), ("MODELS_PYTHON", python)]);
    let provider = match node::identity_provider(workspace)? {
        // What is asked for by name may do without a login.
        Err(why) if program.is_none() && arguments.iter().all(|argument| argument.starts_with('-')) => {
            return Err(Stop::new(why));
        }
        found => or_a_line(found),
    };
    environment.push(("IDENTITY_PROVIDER", provider));
    let (browser, driver) = or_a_line(node::chromium());
    environment.extend([("CHROMIUM", browser), ("CHROMEDRIVER", driver)]);
    for tree in CONTROL_PLANE {
        environment.extend(tree.build(workspace)?);
    }
    if program.is_none() {
        environment.extend(go::HELM.build(workspace)?);
    }
    for (variable, tree) in
        [("ISTIO_FILES", &go::ISTIO), ("KSERVE_FILES", &go::KSERVE), ("MODELMESH_FILES", &go::MODELMESH)]
    {
        environment.push((variable, tree.files(workspace)?));
    }
    environment.push(image::wasm(workspace)?);
    let program = match program {
        Some(program) => program,
        None => {
            run::step("mesh: build", || {
                workspace.cargo().args(["build", "-p", "mesh", "--bin", "mesh"]).checked()
            })?;
            workspace.target.join("debug/mesh")
        }
    };
    let mut mesh = Command::new(program);
    mesh.args(arguments).envs(environment);
    become_it(mesh)
}

/// Helm: `$HELM`, or built with Go; else why it is not here.
pub(crate) fn helm(workspace: &Workspace) -> run::Found<PathBuf> {
    program(workspace, "Helm", "HELM", &go::HELM)
}

/// crane, a client of registries: `$CRANE`, or built with Go; else why it is not here.
pub(crate) fn crane(workspace: &Workspace) -> run::Found<PathBuf> {
    program(workspace, "crane", "CRANE", &go::CRANE)
}

/// The only program of a tree.
fn program(workspace: &Workspace, name: &str, variable: &str, tree: &go::Tree) -> run::Found<PathBuf> {
    if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    if let Some(missing) = go::missing(name) {
        return Err(missing);
    }
    let mut built = tree.build(workspace).map_err(|Stop(why)| why)?;
    built.pop().map(|(_, program)| program).ok_or_else(|| format!("{name} was not built"))
}

/// What is here, or nothing and a line that says why.
fn or_a_line<T: Default>(found: run::Found<T>) -> T {
    found.unwrap_or_else(|why| {
        eprintln!("    {why}");
        T::default()
    })
}

/// Asks for all that is missing and cannot be made, before anything that takes long.
fn prerequisites() -> Result<(), Stop> {
    let missing: Vec<_> = [go::missing("the control plane"), namespaces(), network_tool(), authorities()]
        .into_iter()
        .flatten()
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Stop::new(missing.join("\nxtask: "))) }
}

fn namespaces() -> Option<String> {
    let missing = |why: &str| {
        format!(
            "namespaces cannot be made ({why}): allow unprivileged user namespaces (sysctl \
             kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu, kernel.unprivileged_userns_clone=1 on older \
             Debian, user.max_user_namespaces above 0), or in a container run it privileged"
        )
    };
    if run::on_path("unshare").is_none() {
        return Some("unshare was not found on PATH; on Debian: apt-get install util-linux".into());
    }
    let output = match Command::new("unshare").args(PLACE).arg("true").output() {
        Ok(output) => output,
        Err(why) => return Some(missing(&why.to_string())),
    };
    let why = String::from_utf8_lossy(&output.stderr);
    (!output.status.success()).then(|| missing(run::last_line(&why)))
}

fn network_tool() -> Option<String> {
    run::on_path("ip").is_none().then(|| {
        "ip, which adds the pods' addresses, was not found on PATH; on Debian: apt-get install iproute2"
            .into()
    })
}

/// The file of authorities that the mesh puts its own over, inside its namespaces only.
fn authorities() -> Option<String> {
    const FILE: &str = "/etc/ssl/certs/ca-certificates.crt";
    (!std::path::Path::new(FILE).exists())
        .then(|| format!("{FILE} is missing; on Debian: apt-get install ca-certificates"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_may_be_named_and_an_unknown_flag_is_refused_before_anything_is_built() {
        for arguments in
            [&[][..], &["--once"], &["istio/claim-headers/overlays/waypoint"], &["a", "--once", "b"]]
        {
            assert_eq!(flags(arguments), Ok(()));
        }
        let refused = flags(&["istio/claim-headers/overlays/waypoint", "--onec"]).unwrap_err();
        assert_eq!(refused.0, "mesh takes --once, --with PROGRAM and overlays, not --onec");
    }
}
