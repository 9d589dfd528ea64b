//! protobuf's JSON cases, by its own runner: those in `failures.txt` fail, and no others.
//!
//! Needs `PROTOBUF_CONFORMANCE`, a folder with `runner` (a command) and `include` (its messages); without, the test is
//! reported as ignored.

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use testkit::unless_missing;

const VARIABLE: &str = "PROTOBUF_CONFORMANCE";

fn main() -> ExitCode {
    keeper::stand_in();
    let here = std::env::var_os(VARIABLE).map(PathBuf::from);
    let missing = here.is_none().then_some(VARIABLE);
    let test = move || here.map_or(Ok(()), |here| hold(&here));
    let trial = Trial::test("those_in_the_list_of_failures_fail_and_no_others", test);
    libtest_mimic::run(&Arguments::from_args(), vec![unless_missing(trial, missing)]).exit_code()
}

fn hold(here: &Path) -> Result<(), Failed> {
    let failures = Path::new(env!("CARGO_MANIFEST_DIR")).join("failures.txt");
    let mut runner = Command::new(here.join("runner"));
    runner.arg("--enforce_recommended").arg("--failure_list").arg(failures);
    runner.args(["--maximum_edition", "PROTO3"]);
    runner.arg(env!("CARGO_BIN_EXE_json-conformance")).arg(here.join("include"));
    let output = keeper::output(&mut runner)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let summary: Vec<&str> = said.lines().filter(|line| line.contains("successes")).collect();
    println!("{}", summary.join("\n"));
    if output.status.success() { Ok(()) } else { Err(said.into_owned().into()) }
}
