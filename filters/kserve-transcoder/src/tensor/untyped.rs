//! Contents of an answer that have to be looked into: typed integers to raw ones, and BYTES.

use super::base64::Encoder;
use super::datatype::Datatype;
use super::print::Printer;
use super::text::Utf8;
use filter_api::{Charge, OverBudget, Rope, Sink};

/// Typed contents as raw ones. `None` says that an element is out of the datatype's range: some servers pass
/// on what a model gives them.
pub(super) fn narrow(
    datatype: Datatype,
    mut typed: Rope,
    charge: &Charge,
) -> Result<Option<Rope>, OverBudget> {
    let (low, high) = match datatype {
        Datatype::Int8 => (i8::MIN.into(), i8::MAX.into()),
        Datatype::Int16 => (i16::MIN.into(), i16::MAX.into()),
        Datatype::Uint8 => (0, u8::MAX.into()),
        Datatype::Uint16 => (0, u16::MAX.into()),
        // These have their own width already.
        _ => return Ok(Some(typed)),
    };
    let out = Rope::new(charge.sibling());
    let size = datatype.size().unwrap_or(1);
    let mut narrow = Narrow { out, size, low, high, part: [0; 4], have: 0, fits: true, result: Ok(()) };
    typed.drain_to(&mut narrow);
    narrow.result?;
    Ok(narrow.fits.then_some(narrow.out))
}

struct Narrow {
    out: Rope,
    size: usize,
    low: i32,
    high: i32,
    part: [u8; 4],
    have: usize,
    fits: bool,
    result: Result<(), OverBudget>,
}

impl Sink for Narrow {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.part[self.have] = *byte;
            self.have += 1;
            if self.have == 4 {
                self.have = 0;
                // What is beyond an INT32 came in as unsigned, and is negative here: out of range as well.
                self.fits &= (self.low..=self.high).contains(&i32::from_le_bytes(self.part));
                if self.result.is_ok() {
                    self.result = self.out.push(&self.part[..self.size]);
                }
            }
        }
    }
}

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

    /// Whether the current element has no more bytes.
    pub(super) fn at_end(&self) -> bool {
        self.left == 0
    }
}

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
        self.walk.left == 0 && self.walk.have == 0
    }

    pub(super) fn elements(&self) -> u64 {
        self.elements
    }

    /// Whether each element is UTF-8.
    pub(super) fn is_text(&self) -> bool {
        !self.binary
    }
}

/// Prints BYTES as JSON strings.
pub(super) struct Strings<'a, 'b> {
    printer: &'a mut Printer<'b>,
    walk: Walk,
    base64: Option<Encoder>,
}

impl<'a, 'b> Strings<'a, 'b> {
    pub(super) fn new(printer: &'a mut Printer<'b>, base64: bool) -> Self {
        Self { printer, walk: Walk::default(), base64: base64.then(Encoder::default) }
    }
}

impl Sink for Strings<'_, '_> {
    fn write(&mut self, mut bytes: &[u8]) {
        while let Some(step) = self.walk.next(&mut bytes) {
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
