//! Runs the command.
#![allow(clippy::unwrap_used, dead_code)] // Helpers of tests; each test uses some.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) mod migration;

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

pub(crate) fn run(arguments: &[&str]) -> Ran {
    run_with(arguments, "")
}

/// In a folder.
pub(crate) fn run_in(folder: &Path, arguments: &[&str]) -> Ran {
    started(Command::new(env!("CARGO_BIN_EXE_inference-mesh")).current_dir(folder), arguments, "")
}

/// With a text as its standard input.
pub(crate) fn run_with(arguments: &[&str], input: &str) -> Ran {
    started(&mut Command::new(env!("CARGO_BIN_EXE_inference-mesh")), arguments, input)
}

#[allow(clippy::disallowed_methods)] // It ends by itself, at the end of its input.
fn started(command: &mut Command, arguments: &[&str], input: &str) -> Ran {
    let mut child = command
        .args(arguments)
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that needs no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { out: text(output.stdout), err: text(output.stderr), code: output.status.code().unwrap() }
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// An empty folder of the test's own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Asserts that a text has all of these.
pub(crate) fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}
