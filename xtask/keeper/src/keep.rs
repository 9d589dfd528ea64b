//! A keeper's own work.
//!
//! Two stages of this binary stand before the program: the keeper, and the child that becomes the program once the
//! kernel knows that it is to die with the keeper.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio, exit};
use std::thread;
use std::time::Instant;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, wait};

use crate::{GRACE, POLL, descendants};

/// The first argument of a keeper, before the program and its arguments.
const KEEPER: &str = "--as-keeper-of";
/// The first argument of what becomes the program, before the keeper's id, the program and its arguments.
const BECOME: &str = "--ending-with-keeper";
/// What a keeper says before it ends by itself.
pub(crate) const FAREWELL: &str = "ended";
/// What it exits with if the program cannot be run, as shells do.
const CANNOT_RUN: i32 = 127;

/// `command` under a keeper.
pub(crate) fn keeper_of(command: &Command) -> Command {
    let mut keeper = this_binary();
    keeper.arg(KEEPER).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => keeper.env(name, value),
            None => keeper.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        keeper.current_dir(directory);
    }
    keeper
}

/// A keeper's first line, understood.
pub(crate) fn pid_or_error(said: &str) -> io::Result<u32> {
    match said.split_once(' ') {
        Some(("pid", pid)) => pid.parse().map_err(io::Error::other),
        Some(("errno", code)) => {
            Err(code.parse().map_or_else(io::Error::other, io::Error::from_raw_os_error))
        }
        _ => Err(io::Error::other(format!("the keeper ended too early, having said {said:?}"))),
    }
}

/// Does what this process's first argument says, if it says either.
pub(crate) fn stand_in() {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    match first.as_deref().and_then(OsStr::to_str) {
        Some(KEEPER) => exit(keep(arguments.collect())),
        Some(BECOME) => exit(become_program(arguments)),
        _ => {}
    }
}

/// This program once more, also when its file has been replaced since it was started.
fn this_binary() -> Command {
    let name = std::env::args_os().next();
    let path = match std::env::current_exe() {
        Ok(path) if !cfg!(target_os = "linux") => path,
        _ => "/proc/self/exe".into(),
    };
    let mut command = Command::new(path);
    if let Some(name) = name {
        command.arg0(name);
    }
    command
}

/// The keeper. Its standard input is the line to the starter.
fn keep(program: Vec<OsString>) -> i32 {
    descendants::adopt_orphans();
    let Ok(line) = io::stdin().as_fd().try_clone_to_owned() else { return CANNOT_RUN };
    let mut line = UnixStream::from(line);
    let pid = match start(&program) {
        Ok(pid) => pid,
        Err(error) => {
            let code = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
            // The other end has gone, so there is no one to report to.
            let _ = writeln!(line, "errno {code}");
            let _ = writeln!(line, "{FAREWELL}");
            return CANNOT_RUN;
        }
    };
    // As above; the end of the line is noticed below.
    let _ = writeln!(line, "pid {}", pid.as_raw_nonzero());
    if let Ok(line) = line.try_clone() {
        thread::spawn(move || end_with(line, pid));
    }
    let status = status_of(pid);
    end_the_rest(pid);
    // As above.
    let _ = writeln!(line, "{FAREWELL}");
    pass_on(status)
}

/// Starts the program; its id.
fn start(program: &[OsString]) -> io::Result<Pid> {
    // The far end is closed by the kernel when the child becomes the program; before that, an error comes.
    let (mut near, far) = UnixStream::pair()?;
    let mut command = this_binary();
    command.arg(BECOME).arg(getpid().as_raw_nonzero().to_string()).args(program);
    command.stdin(OwnedFd::from(far)).process_group(0);
    #[allow(clippy::disallowed_methods)] // This is how a keeper does it.
    let child = command.spawn()?;
    drop(command);
    let mut error = String::new();
    near.read_to_string(&mut error)?;
    match error.parse() {
        Ok(code) => Err(io::Error::from_raw_os_error(code)),
        Err(_) => Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::Error::other("no process id")),
    }
}

/// The keeper's child: becomes the program. Its standard input is where errors go.
fn become_program(mut arguments: impl Iterator<Item = OsString>) -> i32 {
    let Ok(errors) = io::stdin().as_fd().try_clone_to_owned() else { return CANNOT_RUN };
    let keeper = arguments.next();
    die_with_parent();
    // The keeper may have died before the kernel knew.
    let parent = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    let (Some(program), true) = (arguments.next(), keeper == parent.map(OsString::from)) else {
        return CANNOT_RUN;
    };
    let error = Command::new(program).args(arguments).stdin(Stdio::null()).exec();
    let code = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
    // If the keeper has gone there is no one to report to.
    let _ = write!(UnixStream::from(errors), "{code}");
    CANNOT_RUN
}

/// Asks the kernel to kill this process, and the program that it becomes, when the keeper dies. It goes by the thread
/// that started it, which is why a keeper starts it from its main thread.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    // Without it the starter still ends the program, a little later.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

/// Waits for the starter to end, or to hang up, and ends the program and all below it.
fn end_with(mut line: UnixStream, program: Pid) {
    // The starter says nothing: whatever comes is the end.
    let _ = line.read(&mut [0]);
    // It fails only if the program has just ended; then the main thread does the rest.
    let _ = kill_process(program, Signal::TERM);
    thread::sleep(GRACE);
    loop {
        descendants::kill_all(program);
        thread::sleep(POLL * 10);
    }
}

/// Waits until the program has ended, and meanwhile buries the orphans that it leaves.
fn status_of(program: Pid) -> Option<WaitStatus> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => return Some(status),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Ends what the ended program left behind.
fn end_the_rest(program: Pid) {
    // A process that the kernel cannot end, in a driver for example, is not waited for longer than this.
    let deadline = Instant::now() + GRACE;
    if cfg!(not(target_os = "linux")) {
        descendants::kill_all(program);
    }
    while Instant::now() < deadline {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => {
                descendants::kill_all(program);
                thread::sleep(POLL);
            }
            // No child is left, and so no descendant.
            Err(_) => return,
        }
    }
}

/// Ends as the program did: by its code, or by the signal that it ended by.
fn pass_on(status: Option<WaitStatus>) -> i32 {
    let Some(status) = status else { return CANNOT_RUN };
    if let Some(code) = status.exit_status() {
        return code;
    }
    let number = status.terminating_signal().unwrap_or_default();
    if let Some(signal) = Signal::from_named_raw(number) {
        // A second time for SIGSEGV and SIGBUS, whose first goes to Rust's own handler. It comes to ourselves.
        let _ = kill_process(getpid(), signal);
        let _ = kill_process(getpid(), signal);
    }
    128 + number
}
