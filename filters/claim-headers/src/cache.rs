//! Verified tokens that are remembered.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
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
    /// Tokens are at other places in every process.
    seed: u64,
}

impl<T> Shared<T> {
    /// A cache of at most `capacity` tokens, rounded up to a multiple of its parts.
    pub(crate) fn new(capacity: usize) -> Self {
        let parts = (capacity / LEAST_OF_A_PART).clamp(1, MOST_PARTS);
        let part = |_| Mutex::new(Cache::new(capacity.div_ceil(parts), MAX_BYTES / parts));
        Self { parts: (0..parts).map(part).collect(), seed: RandomState::new().hash_one(0) }
    }

    /// What is remembered of a token; the caller looks whether it still holds.
    pub(crate) fn get(&self, token: &[u8]) -> Option<Entry<T>> {
        let place = self.place(token);
        self.part(place)?.get(place, token)
    }

    /// Remembers a token.
    pub(crate) fn insert(&self, token: &[u8], entry: Entry<T>) {
        let place = self.place(token);
        if let Some(mut part) = self.part(place) {
            part.insert(place, token, entry);
        }
    }

    /// Forgets a token.
    pub(crate) fn remove(&self, token: &[u8]) {
        let place = self.place(token);
        if let Some(mut part) = self.part(place) {
            part.remove(place, token);
        }
    }

    /// Where a token is kept, by its end only, which is its signature: what is remembered was signed by an issuer, so these
    /// bytes are as good as chance, and no client can choose them.
    fn place(&self, token: &[u8]) -> u64 {
        let tail = token.last_chunk::<16>().copied().unwrap_or_else(|| {
            let mut short = [0; 16];
            short[..token.len()].copy_from_slice(token);
            short
        });
        let tail = u128::from_le_bytes(tail);
        let mixed = (tail as u64 ^ self.seed).wrapping_mul(ODD) ^ (tail >> 64) as u64;
        // The upper half of a product depends on all bits, the lower one does not.
        mixed.wrapping_mul(ODD).rotate_left(32)
    }

    fn part(&self, place: u64) -> Option<MutexGuard<'_, Cache<T>>> {
        let part = self.parts.get(place as usize % self.parts.len().max(1))?;
        // What is locked is whole between any two statements, so that a panic elsewhere spoils nothing.
        Some(part.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The golden ratio as a fraction of 2^64, by which neighbours land far from one another.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

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
    /// By place. Of two tokens with the same one the younger is remembered.
    entries: HashMap<u64, Kept<T>, BuildHasherDefault<AsItIs>>,
    bytes: usize,
}

/// A token, and what is remembered of it.
type Kept<T> = (Box<[u8]>, Entry<T>);

impl<T> Default for Generation<T> {
    fn default() -> Self {
        Self { entries: HashMap::default(), bytes: 0 }
    }
}

impl<T> Generation<T> {
    fn get(&self, place: u64, token: &[u8]) -> Option<&Entry<T>> {
        self.entries.get(&place).filter(|(other, _)| is_same(other, token)).map(|(_, entry)| entry)
    }

    fn remove(&mut self, place: u64, token: &[u8]) -> Option<Kept<T>> {
        self.get(place, token)?;
        let removed = self.entries.remove(&place);
        self.bytes -= removed.as_ref().map_or(0, |(token, _)| token.len());
        removed
    }

    fn insert(&mut self, place: u64, token: Box<[u8]>, entry: Entry<T>) {
        self.bytes += token.len();
        if let Some((before, _)) = self.entries.insert(place, (token, entry)) {
            self.bytes -= before.len();
        }
    }
}

/// Whether two tokens are the same, eight bytes at a time: in WebAssembly the comparison of slices goes byte by byte.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let ((ones, end), (others, other_end)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let differ = |(one, other): (&[u8; 8], &[u8; 8])| u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
    // Most tokens compared are equal, so returning early at the first difference would gain nothing.
    one.len() == other.len()
        && ones.iter().zip(others).map(differ).fold(0, |all, bits| all | bits) == 0
        && end == other_end
}

/// Places are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, place: u64) {
        self.0 = place;
    }

    fn finish(&self) -> u64 {
        self.0
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

    fn get(&mut self, place: u64, token: &[u8]) -> Option<Entry<T>> {
        if let Some(entry) = self.young.get(place, token) {
            return Some(entry.clone());
        }
        let (token, entry) = self.old.remove(place, token)?;
        self.put(place, token, entry.clone());
        Some(entry)
    }

    fn insert(&mut self, place: u64, token: &[u8], entry: Entry<T>) {
        if self.capacity > 0 {
            self.put(place, token.into(), entry);
        }
    }

    fn remove(&mut self, place: u64, token: &[u8]) {
        for generation in [&mut self.young, &mut self.old] {
            generation.remove(place, token);
        }
    }

    fn put(&mut self, place: u64, token: Box<[u8]>, entry: Entry<T>) {
        let full =
            self.young.entries.len() >= self.capacity.div_ceil(2) || self.young.bytes >= self.bytes / 2;
        if full {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(place, token, entry);
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
        cache.insert(7_000, b"used", entry(0));
        for number in 0..100u32 {
            cache.insert(number.into(), &number.to_be_bytes(), entry(number));
            assert_eq!(*cache.get(7_000, b"used").expect("it was used a moment ago").value, 0);
            assert!(cache.young.entries.len() + cache.old.entries.len() <= 4);
        }
        assert!(cache.get(0, &0u32.to_be_bytes()).is_none());
        cache.remove(7_000, b"used");
        assert!(cache.get(7_000, b"used").is_none());
        let bytes = |generation: &Generation<u32>| {
            generation.entries.values().map(|(token, _)| token.len()).sum::<usize>()
        };
        assert_eq!((cache.young.bytes, cache.old.bytes), (bytes(&cache.young), bytes(&cache.old)));
    }

    #[test]
    fn tokens_that_are_large_push_others_out_sooner() {
        let mut cache = Cache::new(100_000, MAX_BYTES);
        for number in 0..2000u32 {
            let token = [&number.to_be_bytes()[..], &[0; 65_000]].concat();
            cache.insert(number.into(), &token, entry(number));
        }
        assert!(cache.young.bytes + cache.old.bytes <= MAX_BYTES + 2 * 65_004);
    }

    #[test]
    fn tokens_that_meet_in_one_place_are_not_taken_for_each_other() {
        let mut cache = Cache::new(4, MAX_BYTES);
        let tokens: [&[u8]; 4] =
            [b"aaaaaaaabbbbbbbbc", b"aaaaaaaabbbbbbbbd", b"baaaaaaabbbbbbbbd", b"baaaaaaabbbbbbbb"];
        for (number, token) in (0..).zip(tokens) {
            assert!(cache.get(1, token).is_none());
            cache.remove(1, token);
            cache.insert(1, token, entry(number));
            assert_eq!(*cache.get(1, token).expect("it is new").value, number);
            assert_eq!((cache.young.entries.len(), cache.young.bytes), (1, token.len()));
        }
    }

    #[test]
    fn the_same_end_of_a_token_is_the_same_place_and_another_one_is_elsewhere() {
        let cache = Shared::<u32>::new(1000);
        let place = |token: &[u8]| cache.place(token);
        assert_eq!(place(b"header.payload.signature-of-some"), place(b"another.payload.signature-of-some"));
        assert_ne!(place(b"header.payload.signature-of-some"), place(b"header.payload.signature-of-sone"));
        assert_ne!(place(b"short"), place(b"shorter"));
        assert_eq!(place(b""), place(b""));
    }

    #[test]
    fn a_cache_without_capacity_remembers_nothing() {
        let mut cache = Cache::new(0, MAX_BYTES);
        cache.insert(1, b"a", entry(1));
        assert!(cache.get(1, b"a").is_none());
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
