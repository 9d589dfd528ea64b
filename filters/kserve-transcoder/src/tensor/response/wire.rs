//! An incremental protobuf reader over bytes cut anywhere.

/// How deep messages are nested in a `ModelInferResponse`, with one to spare.
const MAX_MESSAGES: usize = 4;

/// What has been read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// A varint field, or one of the packed varints of a field.
    Varint(u32, u64),
    Fixed32(u32, [u8; 4]),
    Fixed64(u32, [u8; 8]),
    /// A length-delimited field begins, of so many bytes. [`Wire::enter`], [`Wire::bytes`] or
    /// [`Wire::packed`] says what it is; without one of them it is skipped.
    Length(u32, u64),
    /// A piece of a field for which [`Wire::bytes`] was called.
    Bytes(&'a [u8]),
    /// The field for which [`Wire::bytes`] or [`Wire::enter`] was called has ended.
    End,
}

/// The reader.
#[derive(Debug, Default)]
pub(super) struct Wire {
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

impl Wire {
    /// The field that has just begun is a message.
    pub(super) fn enter(&mut self) {
        if let State::Undecided { left, .. } = self.state
            && let Some(end) = self.ends.get_mut(self.open)
        {
            *end = self.offset + left;
            self.open += 1;
            self.state = State::Key;
        }
    }

    /// The field that has just begun is a string or bytes.
    pub(super) fn bytes(&mut self) {
        if let State::Undecided { left, .. } = self.state {
            self.state = State::Bytes(left);
        }
    }

    /// The field that has just begun holds packed varints.
    pub(super) fn packed(&mut self) {
        if let State::Undecided { field, left } = self.state {
            self.state = State::Packed { field, end: self.offset + left };
        }
    }

    /// Whether the message may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.open == 0 && self.have == 0 && matches!(self.state, State::Key)
    }

    /// Takes bytes from the front of `input` until there is an item; `None` says that all are taken.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Item<'a>>, &'static str> {
        loop {
            match self.state {
                State::Key => {
                    if self.have == 0 && self.open > 0 && self.offset == self.ends[self.open - 1] {
                        self.open -= 1;
                        return Ok(Some(Item::End));
                    }
                    let Some(key) = self.varint(input)? else { return Ok(None) };
                    let field = u32::try_from(key >> 3).unwrap_or(0);
                    if field == 0 || field >= 1 << 29 {
                        return Err("it has a field with an impossible number");
                    }
                    self.state = match key & 7 {
                        0 => State::Varint(field),
                        1 => State::Fixed { field, size: 8 },
                        2 => State::Length(field),
                        5 => State::Fixed { field, size: 4 },
                        _ => return Err("it has a field of an unknown wire type"),
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
                    if end.is_none_or(|end| end > self.limit()) {
                        return Err("it has a field that is longer than its message");
                    }
                    self.state = State::Undecided { field, left };
                    return Ok(Some(Item::Length(field, left)));
                }
                State::Undecided { left, .. } => self.state = State::Skip(left),
                State::Packed { end, .. } if self.have == 0 && self.offset == end => self.state = State::Key,
                State::Packed { field, end } => {
                    let Some(value) = self.varint(input)? else { return Ok(None) };
                    if self.offset > end {
                        return Err("it has a number that is cut");
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

    /// Where the innermost open message ends.
    fn limit(&self) -> u64 {
        if self.open > 0 { self.ends[self.open - 1] } else { u64::MAX }
    }

    fn byte(&mut self, input: &mut &[u8]) -> Result<Option<u8>, &'static str> {
        let Some((byte, rest)) = input.split_first() else { return Ok(None) };
        if self.offset >= self.limit() {
            return Err("it has a field that is cut");
        }
        *input = rest;
        self.offset += 1;
        Ok(Some(*byte))
    }

    fn varint(&mut self, input: &mut &[u8]) -> Result<Option<u64>, &'static str> {
        loop {
            let Some(byte) = self.byte(input)? else { return Ok(None) };
            if self.have == 9 && byte > 1 {
                return Err("it has a number of more than 64 bits");
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

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn items(message: &[u8], step: usize) -> Result<Vec<String>, &'static str> {
        let mut wire = Wire::default();
        let mut items: Vec<String> = Vec::new();
        for mut piece in message.chunks(step) {
            while let Some(item) = wire.next(&mut piece)? {
                match &item {
                    Item::Length(1, _) => wire.bytes(),
                    Item::Length(2, _) => wire.enter(),
                    Item::Length(3, _) => wire.packed(),
                    _ => {}
                }
                match (item, items.last_mut()) {
                    (Item::Bytes(bytes), Some(last)) if last.starts_with("Bytes") => {
                        last.push_str(&format!(" {bytes:?}"));
                    }
                    (Item::Bytes(bytes), _) => items.push(format!("Bytes {bytes:?}")),
                    (other, _) => items.push(format!("{other:?}")),
                }
            }
        }
        for item in &mut items {
            *item = item.replace("] [", ", ");
        }
        if wire.is_whole() { Ok(items) } else { Err("it is cut") }
    }

    const MESSAGE: &[u8] = &[
        0x08, 0x96, 0x01, // field 1, varint 150
        0x0a, 0x03, b'a', b'b', b'c', // field 1, bytes
        0x12, 0x0a, // field 2, a message of 10 bytes
        0x1a, 0x03, 0x01, 0x80, 0x01, // field 3, packed 1 and 128
        0x0d, 1, 0, 0, 0, // field 1, fixed 32
        0x2a, 0x02, 9, 9, // field 5, skipped
        0x0a, 0x00, // field 1, no bytes
        0x11, 1, 0, 0, 0, 0, 0, 0, 0x80, // field 2, fixed 64
        0x12, 0x00, // field 2, an empty message
        0x18, 0x01, // field 3, varint
    ];

    #[test]
    fn a_message_cut_anywhere_gives_the_same_items() {
        let whole = items(MESSAGE, MESSAGE.len()).unwrap();
        let expected = "Varint(1, 150);Length(1, 3);Bytes [97, 98, 99];End;Length(2, 10);Length(3, 3);\
                        Varint(3, 1);Varint(3, 128);Fixed32(1, [1, 0, 0, 0]);End;Length(5, 2);Length(1, 0);End;\
                        Fixed64(2, [1, 0, 0, 0, 0, 0, 0, 128]);Length(2, 0);End;Varint(3, 1)";
        assert_eq!(whole.join(";"), expected);
        for step in 1..MESSAGE.len() {
            assert_eq!(items(MESSAGE, step).unwrap(), whole, "in pieces of {step}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused_however_it_is_cut() {
        let bad: [&[u8]; 9] = [
            &[0x12, 0x09, 0x1a, 0x03, 0x01, 0x80, 0x01, 0x0d, 1, 0, 0, 0],
            &[0x08],
            &[0x0a, 0x05, 1, 2],
            &[0x0b],
            &[0x00, 0x00],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x12, 0x02, 0x0a, 0x01, b'a'],
            &[0x1a, 0x01, 0x80, 0x01],
            &[0x12, 0x01, 0x08, 0x01],
        ];
        for message in bad {
            for step in 1..=message.len() {
                assert!(items(message, step).is_err(), "{message:?} in pieces of {step}");
            }
        }
    }
}
