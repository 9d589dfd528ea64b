//! A body as Envoy holds it: in pieces whose places in memory do not change.

use std::collections::VecDeque;

/// Bytes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    pieces: VecDeque<Vec<u8>>,
    /// How much of the first piece is gone.
    gone: usize,
}

impl Buffer {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut buffer = Self::default();
        buffer.append(bytes);
        buffer
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum::<usize>() - self.gone
    }

    /// Appends; pieces that are there stay where they are.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.pieces.push_back(bytes.to_vec());
        }
    }

    /// Drops at most `bytes` from the front.
    pub(crate) fn drain(&mut self, bytes: usize) {
        let mut bytes = bytes.min(self.len());
        while let Some(first) = self.pieces.front() {
            let here = first.len() - self.gone;
            if bytes < here {
                self.gone += bytes;
                return;
            }
            bytes -= here;
            self.gone = 0;
            self.pieces.pop_front();
        }
    }

    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let gone = self.gone;
        self.pieces.iter().enumerate().map(move |(index, piece)| &piece[if index == 0 { gone } else { 0 }..])
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.pieces().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_takes_from_the_front_across_pieces() {
        let mut buffer = Buffer::new(b"one");
        buffer.append(b"two");
        buffer.drain(4);
        assert_eq!(buffer.to_vec(), b"wo");
        buffer.append(b"three");
        assert_eq!(buffer.len(), 7);
        buffer.drain(100);
        assert_eq!((buffer.len(), buffer.to_vec()), (0, Vec::new()));
    }
}
