//! Developer tools from crates.io, built once under `target/tools`.

use std::path::PathBuf;

use crate::Stop;
use crate::run::{self, Checked};
use crate::workspace::Workspace;

/// The runner of wasm-bindgen tests, of the version that the tests are linked with.
pub(crate) fn wasm_bindgen_test_runner(workspace: &Workspace) -> Result<PathBuf, Stop> {
    let version = workspace.locked_version("wasm-bindgen")?;
    install(workspace, "wasm-bindgen-cli", &version, "wasm-bindgen-test-runner")
}

/// The binary `program` of a crate, installed unless that version is. An unoptimised build takes a fraction of
/// the time, and these tools have little to do.
pub(crate) fn install(
    workspace: &Workspace,
    package: &str,
    version: &str,
    program: &str,
) -> Result<PathBuf, Stop> {
    let root = workspace.target.join("tools").join(format!("{package}-{version}"));
    let binary = root.join("bin").join(program);
    if binary.exists() {
        return Ok(binary);
    }
    run::step(&format!("install {package} {version} (once)"), || {
        let cargo_install = |locked: &[&str]| {
            let mut cargo = workspace.cargo();
            cargo.args(["install", package, "--version", version, "--bin", program]).args(locked);
            // Without its default features the runner has no TLS, which it needs for browsers alone.
            cargo.args(["--debug", "--no-default-features"]).env("CARGO_PROFILE_DEV_DEBUG", "false");
            cargo.arg("--root").arg(&root).arg("--target-dir").arg(workspace.target.join("tools/build"));
            cargo.quietly(package)
        };
        // A mirror of crates.io may lack a version that the lock file names.
        let installed = match cargo_install(&["--locked"])? {
            Ok(()) => Ok(()),
            Err(_) => cargo_install(&[])?,
        };
        installed.map_err(|output| {
            let why = crate::build::last_line(&output);
            Stop::new(format!(
                "cargo cannot install {package} {version} ({why}): give it access to crates.io"
            ))
        })
    })?;
    Ok(binary)
}
