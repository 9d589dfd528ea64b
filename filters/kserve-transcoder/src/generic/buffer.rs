//! Bytes in one piece, and a rope as a writer; both charged.

use filter_api::{Charge, OverBudget, Rope};
use std::io;

/// The first allocation, in bytes: most bodies of these calls fit.
const FIRST_BYTES: usize = 256;

/// Bytes in one piece, charged by what is allocated for them.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    charge: Charge,
}

impl Buffer {
    /// An empty buffer; `charge` holds nothing yet.
    pub(super) fn new(charge: Charge) -> Self {
        Self { bytes: Vec::new(), charge }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), OverBudget> {
        let held = self.bytes.capacity();
        let needed = self.bytes.len().saturating_add(bytes.len());
        if needed > held {
            let capacity = needed.max(held.saturating_mul(2)).max(FIRST_BYTES);
            // While it grows the old and the new allocation exist side by side.
            self.charge.grow(capacity)?;
            let reserved = self.bytes.try_reserve_exact(capacity - self.bytes.len());
            self.charge.shrink(if reserved.is_ok() { held } else { capacity });
            reserved.map_err(|_| OverBudget::allocation_failed(held))?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

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
