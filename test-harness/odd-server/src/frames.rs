//! Watches the frames that leave a connection, so that a reset can wait for what was sent before it.
//!
//! `h2` drops a stream's queued frames when it is reset; a test that asks for "half a message, then a reset"
//! means that the half arrives.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// What has left on one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// HEADERS frames.
    pub(crate) headers: usize,
    /// DATA payload bytes.
    pub(crate) data: usize,
}

/// The outgoing side of a connection, frame by frame. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Frames(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    grown: Notify,
}

#[derive(Default)]
struct State {
    streams: HashMap<u32, Sent>,
    /// Header bytes of the frame being written; nine when it is known.
    head: Vec<u8>,
    /// Payload bytes of that frame still to come.
    left: usize,
    closed: bool,
}

impl Frames {
    /// Waits until at least `wanted` has left on the stream, or the connection is closed.
    pub(crate) async fn wait_for(&self, stream: u32, wanted: Sent) {
        loop {
            let grown = self.0.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            {
                let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
                let sent = state.streams.get(&stream).copied().unwrap_or_default();
                if state.closed || (sent.headers >= wanted.headers && sent.data >= wanted.data) {
                    return;
                }
            }
            grown.await;
        }
    }

    /// Waits until the connection is closed.
    pub(crate) async fn closed(&self) {
        self.wait_for(0, Sent { headers: usize::MAX, data: usize::MAX }).await;
    }

    fn wrote(&self, bytes: &[u8]) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).wrote(bytes);
        self.0.grown.notify_waiters();
    }

    /// No reader has to wait for more.
    pub(crate) fn close(&self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.0.grown.notify_waiters();
    }
}

impl State {
    fn wrote(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.left -= n;
                if self.head.get(3) == Some(&0) {
                    self.stream().data += n;
                }
                bytes = &bytes[n..];
            } else {
                let n = (9 - self.head.len()).min(bytes.len());
                self.head.extend_from_slice(&bytes[..n]);
                bytes = &bytes[n..];
                if self.head.len() < 9 {
                    return;
                }
                self.left = usize::from(self.head[0]) << 16
                    | usize::from(self.head[1]) << 8
                    | usize::from(self.head[2]);
                if self.head[3] == 1 {
                    self.stream().headers += 1;
                }
            }
            if self.left == 0 {
                self.head.clear();
            }
        }
    }

    fn stream(&mut self) -> &mut Sent {
        let id = self.head[5..9].iter().fold(0u32, |id, &b| id << 8 | u32::from(b));
        self.streams.entry(id & 0x7fff_ffff).or_default()
    }
}

/// A connection whose writes are shown to [`Frames`].
pub(crate) struct Watched<IO> {
    io: IO,
    frames: Frames,
}

impl<IO> Watched<IO> {
    pub(crate) fn new(io: IO, frames: Frames) -> Self {
        Self { io, frames }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = poll {
            self.frames.wrote(&buf[..n]);
        }
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_the_writes_cut_them() {
        let mut wire = vec![0, 0, 2, 1, 4, 0, 0, 0, 3, 0x88, 0x88];
        wire.extend([0, 0, 4, 0, 0, 0, 0, 0, 3, 1, 2, 3, 4]);
        wire.extend([0, 0, 0, 4, 1, 0, 0, 0, 0]);
        wire.extend([0, 0, 1, 0, 1, 0, 0, 0, 3, 5]);
        for size in 1..wire.len() {
            let mut state = State::default();
            wire.chunks(size).for_each(|chunk| state.wrote(chunk));
            assert_eq!(state.streams[&3], Sent { headers: 1, data: 5 }, "writes of {size}");
        }
    }
}
