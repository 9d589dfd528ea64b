//! A rope as a writer.

use filter_api::{OverBudget, Rope};
use std::io;

/// A rope as [`io::Write`], which remembers that the budget was used up.
pub(super) struct RopeWriter {
    rope: Rope,
    error: Option<OverBudget>,
}

impl RopeWriter {
    pub(super) fn new(rope: Rope) -> Self {
        Self { rope, error: None }
    }

    /// The rope, if everything found room.
    pub(super) fn finish(self) -> Result<Rope, OverBudget> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.rope),
        }
    }
}

impl io::Write for RopeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rope.push(bytes).map_err(|error| {
            self.error = Some(error);
            io::Error::other(error)
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
