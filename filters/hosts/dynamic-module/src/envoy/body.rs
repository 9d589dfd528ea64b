//! The bodies of a stream: what came, and what goes on in its place.

#![allow(unsafe_code)]

use super::Envoy;
use crate::abi::{self, EnvoyBuffer};
use filter_api::{Dir, Sink};
use host_driver::{Body, Fate, Lost};
use std::cell::Cell;

impl<'hook> Envoy<'hook> {
    /// The chunk of the current body hook.
    pub(crate) fn received(self, dir: Dir) -> Bytes<'hook> {
        let body = match dir {
            Dir::Request => abi::RECEIVED_REQUEST_BODY,
            Dir::Response => abi::RECEIVED_RESPONSE_BODY,
        };
        Bytes { envoy: self, body }
    }

    /// What Envoy has buffered while headers were held.
    pub(crate) fn held(self, dir: Dir) -> Bytes<'hook> {
        Bytes { envoy: self, body: buffered(dir) }
    }

    /// A sink that appends to the body which Envoy buffers for the whole filter chain, at the latest when it is dropped.
    ///
    /// With headers held, or the last chunk taken, Envoy keeps these bytes until things go on. Otherwise it
    /// passes them on at once, and whatever follows may call this filter's response hooks.
    pub(crate) fn buffered(self, dir: Dir) -> Appender<'hook> {
        Appender::new(self, buffered(dir))
    }

    /// How many bytes Envoy buffers for the whole filter chain.
    pub(crate) fn buffered_bytes(self, dir: Dir) -> usize {
        // SAFETY: the stream is valid during the hook.
        unsafe { abi::get_body_size(self.stream, buffered(dir)) }
    }

    /// Where the pieces of a body are. `few` serves where it has room for all of them.
    fn pieces<'l>(
        self,
        body: abi::BodyType,
        few: &'l mut [EnvoyBuffer; FEW_PIECES],
        many: &'l mut Vec<EnvoyBuffer>,
    ) -> &'l [EnvoyBuffer] {
        // SAFETY: the stream is valid during the hook.
        let count = unsafe { abi::get_body_chunks_size(self.stream, body) };
        let pieces = match few.get_mut(..count) {
            Some(few) => few,
            None => {
                many.resize(count, EnvoyBuffer::EMPTY);
                many
            }
        };
        if count > 0 {
            // SAFETY: as above, and the array has room for all pieces; none can be added in between.
            unsafe { abi::get_body_chunks(self.stream, body, pieces.as_mut_ptr()) };
        }
        pieces
    }
}

/// So many pieces of a body are looked at without an allocation.
const FEW_PIECES: usize = 8;

fn buffered(dir: Dir) -> abi::BodyType {
    match dir {
        Dir::Request => abi::BUFFERED_REQUEST_BODY,
        Dir::Response => abi::BUFFERED_RESPONSE_BODY,
    }
}

/// A body with bytes for a filter.
pub(crate) struct Bytes<'hook> {
    envoy: Envoy<'hook>,
    body: abi::BodyType,
}

impl Body for Bytes<'_> {
    fn show<R>(self, look: impl FnOnce(&[&[u8]], &mut dyn Sink) -> (R, Fate)) -> Result<R, Lost> {
        let Self { envoy, body } = self;
        let (mut few, mut many) = ([EnvoyBuffer::EMPTY; FEW_PIECES], Vec::new());
        let pieces = envoy.pieces(body, &mut few, &mut many);
        // SAFETY: the pieces belong to a body of the stream whose hook is running. Until `look` has returned, only
        // the appender below changes that body, and appending leaves the pieces where they are.
        let slice = |piece: &EnvoyBuffer| unsafe { piece.bytes() };
        let (mut few, mut many) = ([&[][..]; FEW_PIECES], Vec::new());
        let slices = if pieces.len() <= FEW_PIECES {
            few.iter_mut().zip(pieces).for_each(|(place, piece)| *place = slice(piece));
            &few[..pieces.len()]
        } else {
            many.extend(pieces.iter().map(slice));
            &many[..]
        };
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut appender = Appender::new(envoy, body);
        let (result, fate) = look(slices, &mut appender);
        appender.flush();
        let gone = match fate {
            Fate::Left => 0,
            Fate::Replaced => bytes,
            Fate::Dropped => bytes + appender.appended,
        };
        if gone > 0 {
            // SAFETY: the stream is valid during the hook; the slices are not used any more.
            unsafe { abi::drain_body(envoy.stream, body, gone) };
        }
        Ok(result)
    }
}

/// What a filter emits in front of trailers.
pub(crate) struct BeforeTrailers<'a, 'hook> {
    buffered: Appender<'hook>,
    /// Takes the bytes where the buffer cannot yet.
    late: Option<&'a mut Vec<u8>>,
}

impl<'a, 'hook> BeforeTrailers<'a, 'hook> {
    pub(crate) fn new(envoy: Envoy<'hook>, dir: Dir, late: Option<&'a mut Vec<u8>>) -> Self {
        Self { buffered: envoy.buffered(dir), late }
    }
}

impl Body for BeforeTrailers<'_, '_> {
    fn show<R>(mut self, look: impl FnOnce(&[&[u8]], &mut dyn Sink) -> (R, Fate)) -> Result<R, Lost> {
        let out: &mut dyn Sink = match self.late {
            Some(late) => late,
            None => &mut self.buffered,
        };
        let (result, _nothing_came) = look(&[], out);
        Ok(result)
    }
}

/// Appends bytes to one of Envoy's bodies. Small writes are gathered: to append costs Envoy more than a few hundred
/// bytes.
pub(crate) struct Appender<'hook> {
    envoy: Envoy<'hook>,
    body: abi::BodyType,
    appended: usize,
    gathered: Vec<u8>,
}

/// Writes of less are gathered, up to so many bytes.
const GATHER_BYTES: usize = 4 * 1024;

thread_local! {
    // Small writes are gathered in one vector that all streams of a worker use in turn.
    static GATHERED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<'hook> Appender<'hook> {
    fn new(envoy: Envoy<'hook>, body: abi::BodyType) -> Self {
        Self { envoy, body, appended: 0, gathered: Vec::new() }
    }

    /// Passes on what has been gathered.
    fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        self.append(&gathered);
        gathered.clear();
        GATHERED.set(gathered);
    }

    fn append(&mut self, bytes: &[u8]) {
        // SAFETY: the stream is valid during the hook; Envoy copies the bytes.
        if unsafe { abi::append_body(self.envoy.stream, self.body, bytes.into()) } {
            self.appended += bytes.len();
        }
    }
}

impl Sink for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.gathered.len() + bytes.len() > GATHER_BYTES {
            self.flush();
        }
        if bytes.len() >= GATHER_BYTES {
            return self.append(bytes);
        }
        if self.gathered.capacity() == 0 {
            self.gathered = GATHERED.take();
        }
        self.gathered.extend_from_slice(bytes);
    }
}

impl Drop for Appender<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}
