//! Protobuf's wire format (<https://protobuf.dev/programming-guides/encoding/>), read without a schema.
//!
//! [`Reader`] takes a message cut anywhere, [`Fields`] one that is there as a whole. Both refuse what is not a message
//! in the same words. [`Message`] writes one.
//!
//! ```
//! use kserve_proto::wire::{Field, Fields, Item, Reader, Value};
//!
//! let message = b"\x0a\x02hi\x10\x07";
//! let fields: Vec<Field<'_>> = Fields::of(message).collect::<Result<_, _>>().unwrap();
//! assert_eq!(fields[0], Field { number: 1, value: Value::Bytes(b"hi") });
//! assert_eq!(fields[1], Field { number: 2, value: Value::Varint(7) });
//!
//! let mut reader = Reader::default();
//! let mut bytes = &message[..];
//! assert_eq!(reader.next(&mut bytes), Ok(Some(Item::Length(1, 2))));
//! // Nothing says what field 1 is, so it is skipped.
//! assert_eq!(reader.next(&mut bytes), Ok(Some(Item::Varint(2, 7))));
//! assert!(reader.is_whole());
//! ```

mod message;

pub use message::Message;

use std::fmt;

/// How deep messages may be entered: one more than they are nested in a `ModelInferResponse`.
const MAX_MESSAGES: usize = 4;

/// How long a varint of 64 bits is at most.
const MAX_VARINT_BYTES: usize = 10;

/// What has been read.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A varint field, or one of the packed varints of a field.
    Varint(u32, u64),
    /// A field of four bytes.
    Fixed32(u32, [u8; 4]),
    /// A field of eight bytes.
    Fixed64(u32, [u8; 8]),
    /// A group begins, whose fields follow; only of a reader [`with_groups`](Reader::with_groups).
    GroupStart(u32),
    /// A group ends. Whether it is the one that began last is for the caller to see.
    GroupEnd(u32),
    /// A length-delimited field begins, of so many bytes. [`Reader::enter`], [`Reader::bytes`] or
    /// [`Reader::packed`] says what it is; without one of them it is skipped.
    Length(u32, u64),
    /// A piece of a field for which [`Reader::bytes`] was called.
    Bytes(&'a [u8]),
    /// The field for which [`Reader::bytes`] or [`Reader::enter`] was called has ended.
    End,
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The message ends within a field.
    Cut,
    /// A packed field ends within a number.
    CutNumber,
    /// A field is longer than the message that it is in.
    Longer,
    /// A varint of more than 64 bits.
    LongVarint,
    /// A wire type that does not exist, or a group where none is expected.
    WireType(u8),
    /// A field number of zero, or one too large.
    FieldNumber(u64),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "it has a field that is cut",
            Self::CutNumber => "it has a number that is cut",
            Self::Longer => "it has a field that is longer than its message",
            Self::LongVarint => "it has a number of more than 64 bits",
            Self::WireType(_) => "it has a field of an unknown wire type",
            Self::FieldNumber(_) => "it has a field with an impossible number",
        })
    }
}

impl std::error::Error for WireError {}

/// Reads a message cut anywhere.
#[derive(Debug)]
pub struct Reader {
    state: State,
    /// The varint or fixed number that is being read.
    value: u64,
    /// How many bytes of it have come.
    have: u32,
    /// How many bytes of the message have been taken.
    offset: u64,
    /// Where the messages that are open end.
    ends: [u64; MAX_MESSAGES],
    open: usize,
    /// Where the message itself ends, if that is known.
    end: u64,
    groups: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Key,
    Varint(u32),
    Fixed {
        field: u32,
        size: u32,
    },
    Length(u32),
    /// After [`Item::Length`].
    Undecided {
        field: u32,
        left: u64,
    },
    Bytes(u64),
    Packed {
        field: u32,
        end: u64,
    },
    Skip(u64),
}

impl Default for Reader {
    /// A reader of a message without groups, of any length.
    fn default() -> Self {
        Self {
            state: State::Key,
            value: 0,
            have: 0,
            offset: 0,
            ends: [0; MAX_MESSAGES],
            open: 0,
            end: u64::MAX,
            groups: false,
        }
    }
}

impl Reader {
    /// A reader of a message of `length` bytes, which may have groups.
    #[must_use]
    pub fn with_groups(length: u64) -> Self {
        Self { end: length, groups: true, ..Self::default() }
    }

    /// The field that has just begun is a message.
    pub fn enter(&mut self) {
        if let State::Undecided { left, .. } = self.state
            && let Some(end) = self.ends.get_mut(self.open)
        {
            *end = self.offset + left;
            self.open += 1;
            self.state = State::Key;
        }
    }

    /// The field that has just begun is a string or bytes.
    pub fn bytes(&mut self) {
        if let State::Undecided { left, .. } = self.state {
            self.state = State::Bytes(left);
        }
    }

    /// The field that has just begun holds packed varints.
    pub fn packed(&mut self) {
        if let State::Undecided { field, left } = self.state {
            self.state = State::Packed { field, end: self.offset + left };
        }
    }

    /// The field that has just begun, if all of it is there: it is taken off the front of `input`, and nothing more is said
    /// of it.
    pub fn whole<'a>(&mut self, input: &mut &'a [u8]) -> Option<&'a [u8]> {
        let State::Undecided { left, .. } = self.state else { return None };
        let (field, rest) = input.split_at_checked(usize::try_from(left).ok()?)?;
        *input = rest;
        self.offset += left;
        self.state = State::Key;
        Some(field)
    }

    /// What is here of the fields that follow in the innermost open message: the front of `input` where a field begins, else
    /// nothing. For fields that are repeated many times: a caller who knows them reads whole ones off the front, and says
    /// with [`took`](Self::took) how many bytes they have.
    #[must_use]
    pub fn here<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        if !matches!(self.state, State::Key) || self.have > 0 {
            return &[];
        }
        let left = usize::try_from(self.end_of_message() - self.offset).unwrap_or(usize::MAX);
        &input[..left.min(input.len())]
    }

    /// Whole fields of so many bytes have been read off the front of what is [`here`](Self::here): they are taken off the
    /// front of `input`.
    pub fn took(&mut self, bytes: usize, input: &mut &[u8]) {
        let (_, rest) = input.split_at(bytes.min(self.here(input).len()));
        self.offset += (input.len() - rest.len()) as u64;
        *input = rest;
    }

    /// Takes those varints off the front of `input` that are the next ones of a [packed](Self::packed) field and end
    /// there, with the field's number. There is at least one; [`take_varint`] reads them. Without this, or where it gives
    /// nothing, [`next`](Self::next) gives them one by one.
    pub fn numbers<'a>(&mut self, input: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
        let State::Packed { field, end } = self.state else { return None };
        if self.have > 0 {
            return None;
        }
        let left = usize::try_from(end.checked_sub(self.offset)?).unwrap_or(usize::MAX);
        let there = &input[..left.min(input.len())];
        // A longer number than this is an error, which is found where it is read byte by byte.
        let tail = &there[there.len().saturating_sub(MAX_VARINT_BYTES)..];
        let after_last = tail.iter().rev().position(|byte| *byte < 0x80)?;
        let (numbers, rest) = input.split_at(there.len() - after_last);
        *input = rest;
        self.offset += numbers.len() as u64;
        Some((field, numbers))
    }

    /// Whether the message may end here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.open == 0 && self.have == 0 && matches!(self.state, State::Key)
    }

    /// How many bytes of the message have been taken. Right behind an [`Item::Length`], that is where its field begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the innermost open message ends, counted as [`offset`](Self::offset) is. [`u64::MAX`] if none is open and
    /// the end of the whole is not known.
    #[must_use]
    pub fn end_of_message(&self) -> u64 {
        if self.open > 0 { self.ends[self.open - 1] } else { self.end }
    }

    /// How many bytes will certainly follow before there can be another item than [`Item::Bytes`]: the rest of a field,
    /// or the next byte of a number. Only right when [`next`](Self::next) has taken all of its input.
    #[must_use]
    pub fn certain(&self) -> u64 {
        match self.state {
            State::Bytes(left) | State::Skip(left) | State::Undecided { left, .. } => left,
            State::Fixed { size, .. } => u64::from(size - self.have),
            State::Key | State::Varint(_) | State::Length(_) | State::Packed { .. } => 1,
        }
    }

    /// Whether the rest of the message is known to be of no interest: it has ended, or its last field has begun and is
    /// skipped or a number of fixed size. Only right when [`next`](Self::next) has taken all of its input.
    #[must_use]
    pub fn has_told_all(&self) -> bool {
        let left = self.end - self.offset;
        match self.state {
            State::Key => self.have == 0 && left == 0,
            State::Skip(_) | State::Fixed { .. } => self.certain() == left,
            _ => false,
        }
    }

    /// Takes bytes from the front of `input` until there is an item; `None` says that all are taken.
    ///
    /// # Errors
    /// What has come is not a message.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Item<'a>>, WireError> {
        loop {
            match self.state {
                State::Key => {
                    if self.have == 0 && self.open > 0 && self.offset == self.ends[self.open - 1] {
                        self.open -= 1;
                        return Ok(Some(Item::End));
                    }
                    let Some(key) = self.varint(input)? else { return Ok(None) };
                    let field = number(key)?;
                    self.state = match key & 7 {
                        0 => State::Varint(field),
                        1 => self.fixed(field, 8)?,
                        2 => State::Length(field),
                        3 if self.groups => return Ok(Some(Item::GroupStart(field))),
                        4 if self.groups => return Ok(Some(Item::GroupEnd(field))),
                        5 => self.fixed(field, 4)?,
                        other => return Err(WireError::WireType(other as u8)),
                    };
                }
                State::Varint(field) => {
                    let Some(value) = self.varint(input)? else { return Ok(None) };
                    self.state = State::Key;
                    return Ok(Some(Item::Varint(field, value)));
                }
                State::Fixed { field, size } => {
                    while self.have < size {
                        let Some(byte) = self.byte(input)? else { return Ok(None) };
                        self.value |= u64::from(byte) << (8 * self.have);
                        self.have += 1;
                    }
                    let value = std::mem::take(&mut self.value);
                    self.have = 0;
                    self.state = State::Key;
                    return Ok(Some(match size {
                        4 => Item::Fixed32(field, (value as u32).to_le_bytes()),
                        _ => Item::Fixed64(field, value.to_le_bytes()),
                    }));
                }
                State::Length(field) => {
                    let Some(left) = self.varint(input)? else { return Ok(None) };
                    let end = self.offset.checked_add(left);
                    if end.is_none_or(|end| end > self.end_of_message()) {
                        return Err(WireError::Longer);
                    }
                    self.state = State::Undecided { field, left };
                    return Ok(Some(Item::Length(field, left)));
                }
                State::Undecided { left, .. } => self.state = State::Skip(left),
                State::Packed { end, .. } if self.have == 0 && self.offset == end => self.state = State::Key,
                State::Packed { field, end } => {
                    let Some(value) = self.varint(input)? else { return Ok(None) };
                    if self.offset > end {
                        return Err(WireError::CutNumber);
                    }
                    return Ok(Some(Item::Varint(field, value)));
                }
                State::Bytes(0) => {
                    self.state = State::Key;
                    return Ok(Some(Item::End));
                }
                State::Skip(0) => self.state = State::Key,
                State::Bytes(left) | State::Skip(left) => {
                    let now = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    if now == 0 {
                        return Ok(None);
                    }
                    let (piece, rest) = input.split_at(now);
                    *input = rest;
                    self.offset += now as u64;
                    let left = left - now as u64;
                    if let State::Bytes(_) = self.state {
                        self.state = State::Bytes(left);
                        return Ok(Some(Item::Bytes(piece)));
                    }
                    self.state = State::Skip(left);
                }
            }
        }
    }

    fn fixed(&self, field: u32, size: u32) -> Result<State, WireError> {
        let fits = u64::from(size) <= self.end_of_message() - self.offset;
        if fits { Ok(State::Fixed { field, size }) } else { Err(WireError::Cut) }
    }

    fn byte(&mut self, input: &mut &[u8]) -> Result<Option<u8>, WireError> {
        let Some((byte, rest)) = input.split_first() else { return Ok(None) };
        if self.offset >= self.end_of_message() {
            return Err(WireError::Cut);
        }
        *input = rest;
        self.offset += 1;
        Ok(Some(*byte))
    }

    fn varint(&mut self, input: &mut &[u8]) -> Result<Option<u64>, WireError> {
        loop {
            let Some(byte) = self.byte(input)? else { return Ok(None) };
            if self.have == 9 && byte > 1 {
                return Err(WireError::LongVarint);
            }
            self.value |= u64::from(byte & 0x7f) << (7 * self.have);
            self.have += 1;
            if byte < 0x80 {
                self.have = 0;
                return Ok(Some(std::mem::take(&mut self.value)));
            }
        }
    }
}

/// The number of the field that a key is of.
fn number(key: u64) -> Result<u32, WireError> {
    u32::try_from(key >> 3)
        .ok()
        .filter(|number| (1..1 << 29).contains(number))
        .ok_or(WireError::FieldNumber(key >> 3))
}

/// One field of an encoded message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// The field's number.
    pub number: u32,
    /// What it holds.
    pub value: Value<'a>,
}

/// A field's value by wire type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// The fields of a message that is there as a whole, in the order in which they appear. Nothing follows an error.
#[derive(Clone, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of this message.
    #[must_use]
    pub fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let key = take_varint(&mut self.0)?;
        let number = number(key)?;
        let value = match key & 7 {
            0 => Value::Varint(take_varint(&mut self.0)?),
            1 => Value::Fixed64(u64::from_le_bytes(take_array(&mut self.0)?)),
            2 => {
                let length = usize::try_from(take_varint(&mut self.0)?).map_err(|_| WireError::Cut)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(WireError::Cut)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(take_array(&mut self.0)?)),
            other => return Err(WireError::WireType(other as u8)),
        };
        Ok(Field { number, value })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Takes a varint off the front.
///
/// # Errors
/// The bytes end within it, or it has more than 64 bits.
pub fn take_varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take_array(bytes)?;
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(WireError::LongVarint)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (head, tail) = bytes.split_first_chunk::<N>().ok_or(WireError::Cut)?;
    *bytes = tail;
    Ok(*head)
}
