//! A client on a connection that stays open, cheap enough not to be what is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;
use crate::bootstrap::CLUSTER_HEADER;
use crate::column::Column;
use crate::exchange::{Exchange, JSON_LENGTH, JSON_PATH};

/// How long a single read or write may take.
const PATIENCE: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 256 << 10;

/// A request as it goes on the wire.
pub(crate) enum Prepared {
    Http(Vec<u8>),
    Grpc(e2e::Request),
}

impl Prepared {
    /// The request of `exchange`, to be answered by `cluster`.
    pub(crate) fn new(column: Column, exchange: &Exchange, cluster: &str) -> Self {
        if column == Column::Grpc {
            let request = e2e::Request::grpc(kserve_proto::MODEL_INFER, &exchange.body);
            return Self::Grpc(request.header(CLUSTER_HEADER, cluster).patience(PATIENCE));
        }
        let mut bytes = format!(
            "POST {JSON_PATH} HTTP/1.1\r\nhost: bench\r\n{CLUSTER_HEADER}: {cluster}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n",
            exchange.body.len()
        );
        for (name, value) in &exchange.headers {
            bytes += &format!("{name}: {value}\r\n");
        }
        bytes += "\r\n";
        Self::Http([bytes.into_bytes(), exchange.body.clone()].concat())
    }
}

/// A good answer.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// The value of `Inference-Header-Content-Length`.
    pub(crate) json_length: Option<usize>,
    /// The body; for gRPC with its frame.
    pub(crate) body: Vec<u8>,
}

/// A connection to Envoy.
pub(crate) enum Client {
    Http(Http),
    Grpc(e2e::h2c::Connection),
}

impl Client {
    /// Connects in the protocol that `column` needs.
    pub(crate) fn open(column: Column, address: SocketAddr) -> Result<Self> {
        Ok(match column {
            Column::Grpc => Self::Grpc(e2e::h2c::Connection::open(address, PATIENCE)?),
            _ => Self::Http(Http::open(address)?),
        })
    }

    /// Sends a request and reads the answer into `reply`. Any answer but a good one is an error.
    pub(crate) fn exchange(&mut self, request: &Prepared, reply: &mut Reply) -> Result<()> {
        match (self, request) {
            (Self::Http(http), Prepared::Http(bytes)) => http.exchange(bytes, reply),
            (Self::Grpc(connection), Prepared::Grpc(request)) => {
                let answer = connection.send(request)?.complete()?;
                let status = answer.trailer("grpc-status").or_else(|| answer.header("grpc-status"));
                if answer.status() != 200 || status != Some(b"0") {
                    return Err(format!("{} with grpc-status {status:?}", answer.status()).into());
                }
                *reply = Reply { json_length: None, body: answer.body };
                Ok(())
            }
            _ => Err("a request of the other protocol".into()),
        }
    }
}

/// HTTP/1.1 with keep-alive. It writes the whole request before it reads, which is right for servers that answer
/// after they have read; one that answers a large request early may show as a broken pipe.
pub(crate) struct Http {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What of the buffer is filled and not yet used.
    filled: std::ops::Range<usize>,
}

impl Http {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: vec![0; READ_BYTES], filled: 0..0 })
    }

    fn exchange(&mut self, request: &[u8], reply: &mut Reply) -> Result<()> {
        self.stream.write_all(request).map_err(|e| format!("write the request: {e}"))?;
        let (mut status, mut length, mut chunked) = (0, None, false);
        reply.json_length = None;
        reply.body.clear();
        let mut line = String::new();
        loop {
            self.line(&mut line)?;
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
            } else if line.is_empty() {
                break;
            } else if let Some((name, value)) = line.split_once(':') {
                let value = value.trim();
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.parse().ok(),
                    "transfer-encoding" => chunked = value == "chunked",
                    JSON_LENGTH => reply.json_length = value.parse().ok(),
                    _ => {}
                }
            }
        }
        match length {
            Some(length) => self.take(length, &mut reply.body)?,
            None if chunked => self.chunks(&mut line, &mut reply.body)?,
            None => return Err(format!("status {status} with a body of no known length").into()),
        }
        if status != 200 {
            let text = String::from_utf8_lossy(&reply.body[..reply.body.len().min(500)]).into_owned();
            return Err(format!("status {status}: {text}").into());
        }
        Ok(())
    }

    fn chunks(&mut self, line: &mut String, body: &mut Vec<u8>) -> Result<()> {
        loop {
            self.line(line)?;
            let size = usize::from_str_radix(line, 16).map_err(|e| format!("chunk size {line:?}: {e}"))?;
            if size == 0 {
                while !line.is_empty() {
                    self.line(line)?;
                }
                return Ok(());
            }
            self.take(size, body)?;
            self.line(line)?;
        }
    }

    /// Reads a line, without its end.
    fn line(&mut self, line: &mut String) -> Result<()> {
        let mut bytes = Vec::new();
        loop {
            let unread = &self.buffer[self.filled.clone()];
            if let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
                bytes.extend_from_slice(&unread[..end]);
                self.filled.start += end + 1;
                line.clear();
                line.push_str(String::from_utf8_lossy(&bytes).trim_end_matches('\r'));
                return Ok(());
            }
            bytes.extend_from_slice(unread);
            self.fill()?;
        }
    }

    /// Moves `length` bytes to `out`.
    fn take(&mut self, mut length: usize, out: &mut Vec<u8>) -> Result<()> {
        loop {
            let step = length.min(self.filled.len());
            out.extend_from_slice(&self.buffer[self.filled.start..self.filled.start + step]);
            self.filled.start += step;
            length -= step;
            if length == 0 {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Reads on, once everything filled has been used.
    fn fill(&mut self) -> Result<()> {
        let read = self.stream.read(&mut self.buffer).map_err(|e| format!("read the answer: {e}"))?;
        self.filled = 0..read;
        if read == 0 { Err("the connection was closed within an answer".into()) } else { Ok(()) }
    }
}
