//! A child process whose output is kept and whose cost is measured, and which ends with this one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use keeper::Kept;
use tempfile::TempDir;

use crate::error::Error;

/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(10);
/// How many lines of a log go into an error.
const LAST_LINES: usize = 40;

/// A running program. It, and all that it has started, ends when this value is dropped or this process ends, however
/// it ends ([`keeper`]).
pub struct Process {
    name: String,
    kept: Kept,
    directory: TempDir,
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// The most that was resident since the start or the last [`Process::reset_peak`].
    pub peak: u64,
}

impl Process {
    /// Starts `command` with its output going to a log in `directory`, which lives as long as the process.
    ///
    /// # Errors
    /// If the log cannot be made or the program cannot be started.
    pub fn start(name: &str, mut command: Command, directory: TempDir) -> Result<Self, Error> {
        let path = directory.path().join("log");
        let log = File::create(&path).map_err(Error::io(format!("create {}", path.display())))?;
        let copy = log.try_clone().map_err(Error::io("clone a log's handle"))?;
        let kept = Kept::start(&mut command, log.into(), copy.into()).map_err(|source| {
            let program = command.get_program().to_string_lossy().into_owned();
            Error::Spawn { program, source }
        })?;
        Ok(Self { name: name.into(), kept, directory })
    }

    /// The program's own id.
    pub fn pid(&self) -> u32 {
        self.kept.pid()
    }

    /// A directory of its own, removed with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where its output goes.
    pub fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.kept.try_wait().ok().flatten()
    }

    /// Looks at `ready` until it has a value.
    ///
    /// # Errors
    /// If it has none within `bound`, or the process ends first.
    pub fn wait<T>(
        &mut self,
        what: &str,
        bound: Duration,
        mut ready: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + bound;
        loop {
            if let Some(value) = ready(self) {
                return Ok(value);
            }
            if let Some(status) = self.exited() {
                return Err(Error::Exited { name: self.name.clone(), status, log: self.last_lines() });
            }
            if Instant::now() > deadline {
                let what = format!("{}: {what}", self.name);
                return Err(Error::TimedOut { what, bound, log: self.last_lines() });
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until it has printed `text`, and returns everything printed.
    ///
    /// # Errors
    /// If it does not within `bound`, or ends first.
    pub fn wait_for_log(&mut self, text: &str, bound: Duration) -> Result<String, Error> {
        self.wait(&format!("no {text:?} in the log"), bound, |process| {
            Some(process.log()).filter(|log| log.contains(text))
        })
    }

    /// CPU time of all threads that are alive, from the kernel's schedstat (nanosecond resolution, where
    /// `/proc/PID/stat` counts in ticks of ten milliseconds).
    ///
    /// # Errors
    /// If the process is gone.
    pub fn cpu_time(&self) -> Result<Duration, Error> {
        let tasks = format!("/proc/{}/task", self.pid());
        let mut nanos = 0;
        for task in fs::read_dir(&tasks).map_err(Error::io(format!("read {tasks}")))?.flatten() {
            // A thread may end between listing and reading.
            if let Ok(stat) = fs::read_to_string(task.path().join("schedstat")) {
                nanos += stat.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Memory now and at its highest.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn memory(&self) -> Result<Memory, Error> {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).map_err(Error::io(format!("read {path}")))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kib.map(|kib| kib * 1024).ok_or_else(|| Error::Protocol(format!("no {name} in {path}")))
        };
        Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
    }

    /// Lets [`Memory::peak`] start again from what is resident now.
    ///
    /// # Errors
    /// If the process is gone, or the kernel refuses.
    pub fn reset_peak(&self) -> Result<(), Error> {
        let path = format!("/proc/{}/clear_refs", self.pid());
        fs::write(&path, "5").map_err(Error::io(format!("write {path}")))
    }

    /// Ends it: SIGTERM, and SIGKILL if that does not help within [`keeper::GRACE`].
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn stop(&mut self) -> Result<ExitStatus, Error> {
        self.kept.end().map_err(Error::io(format!("wait for {}", self.name)))
    }

    /// Ends it at once and without notice: SIGKILL.
    pub fn kill(&mut self) {
        // It fails only if the process has ended and been waited for, which is what is wanted.
        let _ = self.kept.kill();
    }

    /// The end of its log, for an error.
    pub fn last_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

/// A new directory for one process.
pub(crate) fn directory(name: &str) -> Result<TempDir, Error> {
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir().map_err(Error::io("make a directory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("sh", command, directory("sh").unwrap()).unwrap()
    }

    #[test]
    fn a_process_that_dies_while_awaited_shows_its_code_and_last_words() {
        let mut process = shell("echo out of cheese >&2; exit 3");
        let error = process.wait::<()>("never", Duration::from_secs(10), |_| None).unwrap_err();
        let Error::Exited { status, log, .. } = error else { panic!("{error}") };
        assert_eq!((status.code(), log.as_str()), (Some(3), "out of cheese"));
    }

    #[test]
    fn a_wait_that_is_in_vain_ends_at_its_bound() {
        let mut process = shell("echo started; exec sleep 60");
        process.wait_for_log("started", Duration::from_secs(10)).unwrap();
        let error = process.wait_for_log("finished", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, Error::TimedOut { ref log, .. } if log == "started"), "{error}");
    }

    #[test]
    fn a_dropped_process_is_gone_and_so_is_its_directory() {
        let mut process = shell("echo started; exec sleep 60");
        process.wait_for_log("started", Duration::from_secs(10)).unwrap();
        let (proc_entry, directory) = (format!("/proc/{}", process.pid()), process.directory().to_owned());
        drop(process);
        assert!(!Path::new(&proc_entry).exists() && !directory.exists());
    }

    #[test]
    fn burnt_cpu_time_and_touched_memory_are_seen() {
        let mut process =
            shell("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; exec sleep 60");
        process.wait_for_log("done", Duration::from_secs(60)).unwrap();
        assert!(process.cpu_time().unwrap() > Duration::from_millis(5));
        let memory = process.memory().unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident);
        process.reset_peak().unwrap();
    }
}
