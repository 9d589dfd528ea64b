//! The model's name in the first bytes of a gRPC request.
//!
//! A body is length-prefixed messages (gRPC over HTTP/2), a message is fields in any order (protobuf's encoding), and
//! the name is the string of field 1. All writers of protobuf put it first, so a few bytes are enough; the reader
//! takes it wherever it stands, and any chunking.

use crate::text::MAX_BYTES;

/// Where a reader stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are needed.
    More,
    /// The name; empty where the message has none.
    Name(Vec<u8>),
    /// There is no way to the name: the message is compressed or broken, or the name is too long or too far away.
    Lost(&'static str),
}

/// Reads the first message of a body as far as its field 1. If that comes twice, the first one counts.
#[derive(Debug)]
pub(crate) struct Reader {
    state: State,
    /// What is left of the message, once its prefix has been read.
    message_left: u64,
    /// How many groups enclose what comes next.
    depth: u32,
    /// How many bytes have been read.
    read: u64,
    /// How many may be read before the name is complete.
    limit: u64,
}

#[derive(Debug)]
enum State {
    /// The frame's prefix, so far.
    Prefix(Vec<u8>),
    /// A field's tag.
    Tag(Varint),
    /// The length of a field; `true` for the name's.
    Length(Varint, bool),
    /// A number that says nothing.
    Number(Varint),
    /// So many bytes that say nothing.
    Skip(u64),
    /// The name so far, and how much of it is to come.
    Name(Vec<u8>, u64),
}

/// A number of 7 bits per byte, so far.
#[derive(Clone, Copy, Debug, Default)]
struct Varint {
    value: u64,
    bytes: u32,
}

/// Bytes in front of a message: a compression flag and the message's length, big-endian.
const PREFIX_BYTES: usize = 5;

impl Reader {
    /// A reader that gives up where the name is not complete within `limit` bytes, unless they are at hand.
    pub(crate) fn new(limit: usize) -> Self {
        let state = State::Prefix(Vec::with_capacity(PREFIX_BYTES));
        Self { state, message_left: 0, depth: 0, read: 0, limit: limit as u64 }
    }

    /// Reads the next bytes, in pieces. Only to be called until it says something other than [`Progress::More`].
    pub(crate) fn read(&mut self, pieces: &[&[u8]]) -> Progress {
        for piece in pieces {
            match self.read_piece(piece) {
                Ok(None) => {}
                Ok(Some(name)) => return Progress::Name(name),
                Err(why) => return Progress::Lost(why),
            }
        }
        let known_to_come = match &self.state {
            State::Skip(left) | State::Name(_, left) => *left,
            _ => 1,
        };
        match self.read.saturating_add(known_to_come) > self.limit {
            true => Progress::Lost("its model's name is too far from its beginning"),
            false => Progress::More,
        }
    }

    /// Reads a piece; `Some` is the name.
    fn read_piece(&mut self, mut bytes: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
        loop {
            let at_a_tag = matches!(self.state, State::Tag(Varint { bytes: 0, .. }));
            if at_a_tag && self.message_left == 0 {
                return if self.depth == 0 { Ok(Some(Vec::new())) } else { Err(BROKEN) };
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            if let Some(name) = self.step(&mut bytes)? {
                return Ok(Some(name));
            }
        }
    }

    /// Reads some of the bytes; `Some` is the name.
    fn step(&mut self, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
        match &mut self.state {
            State::Prefix(prefix) => {
                let missing = PREFIX_BYTES - prefix.len();
                prefix.extend_from_slice(take(bytes, missing as u64));
                let &[flag, a, b, c, d] = prefix.as_slice() else { return Ok(None) };
                self.read += PREFIX_BYTES as u64;
                if flag != 0 {
                    return Err("it is compressed");
                }
                self.message_left = u32::from_be_bytes([a, b, c, d]).into();
                self.state = State::Tag(Varint::default());
            }
            State::Skip(left) => {
                let skipped = take(bytes, *left).len() as u64;
                *left -= skipped;
                let done = *left == 0;
                self.passed(skipped);
                if done {
                    self.state = State::Tag(Varint::default());
                }
            }
            State::Name(name, left) => {
                let part = take(bytes, *left);
                name.extend_from_slice(part);
                *left -= part.len() as u64;
                let name = (*left == 0).then(|| std::mem::take(name));
                self.passed(part.len() as u64);
                return Ok(name);
            }
            State::Tag(varint) | State::Length(varint, _) | State::Number(varint) => {
                let Some((&byte, rest)) = bytes.split_first() else { return Ok(None) };
                *bytes = rest;
                let value = varint.push(byte)?;
                if self.message_left == 0 {
                    return Err(BROKEN);
                }
                self.passed(1);
                let Some(value) = value else { return Ok(None) };
                self.state = match self.state {
                    State::Tag(_) => self.field(value)?,
                    State::Length(..) if value > self.message_left => return Err(BROKEN),
                    State::Length(_, true) if value > MAX_BYTES as u64 => {
                        return Err("its model's name is too long");
                    }
                    State::Length(_, true) => State::Name(Vec::new(), value),
                    State::Length(_, false) => State::Skip(value),
                    _ => State::Tag(Varint::default()),
                };
                // An empty name or field has no bytes to wait for.
                match self.state {
                    State::Name(_, 0) => return Ok(Some(Vec::new())),
                    State::Skip(0) => self.state = State::Tag(Varint::default()),
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// What follows a tag.
    fn field(&mut self, tag: u64) -> Result<State, &'static str> {
        let number = tag >> 3;
        if number == 0 || number >= 1 << 29 {
            return Err(BROKEN);
        }
        let fixed = |bytes: u64| if bytes > self.message_left { Err(BROKEN) } else { Ok(State::Skip(bytes)) };
        match tag & 7 {
            0 => Ok(State::Number(Varint::default())),
            1 => fixed(8),
            2 => Ok(State::Length(Varint::default(), number == 1 && self.depth == 0)),
            3 => {
                self.depth = self.depth.saturating_add(1);
                Ok(State::Tag(Varint::default()))
            }
            4 => {
                self.depth = self.depth.checked_sub(1).ok_or(BROKEN)?;
                Ok(State::Tag(Varint::default()))
            }
            5 => fixed(4),
            _ => Err(BROKEN),
        }
    }

    fn passed(&mut self, bytes: u64) {
        self.read += bytes;
        self.message_left = self.message_left.saturating_sub(bytes);
    }
}

const BROKEN: &str = "it is no protobuf message";

impl Varint {
    /// Takes the next byte; the number, once it is complete.
    fn push(&mut self, byte: u8) -> Result<Option<u64>, &'static str> {
        if self.bytes == 9 && byte > 1 {
            return Err(BROKEN);
        }
        self.value |= u64::from(byte & 0x7f) << (7 * self.bytes);
        self.bytes += 1;
        Ok((byte < 0x80).then_some(self.value))
    }
}

/// Takes at most `count` bytes from the front.
fn take<'a>(bytes: &mut &'a [u8], count: u64) -> &'a [u8] {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len());
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message as _;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const LIMIT: usize = 4096;

    /// As far as tests need it, the protocol's message.
    #[derive(Clone, PartialEq, prost::Message)]
    struct ModelInferRequest {
        #[prost(string, tag = "1")]
        model_name: String,
        #[prost(string, tag = "2")]
        model_version: String,
        #[prost(bytes = "vec", repeated, tag = "7")]
        raw_input_contents: Vec<Vec<u8>>,
    }

    /// Reads in chunks of `size` bytes, to the end.
    fn read(body: &[u8], size: usize) -> Progress {
        let mut reader = Reader::new(LIMIT);
        for chunk in body.chunks(size) {
            match reader.read(&[chunk]) {
                Progress::More => {}
                other => return other,
            }
        }
        Progress::More
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
    }

    fn name(text: &str) -> Progress {
        Progress::Name(text.as_bytes().to_vec())
    }

    #[test]
    fn the_name_is_found_however_the_body_is_cut_and_before_the_tensors_have_come() {
        let raw_input_contents = vec![vec![7; 1_000_000]];
        let request =
            ModelInferRequest { model_name: "tf-1".into(), model_version: "3".into(), raw_input_contents };
        let body = framed(&request.encode_to_vec());
        for size in 1..=16 {
            assert_eq!(read(&body, size), name("tf-1"), "chunks of {size}");
            assert_eq!(read(&body[..11], size), name("tf-1"), "chunks of {size}");
            assert_eq!(read(&body[..10], size), Progress::More, "chunks of {size}");
        }
    }

    #[test]
    fn other_fields_may_come_first_known_or_not() {
        // Field 7 of 3 bytes, field 99 as a number, a fixed64 and a fixed32, a group with a field 1 of its own.
        let first = b"\x3a\x03abc\x98\x06\xac\x02\x51\x01\x02\x03\x04\x05\x06\x07\x08\x55\x01\x02\x03\x04\x0b\x0a\x01x\x0c";
        let message = [&first[..], b"\x0a\x04tf-1"].concat();
        for size in 1..=message.len() {
            assert_eq!(read(&framed(&message), size), name("tf-1"), "chunks of {size}");
        }
        // A field 1 that is a number is not the name.
        assert_eq!(read(&framed(b"\x08\x01\x0a\x01m"), 99), name("m"));
    }

    #[test]
    fn a_message_without_a_name_has_an_empty_one() {
        assert_eq!(read(&framed(b""), 1), name(""));
        assert_eq!(read(&framed(b"\x0a\x00"), 1), name(""));
        assert_eq!(read(&framed(b"\x12\x01v"), 99), name(""));
        assert_eq!(read(&framed(b"\x12\x01v"), 1), name(""));
    }

    #[test]
    fn what_cannot_be_understood_says_so_at_once() {
        assert_eq!(read(b"\x01\x00\x00\x00\x09whatever!", 1), Progress::Lost("it is compressed"));
        for message in [
            &b"\x0a\x05abc"[..],
            b"\x00\x01",
            b"\x0e\x01\x01",
            b"\x0c\x01",
            b"\x0b\x10\x01",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x51\x01",
            b"\x12",
        ] {
            assert_eq!(
                read(&[&framed(message)[..], b"\0\0\0\0"].concat(), 1),
                Progress::Lost(BROKEN),
                "{message:?}"
            );
        }
        let long = ModelInferRequest { model_name: "m".repeat(257), ..ModelInferRequest::default() };
        assert_eq!(read(&framed(&long.encode_to_vec()), 1), Progress::Lost("its model's name is too long"));
    }

    #[test]
    fn a_name_behind_a_tensor_is_found_where_the_tensor_is_at_hand_and_given_up_where_it_is_not() {
        let tensor = [&b"\x3a\xa0\x8d\x06"[..], &[7; 100_000], b"\x0a\x01m"].concat();
        let body = framed(&tensor);
        assert_eq!(read(&body, body.len()), name("m"));
        let pieces: Vec<&[u8]> = body.chunks(1000).collect();
        assert_eq!(Reader::new(LIMIT).read(&pieces), name("m"));
        let mut reader = Reader::new(LIMIT);
        assert_eq!(reader.read(&[&body[..8]]), Progress::More);
        assert!(matches!(reader.read(&[&body[8..100]]), Progress::Lost(why) if why.contains("too far")));
    }

    proptest! {
        #[test]
        fn every_message_gives_its_name_however_it_is_cut(
            model_name in "[a-z0-9./-]{0,40}", model_version in "[0-9]{0,4}",
            raw_input_contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
            size in 1usize..30,
        ) {
            let request = ModelInferRequest { model_name: model_name.clone(), model_version, raw_input_contents };
            prop_assert_eq!(read(&framed(&request.encode_to_vec()), size), name(&model_name));
        }

        #[test]
        fn no_bytes_do_harm_and_every_chunking_of_them_ends_alike(
            body in prop::collection::vec(any::<u8>(), 0..80), size in 1usize..10,
        ) {
            prop_assert_eq!(read(&framed(&body), size), read(&framed(&body), 200));
            read(&body, size);
        }
    }
}
