//! The test suite.

use std::process::Command;

use crate::Stop;
use crate::build;
use crate::envoy;
use crate::python;
use crate::run::{self, Checked};
use crate::tools;
use crate::workspace::Workspace;

/// Everything.
pub(crate) fn all(workspace: &Workspace) -> Result<(), Stop> {
    let mut tally = Tally::default();
    without_envoy(workspace, &mut tally)?;
    with_envoy(workspace, &mut tally, &["-p", "e2e"])?;
    tally.close()
}

/// Everything that needs no Envoy and no Python.
pub(crate) fn quick(workspace: &Workspace) -> Result<(), Stop> {
    let mut tally = Tally::default();
    without_envoy(workspace, &mut tally)?;
    tally.skip("end-to-end tests (--quick)");
    tally.close()
}

/// All real servers and clients.
pub(crate) fn interop(workspace: &Workspace) -> Result<(), Stop> {
    let mut tally = Tally::default();
    build::dist_and_probes(workspace)?;
    with_envoy(workspace, &mut tally, &["-p", "e2e", "--features", "interop"])?;
    tally.close()
}

fn without_envoy(workspace: &Workspace, tally: &mut Tally) -> Result<(), Stop> {
    tally.tests("unit and integration tests", workspace.cargo().args(["test", "--no-fail-fast"]));
    under_node(workspace, tally)?;
    build::dist_and_probes(workspace)?;
    let mut conformance = workspace.cargo();
    conformance.args(["test", "--no-fail-fast", "-p", "conformance"]);
    tally.tests("conformance on the emulator and natively", with_artefacts(workspace, &mut conformance));
    Ok(())
}

/// The pure crates on the target of browsers and Node: those that have `wasm-bindgen-test`.
fn under_node(workspace: &Workspace, tally: &mut Tally) -> Result<(), Stop> {
    const NAME: &str = "pure crates on wasm32-unknown-unknown under Node";
    let packages = workspace.members_with("wasm-bindgen-test");
    if packages.is_empty() {
        return Ok(());
    }
    if run::on_path("node").is_none() {
        tally.skip(&format!("{NAME} (no node on PATH)"));
        return Ok(());
    }
    build::target(workspace, build::WEB)?;
    let runner = tools::wasm_bindgen_test_runner(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--no-fail-fast", "--lib", "--tests", "--target", build::WEB]);
    cargo.args(packages.iter().flat_map(|package| ["-p", package]));
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner);
    tally.tests(NAME, &mut cargo);
    Ok(())
}

fn with_envoy(workspace: &Workspace, tally: &mut Tally, what: &[&str]) -> Result<(), Stop> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--no-fail-fast"]).args(what);
    let quick = |Stop(why)| Stop(why + "; `cargo xtask test --quick` needs none of it");
    cargo.envs(envoy::matrix(workspace).map_err(quick)?);
    cargo.env("MODELS_PYTHON", python::models(workspace).map_err(quick)?);
    tally.tests("end to end with Envoy 1.38, 1.39 and 1.40", with_artefacts(workspace, &mut cargo));
    Ok(())
}

fn with_artefacts<'a>(workspace: &Workspace, cargo: &'a mut Command) -> &'a mut Command {
    cargo.env("TEST_ARTEFACTS", build::artefacts_for_tests(workspace))
}

/// What came of all tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    /// Runs a `cargo test` and adds its closing lines up. One that ends in failure without saying which test
    /// failed (it did not compile) counts as one.
    fn tests(&mut self, name: &str, cargo: &mut Command) {
        let before = self.failed;
        let outcome = run::step(name, || {
            let status = cargo.teed(|line| self.add(line))?;
            if status.success() { Ok(()) } else { Err(Stop::new(format!("{name}: {status}"))) }
        });
        if let Err(stop) = outcome {
            eprintln!("    {stop}");
            self.failed = self.failed.max(before + 1);
        }
    }

    /// Notes that something is left out, and why.
    fn skip(&mut self, what: &str) {
        eprintln!("==> skipped: {what}");
        self.skipped += 1;
    }

    /// Adds a closing line of libtest's: `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.trim_start().strip_prefix("test result: ") else { return };
        let counts = counts.split_once(". ").map_or(counts, |(_, counts)| counts);
        for count in counts.split("; ") {
            match count.split_once(' ').map(|(number, what)| (number.parse::<u64>(), what)) {
                Some((Ok(n), "passed")) => self.passed += n,
                Some((Ok(n), "failed")) => self.failed += n,
                Some((Ok(n), "ignored")) => self.skipped += n,
                _ => {}
            }
        }
    }

    /// The last line of all.
    fn close(self) -> Result<(), Stop> {
        let Self { passed, failed, skipped } = self;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed == 0 { Ok(()) } else { Err(Stop::new("tests failed")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_add_up_whoever_wrote_them() {
        let mut tally = Tally::default();
        tally.add(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.0s",
        );
        tally.add("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 filtered out");
        tally.add("    test result: ok. 1 passed; 0 failed; 0 ignored");
        tally.add("test the_test_result: ok. 9 passed ... ok");
        assert_eq!(tally, Tally { passed: 16, failed: 2, skipped: 1 });
    }

    #[test]
    fn a_run_that_fails_without_a_count_counts_as_one_failure() {
        let mut tally = Tally::default();
        tally.tests("no such program", &mut Command::new("no-such-program-at-all"));
        let mut counted = Command::new("sh");
        counted.args(["-c", "echo 'test result: FAILED. 0 passed; 2 failed; 0 ignored'; exit 101"]);
        tally.tests("two failures", &mut counted);
        assert_eq!(tally.failed, 3);
        assert!(tally.close().is_err());
    }
}
