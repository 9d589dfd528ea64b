//! Filters with other people's SDKs do the same on the emulator and in real Envoy: one in Go, one in AssemblyScript.
//!
//! Their sources are under `test-harness/emulator/tests/filters`; `cargo xtask test` builds them and sets
//! `GO_FILTER_WASM` and `ASSEMBLYSCRIPT_FILTER_WASM`. A test whose module or whose Envoy is missing is reported as
//! ignored.

mod alone;
mod emulated;
mod real;
mod scenario;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use proxy_wasm_emulator::EnvoyVersion;

use crate::scenario::Language;

/// Releases, the variables that name them, and what the emulator is told to be.
const VERSIONS: [(&str, &str, EnvoyVersion); 3] = [
    ("1.38", "ENVOY_138", EnvoyVersion::V1_38),
    ("1.39", "ENVOY_139", EnvoyVersion::V1_39),
    ("1.40", "ENVOY_140", EnvoyVersion::V1_40),
];

fn main() -> ExitCode {
    e2e::stand_in();
    let mut trials = Vec::new();
    for language in [Language::Go, Language::AssemblyScript] {
        let module = path(language.variable());
        for (version, variable, emulated) in VERSIONS {
            let here = module.clone().zip(path(variable));
            let needed = if module.is_none() { language.variable() } else { variable };
            let missing = here.is_none().then_some(needed);
            let run =
                move || here.map_or(Ok(()), |(module, envoy)| compare(language, &module, &envoy, emulated));
            let name =
                format!("a_{}_filter_does_the_same_on_the_emulator_and_in_envoy::{version}", language.name());
            trials.push(e2e::unless_missing(Trial::test(name, run), missing));
        }
    }
    for (name, language, test) in alone::TESTS {
        let module = path(language.variable());
        let missing = module.is_none().then_some(language.variable());
        let run = move || module.map_or(Ok(()), |module| alone::run(&module, test));
        trials.push(e2e::unless_missing(Trial::test(name, run), missing));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn path(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(Into::into)
}

fn compare(language: Language, module: &Path, envoy: &Path, version: EnvoyVersion) -> Result<(), Failed> {
    let scenarios = scenario::all(language);
    let real = real::run(envoy, module, &scenarios)?;
    let mut differences = Vec::new();
    for (scenario, real) in scenarios.iter().zip(real) {
        let emulated = emulated::run(module, scenario, version)?;
        if emulated != real {
            differences.push(emulated.difference(&real, scenario.name));
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}
