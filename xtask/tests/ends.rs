//! What a command has started ends with it, and with whatever stands between.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long the machine may take to start a command, or to end one.
const BOUND: Duration = Duration::from_secs(60);

/// Stands for cargo: knows the workspace, and instead of any work starts a family. Each member leaves its id.
const CARGO: &str = r#"#!/bin/sh
[ "$1" = metadata ] && exec "$REAL_CARGO" "$@"
cd "$FAMILY" || exit
member='echo $$ > $1.new && mv $1.new $1 && exec sleep 1000'
setsid sh -c "trap '' TERM; $member" sh grandchild &
(setsid sh -c "trap '' TERM; $member" sh orphan &)
echo $$ > cargo.new && mv cargo.new cargo
wait
"#;

#[test]
fn a_command_that_is_ended_takes_all_that_it_started_with_it() {
    // Not SIGINT, which a shell has its background jobs ignore.
    for signal in [Signal::KILL, Signal::TERM] {
        let folder = tempfile::tempdir().unwrap();
        let mut xtask = check(folder.path());
        let family = family(folder.path());
        send(xtask.0.id(), signal);
        xtask.0.wait().unwrap();
        gone(&family);
    }
}

#[test]
fn a_cargo_that_is_killed_takes_all_that_it_started_with_it_before_the_next_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut xtask = check(folder.path());
    let first = family(folder.path());
    send(first[0], Signal::KILL);
    // The next step of the check has another cargo, before which all that the first one started has ended.
    let second = family(folder.path());
    assert!(!first.iter().any(|pid| lives(*pid)), "{first:?}");
    send(xtask.0.id(), Signal::TERM);
    xtask.0.wait().unwrap();
    gone(&second);
}

/// `xtask check`, as far as its first cargo.
fn check(folder: &Path) -> Stray {
    let cargo = folder.join("a-cargo");
    fs::write(&cargo, CARGO).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.arg("check").env("REAL_CARGO", env!("CARGO")).env("CARGO", &cargo).env("FAMILY", folder);
    xtask.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[allow(clippy::disallowed_methods)] // It is to be started by something that does not clean up behind it.
    let child = xtask.spawn().unwrap();
    Stray(child)
}

/// The ids of cargo and what it started, once all live; they are then forgotten, for those of the next cargo.
fn family(folder: &Path) -> Vec<u32> {
    let files = ["cargo", "grandchild", "orphan"].map(|name| folder.join(name));
    within("not all of the family live", || files.iter().all(|file| file.exists()));
    let ids: Vec<u32> =
        files.iter().map(|file| fs::read_to_string(file).unwrap().trim().parse().unwrap()).collect();
    files.iter().for_each(|file| fs::remove_file(file).unwrap());
    assert!(ids.iter().all(|pid| lives(*pid)), "{ids:?}");
    ids
}

/// A child that is killed when a test fails.
struct Stray(Child);

impl Drop for Stray {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

fn gone(pids: &[u32]) {
    within("some of these live on", || !pids.iter().any(|pid| lives(*pid)));
}

/// Whether a process is there and has not ended.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn within(complaint: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !holds() {
        assert!(Instant::now() < deadline, "{complaint} after {BOUND:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
