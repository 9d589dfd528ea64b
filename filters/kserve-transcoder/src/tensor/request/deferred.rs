//! The text of an array whose elements cannot be read yet.

use super::elements::Elements;
use super::source::Source;
use crate::problem::Problem;
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
        let mut end = input.len();
        for (at, byte) in input.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => {
                    self.in_string = !self.in_string;
                    self.filled = true;
                }
                _ if self.in_string => {}
                b'[' => {
                    self.depth += 1;
                    self.filled = true;
                }
                b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        end = at + 1;
                        break;
                    }
                }
                b' ' | b'\n' | b'\r' | b'\t' => {}
                _ => self.filled = true,
            }
        }
        self.text.push(&input[..end])?;
        Ok(end)
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
