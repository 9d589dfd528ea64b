//! Verified tokens that are remembered.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// How many bytes of tokens all parts of a cache hold together at most.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How many parts a cache has at most, and how many tokens a part has at least.
const MOST_PARTS: usize = if cfg!(target_family = "wasm") { 1 } else { 16 };
const LEAST_OF_A_PART: usize = 64;

/// A cache in parts with a lock each, so that workers seldom wait for one another.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    parts: Box<[Mutex<Cache<T>>]>,
}

impl<T> Shared<T> {
    /// A cache of at most `capacity` tokens, rounded up to a multiple of its parts.
    pub(crate) fn new(capacity: usize) -> Self {
        let parts = (capacity / LEAST_OF_A_PART).clamp(1, MOST_PARTS);
        let part = |_| Mutex::new(Cache::new(capacity.div_ceil(parts), MAX_BYTES / parts));
        Self { parts: (0..parts).map(part).collect() }
    }

    /// What is remembered of a token; the caller looks whether it still holds.
    pub(crate) fn get(&self, token: &[u8]) -> Option<Entry<T>> {
        self.part(token)?.get(token)
    }

    /// Remembers a token.
    pub(crate) fn insert(&self, token: &[u8], entry: Entry<T>) {
        if let Some(mut part) = self.part(token) {
            part.insert(token, entry);
        }
    }

    /// Forgets a token.
    pub(crate) fn remove(&self, token: &[u8]) {
        if let Some(mut part) = self.part(token) {
            part.remove(token);
        }
    }

    /// A token ends with its signature, whose bytes are as good as chance.
    fn part(&self, token: &[u8]) -> Option<MutexGuard<'_, Cache<T>>> {
        let tail = &token[token.len().saturating_sub(16)..];
        let hash = tail.iter().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add((*byte).into()));
        let part = self.parts.get(hash % self.parts.len().max(1))?;
        // What is locked is whole between any two statements, so that a panic elsewhere spoils nothing.
        Some(part.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Remembers what became of tokens, by the *whole* token: a hash of it could be met by another one.
///
/// Two generations: new entries go to the young one, and once it has half of what is allowed it becomes the old one,
/// and the old one is gone. An old entry that is found becomes young again. So what is used stays, and nothing is ever
/// searched or sorted.
#[derive(Debug)]
struct Cache<T> {
    capacity: usize,
    /// How many bytes of tokens it holds at most: two generations of a half each.
    bytes: usize,
    young: Generation<T>,
    old: Generation<T>,
}

#[derive(Debug)]
struct Generation<T> {
    entries: HashMap<Box<[u8]>, Entry<T>, ByTail>,
    bytes: usize,
}

impl<T> Default for Generation<T> {
    fn default() -> Self {
        Self { entries: HashMap::default(), bytes: 0 }
    }
}

/// Hashes the end of a token only, which is its signature: what is remembered was signed by an issuer, and no client can
/// choose these bytes.
#[derive(Clone, Debug, Default)]
struct ByTail(RandomState);

/// So many bytes are as good as the whole.
const TAIL: usize = 32;

impl BuildHasher for ByTail {
    type Hasher = Tail;

    fn build_hasher(&self) -> Tail {
        Tail(self.0.build_hasher())
    }
}

struct Tail(DefaultHasher);

impl Hasher for Tail {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(&bytes[bytes.len().saturating_sub(TAIL)..]);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

/// What is remembered of a token.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) value: Arc<T>,
    /// When the token is not believed any more.
    pub(crate) end: SystemTime,
    /// Whose keys it was verified with.
    pub(crate) issuer: usize,
    /// These keys, as a number that changes when they do.
    pub(crate) keys: u64,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), end: self.end, issuer: self.issuer, keys: self.keys }
    }
}

impl<T> Cache<T> {
    fn new(capacity: usize, bytes: usize) -> Self {
        Self { capacity, bytes, young: Generation::default(), old: Generation::default() }
    }

    fn get(&mut self, token: &[u8]) -> Option<Entry<T>> {
        if let Some(entry) = self.young.entries.get(token) {
            return Some(entry.clone());
        }
        let (token, entry) = self.old.entries.remove_entry(token)?;
        self.old.bytes -= token.len();
        self.put(token, entry.clone());
        Some(entry)
    }

    fn insert(&mut self, token: &[u8], entry: Entry<T>) {
        if self.capacity > 0 {
            self.put(token.into(), entry);
        }
    }

    fn remove(&mut self, token: &[u8]) {
        for generation in [&mut self.young, &mut self.old] {
            if generation.entries.remove(token).is_some() {
                generation.bytes -= token.len();
            }
        }
    }

    fn put(&mut self, token: Box<[u8]>, entry: Entry<T>) {
        let full =
            self.young.entries.len() >= self.capacity.div_ceil(2) || self.young.bytes >= self.bytes / 2;
        if full {
            self.old = std::mem::take(&mut self.young);
        }
        let bytes = token.len();
        if self.young.entries.insert(token, entry).is_none() {
            self.young.bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn entry(value: u32) -> Entry<u32> {
        Entry { value: Arc::new(value), end: SystemTime::UNIX_EPOCH, issuer: 0, keys: 0 }
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut cache = Cache::new(4, MAX_BYTES);
        cache.insert(b"used", entry(0));
        for number in 0..100u32 {
            cache.insert(&number.to_be_bytes(), entry(number));
            assert_eq!(*cache.get(b"used").expect("it was used a moment ago").value, 0);
            assert!(cache.young.entries.len() + cache.old.entries.len() <= 4);
        }
        assert!(cache.get(&0u32.to_be_bytes()).is_none());
        cache.remove(b"used");
        assert!(cache.get(b"used").is_none());
        let bytes =
            |generation: &Generation<u32>| generation.entries.keys().map(|token| token.len()).sum::<usize>();
        assert_eq!((cache.young.bytes, cache.old.bytes), (bytes(&cache.young), bytes(&cache.old)));
    }

    #[test]
    fn tokens_that_are_large_push_others_out_sooner() {
        let mut cache = Cache::new(100_000, MAX_BYTES);
        for number in 0..2000u32 {
            let token = [&number.to_be_bytes()[..], &[0; 65_000]].concat();
            cache.insert(&token, entry(number));
        }
        assert!(cache.young.bytes + cache.old.bytes <= MAX_BYTES + 2 * 65_004);
    }

    #[test]
    fn a_cache_without_capacity_remembers_nothing() {
        let mut cache = Cache::new(0, MAX_BYTES);
        cache.insert(b"a", entry(1));
        assert!(cache.get(b"a").is_none());
    }

    #[test]
    fn a_cache_in_parts_finds_forgets_and_bounds_what_it_has() {
        let cache = Shared::new(1000);
        for number in 0..5000u32 {
            cache.insert(&number.to_be_bytes(), entry(number));
            assert_eq!(*cache.get(&number.to_be_bytes()).expect("it is new").value, number);
        }
        let held = |part: &Mutex<Cache<u32>>| {
            let part = part.lock().unwrap();
            part.young.entries.len() + part.old.entries.len()
        };
        assert!(cache.parts.iter().map(held).sum::<usize>() <= 1000 + MOST_PARTS);
        cache.remove(&4999u32.to_be_bytes());
        assert!(cache.get(&4999u32.to_be_bytes()).is_none());
        assert!(Shared::<u32>::new(0).get(b"").is_none());
    }
}
