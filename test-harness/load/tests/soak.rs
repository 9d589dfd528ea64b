//! A short soak of both hosts. Whether memory is flat takes a long one to see (`cargo xtask soak`); all else shows
//! here.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    e2e::Suite::new()
        .newest_envoy("a_few_thousand_mixed_requests_are_each_answered_right_in_both_hosts", a_short_soak)
        .run()
}

fn a_short_soak(envoy: &e2e::Installed) {
    let mut soak = Command::new(env!("CARGO_BIN_EXE_soak"));
    soak.args(["--requests", "3000"]).env("ENVOY", &envoy.path);
    let output = e2e::output(&mut soak).expect("the soak can be run");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    for host in ["wasm: 3000 requests", "native: 3000 requests"] {
        assert!(stdout.contains(host), "{stdout}");
    }
    assert_eq!(stdout.matches("\n  all well").count(), 2, "{stdout}");
}
