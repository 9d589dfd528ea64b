//! Why a module does not run.

use std::fmt;

use crate::state::log::LogLine;

/// Why a VM or a plugin did not load. The log tells what the module said about it.
#[derive(Clone, Debug)]
pub struct LoadError {
    /// What failed, and what to do where that is known.
    pub reason: String,
    /// Everything the module logged until then.
    pub log: Vec<LogLine>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        for line in &self.log {
            write!(f, "\n  {:?}: {}", line.level, line.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}
