//! The test suite.

use std::path::PathBuf;
use std::process::Command;

use crate::Stop;
use crate::build;
use crate::envoy;
use crate::node;
use crate::python;
use crate::run::{self, Checked};
use crate::tools;
use crate::workspace::Workspace;

/// What wasm-bindgen's runner says, with success, of a binary without tests. Tests under a plain `#[test]` are
/// such: it does not see them.
const NO_TESTS_UNDER_NODE: &str = "no tests to run!";

/// Everything.
pub(crate) fn all(workspace: &Workspace) -> Result<(), Stop> {
    let quick = |Stop(why)| Stop(why + "; `cargo xtask test --quick` needs none of it");
    let mut environment = modules(workspace);
    environment.extend(envoys_and_models(workspace).map_err(quick)?);
    environment.extend(tools::func_e(workspace)?.map(|path| ("FUNC_E", path)));
    environment.extend(node::identity_provider(workspace)?.map(|path| ("IDENTITY_PROVIDER", path)));
    environment.extend(node::chromium());
    let mut tally = Tally::default();
    under_node(workspace, &mut tally)?;
    build::dist_and_test_modules(workspace)?;
    natively(workspace, &mut tally, "all tests, with Envoy 1.38, 1.39 and 1.40", environment);
    tally.close()
}

/// Everything that needs no Envoy, no Python and no Node; what does reports itself as ignored. The modules are
/// unoptimised ones, and `dist/` is left alone. The cores' own tests, which run under Node too, take minutes there.
pub(crate) fn quick(workspace: &Workspace) -> Result<(), Stop> {
    let mut tally = Tally::default();
    let modules = build::quick_modules(workspace)?;
    let environment = vec![
        ("CLAIM_HEADERS_WASM", modules.join("claim_headers.wasm")),
        ("KSERVE_TRANSCODER_WASM", modules.join("kserve_transcoder.wasm")),
        ("DYNAMIC_SUBSET_WASM", modules.join("dynamic_subset.wasm")),
        ("INFERENCE_FILTERS_SO", modules.join("libinference_filters.so")),
        ("PROBE_WASM", modules.join("probe_filter.wasm")),
        ("TEST_MODULES", modules),
    ];
    natively(workspace, &mut tally, "all tests that need no Envoy", environment);
    tally.close()
}

/// All real servers and clients.
pub(crate) fn interop(workspace: &Workspace) -> Result<(), Stop> {
    let mut environment = envoys_and_models(workspace)?;
    let mut tally = Tally::default();
    match python::triton(workspace) {
        Ok(python) => environment.push(("TRITON_PYTHON", python)),
        Err(Stop(why)) => tally.skip(&format!("Triton: {why}")),
    }
    build::dist(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--no-fail-fast", "-p", "e2e", "--test", "interop"]).envs(environment);
    tally.tests("real servers and clients", &mut cargo);
    tally.close()
}

/// Variables by which tests find what they load, Envoy and Python.
type Environment = Vec<(&'static str, PathBuf)>;

fn modules(workspace: &Workspace) -> Environment {
    let modules = build::test_modules(workspace);
    vec![("PROBE_WASM", modules.join("probe_filter.wasm")), ("TEST_MODULES", modules)]
}

fn envoys_and_models(workspace: &Workspace) -> Result<Environment, Stop> {
    let mut environment = envoy::matrix(workspace)?;
    environment.push(("MODELS_PYTHON", python::models(workspace)?));
    Ok(environment)
}

/// All tests on this machine, in one run of cargo: each choice of packages would be a choice of features, for which
/// wasmtime would be compiled once more.
fn natively(workspace: &Workspace, tally: &mut Tally, name: &str, environment: Environment) {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]).envs(environment);
    // The wasm modules have no tests of their own, and could not be linked for this machine.
    cargo.args(build::wasm_packages().flat_map(|package| ["--exclude", package]));
    tally.tests(name, &mut cargo);
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
    cargo.args(["test", "--no-fail-fast", "--tests", "--target", build::WEB]);
    cargo.args(packages.iter().flat_map(|package| ["-p", package]));
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner);
    tally.tests(NAME, &mut cargo);
    Ok(())
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
    /// failed (it did not compile) counts as one, and so does one that ran no test.
    fn tests(&mut self, name: &str, cargo: &mut Command) {
        let (before, ran_before) = (self.failed, self.ran());
        let outcome = run::step(name, || {
            let mut empty = 0;
            let status = cargo.teed(|line| {
                self.add(line);
                empty += u64::from(line.trim() == NO_TESTS_UNDER_NODE);
            })?;
            if !status.success() {
                Err(Stop::new(format!("{name}: {status}")))
            } else if self.ran() == ran_before || empty > 0 {
                Err(Stop::new(format!("{name}: a test binary ran no tests")))
            } else {
                Ok(())
            }
        });
        if let Err(stop) = outcome {
            eprintln!("    {stop}");
            self.failed = self.failed.max(before + 1);
        }
    }

    fn ran(&self) -> u64 {
        self.passed + self.failed
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
    use std::path::Path;

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

    #[test]
    fn a_run_that_succeeds_without_a_test_counts_as_one_failure() {
        for (said, failed) in [
            ("test result: ok. 3 passed; 0 failed; 0 ignored", 0),
            ("test result: ok. 0 passed; 0 failed; 3 ignored", 1),
            ("no tests to run!", 1),
            ("test result: ok. 3 passed; 0 failed; 0 ignored\nno tests to run!", 1),
        ] {
            let mut tally = Tally::default();
            tally.tests("a run", Command::new("printf").args(["%s\n", said]));
            assert_eq!(tally.failed, failed, "{said}");
        }
    }

    #[test]
    fn every_test_of_a_crate_that_is_tested_under_node_is_seen_there() {
        let workspace = Workspace::find().unwrap();
        let crates = workspace.folders_of_members_with("wasm-bindgen-test");
        assert!(!crates.is_empty());
        let mut unseen = Vec::new();
        for file in crates.iter().flat_map(|folder| sources(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let seen = text.contains("use wasm_bindgen_test::wasm_bindgen_test as test;");
            if text.contains("#[test]") && !seen && !NATIVE_ONLY.iter().any(|only| file.ends_with(only)) {
                unseen.push(file);
            }
        }
        assert!(unseen.is_empty(), "these have tests that do not run under Node: {unseen:?}");
    }

    /// Files with tests that cannot run under Node.
    const NATIVE_ONLY: &[&str] = &[
        // Compare files of the repository with what they are made from.
        "claim-headers/src/config/docs.rs",
        "kserve-transcoder/src/config/docs.rs",
        "dynamic-subset/src/config/docs.rs",
        "runtime-group/src/config/docs.rs",
        // Also has the macro by which other files make tests.
        "claim-headers/src/attacks/mod.rs",
    ];

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.join("Cargo.toml").exists() => {}
                _ if path.is_dir() => found.extend(sources(&path)),
                Some(ending) if ending == "rs" => found.push(path),
                _ => {}
            }
        }
        found
    }
}
