//! Tokens whose signature was wrong, so that the same one is not checked again.
//!
//! They have a place of their own: forged tokens cannot push out verified ones.

use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// So many are remembered at most, as two generations of a half each; each takes about 130 bytes, however long the
/// token is.
const CAPACITY: usize = 16 * 1024;
/// A power of two, one lock each. Wasm has one thread.
const SHARDS: usize = if cfg!(target_family = "wasm") { 1 } else { 16 };
/// How long one is remembered at most.
const LONGEST: Duration = Duration::from_secs(600);

/// Forged tokens that are remembered, by their SHA-256: a good token cannot be made that is taken for a forged one.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Whether there ever was one: most proxies never see any, and then no token is hashed.
    any: AtomicBool,
    shards: [Mutex<Generations>; SHARDS],
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<[u8; 32], Failure>,
    old: HashMap<[u8; 32], Failure>,
}

/// What is remembered of a forged token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// When it is forgotten, at the latest.
    pub(crate) end: SystemTime,
    /// Whose keys it was checked with.
    pub(crate) issuer: usize,
    /// These keys, as a number that changes when they do.
    pub(crate) keys: u64,
}

impl Failed {
    /// An empty memory.
    pub(crate) fn new() -> Self {
        Self { any: AtomicBool::new(false), shards: Default::default() }
    }

    /// Whether a token is known to be forged; `holds` says whether what is remembered still does.
    pub(crate) fn knows(&self, token: &[u8], now: SystemTime, holds: impl FnOnce(Failure) -> bool) -> bool {
        if !self.any.load(Relaxed) {
            return false;
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut shard = self.shard(&digest);
        let Some(failure) = shard.get(&digest) else { return false };
        let known = now < failure.end && holds(failure);
        if !known {
            shard.young.remove(&digest);
        }
        known
    }

    /// Remembers that a token is forged.
    pub(crate) fn insert(&self, token: &[u8], now: SystemTime, failure: Failure) {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let end = failure.end.min(now + LONGEST);
        self.shard(&digest).put(digest, Failure { end, ..failure });
        self.any.store(true, Relaxed);
    }

    fn shard(&self, digest: &[u8; 32]) -> MutexGuard<'_, Generations> {
        let shard = &self.shards[usize::from(digest[0]) % self.shards.len()];
        // What is locked is whole between any two statements.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    /// Finds one; an old one becomes young again, because it is still being sent.
    fn get(&mut self, digest: &[u8; 32]) -> Option<Failure> {
        if let Some(failure) = self.young.get(digest) {
            return Some(*failure);
        }
        let failure = self.old.remove(digest)?;
        self.put(*digest, failure);
        Some(failure)
    }

    fn put(&mut self, digest: [u8; 32], failure: Failure) {
        if self.young.len() >= CAPACITY / SHARDS / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn until(seconds: u64) -> Failure {
        Failure { end: NOW + Duration::from_secs(seconds), issuer: 0, keys: 1 }
    }

    #[test]
    fn a_forged_token_is_known_until_its_time_is_over_or_it_does_not_hold_any_more() {
        let failed = Failed::new();
        assert!(!failed.knows(b"a", NOW, |_| true));
        failed.insert(b"a", NOW, until(100));
        failed.insert(b"b", NOW, until(100_000));
        assert!(failed.knows(b"a", NOW + Duration::from_secs(99), |_| true));
        assert!(!failed.knows(b"a", NOW + Duration::from_secs(100), |_| true));
        assert!(failed.knows(b"b", NOW + LONGEST - Duration::from_secs(1), |failure| failure.keys == 1));
        assert!(!failed.knows(b"b", NOW, |failure| failure.keys == 2));
        assert!(!failed.knows(b"b", NOW, |_| true), "it is forgotten once it does not hold");
    }

    #[test]
    fn what_is_sent_again_stays_and_the_memory_has_a_bound() {
        let failed = Failed::new();
        failed.insert(b"replayed", NOW, until(100));
        for number in 0..3 * CAPACITY as u32 {
            failed.insert(&number.to_be_bytes(), NOW, until(100));
            if number % 100 == 0 {
                assert!(failed.knows(b"replayed", NOW, |_| true), "{number}");
            }
        }
        let count = |shard: &Mutex<Generations>| {
            let shard = shard.lock().unwrap();
            shard.young.len() + shard.old.len()
        };
        assert!(failed.shards.iter().map(count).sum::<usize>() <= CAPACITY);
    }
}
