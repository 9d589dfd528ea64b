//! Formatting, lints, documentation, generated files, licences and advisories.

use crate::Stop;
use crate::build;
use crate::run::{self, Checked};
use crate::workspace::Workspace;

/// All of it, also after a failure.
pub(crate) fn all(workspace: &Workspace) -> Result<(), Stop> {
    let formatting =
        run::step("formatting", || workspace.cargo().args(["fmt", "--all", "--check"]).checked());
    let clippy = run::step("clippy", || {
        let mut cargo = workspace.cargo();
        cargo.args(["clippy", "--workspace", "--all-targets", "--locked"]);
        cargo.args(["--", "-D", "warnings"]).checked()
    });
    build::target(workspace, build::WASI)?;
    let clippy_for_wasm = run::step("clippy for wasm", || {
        let mut cargo = workspace.cargo();
        cargo.args(["clippy", "--locked", "--target", build::WASI, "--lib", "--examples"]);
        cargo.args(build::packages_for_wasm().flat_map(|package| ["-p", package]));
        cargo.args(["--", "-D", "warnings"]).checked()
    });
    let documentation = run::step("documentation", || {
        let mut cargo = workspace.cargo();
        cargo
            .args(["doc", "--workspace", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .checked()
    });
    let generated = run::step("generated files", || {
        let mut cargo = workspace.cargo();
        cargo
            .args(["test", "--quiet", "--locked", "-p", "kserve-transcoder", "-p", "claim-headers"])
            .args(["-p", "dynamic-subset", "-p", "runtime-group"])
            .args(["--lib", "config::docs"])
            .checked()
    });
    let licences = licences_and_advisories(workspace);
    let results = [formatting, clippy, clippy_for_wasm, documentation, generated, licences];
    let failures: Vec<String> = results.into_iter().filter_map(Result::err).map(|Stop(why)| why).collect();
    if failures.is_empty() { Ok(()) } else { Err(Stop::new(failures.join("\nxtask: "))) }
}

/// cargo-deny, where it is installed: building it takes longer than everything else here.
fn licences_and_advisories(workspace: &Workspace) -> Result<(), Stop> {
    if run::on_path("cargo-deny").is_none() {
        eprintln!("==> skipped: licences and advisories (no cargo-deny on PATH: `cargo install cargo-deny`)");
        return Ok(());
    }
    let deny = |checks: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo.args(["deny", "--log-level", "error", "check"]).args(checks);
        cargo
    };
    run::step("licences and sources", || deny(&["bans", "licenses", "sources"]).checked())?;
    run::step("advisories", || match deny(&["advisories"]).quietly("advisories")? {
        Err(output) if output.contains("failed to fetch advisory database") => {
            eprintln!("==> skipped: advisories (their database cannot be reached)");
            Ok(())
        }
        Err(output) => Err(Stop::new(format!("advisories: {output}"))),
        Ok(()) => Ok(()),
    })
}
