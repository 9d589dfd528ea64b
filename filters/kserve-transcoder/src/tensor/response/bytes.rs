//! Elements of BYTES in an answer: looked into, and printed.

use super::print::Printer;
use crate::tensor::lengths::{Step, Walk};
use crate::tensor::text::base64::Encoder;
use crate::tensor::text::string::Utf8;
use filter_api::{Rope, Sink};

/// What there is to know about raw contents of BYTES.
#[derive(Debug, Default)]
pub(super) struct BytesCheck {
    walk: Walk,
    utf8: Utf8,
    elements: u64,
    binary: bool,
}

impl BytesCheck {
    pub(super) fn of(raw: &Rope) -> Self {
        let mut check = Self::default();
        for mut segment in raw.segments() {
            while let Some(step) = check.walk.next(&mut segment) {
                match step {
                    Step::Start => check.elements += 1,
                    Step::Piece(..) if check.binary => {}
                    Step::Piece(piece, last) => {
                        let text = check
                            .utf8
                            .check(piece)
                            .and_then(|()| if last { check.utf8.end() } else { Ok(()) });
                        check.binary = text.is_err();
                    }
                }
            }
        }
        check
    }

    /// Whether the last element is complete.
    pub(super) fn is_whole(&self) -> bool {
        self.walk.is_whole()
    }

    pub(super) fn elements(&self) -> u64 {
        self.elements
    }

    /// Whether each element is UTF-8.
    pub(super) fn is_text(&self) -> bool {
        !self.binary
    }
}

/// A complete element of at most this many bytes is printed at once.
const SHORT_BYTES: usize = 128;

/// Prints BYTES as JSON strings.
pub(super) struct BytesPrinter<'a, 'b> {
    printer: &'a mut Printer<'b>,
    walk: Walk,
    base64: Option<Encoder>,
}

impl<'a, 'b> BytesPrinter<'a, 'b> {
    pub(super) fn new(printer: &'a mut Printer<'b>, base64: bool) -> Self {
        Self { printer, walk: Walk::default(), base64: base64.then(Encoder::default) }
    }
}

impl BytesPrinter<'_, '_> {
    /// Prints elements that are there as a whole, as long as they are short.
    fn short(&mut self, bytes: &mut &[u8]) {
        while let Some((element, len)) = self.walk.whole(bytes, SHORT_BYTES) {
            match self.base64 {
                None => self.printer.string(&element[..len]),
                Some(_) => self.printer.base64(&element[..len]),
            }
        }
    }
}

impl Sink for BytesPrinter<'_, '_> {
    fn write(&mut self, mut bytes: &[u8]) {
        loop {
            self.short(&mut bytes);
            let Some(step) = self.walk.next(&mut bytes) else { break };
            let ends = match step {
                Step::Start => {
                    self.printer.text(b"\"");
                    self.walk.at_end()
                }
                Step::Piece(piece, last) => {
                    match &mut self.base64 {
                        None => self.printer.escaped(piece),
                        Some(encoder) => encoder.push(piece, |text| self.printer.text(text)),
                    }
                    last
                }
            };
            if ends {
                if let Some(encoder) = &mut self.base64 {
                    encoder.end(|text| self.printer.text(text));
                }
                self.printer.text(b"\",");
            }
        }
    }
}
