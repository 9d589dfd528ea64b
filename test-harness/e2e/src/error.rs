//! What can go wrong with a process or a connection, by whose fault it is.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a process, or a connection to one, is not as it should be.
#[derive(Debug)]
pub enum Error {
    /// The program could not be started at all.
    Spawn {
        /// What was to be run.
        program: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The process ended by itself.
    Exited {
        /// Which process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// Something did not happen in time.
    TimedOut {
        /// What was awaited.
        what: String,
        /// For how long.
        bound: Duration,
        /// The last lines of the log of the process concerned, if there is one.
        log: String,
    },
    /// Input or output failed.
    Io {
        /// What was being done.
        doing: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A peer said what it must not say, or a caller asked for what the protocol forbids.
    Protocol(String),
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn { program, source } => write!(f, "cannot run {program}: {source}"),
            Self::Exited { name, status, log } => {
                write!(f, "{name} ended by itself ({status}); its last lines:\n{log}")
            }
            Self::TimedOut { what, bound, log } if log.is_empty() => {
                write!(f, "{what}: not within {bound:?}")
            }
            Self::TimedOut { what, bound, log } => {
                write!(f, "{what}: not within {bound:?}; the last lines of the log:\n{log}")
            }
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
            Self::Protocol(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Spawn { source, .. } | Self::Io { source, .. } => Some(source),
            Self::Exited { .. } | Self::TimedOut { .. } | Self::Protocol(_) => None,
        }
    }
}
