//! Verified tokens that are remembered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

/// The whole cache holds at most so many bytes of tokens: two generations of a half each.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Remembers what became of tokens, by the *whole* token: a hash of it could be met by another one.
///
/// Two generations: new entries go to the young one, and once it has half of what is allowed it becomes the old one,
/// and the old one is gone. An old entry that is found becomes young again. So what is used stays, and nothing is ever
/// searched or sorted.
#[derive(Debug)]
pub(crate) struct Cache<T> {
    capacity: usize,
    young: Generation<T>,
    old: Generation<T>,
}

#[derive(Debug)]
struct Generation<T> {
    entries: HashMap<Box<[u8]>, Entry<T>>,
    bytes: usize,
}

impl<T> Default for Generation<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), bytes: 0 }
    }
}

/// What is remembered of a token.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) value: Arc<T>,
    /// When the token is not believed any more.
    pub(crate) end: SystemTime,
    /// The keys by which it was verified, as a number that changes when they do.
    pub(crate) keys: u64,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), end: self.end, keys: self.keys }
    }
}

impl<T> Cache<T> {
    /// A cache of at most `capacity` tokens.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, young: Generation::default(), old: Generation::default() }
    }

    /// What is remembered of a token; the caller looks whether it still holds.
    pub(crate) fn get(&mut self, token: &[u8]) -> Option<Entry<T>> {
        if let Some(entry) = self.young.entries.get(token) {
            return Some(entry.clone());
        }
        let (token, entry) = self.old.entries.remove_entry(token)?;
        self.old.bytes -= token.len();
        self.put(token, entry.clone());
        Some(entry)
    }

    /// Remembers a token.
    pub(crate) fn insert(&mut self, token: &[u8], entry: Entry<T>) {
        if self.capacity > 0 {
            self.put(token.into(), entry);
        }
    }

    /// Forgets a token.
    pub(crate) fn remove(&mut self, token: &[u8]) {
        for generation in [&mut self.young, &mut self.old] {
            if generation.entries.remove(token).is_some() {
                generation.bytes -= token.len();
            }
        }
    }

    fn put(&mut self, token: Box<[u8]>, entry: Entry<T>) {
        let full = self.young.entries.len() >= self.capacity.div_ceil(2) || self.young.bytes >= MAX_BYTES / 2;
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
        Entry { value: Arc::new(value), end: SystemTime::UNIX_EPOCH, keys: 0 }
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut cache = Cache::new(4);
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
        let mut cache = Cache::new(100_000);
        for number in 0..2000u32 {
            let token = [&number.to_be_bytes()[..], &[0; 65_000]].concat();
            cache.insert(&token, entry(number));
        }
        assert!(cache.young.bytes + cache.old.bytes <= MAX_BYTES + 2 * 65_004);
    }

    #[test]
    fn a_cache_without_capacity_remembers_nothing() {
        let mut cache = Cache::new(0);
        cache.insert(b"a", entry(1));
        assert!(cache.get(b"a").is_none());
    }
}
