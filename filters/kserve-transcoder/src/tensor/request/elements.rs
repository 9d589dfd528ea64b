//! Tensor data in JSON text to raw contents: the hot path of a request.
//!
//! A number goes from its digits straight to little-endian bytes. Within a chunk that is a tight loop over
//! whole tokens; only a token that a chunk's end cuts is copied, and finished with the next chunk.

mod rows;

use super::element::{Bf16, Bool, Element, Fp16, Fp32, Fp64, InQuotes, Integer};
use super::gap::Gap;
use super::lexer::MAX_DEPTH;
use super::source::ArrayPath;
use super::strings::{self, Strings};
use crate::problem::Problem;
use crate::tensor::charged::ChargedList;
use crate::tensor::datatype::Datatype;
use crate::tensor::number::decimal::{MAX_NUMBER_BYTES, NumberError, WINDOW, ends_number, special};
use crate::tensor::text::string::Piece;
use crate::tensor::text::words::blanks;
use filter_api::{Charge, Rope};

/// Reads the elements of one tensor: an array, flat or nested in any way. How the elements are nested is not
/// compared with the shape, as Triton does not either: only their number is.
#[derive(Debug)]
pub(super) struct Elements {
    datatype: Datatype,
    path: ArrayPath,
    /// Protobuf's JSON: numbers may be quoted.
    quoted: bool,
    /// How many arrays are open; the outermost was open before this was made.
    depth: usize,
    /// How many may be.
    deepest: usize,
    expect: Expect,
    /// How many elements have been read.
    count: u64,
    /// The first bytes of a token that the end of a chunk has cut.
    token: Vec<u8>,
    strings: Strings,
    out: Rope,
    /// What stood between the last elements of a row: a comma, and blanks.
    in_row: Gap,
    /// What stood between the last elements otherwise, such as the brackets between two rows.
    between_rows: Gap,
    /// Where each string goes as a rope of its own, if that is asked for.
    parts: Option<ChargedList<Rope>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// After `[`.
    ElementOrEnd,
    /// After `,`.
    Element,
    /// After an element.
    CommaOrEnd,
    /// In a token that was cut.
    Token,
    /// In a string.
    String,
    /// The outermost array has been closed.
    Nothing,
}

/// Raw bytes are collected here before they go to the rope, 1 KiB at a time, plus room for one write.
const BATCH_BYTES: usize = 1024;

struct Batch {
    bytes: [u8; BATCH_BYTES + 8],
    len: usize,
}

/// So few bytes before a chunk's end, which may be all of a small body, are copied to where a window fits behind them.
const NEAR_END: usize = 2 * WINDOW;

/// Fewer than [`NEAR_END`] bytes with NULs behind them. No element has a NUL, so one that reaches up to them counts as cut.
fn with_room_for_a_window(text: &[u8]) -> [u8; NEAR_END + WINDOW] {
    let mut padded = [0; NEAR_END + WINDOW];
    padded[..text.len()].copy_from_slice(text);
    padded
}

impl Elements {
    /// A reader of the array at `path`, whose opening bracket has been taken.
    pub(super) fn new(
        datatype: Datatype,
        path: ArrayPath,
        quoted: bool,
        base64: bool,
        charge: &Charge,
    ) -> Self {
        Self {
            datatype,
            path,
            quoted,
            depth: 1,
            deepest: MAX_DEPTH,
            expect: Expect::ElementOrEnd,
            count: 0,
            token: Vec::new(),
            strings: Strings::new(base64, charge),
            out: Rope::new(charge.sibling()),
            in_row: Gap::comma(),
            between_rows: Gap::comma(),
            parts: None,
        }
    }

    /// A reader of an array of base64 strings, each of which is kept by itself.
    pub(super) fn parts(path: ArrayPath, charge: &Charge) -> Self {
        let parts = Some(ChargedList::new(charge.sibling()));
        Self { parts, ..Self::new(Datatype::Bytes, path, true, true, charge) }
    }

    /// Takes bytes up to the end of the array, or all of them; says how many.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<usize, Problem> {
        match self.datatype {
            Datatype::Bool => self.read_elements::<Bool>(input),
            Datatype::Uint8 => self.read_elements::<Integer<u8>>(input),
            Datatype::Uint16 => self.read_elements::<Integer<u16>>(input),
            Datatype::Uint32 => self.read_elements::<Integer<u32>>(input),
            Datatype::Uint64 => self.read_elements::<Integer<u64>>(input),
            Datatype::Int8 => self.read_elements::<Integer<i8>>(input),
            Datatype::Int16 => self.read_elements::<Integer<i16>>(input),
            Datatype::Int32 => self.read_elements::<Integer<i32>>(input),
            Datatype::Int64 => self.read_elements::<Integer<i64>>(input),
            Datatype::Fp16 => self.read_elements::<Fp16>(input),
            Datatype::Bf16 => self.read_elements::<Bf16>(input),
            Datatype::Fp32 => self.read_elements::<Fp32>(input),
            Datatype::Fp64 => self.read_elements::<Fp64>(input),
            Datatype::Bytes => self.read_strings(input),
        }
    }

    /// Whether the array has been closed.
    pub(super) fn is_closed(&self) -> bool {
        self.expect == Expect::Nothing
    }

    /// Whether the elements are the bytes of base64 texts.
    pub(super) fn are_base64(&self) -> bool {
        self.strings.are_base64()
    }

    /// How many elements there were, and their raw contents.
    pub(super) fn finish(self) -> (u64, Rope) {
        (self.count, self.out)
    }

    /// The strings of a reader that was made by [`Self::parts`].
    pub(super) fn finish_parts(self) -> Option<ChargedList<Rope>> {
        self.parts
    }

    fn read_elements<E: Element>(&mut self, input: &[u8]) -> Result<usize, Problem> {
        let mut batch = Batch { bytes: [0; BATCH_BYTES + 8], len: 0 };
        let mut at = 0;
        if self.expect == Expect::Token {
            at = self.continue_token::<E>(input, &mut batch)?;
        }
        if self.expect == Expect::String {
            at = self.continue_quoted::<E>(input, &mut batch)?;
        }
        while !matches!(self.expect, Expect::Token | Expect::String | Expect::Nothing) {
            if matches!(self.expect, Expect::Element | Expect::ElementOrEnd) {
                let padded;
                let rest = match &input[at..] {
                    rest if rest.len() < NEAR_END => {
                        padded = with_room_for_a_window(rest);
                        &padded[..rest.len() + WINDOW]
                    }
                    rest => rest,
                };
                at += if E::OFTEN_QUOTED && self.quoted && rest[0] == b'"' {
                    self.run::<InQuotes<E>>(rest, &mut batch)?
                } else {
                    self.run::<E>(rest, &mut batch)?
                };
            }
            if self.expect == Expect::Nothing {
                break;
            }
            let Some(byte) = input.get(at) else { break };
            at += 1;
            match *byte {
                b' ' | b'\n' | b'\r' | b'\t' => at += blanks(&input[at..]),
                b'"' if (self.quoted || E::FLOAT) && self.expect != Expect::CommaOrEnd => {
                    self.expect = Expect::String;
                    at += self.continue_quoted::<E>(&input[at..], &mut batch)?;
                }
                byte if self.punctuation(byte)? => {}
                _ => {
                    self.expect = Expect::Token;
                    at += self.continue_token::<E>(&input[at - 1..], &mut batch)? - 1;
                }
            }
        }
        self.out.push(&batch.bytes[..batch.len])?;
        Ok(at)
    }

    /// Reads elements as long as they are simple and lie well within `input`, and what stands between them. Leaves
    /// everything else to the caller.
    ///
    /// Where the next element begins is what the next step waits for. So the text between two elements is guessed to be
    /// the same as the last one, and compared with it, which nothing waits for.
    ///
    /// Never inlined: as a part of its caller it is a third slower in wasm, where V8 finds no registers for it.
    #[inline(never)]
    fn run<E: Element>(&mut self, input: &[u8], batch: &mut Batch) -> Result<usize, Problem> {
        let mut at = 0;
        // Behind the last element.
        let mut after = 0;
        let mut len = batch.len;
        let mut counted = len;
        let mut expect = self.expect;
        let mut in_row = self.in_row;
        loop {
            let ended = if let Some((raw, length, end)) = input.get(at..).and_then(E::fast) {
                let Some(slot) = batch.bytes.get_mut(len..len + 8) else { break };
                slot.copy_from_slice(&raw.to_le_bytes());
                len += E::SIZE;
                if len >= BATCH_BYTES {
                    self.out.push(&batch.bytes[..len])?;
                    self.count += ((len - counted) / E::SIZE) as u64;
                    (len, counted) = (0, 0);
                }
                after = at + length;
                end
            } else {
                // The guess may have been too short.
                let again = after > 0 && matches!(input.get(at), Some(b' ' | b'\n' | b'\r' | b'\t' | b'['));
                if !again {
                    break;
                }
                0
            };
            // A lone comma needs no second look.
            if ended == b',' && (in_row.len() == 1 || in_row.begins(&input[after..])) {
                at = after + in_row.len();
                expect = Expect::Element;
                continue;
            }
            let between = &self.between_rows;
            if ended != 0 && between.depth == self.depth && between.begins(&input[after..]) {
                at = after + between.len();
                expect = between.then;
                continue;
            }
            self.count += ((len - counted) / E::SIZE) as u64;
            counted = len;
            self.expect = Expect::CommaOrEnd;
            at = self.between(input, after)?;
            (expect, in_row) = (self.expect, self.in_row);
            if !matches!(expect, Expect::Element | Expect::ElementOrEnd) {
                break;
            }
        }
        self.count += ((len - counted) / E::SIZE) as u64;
        batch.len = len;
        self.expect = expect;
        Ok(at)
    }

    /// Takes the blanks, commas and brackets that stand at `from`, behind an element; says where they end. Remembers
    /// them, if an element follows that as many arrays are around.
    #[inline(never)]
    fn between(&mut self, input: &[u8], from: usize) -> Result<usize, Problem> {
        let depth = self.depth;
        let mut at = from;
        let mut only_blanks = true;
        while self.expect != Expect::Nothing {
            at += blanks(&input[at..]);
            match input.get(at) {
                Some(byte @ (b',' | b'[' | b']')) => {
                    self.punctuation(*byte)?;
                    only_blanks &= at == from && *byte == b',';
                    at += 1;
                }
                _ => break,
            }
        }
        let is_before_element = matches!(self.expect, Expect::Element | Expect::ElementOrEnd);
        if is_before_element && self.depth == depth && at < input.len() {
            let place = if only_blanks { &mut self.in_row } else { &mut self.between_rows };
            *place = Gap::new(&input[from..at], depth, self.expect).unwrap_or(*place);
        }
        Ok(at)
    }

    /// Takes a bracket or comma. Says `false` if the byte starts an element.
    fn punctuation(&mut self, byte: u8) -> Result<bool, Problem> {
        match (byte, self.expect) {
            (b'[', Expect::Element | Expect::ElementOrEnd) if self.deepest > 1 => {
                if self.depth >= self.deepest {
                    return Err(self.problem(format_args!("arrays are nested deeper than {MAX_DEPTH}")));
                }
                self.depth += 1;
                self.expect = Expect::ElementOrEnd;
            }
            (b']', Expect::CommaOrEnd | Expect::ElementOrEnd) => {
                self.depth -= 1;
                self.expect = if self.depth == 0 { Expect::Nothing } else { Expect::CommaOrEnd };
            }
            (b',', Expect::CommaOrEnd) => self.expect = Expect::Element,
            (_, Expect::CommaOrEnd) => {
                return Err(self.problem(format_args!("expected a comma or ] after an element")));
            }
            (b',' | b'[' | b']' | b'{' | b'}' | b':' | b'"', _) => {
                let found = char::from(byte);
                let name = self.datatype.name();
                return Err(self.problem(format_args!("expected a value of {name}, found {found}")));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Goes on with a token at the front of `input`; says how much of it is taken.
    fn continue_token<E: Element>(&mut self, input: &[u8], batch: &mut Batch) -> Result<usize, Problem> {
        let ends = |byte: &u8| ends_number(*byte) || matches!(byte, b'[' | b'{' | b'}' | b':' | b'"');
        let end = input.iter().position(ends);
        let part = &input[..end.unwrap_or(input.len())];
        if self.token.len() + part.len() > MAX_NUMBER_BYTES {
            return Err(self.problem(format_args!("a number is longer than {MAX_NUMBER_BYTES} bytes")));
        }
        if end.is_none() {
            self.token.extend_from_slice(part);
        } else if self.token.is_empty() {
            self.element::<E>(part, false, batch)?;
        } else {
            let mut token = std::mem::take(&mut self.token);
            token.extend_from_slice(part);
            self.element::<E>(&token, false, batch)?;
            token.clear();
            self.token = token;
        }
        Ok(part.len())
    }

    /// Goes on with a quoted element, without its opening quote.
    fn continue_quoted<E: Element>(&mut self, input: &[u8], batch: &mut Batch) -> Result<usize, Problem> {
        let end = input.iter().position(|byte| *byte == b'"');
        let part = &input[..end.unwrap_or(input.len())];
        if self.token.len() + part.len() > MAX_NUMBER_BYTES {
            return Err(self.problem(format_args!("a number is longer than {MAX_NUMBER_BYTES} bytes")));
        }
        self.token.extend_from_slice(part);
        if end.is_some() {
            let token = std::mem::take(&mut self.token);
            self.element::<E>(&token, true, batch)?;
        }
        Ok(part.len() + usize::from(end.is_some()))
    }

    fn element<E: Element>(
        &mut self,
        token: &[u8],
        in_quotes: bool,
        batch: &mut Batch,
    ) -> Result<(), Problem> {
        let raw = match token {
            // What writers of JSON that have no NaN put in its place (MLServer among them).
            b"null" if E::FLOAT && !in_quotes => E::slow(b"NaN"),
            // Outside protobuf's JSON a string is a number only where JSON has no other form for it.
            _ if in_quotes && !self.quoted && special(token).is_none() => Err(NumberError::NotANumber),
            token => E::slow(token),
        };
        let raw = raw.map_err(|error| {
            let shown = String::from_utf8_lossy(&token[..token.len().min(40)]);
            let shown = if in_quotes { format!("{shown:?}").into() } else { shown };
            let name = self.datatype.name();
            match error {
                NumberError::NotANumber if token == b"null" && !in_quotes => self.problem(format_args!(
                    "null is not a value of {name}: only floating-point tensors may have it, as NaN"
                )),
                NumberError::NotANumber => self.problem(format_args!("{shown} is not a value of {name}")),
                NumberError::OutOfRange => self.problem(format_args!("{shown} is out of range for {name}")),
                NumberError::NotWhole => {
                    self.problem(format_args!("{shown} is not a whole number, as {name} needs"))
                }
            }
        })?;
        batch.bytes[batch.len..batch.len + 8].copy_from_slice(&raw.to_le_bytes());
        batch.len += E::SIZE;
        if batch.len >= BATCH_BYTES {
            self.out.push(&batch.bytes[..batch.len])?;
            batch.len = 0;
        }
        self.count += 1;
        self.expect = Expect::CommaOrEnd;
        Ok(())
    }

    fn read_strings(&mut self, input: &[u8]) -> Result<usize, Problem> {
        let mut rest = input;
        let mut batch = strings::Batch::new();
        while self.expect != Expect::Nothing {
            if self.expect == Expect::String {
                self.continue_string(&mut rest)?;
            }
            let Some((byte, tail)) = rest.split_first() else { break };
            rest = tail;
            match *byte {
                b' ' | b'\n' | b'\r' | b'\t' => rest = &rest[blanks(rest)..],
                b'"' if self.expect != Expect::CommaOrEnd => {
                    let whole = match self.parts {
                        None => self.strings.whole(rest, &mut self.out, &mut batch)?,
                        Some(_) => None,
                    };
                    match whole {
                        Some(len) => {
                            rest = &rest[len..];
                            self.count += 1;
                            self.expect = Expect::CommaOrEnd;
                        }
                        None => {
                            batch.flush(&mut self.out)?;
                            self.expect = Expect::String;
                        }
                    }
                }
                byte if self.punctuation(byte)? => {}
                b'n' => {
                    return Err(self.problem(format_args!("expected a string for BYTES, found null")));
                }
                byte => {
                    let found = char::from(byte).escape_default();
                    return Err(self.problem(format_args!("expected a string for BYTES, found {found}")));
                }
            }
        }
        batch.flush(&mut self.out)?;
        Ok(input.len() - rest.len())
    }

    fn continue_string(&mut self, rest: &mut &[u8]) -> Result<(), Problem> {
        loop {
            match self.strings.text.read(rest) {
                Ok(Piece::Bytes(bytes)) => self.strings.push(bytes)?,
                Ok(Piece::Char(char)) => self.strings.push(char.encode_utf8(&mut [0; 4]).as_bytes())?,
                Ok(Piece::More) => return Ok(()),
                Ok(Piece::End) => break,
                Err(error) => return Err(self.problem(format_args!("{}", error.message()))),
            }
        }
        let ended = match &mut self.parts {
            None => self.strings.end(&mut self.out)?,
            Some(parts) => match self.strings.end_alone()? {
                Ok(part) => Ok(parts.push(part)?),
                Err(message) => Err(message),
            },
        };
        if let Err(message) = ended {
            return Err(self.problem(format_args!("{message}")));
        }
        self.count += 1;
        self.expect = Expect::CommaOrEnd;
        Ok(())
    }

    #[cold]
    fn problem(&self, what: std::fmt::Arguments<'_>) -> Problem {
        Problem::bad_request(format!("{}[{}]: {what}", self.path, self.count))
    }
}
