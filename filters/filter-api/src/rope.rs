//! Bytes in segments.

use crate::{Charge, OverBudget};
use std::collections::VecDeque;

/// How large a rope's segments grow, in bytes.
pub const SEGMENT_BYTES: usize = 64 * 1024;

/// The first segments are smaller, so that a tiny request does not pay for a large one, nor each of many tiny tensors.
const FIRST_SEGMENTS_BYTES: [usize; 3] = [128, 1024, 8 * 1024];

/// A rope of at most this many bytes is copied to the end of another one where there is room, rather than linked behind it.
const SHORT_BYTES: usize = 128;

/// What a segment takes besides its bytes: its place in the list, which begins with four, and the allocator's own.
const PLACE_BYTES: usize = 4 * size_of::<Vec<u8>>() + 16;

/// Takes bytes in order.
pub trait Sink {
    /// Appends `bytes`.
    fn write(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A long byte string in segments, charged to the memory that streams share.
///
/// One contiguous vector would cost twice its size while it grows and would fragment a wasm heap that never
/// shrinks; segments are freed one by one as they are sent.
#[derive(Debug)]
pub struct Rope {
    /// The first segment, beside the others: a short rope needs no list.
    first: Option<Vec<u8>>,
    rest: VecDeque<Vec<u8>>,
    len: usize,
    charge: Charge,
}

impl Rope {
    /// An empty rope whose segments are charged to `charge`.
    #[must_use]
    pub fn new(charge: Charge) -> Self {
        Self { first: None, rest: VecDeque::new(), len: 0, charge }
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// The budget has no room for them; a part may have been appended.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), OverBudget> {
        while !bytes.is_empty() {
            let tail = self.tail_with_room(1)?;
            let (now, later) = bytes.split_at(bytes.len().min(tail.capacity() - tail.len()));
            tail.extend_from_slice(now);
            self.len += now.len();
            bytes = later;
        }
        Ok(())
    }

    /// Lets `write` append to a segment that has room for `room` more bytes without moving, at most
    /// [`SEGMENT_BYTES`]. For loops that write many small items: one check of the budget serves them all.
    ///
    /// # Errors
    /// The budget has no room for a new segment.
    pub fn extend_with<T>(
        &mut self,
        room: usize,
        write: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> Result<T, OverBudget> {
        let tail = self.tail_with_room(room.min(SEGMENT_BYTES))?;
        let before = tail.len();
        let result = write(tail);
        let written = tail.len().saturating_sub(before);
        self.len += written;
        Ok(result)
    }

    /// Appends another rope of the same memory, without copying it unless it is short.
    pub fn append(&mut self, mut other: Self) {
        self.len += other.len;
        if other.len <= SHORT_BYTES
            && let Some(tail) = self.tail()
            && tail.capacity() - tail.len() >= other.len
        {
            other.segments().for_each(|segment| tail.extend_from_slice(segment));
            return;
        }
        match (&self.first, other.first.take()) {
            (None, first) => self.first = first,
            (Some(_), first) => self.rest.extend(first),
        }
        self.rest.append(&mut other.rest);
        self.charge.absorb(other.charge);
    }

    /// The segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.first.iter().chain(&self.rest).map(Vec::as_slice)
    }

    /// Writes everything to `sink`, and frees each segment once it is written.
    pub fn drain_to(&mut self, sink: &mut dyn Sink) {
        while let Some(segment) = self.first.take().or_else(|| self.rest.pop_front()) {
            sink.write(&segment);
            self.charge.shrink(segment.capacity() + PLACE_BYTES);
        }
        self.len = 0;
    }

    fn tail_with_room(&mut self, room: usize) -> Result<&mut Vec<u8>, OverBudget> {
        let fits = self.tail().is_some_and(|tail| tail.capacity() - tail.len() >= room);
        if !fits {
            let before = usize::from(self.first.is_some()) + self.rest.len();
            let usual = FIRST_SEGMENTS_BYTES.get(before).copied().unwrap_or(SEGMENT_BYTES);
            let capacity = usual.max(room);
            self.charge.grow(capacity + PLACE_BYTES)?;
            let mut segment = Vec::new();
            if segment.try_reserve_exact(capacity).is_err() {
                self.charge.shrink(capacity + PLACE_BYTES);
                return Err(OverBudget::allocation_failed(self.len));
            }
            // What the allocator rounded up was not charged, and is not used.
            match self.first {
                None => self.first = Some(segment),
                Some(_) => self.rest.push_back(segment),
            }
        }
        // A segment was pushed above if there was none.
        self.tail().ok_or(OverBudget::allocation_failed(0))
    }

    #[inline]
    fn tail(&mut self) -> Option<&mut Vec<u8>> {
        match self.rest.back_mut() {
            None => self.first.as_mut(),
            tail => tail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LimitReached, Memory};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn rope(bytes: usize) -> (std::sync::Arc<Memory>, Rope) {
        let memory = Memory::new(bytes);
        let rope = Rope::new(memory.account(usize::MAX).charge());
        (memory, rope)
    }

    #[test]
    fn what_was_pushed_comes_out_in_order_and_the_budget_is_whole_again() {
        let (memory, mut rope) = rope(1 << 20);
        let text: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        for piece in text.chunks(777) {
            rope.push(piece).unwrap();
        }
        assert_eq!(rope.len(), text.len());
        assert!(memory.used() >= text.len());
        let mut out = Vec::new();
        rope.drain_to(&mut out);
        assert_eq!(out, text);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_rope_over_the_budget_says_so_and_a_dropped_rope_returns_what_it_held() {
        let (memory, mut rope) = rope(SEGMENT_BYTES);
        rope.push(&[0; 500]).unwrap();
        assert!(memory.used() < 2000, "a short rope is charged {} bytes", memory.used());
        let error = rope.push(&vec![0; 2 * SEGMENT_BYTES]).unwrap_err();
        assert_eq!(error, OverBudget { limit: SEGMENT_BYTES, reached: LimitReached::OfAll });
        drop(rope);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn appending_a_rope_moves_its_bytes_and_its_charge_or_copies_it_if_it_is_short() {
        let (memory, mut first) = rope(1 << 20);
        let mut second = Rope::new(memory.account(usize::MAX).charge());
        first.push(b"one ").unwrap();
        second.extend_with(10, |tail| tail.extend_from_slice(&[b'2'; 2 * SHORT_BYTES])).unwrap();
        let held = memory.used();
        first.append(second);
        assert_eq!((memory.used(), first.segments().count()), (held, 2));

        let mut third = Rope::new(memory.account(usize::MAX).charge());
        third.push(b" three").unwrap();
        let mut out = Vec::new();
        let mut fourth = Rope::new(memory.account(usize::MAX).charge());
        fourth.push(b"four").unwrap();
        third.append(fourth);
        assert_eq!((third.len(), third.segments().count()), (10, 1));
        first.append(third);
        first.drain_to(&mut out);
        assert_eq!(out, [b"one ", &[b'2'; 2 * SHORT_BYTES][..], b" threefour"].concat());
        assert_eq!(memory.used(), 0);
    }
}
