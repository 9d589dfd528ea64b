//! The bodies of a stream: what came, and what goes on in its place.

#![allow(unsafe_code)]

use super::Envoy;
use crate::abi::{self, EnvoyBuffer};
use filter_api::{Dir, Sink};
use host_driver::{Body, Fate, Lost};

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
        Bytes { envoy: self, body: self.buffered(dir).body }
    }

    /// A sink that appends to the body which Envoy buffers for the whole filter chain.
    ///
    /// With headers held, or the last chunk taken, Envoy keeps these bytes until things go on. Otherwise it
    /// passes them on at once, and whatever follows may call this filter's response hooks.
    pub(crate) fn buffered(self, dir: Dir) -> Appender<'hook> {
        let body = match dir {
            Dir::Request => abi::BUFFERED_REQUEST_BODY,
            Dir::Response => abi::BUFFERED_RESPONSE_BODY,
        };
        Appender { envoy: self, body, appended: 0 }
    }

    /// How many bytes Envoy buffers for the whole filter chain.
    pub(crate) fn buffered_bytes(self, dir: Dir) -> usize {
        // SAFETY: the stream is valid during the hook.
        unsafe { abi::get_body_size(self.stream, self.buffered(dir).body) }
    }

    fn pieces(self, body: abi::BodyType) -> Vec<EnvoyBuffer> {
        // SAFETY: the stream is valid during the hook.
        let count = unsafe { abi::get_body_chunks_size(self.stream, body) };
        let mut pieces = vec![EnvoyBuffer::EMPTY; count];
        if count > 0 {
            // SAFETY: as above, and the array has room for all pieces; none can be added in between.
            unsafe { abi::get_body_chunks(self.stream, body, pieces.as_mut_ptr()) };
        }
        pieces
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
        let pieces = envoy.pieces(body);
        // SAFETY: the pieces belong to a body of the stream whose hook is running. Until `look` has returned, only
        // the appender below changes that body, and appending leaves the pieces where they are.
        let slices: Vec<&[u8]> = pieces.iter().map(|piece| unsafe { piece.bytes() }).collect();
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut appender = Appender { envoy, body, appended: 0 };
        let (result, fate) = look(&slices, &mut appender);
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

/// Appends bytes to one of Envoy's bodies as they are written.
pub(crate) struct Appender<'hook> {
    envoy: Envoy<'hook>,
    body: abi::BodyType,
    appended: usize,
}

impl Sink for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        // SAFETY: the stream is valid during the hook; Envoy copies the bytes.
        if unsafe { abi::append_body(self.envoy.stream, self.body, bytes.into()) } {
            self.appended += bytes.len();
        }
    }
}
