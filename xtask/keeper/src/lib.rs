//! Programs that end with the one that started them, whatever ends it.
//!
//! Between a program and the one that starts it stands a *keeper*: a second process of the starter's own binary. It
//! holds one end of a socket whose other end only the starter has, so that it notices any end of the starter, SIGKILL
//! included, and from whatever thread the program was started. It then ends the program (SIGTERM, after [`GRACE`]
//! SIGKILL) and everything below it. The keeper is the "child subreaper" of what it keeps (`prctl(2)`): a descendant
//! that has lost its parent becomes the keeper's child, also in a session of its own, so that none gets away. When
//! the program ends by itself, what it left behind ends too. Should the keeper itself be killed, the kernel ends the
//! program (`PR_SET_PDEATHSIG`), and the starter what was below it.
//!
//! A `main` that starts programs calls [`stand_in`] first. Elsewhere than on Linux a keeper ends the program and its
//! process group, which is not all that a program can start.

mod descendants;
mod keep;

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub use descendants::descendants;

/// How long a program may take to end after SIGTERM before SIGKILL.
pub const GRACE: Duration = Duration::from_secs(5);
/// How long a keeper may take to start a program, on a loaded machine.
const STARTED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// Whether `main` has called [`stand_in`], so that this program can be started as a keeper.
static STANDS_IN: AtomicBool = AtomicBool::new(false);
/// The keepers that this process has started and not yet seen end.
static KEEPERS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Does a keeper's work, and does not return, if this process was started as a keeper. `main` calls it before anything
/// else.
pub fn stand_in() {
    keep::stand_in();
    descendants::adopt_orphans();
    STANDS_IN.store(true, Ordering::Relaxed);
}

/// A running program, which ends when this value is dropped or its process ends.
///
/// In a process whose `main` has not called [`stand_in`], as libtest's does not, the program has no keeper, and ends
/// with this value alone.
#[derive(Debug)]
pub struct Kept {
    /// The keeper, or the program itself if there is none.
    child: Child,
    /// To the keeper. It is told by this line's end.
    line: Option<UnixStream>,
    pid: u32,
    status: Option<ExitStatus>,
}

impl Kept {
    /// Starts `command` with an empty standard input. Of `command` its program, arguments, environment and directory
    /// count; `Command::env_clear` does not show, and has no effect.
    ///
    /// # Errors
    /// If the program cannot be run, as [`Command::spawn`] has them.
    pub fn start(command: &mut Command, stdout: Stdio, stderr: Stdio) -> io::Result<Self> {
        if !STANDS_IN.load(Ordering::Relaxed) {
            let program = command.get_program().to_string_lossy();
            eprintln!("{program} has no keeper: `main` does not call `keeper::stand_in`");
            #[allow(clippy::disallowed_methods)] // This is what is to be called in its place.
            let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn()?;
            return Ok(Self { pid: child.id(), child, line: None, status: None });
        }
        let (line, theirs) = UnixStream::pair()?;
        let mut keeper = keep::keeper_of(command);
        keeper.stdin(OwnedFd::from(theirs)).stdout(stdout).stderr(stderr);
        // Ctrl-C at a terminal is for the starter, whose end the keeper notices.
        keeper.process_group(0);
        // Under the lock, so that the new child is never taken for an orphan.
        let mut keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
        #[allow(clippy::disallowed_methods)] // As above.
        let child = keeper.spawn()?;
        keepers.push(child.id());
        drop(keepers);
        // The keeper must be the only one that has the other end.
        drop(keeper);
        let mut kept = Self { child, line: Some(line), pid: 0, status: None };
        kept.pid = kept.told_pid()?;
        Ok(kept)
    }

    /// What the keeper says first.
    fn told_pid(&self) -> io::Result<u32> {
        let Some(line) = &self.line else { return Ok(self.child.id()) };
        line.set_read_timeout(Some(STARTED_WITHIN))?;
        // Not a byte more than that: its farewell may be there already.
        let (mut said, mut byte) = (Vec::new(), [0]);
        while (&*line).read(&mut byte)? > 0 && byte != *b"\n" {
            said.extend(byte);
        }
        keep::pid_or_error(&String::from_utf8_lossy(&said))
    }

    /// The program's own id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its standard output, if it was piped and has not been taken.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its standard error, if it was piped and has not been taken.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// How it ended, if it has; everything that it had started has then ended too.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none()
            && let Some(status) = self.child.try_wait()?
        {
            self.ended(status);
        }
        Ok(self.status)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        match self.status {
            Some(status) => Ok(status),
            None => {
                let status = self.child.wait()?;
                self.ended(status);
                Ok(status)
            }
        }
    }

    /// Ends it: SIGTERM, and SIGKILL if that does not help within [`GRACE`].
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(line) = &self.line {
            // It fails only if the keeper has gone already.
            let _ = line.shutdown(Shutdown::Write);
        } else {
            self.end_without_a_keeper()?;
        }
        self.wait()
    }

    /// Ends it at once and without notice: SIGKILL.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        if self.try_wait()?.is_none()
            && let Some(pid) = Pid::from_raw(self.pid.cast_signed())
        {
            // It fails only if the program has just ended, which is what is wanted.
            let _ = kill_process(pid, Signal::KILL);
        }
        self.wait()
    }

    fn end_without_a_keeper(&mut self) -> io::Result<()> {
        if self.try_wait()?.is_none()
            && let Some(pid) = Pid::from_raw(self.pid.cast_signed())
        {
            // It fails only if the program has just ended, which is what is wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        while self.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return self.child.kill();
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn ended(&mut self, status: ExitStatus) {
        self.status = Some(status);
        let Some(line) = &mut self.line else { return };
        let keepers = {
            let mut keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
            keepers.retain(|keeper| *keeper != self.child.id());
            keepers
        };
        let mut said = String::new();
        // The keeper, which alone had the other end, is gone, so that this ends; what it said is all that counts.
        let _ = line.read_to_string(&mut said);
        if !said.contains(keep::FAREWELL) {
            descendants::end_orphans(&keepers);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // There is no one to report to.
        let _ = self.end();
    }
}

/// Runs `command` to its end, with nothing to read, and what it printed: as [`Command::output`], but it ends with this
/// process.
///
/// # Errors
/// If the program cannot be run or waited for.
pub fn output(command: &mut Command) -> io::Result<Output> {
    let mut kept = Kept::start(command, Stdio::piped(), Stdio::piped())?;
    let (stdout, stderr) = (kept.stdout(), kept.stderr());
    let (stdout, stderr) = thread::scope(|scope| {
        let stderr = scope.spawn(|| all_of(stderr));
        // By its own thread, because what a killed keeper leaves behind may keep the pipes open until it is waited for.
        let status = scope.spawn(|| kept.wait());
        let stdout = all_of(stdout);
        // Neither thread panics.
        drop(status.join());
        (stdout, stderr.join().unwrap_or_default())
    });
    Ok(Output { status: kept.wait()?, stdout, stderr })
}

fn all_of(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read until an error is all there is.
        let _ = pipe.read_to_end(&mut bytes);
    }
    bytes
}
