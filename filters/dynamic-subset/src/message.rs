//! The model's name in the first bytes of a gRPC request.
//!
//! A body is length-prefixed messages (gRPC over HTTP/2), a message is fields in any order (protobuf's encoding), and
//! the name is the string of field 1. All writers of protobuf put it first, so a few bytes are enough; the reader
//! takes it wherever it stands, and any chunking.
//!
//! If the field comes more than once, the last one counts, as in protobuf. So the name is known where nothing can
//! follow any more, or else at a limit. That limit is a place in the body: where a chunk ends decides nothing. What
//! lies beyond it is watched while it goes by, and a message that names another model there is refused, because by then
//! its endpoints have been chosen.

use crate::text::MAX_BYTES;
use kserve_proto::wire::{self, Item};

/// Where a reader stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are needed.
    More,
    /// The name, or what stands in for it; empty where there is neither. It was not known before, and nothing can
    /// change it any more.
    Name(Vec<u8>),
    /// The name, as far as the limit. The rest is to be read too.
    NameSoFar(Vec<u8>),
    /// The name cannot be found: the message is compressed or broken, or the name is too long or too far away.
    Lost(&'static str),
    /// After [`Progress::NameSoFar`]: the message ends with that name.
    Confirmed,
    /// After [`Progress::NameSoFar`], or in its place: beyond the limit the message names another model, or cannot be
    /// understood.
    Contradicted,
}

/// Reads the first message of a body for its field 1.
#[derive(Debug)]
pub(crate) struct Reader {
    state: State,
    /// How many groups enclose what comes next.
    depth: u32,
    /// How many bytes have been read.
    read: u64,
    /// How many may be read before the name must be known.
    limit: u64,
    /// What field 1 has said.
    last: Last,
    /// The model of a message without a name.
    otherwise: Vec<u8>,
    /// The name that was told at the limit.
    told: Option<Vec<u8>>,
}

/// The last field 1 so far.
#[derive(Debug)]
enum Last {
    None,
    Name(Vec<u8>),
    /// It has begun, and this is the name so far.
    Unfinished(Vec<u8>),
    TooLong,
}

#[derive(Debug)]
enum State {
    /// The frame's prefix, so far.
    Prefix(Vec<u8>),
    /// The message's fields.
    Fields(wire::Reader),
}

/// Bytes in front of a message: a compression flag and the message's length, big-endian.
const PREFIX_BYTES: usize = 5;

impl Reader {
    /// A reader that must know the name after `limit` bytes. `otherwise` is what a message without a name, or with an
    /// empty one, is for.
    pub(crate) fn new(limit: usize, otherwise: Vec<u8>) -> Self {
        Self {
            state: State::Prefix(Vec::with_capacity(PREFIX_BYTES)),
            depth: 0,
            read: 0,
            limit: limit as u64,
            last: Last::None,
            otherwise,
            told: None,
        }
    }

    /// Reads the next bytes, in pieces. Only to be called until it says something other than [`Progress::More`] and
    /// [`Progress::NameSoFar`].
    pub(crate) fn read(&mut self, pieces: &[&[u8]]) -> Progress {
        let told_before = self.told.is_some();
        for piece in pieces {
            match self.read_piece(piece) {
                Ok(false) => {}
                Ok(true) => return self.end(told_before),
                Err(_) if self.told.is_some() => return Progress::Contradicted,
                Err(why) => return Progress::Lost(why),
            }
        }
        match &self.told {
            Some(name) if !told_before => Progress::NameSoFar(name.clone()),
            _ => Progress::More,
        }
    }

    /// What there is to say where nothing can follow.
    fn end(&mut self, told_before: bool) -> Progress {
        match self.name() {
            Err(why) => Progress::Lost(why),
            Ok(_) if told_before => Progress::Confirmed,
            Ok(name) => Progress::Name(name.to_vec()),
        }
    }

    /// Reads a piece; `true` where nothing can follow that says anything about the name.
    fn read_piece(&mut self, mut bytes: &[u8]) -> Result<bool, &'static str> {
        loop {
            if self.is_all()? {
                return Ok(true);
            }
            if self.told.is_none() && self.read.saturating_add(self.known_to_come()) > self.limit {
                // What may still name a model is not waited for.
                let name = self.name().ok().filter(|name| !name.is_empty());
                self.told = Some(name.ok_or(TOO_FAR)?.to_vec());
            }
            if bytes.is_empty() {
                return Ok(false);
            }
            self.step(&mut bytes)?;
            let unfinished = matches!(self.last, Last::Unfinished(_));
            if self.told.as_ref().is_some_and(|told| !unfinished && self.name() != Ok(told)) {
                return Err(ANOTHER);
            }
        }
    }

    /// The name that counts, as far as has been read.
    fn name(&self) -> Result<&[u8], &'static str> {
        match &self.last {
            Last::Name(name) if !name.is_empty() => Ok(name),
            Last::None | Last::Name(_) => Ok(&self.otherwise),
            Last::Unfinished(_) => Err(TOO_FAR),
            Last::TooLong => Err("its model's name is too long"),
        }
    }

    /// Whether nothing can follow that says anything about the name: the message has ended, or its last field has begun
    /// and is another one.
    fn is_all(&self) -> Result<bool, &'static str> {
        let is_all = match &self.state {
            State::Fields(fields) => fields.has_told_all(),
            State::Prefix(_) => false,
        };
        if is_all && self.depth > 0 { Err(BROKEN) } else { Ok(is_all) }
    }

    /// How many bytes will certainly follow before there is anything to decide.
    fn known_to_come(&self) -> u64 {
        match &self.state {
            State::Prefix(_) => 0,
            State::Fields(fields) => fields.certain(),
        }
    }

    /// Reads some of the bytes: only those that certainly belong together.
    fn step(&mut self, bytes: &mut &[u8]) -> Result<(), &'static str> {
        let certain = self.known_to_come();
        let fields = match &mut self.state {
            State::Prefix(prefix) => {
                let missing = PREFIX_BYTES - prefix.len();
                prefix.extend_from_slice(take(bytes, missing as u64));
                let &[flag, a, b, c, d] = prefix.as_slice() else { return Ok(()) };
                self.read += PREFIX_BYTES as u64;
                if flag != 0 {
                    return Err("it is compressed");
                }
                let length = u32::from_be_bytes([a, b, c, d]);
                self.state = State::Fields(wire::Reader::with_groups(length.into()));
                return Ok(());
            }
            State::Fields(fields) => fields,
        };
        let mut now = take(bytes, certain);
        self.read += now.len() as u64;
        while let Some(item) = fields.next(&mut now).map_err(|_| BROKEN)? {
            match item {
                Item::GroupStart(_) => self.depth = self.depth.saturating_add(1),
                Item::GroupEnd(_) => self.depth = self.depth.checked_sub(1).ok_or(BROKEN)?,
                Item::Length(1, TOO_LONG_BYTES..) if self.depth == 0 => self.last = Last::TooLong,
                Item::Length(1, _) if self.depth == 0 => {
                    self.last = Last::Unfinished(Vec::new());
                    fields.bytes();
                }
                Item::Bytes(part) => {
                    if let Last::Unfinished(name) = &mut self.last {
                        name.extend_from_slice(part);
                    }
                }
                Item::End => {
                    if let Last::Unfinished(name) = &mut self.last {
                        self.last = Last::Name(std::mem::take(name));
                    }
                }
                Item::Length(..) | Item::Varint(..) | Item::Fixed32(..) | Item::Fixed64(..) => {}
            }
        }
        Ok(())
    }
}

const BROKEN: &str = "it is not a protobuf message";
const TOO_FAR: &str = "its model's name is too far from its beginning";
const ANOTHER: &str = "it names another model beyond the limit";
/// A name of more bytes than this is not read.
const TOO_LONG_BYTES: u64 = MAX_BYTES as u64 + 1;

/// Takes at most `count` bytes from the front.
fn take<'a>(bytes: &mut &'a [u8], count: u64) -> &'a [u8] {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len());
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests;
