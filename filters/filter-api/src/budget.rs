//! Memory that streams share, and what each of them may hold of it.
//!
//! Two limits bound what is held, and each has a type of its own, so that neither can be taken for the other:
//! an [`Account`] ends where *everything in the process* reaches a limit, a [`Purse`] where *its owner alone* does.
//!
//! ```
//! # use filter_api::{LimitReached, Memory};
//! let memory = Memory::new(1000);
//! let account = memory.account(800);
//! let mut upload = account.charge();
//! upload.grow(500)?;
//!
//! let purse = account.purse(200);
//! let mut small = purse.charge();
//! small.grow(150)?;
//! assert_eq!(small.grow(100).unwrap_err().reached, LimitReached::Own);
//! assert_eq!(upload.grow(200).unwrap_err().reached, LimitReached::OfAll);
//! # Ok::<(), filter_api::OverBudget>(())
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The memory that all plugins of a proxy-wasm VM, or of a native process, hold together, in bytes.
///
/// Envoy gives a proxy-wasm VM 1 GiB for all streams of a worker, and a failed allocation there kills every
/// one of them. So whatever a stream holds is charged here first, and the request that does not fit is refused.
#[derive(Debug)]
pub struct Memory {
    capacity: usize,
    used: AtomicUsize,
}

impl Memory {
    /// Memory of `capacity` bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, used: AtomicUsize::new(0) })
    }

    /// How many bytes are charged at the moment.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// An account that is exhausted once *all owners together*, of this account or another, hold `limit_of_all` bytes
    /// (a plugin's own `memory_budget_bytes`), or the memory's capacity if that is less.
    #[must_use]
    pub fn account(self: &Arc<Self>, limit_of_all: usize) -> Account {
        let limit_of_all = limit_of_all.min(self.capacity);
        Account(Arc::new(Source { memory: self.clone(), limit_of_all, own: None }))
    }
}

/// Access to [`Memory`] up to a limit on what everything together holds.
#[derive(Clone, Debug)]
pub struct Account(Arc<Source>);

impl Account {
    /// An empty charge whose owner has no limit of its own.
    #[must_use]
    pub fn charge(&self) -> Charge {
        Charge { source: self.0.clone(), bytes: 0 }
    }

    /// The same account for one owner that makes many charges, such as a stream: workers do not wait for one another
    /// where it counts them.
    #[must_use]
    pub fn of_one_owner(&self) -> Self {
        Self(Arc::new(self.0.with(None)))
    }

    /// A purse from which at most `own_limit` bytes can be drawn, whatever others hold; and, as ever, no more than the
    /// account has left.
    #[must_use]
    pub fn purse(&self, own_limit: usize) -> Purse {
        let own = Own { limit: own_limit, used: AtomicUsize::new(0) };
        Purse(Arc::new(self.0.with(Some(own))))
    }
}

/// What one owner, such as a stream, may hold: it has a limit of its own, and draws on an [`Account`].
#[derive(Clone, Debug)]
pub struct Purse(Arc<Source>);

impl Purse {
    /// An empty charge. All charges of a purse share its limit.
    #[must_use]
    pub fn charge(&self) -> Charge {
        Charge { source: self.0.clone(), bytes: 0 }
    }
}

/// What charges are drawn from: an account's, or a purse's.
#[derive(Debug)]
struct Source {
    memory: Arc<Memory>,
    limit_of_all: usize,
    own: Option<Own>,
}

/// A purse's own limit.
#[derive(Debug)]
struct Own {
    limit: usize,
    used: AtomicUsize,
}

impl Source {
    fn with(&self, own: Option<Own>) -> Self {
        Self { memory: self.memory.clone(), limit_of_all: self.limit_of_all, own }
    }

    fn draw(&self, bytes: usize) -> Result<(), OverBudget> {
        if let Some(own) = &self.own {
            draw(&own.used, bytes, own.limit, LimitReached::Own)?;
        }
        let drawn = draw(&self.memory.used, bytes, self.limit_of_all, LimitReached::OfAll);
        if drawn.is_err() {
            self.give_back_to_the_purse(bytes);
        }
        drawn
    }

    fn give_back(&self, bytes: usize) {
        self.memory.used.fetch_sub(bytes, Relaxed);
        self.give_back_to_the_purse(bytes);
    }

    fn give_back_to_the_purse(&self, bytes: usize) {
        if let Some(own) = &self.own {
            own.used.fetch_sub(bytes, Relaxed);
        }
    }
}

fn draw(used: &AtomicUsize, bytes: usize, limit: usize, reached: LimitReached) -> Result<(), OverBudget> {
    let fits = |used: usize| used.checked_add(bytes).filter(|total| *total <= limit);
    used.fetch_update(Relaxed, Relaxed, fits).map(drop).map_err(|_| OverBudget { limit, reached })
}

/// Bytes that are held. Dropping it gives everything back.
#[derive(Debug)]
pub struct Charge {
    source: Arc<Source>,
    bytes: usize,
}

/// There is no room for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory budget of {limit} bytes is used up")]
pub struct OverBudget {
    /// The limit that was reached, in bytes.
    pub limit: usize,
    /// Which one that is.
    pub reached: LimitReached,
}

impl OverBudget {
    /// The allocator itself had no room, although the budget did; `held` is what its owner held, in bytes.
    #[must_use]
    pub fn allocation_failed(held: usize) -> Self {
        Self { limit: held, reached: LimitReached::OfAll }
    }
}

/// Which limit has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// That of everything together: there may be room for the same request at another time.
    OfAll,
    /// The owner's own ([`Account::purse`]): the same request will never fit.
    Own,
}

impl Charge {
    /// An empty charge with the same account and purse.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self { source: self.source.clone(), bytes: 0 }
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// The purse or the account has no room for them; nothing is taken then.
    pub fn grow(&mut self, bytes: usize) -> Result<(), OverBudget> {
        self.source.draw(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives `bytes` back, at most what is held.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        // Most charges of a small exchange are never used, and all workers share what is written below.
        if bytes == 0 {
            return;
        }
        self.bytes -= bytes;
        self.source.give_back(bytes);
    }

    /// Takes over what `other` holds of the same memory, and of the same purse if there is one.
    pub fn absorb(&mut self, mut other: Self) {
        debug_assert!(
            Arc::ptr_eq(&self.source.memory, &other.source.memory),
            "a charge moves only within its memory"
        );
        debug_assert!(
            Arc::ptr_eq(&self.source, &other.source)
                || self.source.own.is_none() && other.source.own.is_none(),
            "a charge moves only within its purse"
        );
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
        let memory = Memory::new(100);
        let mut first = memory.account(80).charge();
        first.grow(60).unwrap();
        let mut second = first.sibling();
        assert_eq!(second.grow(21), Err(OverBudget { limit: 80, reached: LimitReached::OfAll }));
        second.grow(20).unwrap();
        assert_eq!(memory.used(), 80);
        drop(first);
        assert_eq!(memory.used(), 20);
        drop(second);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn what_others_hold_does_not_count_against_a_purse() {
        let memory = Memory::new(100_000);
        let mut others = memory.account(usize::MAX).charge();
        others.grow(20_000).unwrap();
        let purse = memory.account(usize::MAX).purse(1000);
        let (mut one, mut two) = (purse.charge(), purse.charge());
        one.grow(600).unwrap();
        assert_eq!(two.grow(401), Err(OverBudget { limit: 1000, reached: LimitReached::Own }));
        two.grow(400).unwrap();
        one.absorb(two);
        assert_eq!(memory.used(), 21_000);
        drop(one);
        assert_eq!(memory.used(), 20_000);
        purse.charge().grow(1000).unwrap();
    }

    #[test]
    fn an_account_of_one_owner_draws_on_the_same_memory_up_to_the_same_limit() {
        let memory = Memory::new(100);
        let account = memory.account(50);
        let mut others = account.charge();
        others.grow(20).unwrap();
        let mut mine = account.of_one_owner().charge();
        assert_eq!(mine.grow(31), Err(OverBudget { limit: 50, reached: LimitReached::OfAll }));
        mine.grow(30).unwrap();
        mine.absorb(others);
        assert_eq!((mine.held(), memory.used()), (50, 50));
        drop(mine);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_purse_that_finds_its_account_exhausted_is_not_charged_for_it() {
        let memory = Memory::new(100);
        let mut others = memory.account(usize::MAX).charge();
        others.grow(90).unwrap();
        let mut mine = memory.account(usize::MAX).purse(20).charge();
        assert_eq!(mine.grow(20), Err(OverBudget { limit: 100, reached: LimitReached::OfAll }));
        drop(others);
        mine.grow(20).unwrap();
    }
}
