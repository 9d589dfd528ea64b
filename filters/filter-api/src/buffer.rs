//! Bytes in one piece.

use crate::{Charge, OverBudget};

/// Bytes in one piece, charged for what is reserved for them: a body of many tiny names counts as much as one of many
/// numbers. For small things; what may grow large is a [`Rope`](crate::Rope).
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    charge: Charge,
}

impl Buffer {
    /// An empty buffer; `charge` holds nothing yet.
    #[must_use]
    pub fn new(charge: Charge) -> Self {
        Self { bytes: Vec::new(), charge }
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// The budget has no room for them; nothing has been appended then.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), OverBudget> {
        self.reserve(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Removes all bytes, and keeps the room that they took.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Copies a range down to `to`, which is not behind its start; says where the copy ends.
    pub fn move_down(&mut self, range: std::ops::Range<usize>, to: usize) -> usize {
        let end = to + range.len();
        self.bytes.copy_within(range, to);
        end
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Takes bytes out of the middle.
    pub fn cut(&mut self, range: std::ops::Range<usize>) {
        self.bytes.drain(range);
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, for a caller that passes them on at once: they are no longer charged.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How many bytes there are.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Makes room for `more` bytes.
    #[inline]
    fn reserve(&mut self, more: usize) -> Result<(), OverBudget> {
        let spare = self.bytes.capacity() - self.bytes.len();
        if more <= spare { Ok(()) } else { self.grow(more, spare) }
    }

    /// Grows in steps that double, so that many small pushes stay cheap.
    #[inline(never)]
    fn grow(&mut self, more: usize, spare: usize) -> Result<(), OverBudget> {
        let extra = (more - spare).max(self.bytes.capacity()).max(64);
        let before = self.bytes.capacity();
        // While it grows the old and the new allocation exist side by side.
        self.charge.grow(before + extra)?;
        let reserved = self.bytes.try_reserve_exact(spare + extra);
        self.charge.shrink(if reserved.is_ok() { before } else { before + extra });
        reserved.map_err(|_| OverBudget::allocation_failed(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_is_held_is_charged_until_it_is_dropped() {
        let memory = Memory::new(1000);
        let mut held = Buffer::new(memory.account(1000).charge());
        held.push(&[1; 100]).unwrap();
        held.push(&[2; 100]).unwrap();
        assert_eq!(held.len(), 200);
        let used = memory.used();
        assert!(used >= 200);
        assert!(held.push(&[0; 2000]).is_err());
        assert_eq!((held.len(), memory.used()), (200, used));
        drop(held);
        assert_eq!(memory.used(), 0);
    }
}
