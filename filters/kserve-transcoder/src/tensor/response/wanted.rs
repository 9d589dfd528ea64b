//! Which outputs the client asked for as binary.

use crate::tensor::charged::ChargedList;
use filter_api::{Buffer, Charge, OverBudget};
use std::hash::{BuildHasher, RandomState};

/// Which outputs the client asked for as binary.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// `binary_data_output`: what holds for outputs that say nothing.
    binary: bool,
    /// `binary_data` by the output's name.
    outputs: ChargedList<(Buffer, bool)>,
    any: bool,
    /// Where the outputs are in their list, plus one, each at the hash of its name or in the first free place behind
    /// that. A client chooses how many names there are, and which; it can't know their hashes.
    places: ChargedList<u32>,
    hasher: RandomState,
}

impl Wanted {
    /// An answer in JSON alone.
    pub(crate) fn nothing(charge: &Charge) -> Self {
        Self {
            binary: false,
            outputs: ChargedList::new(charge.sibling()),
            any: false,
            places: ChargedList::new(charge.sibling()),
            hasher: RandomState::new(),
        }
    }

    /// What `binary_data_output` and the `binary_data` of single outputs say. Of outputs with the same name the first
    /// counts.
    pub(crate) fn new(
        binary: bool,
        outputs: ChargedList<(Buffer, bool)>,
        charge: &Charge,
    ) -> Result<Self, OverBudget> {
        let mut wanted = Self { binary, ..Self::nothing(charge) };
        wanted.any = binary || outputs.iter().any(|(_, binary)| *binary);
        // Where none differs from the others, nothing has to be looked up.
        if outputs.iter().any(|(_, own)| *own != binary) {
            let places = (2 * outputs.len()).next_power_of_two();
            wanted.places.fill(0, places)?;
            wanted.outputs = outputs;
            for at in 0..wanted.outputs.len() {
                let (place, _) = wanted.place(wanted.outputs[at].0.as_slice());
                if wanted.places[place] == 0 {
                    wanted.places[place] = at as u32 + 1;
                }
            }
        }
        Ok(wanted)
    }

    /// Whether any output is wanted so.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// Whether the output of this name is wanted so.
    pub(super) fn of(&self, name: &[u8]) -> bool {
        if self.places.is_empty() {
            return self.binary;
        }
        let (place, _) = self.place(name);
        self.own(place).map_or(self.binary, |(_, binary)| *binary)
    }

    fn own(&self, place: usize) -> Option<&(Buffer, bool)> {
        self.outputs.get((self.places[place] as usize).wrapping_sub(1))
    }

    /// The place of a name, or the free one where it would be; and how many places have been looked at.
    fn place(&self, name: &[u8]) -> (usize, usize) {
        // At least half of the places are free.
        let mask = self.places.len() - 1;
        let mut place = self.hasher.hash_one(name) as usize & mask;
        let mut looked_at = 1;
        while self.own(place).is_some_and(|(own, _)| own.as_slice() != name) {
            place = (place + 1) & mask;
            looked_at += 1;
        }
        (place, looked_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filter_api::Memory;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn charge() -> Charge {
        Memory::new(1 << 30).account(usize::MAX).charge()
    }

    fn wanted(binary: bool, outputs: impl Iterator<Item = (String, bool)>) -> Wanted {
        let mut list = ChargedList::new(charge());
        for (name, binary) in outputs {
            let mut held = Buffer::new(charge());
            held.push(name.as_bytes()).unwrap();
            list.push((held, binary)).unwrap();
        }
        Wanted::new(binary, list, &charge()).unwrap()
    }

    #[test]
    fn an_output_is_binary_as_it_says_itself_or_else_as_the_request_says() {
        let outputs = || {
            [("a", true), ("b", false), ("a", false)].map(|(name, own)| (name.to_owned(), own)).into_iter()
        };
        for binary in [false, true] {
            let wanted = wanted(binary, outputs());
            assert!(wanted.any() && wanted.of(b"a") && !wanted.of(b"b"));
            assert_eq!(wanted.of(b"c"), binary);
        }
        for (binary, own) in [(false, false), (true, true)] {
            let wanted = wanted(binary, [("a".to_owned(), own)].into_iter());
            assert_eq!((wanted.any(), wanted.of(b"a"), wanted.of(b"b")), (own, own, binary));
        }
        let none = Wanted::nothing(&charge());
        assert!(!none.any() && !none.of(b"a"));
    }

    #[test]
    fn how_many_names_there_are_does_not_change_how_many_are_looked_at_for_one() {
        for count in [16, 1_000, 100_000] {
            let wanted = wanted(false, (0..count).map(|at| (format!("output{at}"), at % 2 == 0)));
            let looked_at: usize =
                (0..2 * count).map(|at| wanted.place(format!("output{at}").as_bytes()).1).sum();
            // With half of the places free it is 2 on average, found or not.
            assert!(looked_at < 4 * 2 * count, "{looked_at} for {} names among {count}", 2 * count);
            assert!((0..count).all(|at| wanted.of(format!("output{at}").as_bytes()) == (at % 2 == 0)));
        }
    }
}
