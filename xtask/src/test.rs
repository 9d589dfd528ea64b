//! The test suite.

use std::path::PathBuf;

use crate::Stop;
use crate::build;
use crate::envoy;
use crate::mesh;
use crate::node;
use crate::protobuf;
use crate::python;
use crate::run::{self, Found};
use crate::tally::Tally;
use crate::toolchain;
use crate::tools;
use crate::workspace::Workspace;

/// Everything.
pub(crate) fn all(workspace: &Workspace) -> Result<(), Stop> {
    let quick = |Stop(why)| Stop(why + "; `cargo xtask test --quick` needs none of it");
    let mut environment = modules(workspace);
    environment.extend(envoys_and_models(workspace).map_err(quick)?);
    environment.push(application_models(workspace)?);
    let mut tally = Tally::default();
    tally.lacks("TRITON_PYTHON", "Triton, a download of 350 MB, is run by `cargo xtask interop` alone");
    tally.lacks(
        "KSERVE_PYTHON",
        "the KServe SDK, an environment of 425 MB, is run by `cargo xtask interop` alone",
    );
    tally.lacks("chroot", "neither chroot nor unshare is permitted here; run it as root");
    let mut add = |variable, found: Found<PathBuf>| match found {
        Ok(path) => environment.push((variable, path)),
        Err(why) => tally.lacks(variable, &why),
    };
    add("FUNC_E", tools::func_e(workspace)?);
    add("HELM", mesh::helm(workspace));
    add("CRANE", mesh::crane(workspace));
    add("OPENAI_PYTHON", python::openai(workspace).map_err(|Stop(why)| why));
    add("CYCLONEDX_PYTHON", python::cyclonedx(workspace).map_err(|Stop(why)| why));
    add("PROMETHEUS", tools::prometheus(workspace)?);
    add("IDENTITY_PROVIDER", node::identity_provider(workspace)?);
    add("PROTOBUF_CONFORMANCE", protobuf::conformance(workspace)?);
    add("GO_FILTER_WASM", tools::go_filter(workspace)?);
    add("ASSEMBLYSCRIPT_FILTER_WASM", node::assemblyscript_filter(workspace)?);
    match node::chromium() {
        Ok((browser, driver)) => {
            add("CHROMIUM", Ok(browser));
            add("CHROMEDRIVER", Ok(driver));
        }
        Err(why) => add("CHROMEDRIVER", Err(why)),
    }
    under_node(workspace, &mut tally)?;
    build::dist_and_test_modules(workspace)?;
    natively(workspace, &mut tally, "all tests, with Envoy 1.38, 1.39 and 1.40", environment);
    tally.close()
}

/// Everything that needs no Envoy, no Python and no Node; what does reports itself as ignored. The modules are
/// unoptimised ones, and `dist/` is left alone. The cores' own tests, which run under Node too, take minutes there.
pub(crate) fn quick(workspace: &Workspace) -> Result<(), Stop> {
    let mut tally = Tally::default();
    for variable in envoy::variables() {
        tally.lacks(variable, "--quick leaves out what needs Envoy");
    }
    for variable in ["GO_FILTER_WASM", "ASSEMBLYSCRIPT_FILTER_WASM"] {
        tally.lacks(variable, "--quick leaves out filters in other languages, which need Go and npm");
    }
    tally.lacks("HELM", "--quick leaves out what needs Helm, which is built with Go");
    tally.lacks("CRANE", "--quick leaves out what needs crane, which is built with Go");
    tally.lacks("OPENAI_PYTHON", "--quick leaves out what needs a Python environment");
    tally.lacks("CYCLONEDX_PYTHON", "--quick leaves out what needs a Python environment");
    tally.lacks("PROMETHEUS", "--quick leaves out what needs Prometheus");
    tally.lacks("PROTOBUF_CONFORMANCE", "--quick leaves out protobuf's own runner");
    tally.lacks("dist/", "--quick leaves out what needs the optimised modules in dist/");
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

/// All real servers and clients. Without one of the servers the rest is run, and it fails: cells of the matrix have no result.
pub(crate) fn interop(workspace: &Workspace) -> Result<(), Stop> {
    let mut environment = envoys_and_models(workspace)?;
    environment.push(application_models(workspace)?);
    environment.push(("OPENAI_PYTHON", python::openai(workspace)?));
    let mut tally = Tally::default();
    let mut incomplete = Ok(());
    for (variable, what, python) in [
        ("TRITON_PYTHON", "Triton", python::triton(workspace)),
        ("KSERVE_PYTHON", "KServe SDK", python::kserve(workspace)),
    ] {
        match python {
            Ok(python) => environment.push((variable, python)),
            Err(Stop(why)) => {
                let why = format!("no {what}: {why}");
                tally.lacks(variable, &why);
                incomplete = Err(Stop::new(format!("the matrix has cells without a result: {why}")));
            }
        }
    }
    build::dist(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--no-fail-fast", "-p", "e2e", "--test", "interop"]).envs(environment);
    tally.tests("real servers and clients", &mut cargo);
    tally.close()?;
    incomplete
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

/// The models of the AI application, by the variable that names them to the tests.
fn application_models(workspace: &Workspace) -> Result<(&'static str, PathBuf), Stop> {
    let python = python::models(workspace)?;
    Ok(("APPLICATION_MODELS", python::application_models(workspace, &python)?))
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
        tally.skip(NAME, "there is no node on PATH; install Node");
        return Ok(());
    }
    toolchain::target(workspace, toolchain::WEB)?;
    let runner = tools::wasm_bindgen_test_runner(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--no-fail-fast", "--tests", "--target", toolchain::WEB]);
    cargo.args(packages.iter().flat_map(|package| ["-p", package]));
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner);
    tally.tests(NAME, &mut cargo);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

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
