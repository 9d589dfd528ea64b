//! The memory that all plugins of a VM share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A VM's memory budget, in bytes.
///
/// Envoy gives a proxy-wasm VM 1 GiB for all streams of a worker, and a failed allocation there kills every
/// one of them. So whatever a stream holds is charged here first, and the request that does not fit is
/// refused. Natively a "VM" is the process.
#[derive(Debug)]
pub struct Vm {
    capacity: usize,
    used: AtomicUsize,
}

impl Vm {
    /// A VM that may hold `capacity` bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, used: AtomicUsize::new(0) })
    }

    /// How many bytes are charged at the moment.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }
}

/// What one owner holds of a VM's budget. Dropping it gives everything back.
#[derive(Debug)]
pub struct Charge {
    vm: Arc<Vm>,
    limit: usize,
    bytes: usize,
}

/// The VM's budget has no room for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory budget of {limit} bytes is used up")]
pub struct OverBudget {
    /// The budget that was in force, in bytes.
    pub limit: usize,
}

impl Charge {
    /// An empty charge on `vm`. It fails to grow once the VM as a whole holds `limit` bytes (a plugin's own
    /// `memory_budget_bytes`), or the VM's capacity if that is less.
    #[must_use]
    pub fn new(vm: Arc<Vm>, limit: usize) -> Self {
        let limit = limit.min(vm.capacity);
        Self { vm, limit, bytes: 0 }
    }

    /// An empty charge on the same VM under the same limit.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self::new(self.vm.clone(), self.limit)
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// The budget has no room for them; nothing is taken then.
    pub fn grow(&mut self, bytes: usize) -> Result<(), OverBudget> {
        let fits = |used: usize| used.checked_add(bytes).filter(|total| *total <= self.limit);
        self.vm.used.fetch_update(Relaxed, Relaxed, fits).map_err(|_| OverBudget { limit: self.limit })?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives `bytes` back, at most what is held.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.vm.used.fetch_sub(bytes, Relaxed);
    }

    /// Takes over what `other` holds of the same VM.
    pub fn absorb(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.vm, &other.vm), "a charge moves only within its VM");
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_charge_that_does_not_fit_takes_nothing_and_a_dropped_one_gives_everything_back() {
        let vm = Vm::new(100);
        let mut first = Charge::new(vm.clone(), 80);
        first.grow(60).unwrap();
        let mut second = first.sibling();
        assert_eq!(second.grow(21), Err(OverBudget { limit: 80 }));
        second.grow(20).unwrap();
        assert_eq!(vm.used(), 80);
        drop(first);
        assert_eq!(vm.used(), 20);
        drop(second);
        assert_eq!(vm.used(), 0);
    }
}
