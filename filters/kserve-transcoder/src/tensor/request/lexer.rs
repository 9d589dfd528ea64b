//! An incremental JSON reader (RFC 8259) for everything but tensor data.
//!
//! It takes bytes cut anywhere and gives one event at a time. It holds one bit per open array or object and
//! the text of the current string or number, nothing else, and does not recurse.

use crate::problem::Problem;
use crate::tensor::number::decimal::{Decimal, MAX_NUMBER_BYTES, special};
use crate::tensor::text::string::{Piece, StringReader, TextError};
use filter_api::{Buffer, Charge, OverBudget};
use std::borrow::Cow;

/// How deep arrays and objects may be nested.
pub(crate) const MAX_DEPTH: usize = 64;

/// What has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    /// A key; [`Lexer::text`] has it.
    Key,
    /// A string; [`Lexer::text`] has it.
    String,
    /// A number; [`Lexer::text`] has it as it was written, and it is one by RFC 8259.
    Number,
    /// NaN or an infinity, which JSON cannot express, as a bare word; [`Lexer::text`] has it.
    NotFinite,
    Bool(bool),
    Null,
}

/// The reader.
#[derive(Debug)]
pub(crate) struct Lexer {
    expect: Expect,
    token: Token,
    /// For each open array or object, from the lowest bit: whether it is an object.
    objects: u64,
    depth: usize,
    text: Buffer,
    string: StringReader,
    /// Whether strings are only checked, and not kept.
    skipping: bool,
    /// How many bytes came before the current input.
    offset: u64,
    /// Where the current string began.
    string_start: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    /// After `[`.
    ValueOrEnd,
    /// After `{`.
    KeyOrEnd,
    /// After a comma in an object.
    Key,
    Colon,
    /// After a value in an array or object.
    CommaOrEnd,
    /// After the document: blanks only.
    Nothing,
}

/// The token that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    None,
    String,
    /// A number or a word.
    Word,
}

impl Lexer {
    pub(crate) fn new(charge: Charge) -> Self {
        Self {
            expect: Expect::Value,
            token: Token::None,
            objects: 0,
            depth: 0,
            text: Buffer::new(charge),
            string: StringReader::default(),
            skipping: false,
            offset: 0,
            string_start: 0,
        }
    }

    /// The text of the last [`Event::Key`], [`Event::String`] or [`Event::Number`].
    pub(crate) fn text(&self) -> &[u8] {
        self.text.as_slice()
    }

    /// How many arrays and objects are open.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Whether the document has been closed.
    pub(crate) fn is_done(&self) -> bool {
        self.expect == Expect::Nothing
    }

    /// Checks, once the input is over, that it was a whole document.
    ///
    /// # Errors
    /// It was blank, or the document has not been closed.
    pub(crate) fn end(&self) -> Result<(), Problem> {
        if self.is_done() {
            return Ok(());
        }
        let is_blank = self.expect == Expect::Value && self.depth == 0 && self.token == Token::None;
        Err(Problem::bad_request(match is_blank {
            true => "the body has no JSON document",
            false => "the JSON document ends too early",
        }))
    }

    /// From now on strings are checked but not kept, or kept again.
    pub(crate) fn skip(&mut self, skipping: bool) {
        self.skipping = skipping;
    }

    /// Someone else has read the rest of the array that was just opened, its closing bracket included.
    pub(crate) fn array_was_closed(&mut self) {
        self.close();
    }

    /// Counts bytes that have been taken, for the places that errors name.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.offset += bytes as u64;
    }

    /// Takes bytes from the front of `input` until there is an event; `None` says that all are taken.
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Problem> {
        let before = input.len();
        let event = self.event(input);
        self.advance(before - input.len());
        event.map_err(|fault| match fault {
            Fault::Json(what) => {
                Problem::bad_request(format!("invalid JSON at byte {}: {what}", self.offset))
            }
            Fault::Text(error) => {
                let (start, what) = (self.string_start, error.message());
                Problem::bad_request(format!("invalid JSON in the string at byte {start}: {what}"))
            }
            Fault::Budget(error) => error.into(),
        })
    }

    fn event(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Fault> {
        let end = self.offset + input.len() as u64;
        loop {
            match self.token {
                Token::String => return self.continue_string(input),
                Token::Word => return self.continue_word(input),
                Token::None => {}
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(None) };
            let event = match (*byte, self.expect) {
                (b' ' | b'\n' | b'\r' | b'\t', _) => None,
                (b'{', Expect::Value | Expect::ValueOrEnd) => {
                    self.open(true)?;
                    Some(Event::ObjectStart)
                }
                (b'[', Expect::Value | Expect::ValueOrEnd) => {
                    self.open(false)?;
                    Some(Event::ArrayStart)
                }
                (b'}', Expect::KeyOrEnd | Expect::CommaOrEnd) if self.in_object() => {
                    self.close();
                    Some(Event::ObjectEnd)
                }
                (b']', Expect::ValueOrEnd | Expect::CommaOrEnd) if !self.in_object() => {
                    self.close();
                    Some(Event::ArrayEnd)
                }
                (b',', Expect::CommaOrEnd) => {
                    self.expect = if self.in_object() { Expect::Key } else { Expect::Value };
                    None
                }
                (b':', Expect::Colon) => {
                    self.expect = Expect::Value;
                    None
                }
                (b'"', Expect::Value | Expect::ValueOrEnd | Expect::KeyOrEnd | Expect::Key) => {
                    self.token = Token::String;
                    self.string_start = end - input.len() as u64;
                    self.text.clear();
                    None
                }
                (b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z', Expect::Value | Expect::ValueOrEnd) => {
                    self.token = Token::Word;
                    self.text.clear();
                    continue;
                }
                (byte, expect) => return Err(self.unexpected(byte, expect)),
            };
            *input = rest;
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn in_object(&self) -> bool {
        self.depth > 0 && self.objects & 1 == 1
    }

    fn open(&mut self, object: bool) -> Result<(), Fault> {
        if self.depth >= MAX_DEPTH {
            return Err(fault(format!("arrays and objects are nested deeper than {MAX_DEPTH}")));
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(object);
        self.expect = if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
        Ok(())
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
        self.value_ended();
    }

    fn value_ended(&mut self) {
        self.expect = if self.depth == 0 { Expect::Nothing } else { Expect::CommaOrEnd };
    }

    fn continue_string(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Fault> {
        loop {
            match self.string.read(input) {
                Ok(Piece::End) => break,
                Ok(Piece::More) => return Ok(None),
                Ok(_) if self.skipping => {}
                Ok(Piece::Bytes(bytes)) => self.text.push(bytes)?,
                Ok(Piece::Char(char)) => self.text.push(char.encode_utf8(&mut [0; 4]).as_bytes())?,
                Err(error) => return Err(Fault::Text(error)),
            }
        }
        self.token = Token::None;
        if matches!(self.expect, Expect::Key | Expect::KeyOrEnd) {
            self.expect = Expect::Colon;
            return Ok(Some(Event::Key));
        }
        self.value_ended();
        Ok(Some(Event::String))
    }

    fn continue_word(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Fault> {
        let part_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let count = input.iter().take_while(|byte| part_of_word(byte)).count();
        let (part, rest) = input.split_at(count);
        *input = rest;
        if self.text.len() + part.len() > MAX_NUMBER_BYTES {
            return Err(fault(format!("a number is longer than {MAX_NUMBER_BYTES} bytes")));
        }
        self.text.push(part)?;
        if rest.is_empty() {
            return Ok(None);
        }
        self.token = Token::None;
        self.value_ended();
        self.word().map(Some)
    }

    fn word(&self) -> Result<Event, Fault> {
        match self.text() {
            b"true" => Ok(Event::Bool(true)),
            b"false" => Ok(Event::Bool(false)),
            b"null" => Ok(Event::Null),
            number if Decimal::parse(number).is_some() => Ok(Event::Number),
            word if special(word).is_some() => Ok(Event::NotFinite),
            other => {
                let shown = String::from_utf8_lossy(&other[..other.len().min(40)]);
                Err(fault(format!("{shown} is not a JSON value")))
            }
        }
    }

    #[cold]
    fn unexpected(&self, byte: u8, expect: Expect) -> Fault {
        let wanted = match expect {
            Expect::Value => "a value",
            Expect::ValueOrEnd => "a value or ]",
            Expect::KeyOrEnd => "a key or }",
            Expect::Key => "a key",
            Expect::Colon => "a colon",
            Expect::CommaOrEnd if self.in_object() => "a comma or }",
            Expect::CommaOrEnd => "a comma or ]",
            Expect::Nothing => "nothing after the end of the document",
        };
        fault(format!("expected {wanted}, found {}", char::from(byte).escape_default()))
    }
}

/// What stops the reader; the place is added where it is known.
#[derive(Debug)]
enum Fault {
    Json(Cow<'static, str>),
    Text(TextError),
    Budget(OverBudget),
}

impl From<OverBudget> for Fault {
    fn from(error: OverBudget) -> Self {
        Self::Budget(error)
    }
}

#[cold]
fn fault(what: impl Into<Cow<'static, str>>) -> Fault {
    Fault::Json(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use filter_api::Memory;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The events of a document in pieces of `step` bytes, texts included.
    fn events(text: &[u8], step: usize) -> Result<Vec<String>, Problem> {
        let memory = Memory::new(1 << 20);
        let mut lexer = Lexer::new(memory.account(usize::MAX).charge());
        let mut events = Vec::new();
        for mut piece in text.chunks(step) {
            while let Some(event) = lexer.next(&mut piece)? {
                let text = String::from_utf8(lexer.text().to_vec()).unwrap();
                events.push(match event {
                    Event::Key | Event::String | Event::Number | Event::NotFinite => {
                        format!("{event:?} {text}")
                    }
                    other => format!("{other:?}"),
                });
            }
        }
        if lexer.is_done() { Ok(events) } else { Err(Problem::bad_request("unfinished")) }
    }

    #[test]
    fn a_document_cut_anywhere_gives_the_same_events() {
        let text =
            br#" {"a" : [1, -2.5e+3 , "x\n"],"b":{ },"c":[],"d":true,"e":false,"f":null,"g":-Infinity}  "#;
        let whole = events(text, text.len()).unwrap();
        let expected = "ObjectStart;Key a;ArrayStart;Number 1;Number -2.5e+3;String x\n;ArrayEnd;Key b;\
                        ObjectStart;ObjectEnd;Key c;ArrayStart;ArrayEnd;Key d;Bool(true);Key e;Bool(false);\
                        Key f;Null;Key g;NotFinite -Infinity;ObjectEnd";
        assert_eq!(whole.join(";"), expected);
        for step in 1..text.len() {
            assert_eq!(events(text, step).unwrap(), whole, "in pieces of {step}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_however_it_is_cut() {
        let bad = [
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\":1]",
            "[1}",
            "{1:2}",
            "{\"a\":1}x",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":nan}",
            "{\"a\":-NaN}",
            "{\"a\":tru}",
            "{\"a\":truee}",
            "{\"a\":'x'}",
            "[1]]",
            "\u{feff}{}",
            "/**/{}",
            "[\"a\u{1}\"]",
        ];
        for text in bad {
            for step in 1..=text.len() {
                let problem = events(text.as_bytes(), step).unwrap_err();
                assert!(problem.message.starts_with("invalid JSON "), "{text}: {problem}");
            }
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(events(deep(MAX_DEPTH).as_bytes(), 7).is_ok());
        let problem = events(deep(MAX_DEPTH + 1).as_bytes(), 7).unwrap_err();
        assert!(problem.message.contains("nested deeper than 64"), "{problem}");
    }
}
