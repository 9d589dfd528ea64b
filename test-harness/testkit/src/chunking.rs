//! How a body is cut.

/// From which length on the middle of a body is cut into large pieces, in bytes.
const LONG: usize = 16 * 1024;

/// How much at either end of a long body is cut as other bodies are, in bytes.
const END_OF_LONG: usize = 1024;

/// How a body is cut into chunks. Of one of more than 16 KiB only the first and the last kibibyte are cut so, unless it is
/// one chunk; what is between comes in pieces of 16 KiB, as from Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// One chunk.
    Whole,
    /// One byte each.
    Bytes,
    /// Chunks of 1, 7, 2, 13 and 3 bytes in turn, so that they line up with no structure of the body.
    Odd,
    /// Chunks of 0 to 32 bytes, pseudo-random by this seed; an empty one may end the body.
    Random(u64),
}

impl Chunking {
    /// All of them but the seeded ones.
    pub const ALL: [Self; 3] = [Self::Whole, Self::Bytes, Self::Odd];

    /// Cuts `body`; an empty body has no chunks.
    #[must_use]
    pub fn cut(self, body: &[u8]) -> Vec<&[u8]> {
        if self == Self::Whole || body.len() <= LONG {
            return self.cut_all(body);
        }
        let (first, rest) = body.split_at(END_OF_LONG);
        let (middle, last) = rest.split_at(rest.len() - END_OF_LONG);
        let mut chunks = self.cut_all(first);
        chunks.extend(middle.chunks(LONG));
        chunks.extend(self.cut_all(last));
        chunks
    }

    fn cut_all(self, body: &[u8]) -> Vec<&[u8]> {
        match self {
            Self::Whole => body.chunks(body.len().max(1)).collect(),
            Self::Bytes => body.chunks(1).collect(),
            Self::Odd => {
                let mut rest = body;
                let mut chunks = Vec::new();
                for size in [1, 7, 2, 13, 3].into_iter().cycle() {
                    if rest.is_empty() {
                        break;
                    }
                    let (chunk, after) = rest.split_at(size.min(rest.len()));
                    chunks.push(chunk);
                    rest = after;
                }
                chunks
            }
            Self::Random(seed) => {
                let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                let mut rest = body;
                let mut chunks = Vec::new();
                while !rest.is_empty() {
                    // xorshift64, whose high bits are the better ones.
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let (chunk, after) = rest.split_at(((state >> 40) % 33).min(rest.len() as u64) as usize);
                    chunks.push(chunk);
                    rest = after;
                }
                if !body.is_empty() && state >> 63 == 1 {
                    chunks.push(rest);
                }
                chunks
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn every_chunking_gives_the_whole_body_in_order() {
        let body: Vec<u8> = (0..100).collect();
        for chunking in Chunking::ALL {
            assert_eq!(chunking.cut(&body).concat(), body);
            assert!(chunking.cut(b"").is_empty());
            assert!(chunking.cut(&body).iter().all(|chunk| !chunk.is_empty()));
        }
    }

    #[test]
    fn a_long_body_is_cut_finely_at_its_ends() {
        let body = vec![7; 100_000];
        for chunking in Chunking::ALL {
            assert_eq!(chunking.cut(&body).concat(), body);
        }
        let sizes: Vec<usize> = Chunking::Bytes.cut(&body).iter().map(|chunk| chunk.len()).collect();
        assert_eq!((sizes[0], sizes[1024], *sizes.last().unwrap()), (1, LONG, 1));
    }

    #[test]
    fn a_seed_gives_its_own_chunks_each_time_and_all_of_the_body() {
        let body: Vec<u8> = (0..200).collect();
        let cuts: Vec<_> = (0..50).map(|seed| Chunking::Random(seed).cut(&body)).collect();
        for (seed, cut) in cuts.iter().enumerate() {
            assert_eq!(cut.concat(), body);
            assert_eq!(*cut, Chunking::Random(seed as u64).cut(&body));
            assert!(Chunking::Random(seed as u64).cut(b"").is_empty());
        }
        assert!(cuts.iter().skip(1).all(|cut| cut != &cuts[0]));
        assert!(cuts.iter().any(|cut| cut.last().is_some_and(|chunk| chunk.is_empty())));
    }
}
