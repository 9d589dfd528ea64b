//! The command `inference-mesh`.
//!
//! [`arguments`](Arguments) says what can be asked, [`run`] does it. Each command is a module: `check` holds resources
//! against what Istio makes of them, `explain` runs the filters on a request, `migrate` makes
//! stock resources of a vendor's. `input` reads resources so that every field knows its file and line.

mod arguments;
mod check;
mod explain;
mod input;
mod manual;
mod migrate;
mod progress;

use std::io::{self, Write};

pub use arguments::{Arguments, Command};
pub use check::Version;
pub use input::Error as InputError;

/// How a command that could do its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is wrong: exit code 0.
    Right,
    /// Something is wrong with what was given: exit code 1.
    Wrong,
}

/// Why a command could not do its work: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be read.
    #[error(transparent)]
    Input(#[from] input::Error),
    /// The result could not be written.
    #[error("cannot write: {}", istio_lint::words(.0))]
    Output(#[from] io::Error),
    /// A part of this program is damaged.
    #[error("{0}")]
    Own(String),
}

impl Error {
    /// Whether the reader of the output has gone, as `head` does.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Does what the arguments ask for.
///
/// # Errors
/// If the work could not be done; what is wrong with resources is an [`Outcome`].
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Outcome, Error> {
    match &arguments.command {
        Command::Check(options) => check::run(options, out),
        Command::Migrate(options) => migrate::run(options, out),
        Command::Explain(options) => explain::run(options, out),
        Command::Completions { shell } => manual::completions(*shell, out),
        Command::Manual => manual::page(out),
    }
}
