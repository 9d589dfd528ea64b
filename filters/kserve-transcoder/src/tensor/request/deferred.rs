//! The text of an array whose elements cannot be read yet.

use super::elements::Elements;
use super::source::Source;
use crate::problem::Problem;
use crate::tensor::text::words::{blanks, equal, within};
use filter_api::{Charge, OverBudget, Rope, Sink};

/// Keeps the text of `data` until `datatype` has come. Only as much is understood as finds its end.
#[derive(Debug)]
pub(super) struct Deferred {
    source: Source,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Something but blanks and the closing bracket has been seen.
    filled: bool,
    text: Rope,
}

impl Deferred {
    /// Keeps the array under `source`, whose opening bracket has been taken.
    pub(super) fn new(source: Source, charge: &Charge) -> Self {
        let text = Rope::new(charge.sibling());
        Self { source, depth: 1, in_string: false, escaped: false, filled: false, text }
    }

    /// Takes bytes up to the end of the array, or all of them; says how many.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<usize, OverBudget> {
        if !self.filled {
            let first = input.get(blanks(input));
            self.filled = first.is_some_and(|byte| *byte != b']');
        }
        let mut at = 0;
        while self.depth > 0 && at < input.len() {
            at += usize::from(std::mem::take(&mut self.escaped));
            at += self.skip(&input[at..]);
        }
        self.text.push(&input[..at])?;
        Ok(at)
    }

    /// Goes on to the end of the array or behind the next backslash; says how far that is.
    fn skip(&mut self, input: &[u8]) -> usize {
        let (words, rest) = input.as_chunks::<8>();
        for (at, eight) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*eight);
            // Brackets and the backslash stand next to each other in ASCII.
            let mut found = equal(word, b'"') | within(word, b'[', b']');
            while found != 0 {
                let place = found.trailing_zeros() as usize / 8;
                if self.stops_at(eight[place]) {
                    return 8 * at + place + 1;
                }
                found &= found - 1;
            }
        }
        let end = rest.iter().position(|byte| self.stops_at(*byte));
        end.map_or(input.len(), |place| 8 * words.len() + place + 1)
    }

    /// Takes a byte; says whether the array ends there, or what follows it is escaped.
    #[inline(always)]
    fn stops_at(&mut self, byte: u8) -> bool {
        match (byte, self.in_string) {
            (b'"', _) => self.in_string = !self.in_string,
            (b'\\', true) => self.escaped = true,
            (b'[', false) => self.depth += 1,
            (b']', false) => self.depth -= 1,
            _ => {}
        }
        self.escaped || self.depth == 0
    }

    /// Whether the array has been closed.
    pub(super) fn is_closed(&self) -> bool {
        self.depth == 0
    }

    /// The text, from behind the opening bracket to the closing one; nothing if the array has no elements.
    pub(super) fn finish(mut self) -> (Source, Rope) {
        if !self.filled {
            self.text.drain_to(&mut Nowhere);
        }
        (self.source, self.text)
    }
}

/// Reads a kept text, and frees it as it goes.
pub(super) fn replay(text: &mut Rope, reader: &mut Elements) -> Result<(), Problem> {
    if text.is_empty() {
        reader.read(b"]")?;
        return Ok(());
    }
    let mut replay = Replay { reader, result: Ok(()) };
    text.drain_to(&mut replay);
    replay.result
}

struct Replay<'a> {
    reader: &'a mut Elements,
    result: Result<(), Problem>,
}

impl Sink for Replay<'_> {
    fn write(&mut self, bytes: &[u8]) {
        if self.result.is_ok() {
            self.result = self.reader.read(bytes).map(|_| ());
        }
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, _: &[u8]) {}
}
