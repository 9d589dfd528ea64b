//! The server for benchmarks: one answer for all, nothing recorded.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::frames::Frames;
use crate::infer;
use crate::play::{Exchange, Observer};
use crate::script::{Headers, Script};
use crate::server::{Background, WINDOW};
use crate::wire;

/// What a [`FastServer`] answers.
#[derive(Clone, Debug)]
pub enum Fast {
    /// The same script for every request.
    Constant(Script),
    /// Each `ModelInferRequest`'s inputs as outputs ([`infer::echo`]); other bodies get status 3.
    Echo,
}

/// A server that does as little as it can between a request and its answer. It ends when dropped.
pub struct FastServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FastServer {
    /// Starts a server on a free loopback port.
    ///
    /// # Errors
    /// If there is no free loopback port, or no thread can be started.
    pub fn start(answer: Fast) -> io::Result<Self> {
        let answer = Arc::new(answer);
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let background =
            Background::start("fast-server", address, move |socket| serve(socket, answer.clone()))?;
        let Background { address, stop, thread } = background;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for FastServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread has ended already if the channel is closed.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

async fn serve(socket: TcpStream, answer: Arc<Fast>) {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buffer_size(WINDOW as usize);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let answer = answer.clone();
        tokio::spawn(async move {
            let (ignore, collect) = (Ignore, Collect::default());
            // A peer that gives up needs no answer; scripts of a benchmark ask for nothing HTTP/2 forbids,
            // and if they did the client would see a reset.
            let _ = match &*answer {
                Fast::Constant(script) => {
                    Exchange::new(request.into_body(), respond, Frames::default(), &ignore)
                        .play(script.clone())
                        .await
                }
                Fast::Echo => {
                    let mut exchange =
                        Exchange::new(request.into_body(), respond, Frames::default(), &collect);
                    match exchange.read(usize::MAX).await {
                        Ok(()) => exchange.play(echo(&collect.take())).await,
                        stopped => stopped,
                    }
                }
            };
        });
    }
}

fn echo(body: &[u8]) -> Script {
    let answer = wire::unframe(body).and_then(|messages| match messages.as_slice() {
        [message] if !message.compressed => infer::echo(&message.bytes),
        _ => Err(wire::WireError::Truncated),
    });
    match answer {
        Ok(message) => Script::new().grpc_headers().data(wire::frame(&message)).grpc_trailers(0, ""),
        Err(_) => Script::trailers_only(3, "not one uncompressed ModelInferRequest"),
    }
}

struct Ignore;

impl Observer for Ignore {
    fn body(&self, _: &[u8]) {}
    fn ended(&self, _: Option<Headers>) {}
    fn reset(&self, _: u32) {}
}

#[derive(Default)]
struct Collect(std::sync::Mutex<Vec<u8>>);

impl Collect {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Observer for Collect {
    fn body(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend_from_slice(bytes);
    }
    fn ended(&self, _: Option<Headers>) {}
    fn reset(&self, _: u32) {}
}
