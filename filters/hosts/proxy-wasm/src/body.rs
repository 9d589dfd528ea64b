//! Writing what replaces a chunk.

use filter_api::{Dir, Sink};
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

/// Takes what a core emits, and passes it on as it comes.
pub(crate) struct BodySink {
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
    pub(crate) fn new(dir: Dir, chunk: usize, limit: Option<usize>) -> Self {
        let limit = limit.unwrap_or(usize::MAX);
        Self { body: body(dir), chunk, limit, written: 0, gathered: GATHERED.take() }
    }

    /// Passes on the rest.
    pub(crate) fn finish(mut self) -> Written {
        self.flush();
        GATHERED.set(std::mem::take(&mut self.gathered));
        Written { bytes: self.written, overflowed: self.written > self.limit, chunk_left: self.chunk }
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

/// What became of a core's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// How many bytes the core wrote.
    pub(crate) bytes: usize,
    /// There were more of them than could be passed on.
    pub(crate) overflowed: bool,
    /// So many bytes of the chunk are still in Envoy's buffer, because nothing replaced them.
    pub(crate) chunk_left: usize,
}

/// Takes writes where no body can be written.
#[derive(Debug, Default)]
pub(crate) struct NoBody {
    pub(crate) bytes: usize,
}

impl Sink for NoBody {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len());
    }
}

/// Takes `size` bytes out of the front of Envoy's buffer.
pub(crate) fn empty(dir: Dir, size: usize) {
    if size > 0 {
        replace(body(dir), 0, size, b"");
    }
}

/// Only for a buffer that is there: the SDK panics where it is not.
fn replace(body: BufferType, start: usize, size: usize, bytes: &[u8]) {
    // The SDK returns no other status than this one.
    let _ok = hostcalls::set_buffer(body, start, size, bytes);
}
