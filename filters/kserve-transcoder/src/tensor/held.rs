//! Small things that a codec holds, charged to the memory budget.

use filter_api::{Charge, OverBudget};

/// A byte vector that is charged for what it reserves, so that a body of many tiny names counts as much as
/// one of many numbers.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Vec<u8>,
    charge: Charge,
}

impl Held {
    pub(super) fn new(charge: Charge) -> Self {
        Self { bytes: Vec::new(), charge }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), OverBudget> {
        self.reserve(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Copies a range down to `to`, which is not behind its start; says where the copy ends.
    pub(super) fn move_down(&mut self, range: std::ops::Range<usize>, to: usize) -> usize {
        let end = to + range.len();
        self.bytes.copy_within(range, to);
        end
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Takes bytes out of the middle.
    pub(super) fn cut(&mut self, range: std::ops::Range<usize>) {
        self.bytes.drain(range);
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Makes room for `more` bytes in steps that double, so that many small pushes stay cheap.
    fn reserve(&mut self, more: usize) -> Result<(), OverBudget> {
        let spare = self.bytes.capacity() - self.bytes.len();
        if more <= spare {
            return Ok(());
        }
        let extra = (more - spare).max(self.bytes.capacity()).max(64);
        let before = self.bytes.capacity();
        // While it grows the old and the new allocation exist side by side.
        self.charge.grow(before + extra)?;
        let reserved = self.bytes.try_reserve_exact(spare + extra);
        self.charge.shrink(if reserved.is_ok() { before } else { before + extra });
        reserved.map_err(|_| OverBudget::allocation_failed(before))
    }
}

/// A list that is charged for the room of its items; what they own they charge themselves.
#[derive(Debug)]
pub(super) struct HeldList<T> {
    items: Vec<T>,
    charge: Charge,
}

impl<T> HeldList<T> {
    pub(super) fn new(charge: Charge) -> Self {
        Self { items: Vec::new(), charge }
    }

    pub(super) fn push(&mut self, item: T) -> Result<(), OverBudget> {
        if self.items.len() == self.items.capacity() {
            let more = self.items.capacity().max(4);
            let before = self.items.capacity() * size_of::<T>();
            let after = before + more * size_of::<T>();
            // As above.
            self.charge.grow(after)?;
            let reserved = self.items.try_reserve_exact(more);
            self.charge.shrink(if reserved.is_ok() { before } else { after });
            reserved.map_err(|_| OverBudget::allocation_failed(before))?;
        }
        self.items.push(item);
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
    }

    /// Gives the items away, and what their room is charged, to be kept until they are gone.
    pub(super) fn into_items(self) -> (Vec<T>, Charge) {
        (self.items, self.charge)
    }
}

impl<T> std::ops::Deref for HeldList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> std::ops::DerefMut for HeldList<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filter_api::Memory;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_is_held_is_charged_until_it_is_dropped() {
        let memory = Memory::new(1000);
        let mut held = Held::new(memory.account(1000).charge());
        held.push(&[1; 100]).unwrap();
        held.push(&[2; 100]).unwrap();
        assert_eq!(held.len(), 200);
        let used = memory.used();
        assert!(used >= 200);
        assert!(held.push(&[0; 2000]).is_err());
        assert_eq!(memory.used(), used);
        let mut list = HeldList::new(memory.account(1000).charge());
        assert!((0..1000_u64).any(|item| list.push(item).is_err()));
        drop((held, list));
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_list_that_is_taken_apart_stays_charged_until_its_items_are_gone() {
        let memory = Memory::new(1000);
        let mut list = HeldList::new(memory.account(1000).charge());
        list.push([0_u8; 100]).unwrap();
        let used = memory.used();
        let (items, held) = list.into_items();
        assert_eq!((items.len(), memory.used()), (1, used));
        drop((items, held));
        assert_eq!(memory.used(), 0);
    }
}
