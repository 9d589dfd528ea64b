//! The probe filter's trace in the emulator equals its trace in real Envoy.
//!
//! Needs `PROBE_WASM` (the built probe) and, per version, `ENVOY_138` or `ENVOY_140`; `cargo xtask test` sets
//! them. Without one of them a test is reported as ignored.

mod cases;
mod emulated;
mod real;
mod seen;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use proxy_wasm_emulator::{Engine, EnvoyVersion, PluginOptions, Vm, VmOptions};

use crate::cases::Case;
use crate::real::Real;
use crate::seen::{Run, Seen};

const VERSIONS: [(&str, &str, EnvoyVersion); 2] =
    [("1.38", "ENVOY_138", EnvoyVersion::V1_38), ("1.40", "ENVOY_140", EnvoyVersion::V1_40)];

fn main() -> ExitCode {
    let probe = path("PROBE_WASM");
    let mut trials = Vec::new();
    for (version, variable, emulated) in VERSIONS {
        for flag in [false, true] {
            let here = probe.clone().zip(path(variable));
            let missing = here.is_none();
            let name =
                format!("the_probe_sees_the_same_in_the_emulator_and_in_envoy::{version}::flag_{flag}");
            let run = move || match &here {
                Some((probe, envoy)) => compare(envoy, probe, emulated, flag),
                None => Ok(()),
            };
            trials.push(
                Trial::test(name, run)
                    .with_ignored_flag(missing)
                    .with_kind(format!("needs PROBE_WASM and {variable}")),
            );
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn path(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(Into::into)
}

fn compare(envoy: &Path, probe: &Path, version: EnvoyVersion, flag: bool) -> Result<(), Failed> {
    let runs = emulate(probe, version, flag)?;
    let mut real = Real::start(envoy, probe, flag)?;
    let outcomes = real.run(&runs);
    let mut differences = Vec::new();
    for ((case, _, run), outcome) in runs.iter().zip(outcomes) {
        if let Some(difference) = difference(case, run, outcome) {
            differences.push(difference);
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!("{} of {} cases differ:\n{}", differences.len(), runs.len(), differences.join("\n")).into())
}

fn emulate(probe: &Path, version: EnvoyVersion, flag: bool) -> Result<Vec<(Case, String, Run)>, Failed> {
    let wasm = std::fs::read(probe)?;
    let clusters = ["upstream".to_owned(), "calls".to_owned()].into();
    let vm = Vm::new(&Engine::new(), &wasm, VmOptions { version, clusters, ..VmOptions::default() })?;
    let plugin = vm.plugin(PluginOptions {
        name: format!("probe_{flag}"),
        root_id: format!("probe_{flag}"),
        allow_on_headers_stop_iteration: flag,
        ..PluginOptions::default()
    })?;
    let numbered = cases::all().into_iter().enumerate();
    Ok(numbered
        .map(|(i, case)| {
            let id = format!("c{i:05}");
            let run = emulated::run(&plugin, &case, &id);
            (case, id, run)
        })
        .collect())
}

/// How the two differ, if they do.
fn difference(case: &Case, run: &Run, outcome: Result<Seen, String>) -> Option<String> {
    let real = match outcome {
        Ok(real) if real == run.seen => return None,
        Ok(real) => real,
        Err(error) => return Some(format!("{}: {error}", case.name)),
    };
    let mut out = format!("{}\n  script: {}\n", case.name, case.script);
    for i in 0..real.trace.len().max(run.seen.trace.len()) {
        let (emulated, envoy) = (run.seen.trace.get(i), real.trace.get(i));
        if emulated != envoy {
            out.push_str(&format!("  line {i}: emulator {emulated:?}\n          envoy    {envoy:?}\n"));
        }
    }
    for (what, emulated, envoy) in
        [("client", &run.seen.client, &real.client), ("upstream", &run.seen.upstream, &real.upstream)]
    {
        if emulated != envoy {
            out.push_str(&format!("  {what}: emulator {emulated:?}\n  {what}: envoy    {envoy:?}\n"));
        }
    }
    for hazard in &run.hazards {
        out.push_str(&format!("  hazard: {hazard}\n"));
    }
    Some(out)
}
