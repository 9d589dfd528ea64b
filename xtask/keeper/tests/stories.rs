//! Families of processes, and which of them are left when one is killed.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `libtest_mimic` runs them.
#![allow(clippy::disallowed_methods)] // The starter is to be started by something that does not clean up behind it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use keeper::{GRACE, Kept, descendants};
use libtest_mimic::{Arguments, Trial};
use rustix::process::{Pid, Signal, kill_process};

/// How long the machine may take to start a family, or to end one.
const BOUND: Duration = Duration::from_secs(20);
/// As the first argument: be a starter. The folder in which the program leaves its family's ids comes next, then how
/// many starters are to stand between it and this one.
const STARTER: &str = "--as-starter";

fn main() -> ExitCode {
    keeper::stand_in();
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, first, folder, further] = &arguments[..]
        && first == STARTER
    {
        start_and_wait(folder, further.parse().unwrap());
    }
    let mut trials = Vec::new();
    // Not SIGINT, which a shell has its background jobs ignore.
    for (name, signal) in [("SIGKILL", Signal::KILL), ("SIGTERM", Signal::TERM)] {
        trials.push(linux(&format!("a_starter_ended_by_{name}_takes_its_family_with_it"), move || {
            starter_ends(signal, 0);
        }));
    }
    trials.extend([
        linux("a_starter_of_starters_takes_all_of_them_with_it", || starter_ends(Signal::KILL, 2)),
        linux("a_killed_program_takes_its_own_family_with_it", program_killed),
        linux("a_killed_keeper_takes_its_program_and_all_below_with_it", keeper_killed),
        linux("programs_that_end_at_once_leave_the_others_alone", end_at_once),
        linux("a_program_outlives_the_thread_that_started_it", thread_ends),
        linux("a_stubborn_program_is_killed_after_its_grace", stubborn),
        linux("a_dropped_program_is_gone", dropped),
        test("a_program_ends_as_it_ends_without_a_keeper", ends_alike),
        test("a_program_that_cannot_be_run_says_why_at_once", cannot_be_run),
        test("a_program_gets_its_arguments_environment_and_directory", gets_its_surroundings),
    ]);
    // In turn, because what a killed keeper left is sought among all that this process has started.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn test(name: &str, body: fn()) -> Trial {
    Trial::test(name, move || {
        body();
        Ok(())
    })
}

/// A story of orphans, which only Linux lets a keeper have.
fn linux(name: &str, body: impl FnOnce() + Send + 'static) -> Trial {
    let run = move || {
        body();
        Ok(())
    };
    Trial::test(name, run).with_ignored_flag(cfg!(not(target_os = "linux")))
}

/// A program with a child, a grandchild in a session of its own that ignores SIGTERM, and one whose parent has ended.
/// Each writes its id into the folder.
const FAMILY: &str = r#"
    member='echo $$ > $1.new && mv $1.new $1.pid && exec sleep 1000'
    sh -c "$member" sh child &
    setsid sh -c "trap '' TERM; $member" sh in-another-session &
    (setsid sh -c "trap '' TERM; $member" sh orphan &)
    echo $$ > program.new && mv program.new program.pid
    wait
"#;

fn family(folder: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", FAMILY]).current_dir(folder);
    command
}

/// The family's ids, the program's first, once all live.
fn alive(folder: &Path) -> Vec<u32> {
    let members = ["program", "child", "in-another-session", "orphan"];
    let id = |name| fs::read_to_string(folder.join(format!("{name}.pid"))).ok()?.trim().parse().ok();
    let mut ids = Vec::new();
    within(BOUND, "not all of the family live", || {
        ids = members.into_iter().filter_map(id).collect();
        ids.len() == members.len()
    });
    assert!(ids.iter().all(|pid| lives(*pid)), "{ids:?}");
    ids
}

fn starter_ends(signal: Signal, further: u32) {
    let folder = tempfile::tempdir().unwrap();
    let mut starter = Stray(starter(folder.path(), further).spawn().unwrap());
    let mut family = alive(folder.path());
    family.extend(descendants(starter.0.id()));
    send(starter.0.id(), signal);
    let status = starter.0.wait().unwrap();
    assert_eq!(status.signal(), Some(signal.as_raw()), "a starter needs no handler");
    gone(&family, BOUND);
}

fn starter(folder: &Path, further: u32) -> Command {
    let mut starter = Command::new(std::env::current_exe().unwrap());
    starter.arg(STARTER).arg(folder).arg(further.to_string());
    starter
}

fn start_and_wait(folder: &str, further: u32) -> ! {
    let folder = Path::new(folder);
    let mut command = match further {
        0 => family(folder),
        _ => starter(folder, further - 1),
    };
    let _kept = Kept::start(&mut command, Stdio::null(), Stdio::inherit()).unwrap();
    loop {
        thread::park();
    }
}

fn program_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = Kept::start(&mut family(folder.path()), Stdio::null(), Stdio::inherit()).unwrap();
    let family = alive(folder.path());
    assert_eq!(kept.pid(), family[0], "a program's id is its own");
    send(kept.pid(), Signal::KILL);
    assert_eq!(kept.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    // Not in a moment: when a program is seen to have ended, so has all that it started.
    gone(&family, Duration::ZERO);
}

fn keeper_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = Kept::start(&mut family(folder.path()), Stdio::null(), Stdio::inherit()).unwrap();
    let mut spared = Kept::start(Command::new("sleep").arg("1000"), Stdio::null(), Stdio::null()).unwrap();
    let family = alive(folder.path());
    let keeper = parent(kept.pid());
    assert_ne!(keeper, std::process::id());
    send(keeper, Signal::KILL);
    within(BOUND, "the killed keeper is not seen to have ended", || kept.try_wait().unwrap().is_some());
    gone(&family, BOUND);
    assert!(spared.try_wait().unwrap().is_none() && lives(spared.pid()));
}

fn end_at_once() {
    let other = Stray(Command::new("sleep").arg("1000").spawn().unwrap());
    for _ in 0..50 {
        let mut kept = Kept::start(&mut Command::new("true"), Stdio::null(), Stdio::inherit()).unwrap();
        assert!(kept.wait().unwrap().success());
        assert!(keeper::output(&mut Command::new("no-such-program-at-all")).is_err());
    }
    assert!(lives(other.0.id()), "it was taken for what a killed keeper had left");
}

fn thread_ends() {
    let start = || Kept::start(Command::new("sleep").arg("1000"), Stdio::null(), Stdio::null());
    let mut kept = thread::spawn(start).join().unwrap().unwrap();
    // Had it been told of that end, it would end before one that is started and runs to its end now.
    assert!(keeper::output(&mut Command::new("true")).unwrap().status.success());
    assert!(kept.try_wait().unwrap().is_none() && lives(kept.pid()));
}

fn stubborn() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]);
    let mut kept = Kept::start(&mut command, Stdio::piped(), Stdio::inherit()).unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(&mut kept.stdout().unwrap(), &mut ready).unwrap();
    let asked = Instant::now();
    let status = kept.end().unwrap();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    assert!((GRACE..GRACE + BOUND).contains(&asked.elapsed()), "{:?}", asked.elapsed());
}

fn dropped() {
    let kept = Kept::start(Command::new("sleep").arg("1000"), Stdio::null(), Stdio::null()).unwrap();
    let pid = kept.pid();
    assert!(lives(pid));
    drop(kept);
    gone(&[pid], Duration::ZERO);
}

fn ends_alike() {
    for script in ["exit 0", "exit 3", "kill -TERM $$", "kill -SEGV $$", "kill -KILL $$", "kill -ABRT $$"] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -c 0; echo out; echo err >&2; {script}")]);
        let (kept, plain) = (keeper::output(&mut command).unwrap(), command.output().unwrap());
        assert_eq!(kept, plain, "{script}");
    }
}

fn cannot_be_run() {
    let error = |command: &mut Command| keeper::output(command).unwrap_err().kind();
    assert_eq!(error(&mut Command::new("no-such-program-at-all")), ErrorKind::NotFound);
    assert_eq!(error(&mut Command::new("/dev/null")), ErrorKind::PermissionDenied);
}

fn gets_its_surroundings() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    let script = r#"pwd; printf '%s|' "$@" "$GIVEN" "${PATH-no path}"; cat"#;
    command.args(["-c", script, "sh", "--as-keeper-of", "two words", ""]);
    command.current_dir(folder.path()).env("GIVEN", "a value").env("PATH", "/usr/bin:/bin");
    let printed = String::from_utf8(keeper::output(&mut command).unwrap().stdout).unwrap();
    let (directory, words) = printed.split_once('\n').unwrap();
    assert_eq!(Path::new(directory), folder.path().canonicalize().unwrap());
    assert_eq!(words, "--as-keeper-of|two words||a value|/usr/bin:/bin|");
    let mut command = Command::new("/usr/bin/env");
    command.env_remove("PATH");
    let printed = String::from_utf8(keeper::output(&mut command).unwrap().stdout).unwrap();
    assert!(!printed.lines().any(|line| line.starts_with("PATH=")), "{printed}");
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

fn gone(pids: &[u32], bound: Duration) {
    within(bound, "some of these live on", || !pids.iter().any(|pid| lives(*pid)));
}

/// Whether a process is there and has not ended.
fn lives(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !stat.starts_with(['Z', 'X']))
}

fn parent(pid: u32) -> u32 {
    stat(pid).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What `/proc/PID/stat` says, from the state on.
fn stat(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.to_owned())
}

fn within(bound: Duration, complaint: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + bound;
    while !holds() {
        assert!(Instant::now() < deadline, "{complaint} after {bound:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
