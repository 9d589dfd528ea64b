//! The probe filter's trace in the emulator equals its trace in real Envoy.
//!
//! Needs `PROBE_WASM` (the built probe) and, per version, `ENVOY_138`, `ENVOY_139` or `ENVOY_140`; `cargo xtask test` sets
//! them. Without one of them a test is reported as ignored.

mod cases;
mod emulated;
mod real;
mod seen;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use proxy_wasm_emulator::{Engine, EnvoyVersion, FailPolicy, Plugin, PluginOptions, Vm, VmOptions};

use crate::cases::Case;
use crate::real::{Form, Real};
use crate::seen::{Run, Seen};

const VERSIONS: [(&str, &str, EnvoyVersion); 3] = [
    ("1.38", "ENVOY_138", EnvoyVersion::V1_38),
    ("1.39", "ENVOY_139", EnvoyVersion::V1_39),
    ("1.40", "ENVOY_140", EnvoyVersion::V1_40),
];

/// A test, given Envoy and the probe.
type Test = fn(&Path, &Path, EnvoyVersion) -> Result<(), Failed>;

const TESTS: [(&str, Test); 4] = [
    ("the_probe_sees_the_same_in_the_emulator_and_in_envoy", |envoy, probe, version| {
        compare(envoy, probe, version, false)
    }),
    ("the_probe_sees_the_same_in_the_emulator_and_in_envoy_with_the_flag", |envoy, probe, version| {
        compare(envoy, probe, version, true)
    }),
    ("plugins_that_differ_only_in_the_flag", only_the_flag_differs),
    ("a_trap_in_any_callback_under_any_failure_policy", traps),
];

fn main() -> ExitCode {
    let probe = path("PROBE_WASM");
    let mut trials = Vec::new();
    for (version, variable, emulated) in VERSIONS {
        for (name, test) in TESTS {
            let here = probe.clone().zip(path(variable));
            let needed = if probe.is_none() { "PROBE_WASM" } else { variable };
            let missing = here.is_none().then_some(needed);
            let run = move || here.map_or(Ok(()), |(probe, envoy)| test(&envoy, &probe, emulated));
            trials.push(e2e::unless_missing(Trial::test(format!("{name}::{version}"), run), missing));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn path(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(Into::into)
}

fn vm(probe: &Path, version: EnvoyVersion) -> Result<Vm, Failed> {
    let clusters = ["upstream".to_owned(), "calls".to_owned()].into();
    Ok(Vm::new(
        &Engine::new(),
        &std::fs::read(probe)?,
        VmOptions { version, clusters, ..VmOptions::default() },
    )?)
}

fn form(listener: &str, flag: bool) -> Form {
    let options = PluginOptions {
        name: "probe".to_owned(),
        root_id: "probe".to_owned(),
        allow_on_headers_stop_iteration: flag,
        ..PluginOptions::default()
    };
    Form { listener: listener.to_owned(), vm_id: "", options }
}

fn compare(envoy: &Path, probe: &Path, version: EnvoyVersion, flag: bool) -> Result<(), Failed> {
    let form = form("probe", flag);
    let plugin = vm(probe, version)?.plugin(form.options.clone())?;
    let mut real = Real::start(envoy, probe, std::slice::from_ref(&form))?;
    run_both(&plugin, &mut real, &form, "c", cases::all())
}

/// Runs cases on both sides. `prefix` keeps exchanges in one log apart.
fn run_both(
    plugin: &Plugin,
    real: &mut Real,
    form: &Form,
    prefix: &str,
    cases: Vec<Case>,
) -> Result<(), Failed> {
    let runs: Vec<(Case, String, Run)> = cases
        .into_iter()
        .enumerate()
        .map(|(i, case)| {
            let id = format!("{prefix}{i:05}");
            let run = emulated::run(plugin, &case, &id);
            (case, id, run)
        })
        .collect();
    let outcomes = real.run(form, &runs);
    let differences: Vec<String> = runs
        .iter()
        .zip(outcomes)
        .filter_map(|((case, _, run), outcome)| difference(case, run, outcome))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!("{} of {} cases differ:\n{}", differences.len(), runs.len(), differences.join("\n")).into())
}

/// On 1.38 the second plugin gets the first one's flag.
fn only_the_flag_differs(envoy: &Path, probe: &Path, version: EnvoyVersion) -> Result<(), Failed> {
    let forms = [form("flagged", true), form("plain", false)];
    let vm = vm(probe, version)?;
    let mut real = Real::start(envoy, probe, &forms)?;
    for (form, prefix) in forms.iter().zip(["a", "b"]) {
        let plugin = vm.plugin(form.options.clone())?;
        let cases = cases::all().into_iter().filter(|case| case.name.starts_with("request_headers_1_"));
        run_both(&plugin, &mut real, form, prefix, cases.collect())?;
    }
    Ok(())
}

fn traps(envoy: &Path, probe: &Path, version: EnvoyVersion) -> Result<(), Failed> {
    let reload = FailPolicy::Reload { backoff: Duration::from_millis(100) };
    let form = |listener: &'static str, fail_policy| {
        let mut form = form(listener, false);
        form.vm_id = listener;
        form.options.fail_policy = fail_policy;
        form
    };
    let forms = [form("closed", FailPolicy::Closed), form("open", FailPolicy::Open), form("reload", reload)];
    let mut real = Real::start(envoy, probe, &forms)?;
    for form in &forms[..2] {
        let plugin = vm(probe, version)?.plugin(form.options.clone())?;
        let cases = vec![cases::trap("rqb"), cases::quiet(), cases::quiet()];
        run_both(&plugin, &mut real, form, &form.listener, cases)?;
    }
    let form = &forms[2];
    let plugin = vm(probe, version)?.plugin(form.options.clone())?;
    for phase in ["rqh", "rqb", "rqt", "rsh", "rsb", "rsb.2", "rst", "log", "done", "del"] {
        run_both(&plugin, &mut real, form, &format!("reload-{phase}-"), vec![cases::trap(phase)])
            .map_err(|e| format!("trap in {phase}: {}", e.message().unwrap_or_default()))?;
        real.wait_until_it_serves(form).map_err(|e| format!("after a trap in {phase}: {e}"))?;
        plugin.vm().advance(Duration::from_secs(1));
        run_both(&plugin, &mut real, form, &format!("after-{phase}-"), vec![cases::quiet()])
            .map_err(|e| format!("after a trap in {phase}: {}", e.message().unwrap_or_default()))?;
    }
    Ok(())
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
