//! Formatting, lints, documentation, licences and advisories.

use crate::Stop;
use crate::build;
use crate::run::{self, Checked};
use crate::workspace::Workspace;

/// All of it. The first failure ends it.
pub(crate) fn all(workspace: &Workspace) -> Result<(), Stop> {
    run::step("formatting", || workspace.cargo().args(["fmt", "--all", "--check"]).checked())?;
    run::step("clippy", || {
        let mut cargo = workspace.cargo();
        cargo.args(["clippy", "--workspace", "--all-targets", "--locked"]);
        cargo.args(["--", "-D", "warnings"]).checked()
    })?;
    build::target(workspace, build::WASI)?;
    run::step("clippy for wasm", || {
        let mut cargo = workspace.cargo();
        cargo.args(["clippy", "--locked", "--target", build::WASI]);
        cargo.args(build::wasm_packages().flat_map(|package| ["-p", package]));
        cargo.args(["--", "-D", "warnings"]).checked()
    })?;
    run::step("documentation", || {
        let mut cargo = workspace.cargo();
        cargo
            .args(["doc", "--workspace", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .checked()
    })?;
    licences_and_advisories(workspace)
}

/// cargo-deny, where it is installed: building it takes longer than everything else here.
fn licences_and_advisories(workspace: &Workspace) -> Result<(), Stop> {
    const NAME: &str = "licences and advisories";
    if run::on_path("cargo-deny").is_none() {
        eprintln!("==> skipped: {NAME} (no cargo-deny on PATH: `cargo install cargo-deny`)");
        return Ok(());
    }
    run::step(NAME, || workspace.cargo().args(["deny", "check"]).checked())
}
