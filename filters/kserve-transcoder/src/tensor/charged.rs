//! A list that is charged to the memory budget.

use filter_api::{Charge, OverBudget};

/// A list that is charged for the room of its items; what they own they charge themselves.
#[derive(Debug)]
pub(crate) struct ChargedList<T> {
    items: Vec<T>,
    charge: Charge,
}

impl<T> ChargedList<T> {
    pub(crate) fn new(charge: Charge) -> Self {
        Self { items: Vec::new(), charge }
    }

    pub(crate) fn push(&mut self, item: T) -> Result<(), OverBudget> {
        if self.items.len() == self.items.capacity() {
            let more = self.items.capacity().max(4);
            let before = self.items.capacity() * size_of::<T>();
            let after = before + more * size_of::<T>();
            // While it grows the old and the new allocation exist side by side.
            self.charge.grow(after)?;
            let reserved = self.items.try_reserve_exact(more);
            self.charge.shrink(if reserved.is_ok() { before } else { after });
            reserved.map_err(|_| OverBudget::allocation_failed(before))?;
        }
        self.items.push(item);
        Ok(())
    }

    /// Makes it `len` items that are all the same.
    pub(crate) fn fill(&mut self, item: T, len: usize) -> Result<(), OverBudget>
    where
        T: Clone,
    {
        self.items.clear();
        let (before, after) = (self.items.capacity() * size_of::<T>(), len * size_of::<T>());
        if after > before {
            self.charge.grow(after)?;
            let reserved = self.items.try_reserve_exact(len);
            self.charge.shrink(if reserved.is_ok() { before } else { after });
            reserved.map_err(|_| OverBudget::allocation_failed(before))?;
        }
        self.items.resize(len, item);
        Ok(())
    }

    /// Drops the last item, and keeps the room that it took.
    pub(crate) fn pop(&mut self) {
        self.items.pop();
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
    }

    /// Drops the first items, and keeps the room that they took.
    pub(crate) fn drop_front(&mut self, count: usize) {
        self.items.drain(..count.min(self.items.len()));
    }

    /// Gives the items away, and what their room is charged, to be kept until they are gone.
    pub(crate) fn into_items(self) -> (Vec<T>, Charge) {
        (self.items, self.charge)
    }
}

impl<T> std::ops::Deref for ChargedList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> std::ops::DerefMut for ChargedList<T> {
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
    fn what_a_list_reserves_is_charged_until_it_is_dropped() {
        let memory = Memory::new(1000);
        let mut list = ChargedList::new(memory.account(1000).charge());
        assert!((0..1000_u64).any(|item| list.push(item).is_err()));
        drop(list);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_list_that_is_taken_apart_stays_charged_until_its_items_are_gone() {
        let memory = Memory::new(1000);
        let mut list = ChargedList::new(memory.account(1000).charge());
        list.push([0_u8; 100]).unwrap();
        let used = memory.used();
        let (items, held) = list.into_items();
        assert_eq!((items.len(), memory.used()), (1, used));
        drop((items, held));
        assert_eq!(memory.used(), 0);
    }
}
