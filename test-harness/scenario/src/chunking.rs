//! How a body is cut.

/// How a body is cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// One chunk.
    Whole,
    /// One byte each.
    Bytes,
    /// Chunks of 1, 7, 2, 13 and 3 bytes, over and over, so that no structure of the body falls in step with them.
    Odd,
}

impl Chunking {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Whole, Self::Bytes, Self::Odd];

    /// Cuts `body`; an empty one has no chunks.
    #[must_use]
    pub fn cut(self, body: &[u8]) -> Vec<&[u8]> {
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
}
