//! Fuzzing with cargo-fuzz.

use std::ffi::OsString;
use std::fs;

use crate::Stop;
use crate::run::{self, Checked};
use crate::tools;
use crate::workspace::Workspace;

const CARGO_FUZZ: &str = "0.13.2";
/// The targets, as `test-harness/fuzz` has them.
const TARGETS: [&str; 9] =
    ["request", "answer", "exchange", "stream", "claims", "predict", "generate", "compression", "openai"];
/// How long each target is fuzzed if nothing else is asked for, in seconds. With the same random numbers each time, so
/// that on a clean clone it finds what a change broke, and not what no change has to do with.
const SECONDS: u32 = 20;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Plan<'a> {
    targets: Vec<&'a str>,
    /// `None`: the short run, the same each time.
    seconds: Option<u32>,
}

/// Fuzzes all targets, or the one that is named, each for `--seconds N`.
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), Stop> {
    let plan = plan(arguments)?;
    if std::env::var_os("CXX").is_none() && run::on_path("c++").is_none() {
        return Err(Stop::new(
            "libFuzzer is C++: install a C++ compiler as c++ (Debian: g++), or name one in CXX",
        ));
    }
    let program = tools::install(workspace, "cargo-fuzz", CARGO_FUZZ, "cargo-fuzz")?;
    let corpora = workspace.target.join("fuzz/corpus");
    run::step("seeds from the golden cases", || {
        let mut seeds = workspace.cargo();
        seeds.args(["run", "--quiet", "--locked", "-p", "fuzz", "--bin", "seeds", "--"]).arg(&corpora);
        seeds.checked()
    })?;
    for target in plan.targets {
        let failures = workspace.target.join("fuzz/failures").join(target);
        let made = fs::create_dir_all(&failures);
        made.map_err(|e| Stop::new(format!("make {}: {e}", failures.display())))?;
        let mut prefix = OsString::from("-artifact_prefix=");
        prefix.push(failures.join(""));
        let seconds = plan.seconds.unwrap_or(SECONDS);
        let mut fuzz = workspace.subcommand(&program);
        // The code has no `unsafe`, so that an address sanitizer, which needs a nightly compiler, has nothing to find.
        fuzz.args(["fuzz", "run", "--sanitizer", "none", "--features", "libfuzzer"]);
        fuzz.arg("--fuzz-dir").arg(workspace.root.join("test-harness/fuzz"));
        fuzz.arg("--target-dir").arg(workspace.target.join("fuzz/build")).arg(target);
        fuzz.arg(corpora.join(target)).arg("--").arg(prefix);
        fuzz.arg(format!("-max_total_time={seconds}")).args([
            "-max_len=4096",
            "-timeout=10",
            "-print_final_stats=1",
        ]);
        if plan.seconds.is_none() {
            fuzz.arg("-seed=1");
        }
        // Optimising across crates takes minutes, and finds nothing.
        fuzz.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        run::step(&format!("fuzz {target} for {seconds} s"), || match fuzz.checked() {
            Ok(()) => Ok(()),
            Err(_) => Err(Stop::new(format!(
                "{target} fails: its output is above, the input below {}; `cargo test -p fuzz` shows whether a \
                 seed or a small mutation fails as well",
                failures.display()
            ))),
        })?;
    }
    Ok(())
}

fn plan<'a>(arguments: &[&'a str]) -> Result<Plan<'a>, Stop> {
    let (targets, rest) = match arguments.split_first() {
        Some((target, rest)) if TARGETS.contains(target) => (vec![*target], rest),
        _ => (TARGETS.to_vec(), arguments),
    };
    let seconds = match rest {
        [] => Some(None),
        ["--seconds", seconds] => seconds.parse().ok().filter(|seconds| *seconds > 0).map(Some),
        _ => None,
    };
    let wrong = || Stop::new(format!("fuzz takes one of {} and --seconds N", TARGETS.join(", ")));
    seconds.map(|seconds| Plan { targets, seconds }).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_and_a_time_can_be_chosen() {
        assert_eq!(plan(&[]).unwrap(), Plan { targets: TARGETS.to_vec(), seconds: None });
        assert_eq!(plan(&["answer"]).unwrap(), Plan { targets: vec!["answer"], seconds: None });
        let hours = plan(&["answer", "--seconds", "7200"]).unwrap();
        assert_eq!(hours, Plan { targets: vec!["answer"], seconds: Some(7200) });
        assert_eq!(plan(&["--seconds", "5"]).unwrap().targets.len(), TARGETS.len());
        for wrong in [&["reply"][..], &["--seconds"], &["--seconds", "0"], &["answer", "5"]] {
            assert!(
                plan(wrong).unwrap_err().0.contains("request, answer, exchange, stream, claims"),
                "{wrong:?}"
            );
        }
    }
}
