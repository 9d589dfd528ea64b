//! Runs programs and shows how it goes.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use keeper::Kept;

use crate::Stop;

/// What is on this machine, or else one line on why it is not and what to install.
pub(crate) type Found<T> = Result<T, String>;

/// How often a silent program's progress is shown.
const HEARTBEAT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// Runs `work` between a line that names it and one that says how long it took.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
    let start = Instant::now();
    eprintln!("==> {name}");
    let result = work();
    let outcome = if result.is_ok() { "done" } else { "FAILED" };
    eprintln!("    {name}: {outcome} after {:.1} s", start.elapsed().as_secs_f64());
    result
}

/// Running a command whose output is the user's to see. However it ends, all that it has started has then ended, and
/// it ends with this process ([`keeper`]).
pub(crate) trait Checked {
    /// Runs it to its end; anything but success stops.
    fn checked(&mut self) -> Result<(), Stop>;
    /// Runs it to its end, and passes every line of its standard output on, to the user and to `seen`.
    fn teed(&mut self, seen: impl FnMut(&str)) -> Result<ExitStatus, Stop>;
    /// Runs it to its end with nothing shown but a heartbeat; its output if it fails.
    fn quietly(&mut self, name: &str) -> Result<Result<(), String>, Stop>;
}

impl Checked for Command {
    fn checked(&mut self) -> Result<(), Stop> {
        let kept = Kept::start(self, Stdio::inherit(), Stdio::inherit());
        let status = kept.and_then(|mut kept| kept.wait()).map_err(|e| cannot_run(self, &e))?;
        if status.success() { Ok(()) } else { Err(Stop::new(format!("{} failed ({status})", shown(self)))) }
    }

    fn teed(&mut self, mut seen: impl FnMut(&str)) -> Result<ExitStatus, Stop> {
        let kept = Kept::start(self, Stdio::piped(), Stdio::inherit());
        let mut kept = kept.map_err(|e| cannot_run(self, &e))?;
        let stdout = kept.stdout();
        let status = thread::scope(|scope| {
            // By another thread: until a program that was killed is waited for, what it had started may print on.
            let status = scope.spawn(|| kept.wait());
            for line in
                stdout.into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n')).map_while(Result::ok)
            {
                let line = String::from_utf8_lossy(&line);
                println!("{line}");
                seen(&line);
            }
            status.join().unwrap_or_else(|_| Err(std::io::Error::other("the wait for it failed")))
        });
        status.map_err(|e| cannot_run(self, &e))
    }

    fn quietly(&mut self, name: &str) -> Result<Result<(), String>, Stop> {
        let kept = Kept::start(self, Stdio::piped(), Stdio::piped());
        let mut kept = kept.map_err(|e| cannot_run(self, &e))?;
        let output = [collect(kept.stdout()), collect(kept.stderr())];
        let status = with_heartbeat(&mut kept, name).map_err(|e| cannot_run(self, &e))?;
        let output = output.map(|thread| thread.join().unwrap_or_default()).concat();
        Ok(if status.success() { Ok(()) } else { Err(output) })
    }
}

/// Reads a pipe in a thread of its own, so that the child never waits for room in it.
fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read until an error is all there is to show.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn with_heartbeat(kept: &mut Kept, name: &str) -> std::io::Result<ExitStatus> {
    let start = Instant::now();
    let mut next = HEARTBEAT;
    loop {
        if let Some(status) = kept.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() >= next {
            eprintln!("    {name}: {} s so far", next.as_secs());
            next += HEARTBEAT;
        }
        thread::sleep(POLL);
    }
}

fn cannot_run(command: &Command, error: &std::io::Error) -> Stop {
    Stop::new(format!("cannot run {}: {error}", shown(command)))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Whether a program of that name is on PATH, and where.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// The last line that says something.
pub(crate) fn last_line(output: &str) -> &str {
    output.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("no output")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failure_names_the_command_and_how_it_ended() {
        let stop = shell("exit 3").checked().unwrap_err();
        assert_eq!(stop.0, "sh -c exit 3 failed (exit status: 3)");
        let missing = Command::new("no-such-program-at-all").checked().unwrap_err();
        assert!(missing.0.starts_with("cannot run no-such-program-at-all: "), "{missing}");
    }

    #[test]
    fn a_teed_command_shows_every_line() {
        let mut lines = Vec::new();
        let status = shell("echo one; printf two; exit 1").teed(|line| lines.push(line.to_owned())).unwrap();
        assert_eq!((lines, status.code()), (vec!["one".to_owned(), "two".to_owned()], Some(1)));
    }

    #[test]
    fn a_quiet_command_keeps_its_words_for_a_failure() {
        assert_eq!(shell("echo fine").quietly("x").unwrap(), Ok(()));
        assert_eq!(shell("echo why >&2; exit 1").quietly("x").unwrap(), Err("why\n".to_owned()));
    }
}
