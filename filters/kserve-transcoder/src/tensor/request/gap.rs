//! What stands between two elements: remembered, because it is the same from one to the next in most texts.

use super::elements::Expect;

/// The longest text that is remembered, in words of eight bytes.
const WORDS: usize = 8;

/// A text that has stood between two elements of one array depth, and may again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    words: [u64; WORDS],
    /// The bytes of the last word that belong to the text.
    mask: u64,
    len: usize,
    /// How many arrays were open before it, and are again behind it.
    pub(super) depth: usize,
    /// What is expected behind it.
    pub(super) then: Expect,
}

impl Gap {
    /// This text, if it is not too long.
    pub(super) fn new(text: &[u8], depth: usize, then: Expect) -> Option<Self> {
        if text.is_empty() || text.len() > 8 * WORDS {
            return None;
        }
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(text.chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(eight);
        }
        let mask = u64::MAX >> (8 * ((8 - text.len() % 8) % 8));
        Some(Self { words, mask, len: text.len(), depth, then })
    }

    /// A lone comma.
    pub(super) fn comma() -> Self {
        let mut words = [0; WORDS];
        words[0] = u64::from(b',');
        Self { words, mask: 0xff, len: 1, depth: 0, then: Expect::Element }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether `text` begins so; it says no as well where too little of `text` is there to be sure at once.
    #[inline(always)]
    pub(super) fn begins(&self, text: &[u8]) -> bool {
        let Some(first) = text.first_chunk() else { return false };
        let other = u64::from_le_bytes(*first) ^ self.words[0];
        if self.len <= 8 { other & self.mask == 0 } else { other == 0 && self.goes_on(text) }
    }

    #[inline(always)]
    fn goes_on(&self, text: &[u8]) -> bool {
        let last = (self.len - 1) / 8;
        let Some(text) = text.get(8..8 * last + 8) else { return false };
        let (text, _) = text.as_chunks();
        let mut other = 0;
        for (at, (own, eight)) in self.words[1..].iter().zip(text).enumerate() {
            let mask = if at + 1 == last { self.mask } else { u64::MAX };
            other |= (own ^ u64::from_le_bytes(*eight)) & mask;
        }
        other == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_text_is_recognised_at_every_length_and_a_difference_in_every_place_is_seen() {
        let text: Vec<u8> = (0..72).map(|at| b"],\n ["[at % 5]).collect();
        for len in 1..=8 * WORDS {
            let gap = Gap::new(&text[..len], 2, Expect::Element).unwrap();
            assert_eq!(gap.len(), len);
            assert!(gap.begins(&text), "{len} bytes");
            for place in 0..len {
                let mut other = text.clone();
                other[place] ^= 1;
                assert!(!gap.begins(&other), "{len} bytes, another one at {place}");
            }
            let mut behind = text.clone();
            behind[len] ^= 1;
            assert!(gap.begins(&behind), "{len} bytes, another one behind them");
            for short in 0..len {
                assert!(!gap.begins(&text[..short]), "{short} of {len} bytes");
            }
        }
        assert!(Gap::new(&text[..8 * WORDS + 1], 2, Expect::Element).is_none());
        assert!(Gap::new(&[], 2, Expect::Element).is_none());
    }
}
