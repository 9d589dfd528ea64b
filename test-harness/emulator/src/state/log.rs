//! What was logged.

use super::abi::LogLevel;

/// One line that a module logged or wrote to standard output or error, or that the host logged about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Severity; standard output counts as info, standard error as error.
    pub level: LogLevel,
    /// The context in which it was logged: a root context's or a stream's id, or 0 for the host itself.
    pub context: u32,
    /// The text, with invalid UTF-8 replaced.
    pub text: String,
}
