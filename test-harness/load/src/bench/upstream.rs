//! The servers behind Envoy.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use odd_server::fast::{Fast, FastServer};
use odd_server::{OddServer, Script};

use crate::Result;
use crate::column::Column;

/// A server with one constant answer.
pub(crate) enum Upstream {
    Grpc(FastServer),
    Http(HttpServer),
}

impl Upstream {
    /// Starts the kind of server that `column` needs.
    pub(crate) fn start(column: Column, answer: &[u8]) -> Result<Self> {
        Ok(match column {
            Column::Passthrough => Self::Http(HttpServer::start(answer)?),
            _ => Self::Grpc(FastServer::start(Fast::Constant(Script::message(answer)))?),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Grpc(server) => server.address(),
            Self::Http(server) => server.address,
        }
    }
}

/// A server that remembers what it got.
pub(crate) enum Recorder {
    Grpc(OddServer),
    Http(HttpServer),
}

impl Recorder {
    /// Starts the kind of server that `column` needs.
    pub(crate) fn start(column: Column, answer: &[u8]) -> Result<Self> {
        Ok(match column {
            Column::Passthrough => Self::Http(HttpServer::start(answer)?),
            _ => {
                let server = OddServer::start()?;
                server.default_script(Script::message(answer));
                Self::Grpc(server)
            }
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Grpc(server) => server.address(),
            Self::Http(server) => server.address,
        }
    }
}

/// A server of HTTP/1.1 that reads each request and then sends one constant body. It ends when dropped.
pub(crate) struct HttpServer {
    address: SocketAddr,
    last_body: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    fn start(body: &[u8]) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer: Arc<[u8]> = [head.as_bytes(), body].concat().into();
        let (last_body, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (last, stopped) = (last_body.clone(), stop.clone());
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(io::Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let (answer, last) = (answer.clone(), last.clone());
                // It ends when Envoy closes the connection, at the latest with Envoy; an error is a close.
                thread::spawn(move || serve(&stream, &answer, &last));
            }
        });
        Ok(Self { address, last_body, stop, thread: Some(thread) })
    }

    /// The length of the last request's body.
    pub(crate) fn last_body(&self) -> usize {
        self.last_body.load(Ordering::Relaxed)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The accept loop looks at the flag when a connection comes.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

fn serve(stream: &TcpStream, answer: &[u8], last_body: &AtomicUsize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(256 << 10, stream);
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().map_err(io::Error::other)?;
                }
                None if line == "\r\n" => break,
                _ => {}
            }
        }
        let read = io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        last_body.store(read as usize, Ordering::Relaxed);
        (&mut &*stream).write_all(answer)?;
    }
}
