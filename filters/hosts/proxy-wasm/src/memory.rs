//! The memory that all plugins of a VM share.

use filter_api::{Account, Charge, Memory};
use std::sync::{Arc, OnceLock};

/// What the streams of one VM may hold together, in bytes.
///
/// Envoy gives a VM 1 GiB (measured: 1009 MiB) and never gets it back. A quarter is left for the code's own
/// data, for the chunk at hand, which is in memory twice for a moment, and for a heap with holes in it.
pub const VM_BUDGET_BYTES: usize = 768 * 1024 * 1024;

/// The memory of this VM: with an empty `vm_id`, as Istio leaves it, every plugin of the same module runs in one VM.
pub(crate) fn memory() -> Arc<Memory> {
    static MEMORY: OnceLock<Arc<Memory>> = OnceLock::new();
    MEMORY.get_or_init(|| Memory::new(VM_BUDGET_BYTES)).clone()
}

/// An empty charge for what this host itself holds of the VM's memory. All of them are of one account, which is not made
/// anew with each chunk.
pub(crate) fn charge() -> Charge {
    static ACCOUNT: OnceLock<Account> = OnceLock::new();
    ACCOUNT.get_or_init(|| memory().account(usize::MAX)).charge()
}
