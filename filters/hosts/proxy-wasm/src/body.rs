//! Writing what replaces a chunk.

use crate::memory;
use filter_api::{Dir, Sink};
use host_driver::{Body, Fate, Lost, Nowhere};
use proxy_wasm::hostcalls;
use proxy_wasm::types::BufferType;
use std::cell::Cell;

/// Smaller writes are gathered up to this many bytes: a host call costs as much as copying some hundred.
const GATHER_BYTES: usize = 32 * 1024;

/// A start beyond any body: Envoy appends there.
const AT_THE_END: usize = usize::MAX;

/// The ABI's number of a direction's body.
pub(crate) fn body(dir: Dir) -> BufferType {
    match dir {
        Dir::Request => BufferType::HttpRequestBody,
        Dir::Response => BufferType::HttpResponseBody,
    }
}

thread_local! {
    // Small writes are gathered in one vector that all streams of the VM use in turn.
    static GATHERED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A chunk: the first bytes in Envoy's buffer of a body.
pub(crate) struct Chunk {
    pub(crate) body: BufferType,
    pub(crate) size: usize,
    /// At most so many bytes can be emitted in its place.
    pub(crate) limit: Option<usize>,
}

impl Body for Chunk {
    fn show<R>(self, look: impl FnOnce(&[&[u8]], &mut dyn Sink) -> (R, Fate)) -> Result<R, Lost> {
        let Self { body, size, limit } = self;
        let mut charge = memory::charge();
        let no_memory =
            Lost { status: 503, why: "the memory for requests in progress is used up; try again later" };
        charge.grow(size).map_err(|_| no_memory)?;
        let chunk = match size {
            0 => None,
            _ => hostcalls::get_buffer(body, 0, size).ok().flatten(),
        };
        let mut out = BodySink::new(body, size, limit);
        let (result, fate) = look(&[chunk.as_deref().unwrap_or_default()], &mut out);
        let written = out.finish();
        match fate {
            Fate::Left => {}
            Fate::Replaced if written.overflowed => {
                let why = "the filter emitted more than Envoy's buffer is known to take";
                return Err(Lost { status: 500, why });
            }
            Fate::Replaced | Fate::Dropped => empty(body, written.chunk_left),
        }
        Ok(result)
    }
}

/// What can be emitted in front of trailers: only into a body that Envoy still buffers.
pub(crate) struct BeforeTrailers {
    pub(crate) body: BufferType,
    /// How much that buffer takes, if there is one.
    pub(crate) buffer: Option<Option<usize>>,
}

impl Body for BeforeTrailers {
    fn show<R>(self, look: impl FnOnce(&[&[u8]], &mut dyn Sink) -> (R, Fate)) -> Result<R, Lost> {
        let ((result, fate), lost) = match self.buffer {
            Some(limit) => {
                let mut out = BodySink::new(self.body, 0, limit);
                (look(&[], &mut out), out.finish().overflowed)
            }
            None => {
                let mut out = Nowhere::default();
                (look(&[], &mut out), out.bytes > 0)
            }
        };
        match fate {
            Fate::Replaced if lost => {
                Err(Lost { status: 500, why: "the filter emitted only when the trailers had come" })
            }
            _ => Ok(result),
        }
    }
}

/// Takes what a core emits, and passes it on as it comes.
struct BodySink {
    body: BufferType,
    /// So many bytes at the front of Envoy's buffer are the chunk, and still there.
    chunk: usize,
    /// How many bytes may be written.
    limit: usize,
    written: usize,
    gathered: Vec<u8>,
}

impl BodySink {
    /// A sink in place of the `chunk` bytes that Envoy's buffer holds; after what it holds if that is 0. At
    /// most `limit` bytes reach Envoy.
    fn new(body: BufferType, chunk: usize, limit: Option<usize>) -> Self {
        let limit = limit.unwrap_or(usize::MAX);
        Self { body, chunk, limit, written: 0, gathered: GATHERED.take() }
    }

    /// Passes on the rest.
    fn finish(mut self) -> Written {
        self.flush();
        GATHERED.set(std::mem::take(&mut self.gathered));
        Written { overflowed: self.written > self.limit, chunk_left: self.chunk }
    }

    fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let gathered = std::mem::take(&mut self.gathered);
        self.pass_on(&gathered);
        self.gathered = gathered;
        self.gathered.clear();
    }

    fn pass_on(&mut self, bytes: &[u8]) {
        let start = if self.chunk > 0 { 0 } else { AT_THE_END };
        replace(self.body, start, std::mem::take(&mut self.chunk), bytes);
    }
}

impl Sink for BodySink {
    fn write(&mut self, bytes: &[u8]) {
        self.written = self.written.saturating_add(bytes.len());
        if self.written > self.limit {
            return;
        }
        if self.gathered.len() + bytes.len() > GATHER_BYTES {
            self.flush();
        }
        if bytes.len() >= GATHER_BYTES {
            self.pass_on(bytes);
        } else {
            self.gathered.extend_from_slice(bytes);
        }
    }
}

/// What happened to a core's writes.
struct Written {
    /// There were more bytes than could be passed on.
    overflowed: bool,
    /// So many bytes of the chunk are still in Envoy's buffer, because nothing replaced them.
    chunk_left: usize,
}

/// Takes `size` bytes out of the front of Envoy's buffer.
fn empty(body: BufferType, size: usize) {
    if size > 0 {
        replace(body, 0, size, b"");
    }
}

/// Only for a buffer that is there: the SDK panics where it is not.
fn replace(body: BufferType, start: usize, size: usize, bytes: &[u8]) {
    // The SDK returns no other status than this one.
    let _ok = hostcalls::set_buffer(body, start, size, bytes);
}
