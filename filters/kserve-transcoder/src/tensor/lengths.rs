//! Raw contents of BYTES: each element with its length in front, as four bytes, little-endian.

/// Walks over elements with lengths in front.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// How many bytes of the current element are still to come.
    left: usize,
    length: [u8; 4],
    have: usize,
}

/// A step of a walk.
pub(super) enum Step<'a> {
    /// An element begins; of an empty one nothing else comes.
    Start,
    /// A piece of it, and whether that is the last.
    Piece(&'a [u8], bool),
}

impl Walk {
    /// Takes a step from the front of `bytes`; `None` says that all are taken.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Step<'a>> {
        if self.left > 0 {
            let (now, later) = bytes.split_at(self.left.min(bytes.len()));
            *bytes = later;
            self.left -= now.len();
            return (!now.is_empty()).then_some(Step::Piece(now, self.left == 0));
        }
        while self.have < 4 {
            let (byte, rest) = bytes.split_first()?;
            self.length[self.have] = *byte;
            self.have += 1;
            *bytes = rest;
        }
        self.have = 0;
        self.left = u32::from_le_bytes(self.length) as usize;
        Some(Step::Start)
    }

    /// Takes a whole element off the front of `bytes`, if the next one is there and at most `most` bytes long: gives it with what
    /// is behind it, and its length.
    #[inline(always)]
    pub(super) fn whole<'a>(&mut self, bytes: &mut &'a [u8], most: usize) -> Option<(&'a [u8], usize)> {
        if self.left > 0 || self.have > 0 {
            return None;
        }
        let (length, element) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= most)?;
        *bytes = element.get(length..)?;
        Some((element, length))
    }

    /// How many bytes of the current element are still to come.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Whether the current element has no more bytes.
    pub(super) fn at_end(&self) -> bool {
        self.left == 0
    }

    /// Whether the last element is complete.
    pub(super) fn is_whole(&self) -> bool {
        self.left == 0 && self.have == 0
    }
}
