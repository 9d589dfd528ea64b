//! Numbers and strings as JSON text.

use crate::tensor::NonFinite;
use crate::tensor::number::float16::Float16;
use crate::tensor::number::float32;
use crate::tensor::number::slot::{SLOT, put};
use crate::tensor::text::base64::{Encoder, encode, encoded_len};
use crate::tensor::text::string::plain_prefix;
use crate::tensor::text::words::{ROOM, put_short};
use filter_api::{SEGMENT_BYTES, Sink};

/// Collects text and hands it on in pieces of at most [`SEGMENT_BYTES`].
pub(super) struct Printer<'a> {
    out: &'a mut dyn Sink,
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Printer<'a> {
    /// A printer with a buffer of more than [`SLOT`] and at most [`SEGMENT_BYTES`] bytes.
    pub(super) fn new(out: &'a mut dyn Sink, buffer: &'a mut [u8]) -> Self {
        debug_assert!(buffer.len() > SLOT && buffer.len() <= SEGMENT_BYTES);
        Self { out, buffer, len: 0 }
    }

    /// Writes text as it is.
    pub(super) fn text(&mut self, mut text: &[u8]) {
        while !text.is_empty() {
            if self.len == self.buffer.len() {
                self.flush();
            }
            let (now, later) = text.split_at(text.len().min(self.buffer.len() - self.len));
            self.buffer[self.len..self.len + now.len()].copy_from_slice(now);
            self.len += now.len();
            text = later;
        }
    }

    /// Lets `write` print one number to the front of a slot, and puts a comma behind it.
    #[inline(always)]
    pub(super) fn number(&mut self, write: impl FnOnce(&mut [u8; SLOT]) -> usize) {
        if self.buffer.len() - self.len < SLOT {
            self.flush();
        }
        if let Some(slot) = self.buffer[self.len..].first_chunk_mut::<SLOT>() {
            let len = write(slot).min(SLOT - 1);
            slot[len] = b',';
            self.len += len + 1;
        }
    }

    /// Room for so many bytes, if the buffer is as large; what is written there does not count yet.
    fn room(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if self.buffer.len() - self.len < bytes {
            self.flush();
        }
        self.buffer[self.len..].get_mut(..bytes)
    }

    /// Writes a short text in quotes, with what JSON wants escaped, and a comma behind it.
    pub(super) fn string(&mut self, text: &[u8]) {
        // An escape is six bytes at most.
        let Some(room) = self.room(6 * text.len() + 3 + ROOM) else {
            self.text(b"\"");
            self.escaped(text);
            return self.text(b"\",");
        };
        room[0] = b'"';
        let (mut at, mut text) = (1, text);
        loop {
            let plain = plain_prefix(text);
            put_short(text, plain, &mut room[at..]);
            at += plain;
            let Some((special, rest)) = text[plain..].split_first() else { break };
            let (escape, len) = escape_of(*special);
            room[at..at + 6].copy_from_slice(&escape);
            at += len;
            text = rest;
        }
        room[at..at + 2].copy_from_slice(b"\",");
        self.len += at + 2;
    }

    /// Writes the base64 of a few bytes in quotes, and a comma behind it.
    pub(super) fn base64(&mut self, bytes: &[u8]) {
        let len = encoded_len(bytes.len());
        match self.room(len + 3) {
            Some(room) => {
                room[0] = b'"';
                encode(bytes, &mut room[1..]);
                room[len + 1..].copy_from_slice(b"\",");
                self.len += len + 3;
            }
            None => {
                let mut encoder = Encoder::default();
                self.text(b"\"");
                encoder.push(bytes, |text| self.text(text));
                encoder.end(|text| self.text(text));
                self.text(b"\",");
            }
        }
    }

    /// Takes back the comma that was written last, if there is one.
    pub(super) fn drop_comma(&mut self) {
        if self.len > 0 && self.buffer[self.len - 1] == b',' {
            self.len -= 1;
        }
    }

    /// Writes a part of a string, with what JSON wants escaped. A character may be cut between parts.
    pub(super) fn escaped(&mut self, text: &[u8]) {
        escape(text, |piece| self.text(piece));
    }

    /// Writes long text or bytes as they are, and copies no more than it must.
    fn pass(&mut self, bytes: &[u8]) {
        if bytes.len() < self.buffer.len() {
            return self.text(bytes);
        }
        self.flush();
        self.out.write(bytes);
    }

    /// Hands on what has been collected.
    pub(super) fn flush(&mut self) {
        self.out.write(&self.buffer[..self.len]);
        self.len = 0;
    }
}

impl Sink for Printer<'_> {
    fn write(&mut self, bytes: &[u8]) {
        self.pass(bytes);
    }
}

/// Gives the pieces of `text` with quotes, backslashes and control characters escaped. All else stays as it
/// is, raw UTF-8 as Triton writes it.
pub(crate) fn escape(mut text: &[u8], mut write: impl FnMut(&[u8])) {
    loop {
        let (plain, rest) = text.split_at(plain_prefix(text));
        write(plain);
        let Some((special, rest)) = rest.split_first() else { return };
        text = rest;
        let (escape, len) = escape_of(*special);
        write(&escape[..len]);
    }
}

/// How a quote, a backslash or a control character is escaped: at the front of six bytes, and how many of them.
fn escape_of(special: u8) -> ([u8; 6], usize) {
    let letter = match special {
        b'"' | b'\\' => special,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        8 => b'b',
        12 => b'f',
        control => {
            let hex = |digit: u8| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
            return ([b'\\', b'u', b'0', b'0', hex(control >> 4), hex(control & 15)], 6);
        }
    };
    ([b'\\', letter, 0, 0, 0, 0], 2)
}

/// How one element is printed from its raw bytes.
pub(super) trait Print<const SIZE: usize>: Copy {
    /// Prints to the front of `slot`, and says how many bytes that took.
    fn print(self, raw: [u8; SIZE], slot: &mut [u8; SLOT]) -> usize;
}

#[derive(Clone, Copy)]
pub(super) struct Bool;
#[derive(Clone, Copy)]
pub(super) struct Signed;
#[derive(Clone, Copy)]
pub(super) struct Unsigned;
#[derive(Clone, Copy)]
pub(super) struct Float;

impl Print<1> for Bool {
    fn print(self, raw: [u8; 1], slot: &mut [u8; SLOT]) -> usize {
        put(slot, if raw[0] == 0 { b"false" } else { b"true" })
    }
}

macro_rules! integers {
    ($($signed:ty, $unsigned:ty;)*) => { $(
        impl Print<{ size_of::<$signed>() }> for Signed {
            #[inline(always)]
            fn print(self, raw: [u8; size_of::<$signed>()], slot: &mut [u8; SLOT]) -> usize {
                signed(<$signed>::from_le_bytes(raw).into(), slot)
            }
        }
        impl Print<{ size_of::<$unsigned>() }> for Unsigned {
            #[inline(always)]
            fn print(self, raw: [u8; size_of::<$unsigned>()], slot: &mut [u8; SLOT]) -> usize {
                unsigned(<$unsigned>::from_le_bytes(raw).into(), slot)
            }
        }
    )* };
}

integers! { i8, u8; i16, u16; i32, u32; i64, u64; }

impl Print<2> for Float16 {
    #[inline(always)]
    fn print(self, raw: [u8; 2], slot: &mut [u8; SLOT]) -> usize {
        let value = self.value(u16::from_le_bytes(raw));
        if !value.is_finite() {
            return special(value.into(), slot);
        }
        float32::print_of_16_bits(value, slot)
    }
}

impl Print<4> for Float {
    #[inline(always)]
    fn print(self, raw: [u8; 4], slot: &mut [u8; SLOT]) -> usize {
        float(f32::from_le_bytes(raw), slot)
    }
}

impl Print<8> for Float {
    #[inline(always)]
    fn print(self, raw: [u8; 8], slot: &mut [u8; SLOT]) -> usize {
        float64(f64::from_le_bytes(raw), slot)
    }
}

/// A number in quotes, which protobuf's JSON puts around 64-bit integers.
#[derive(Clone, Copy)]
pub(super) struct Quoted<P>(pub(super) P);

impl<P: Print<SIZE>, const SIZE: usize> Print<SIZE> for Quoted<P> {
    fn print(self, raw: [u8; SIZE], slot: &mut [u8; SLOT]) -> usize {
        let len = self.0.print(raw, slot).min(SLOT - 3);
        // Of a length that is known, which makes it a few instructions.
        slot.copy_within(..SLOT - 1, 1);
        (slot[0], slot[len + 1]) = (b'"', b'"');
        len + 2
    }
}

/// A float whose NaN and infinities are not bare words.
#[derive(Clone, Copy)]
pub(super) struct Special<P> {
    print: P,
    form: NonFinite,
}

impl<P> Special<P> {
    pub(super) fn new(print: P, form: NonFinite) -> Self {
        Self { print, form }
    }

    /// Gives the float of `len` bytes in `slot` its form; says how long that is.
    fn adjust(&self, len: usize, slot: &mut [u8; SLOT]) -> usize {
        // Every finite number ends in a digit.
        let finite = slot[..len].last().is_some_and(u8::is_ascii_digit);
        match self.form {
            NonFinite::Null if !finite => put(slot, b"null"),
            NonFinite::String if !finite => {
                let len = len.min(SLOT - 3);
                slot.copy_within(..len, 1);
                (slot[0], slot[len + 1]) = (b'"', b'"');
                len + 2
            }
            _ => len,
        }
    }
}

impl<P: Print<SIZE>, const SIZE: usize> Print<SIZE> for Special<P> {
    fn print(self, raw: [u8; SIZE], slot: &mut [u8; SLOT]) -> usize {
        let len = self.print.print(raw, slot);
        self.adjust(len, slot)
    }
}

fn signed(value: i64, slot: &mut [u8; SLOT]) -> usize {
    put(slot, itoa::Buffer::new().format(value).as_bytes())
}

fn unsigned(value: u64, slot: &mut [u8; SLOT]) -> usize {
    put(slot, itoa::Buffer::new().format(value).as_bytes())
}

#[inline(always)]
fn float(value: f32, slot: &mut [u8; SLOT]) -> usize {
    if !value.is_finite() {
        return special(value.into(), slot);
    }
    float32::print(value, slot)
}

/// An FP64; the shortest text that reads back as the same.
fn float64(value: f64, slot: &mut [u8; SLOT]) -> usize {
    if !value.is_finite() {
        return special(value, slot);
    }
    put(slot, zmij::Buffer::new().format_finite(value).as_bytes())
}

fn special(value: f64, slot: &mut [u8; SLOT]) -> usize {
    let text: &[u8] = if value.is_nan() {
        b"NaN"
    } else if value > 0.0 {
        b"Infinity"
    } else {
        b"-Infinity"
    };
    put(slot, text)
}

/// The first bytes of an element that was cut.
#[derive(Debug, Default)]
pub(super) struct Part {
    bytes: [u8; 8],
    have: usize,
}

/// Prints elements of `SIZE` bytes from bytes cut anywhere.
pub(super) struct ElementPrinter<'a, 'b, P, const SIZE: usize> {
    printer: &'a mut Printer<'b>,
    part: &'a mut Part,
    print: P,
}

impl<'a, 'b, P: Print<SIZE>, const SIZE: usize> ElementPrinter<'a, 'b, P, SIZE> {
    /// A printer that goes on with the element of which there is a part already.
    pub(super) fn new(printer: &'a mut Printer<'b>, part: &'a mut Part, print: P) -> Self {
        Self { printer, part, print }
    }
}

impl<P: Print<SIZE>, const SIZE: usize> Sink for ElementPrinter<'_, '_, P, SIZE> {
    // In one function for all datatypes V8 finds no registers for the loops.
    #[inline(never)]
    fn write(&mut self, mut bytes: &[u8]) {
        while self.part.have > 0 {
            let Some((byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.part.bytes[self.part.have] = *byte;
            self.part.have += 1;
            if let (true, Some(raw)) = (self.part.have == SIZE, self.part.bytes.first_chunk()) {
                self.part.have = 0;
                self.printer.number(|slot| self.print.print(*raw, slot));
            }
        }
        let (whole, rest) = bytes.as_chunks::<SIZE>();
        for raw in whole {
            self.printer.number(|slot| self.print.print(*raw, slot));
        }
        self.part.bytes[..rest.len()].copy_from_slice(rest);
        self.part.have = rest.len();
    }
}
