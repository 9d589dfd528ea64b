//! HTTP/1.1 by hand, so that what is sent is exactly what was asked for, and a broken answer shows as one.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use httparse::Status;

use crate::answer::{Answer, End, Head, Headers};
use crate::error::Error;
use crate::request::{Body, Request};

/// How many headers a message may have.
const HEADERS: usize = 256;

/// A connection.
pub struct Connection {
    stream: TcpStream,
    /// Read and not yet used.
    buffer: Vec<u8>,
}

/// Why reading stopped.
type Stop = End;

impl Connection {
    /// Connects. `patience` bounds every single read and write.
    ///
    /// # Errors
    /// If nothing listens there.
    pub fn open(address: SocketAddr, patience: Duration) -> Result<Self, Error> {
        let stream = TcpStream::connect_timeout(&address, patience)
            .map_err(Error::io(format!("connect to {address}")))?;
        stream.set_nodelay(true).map_err(Error::io("set TCP_NODELAY"))?;
        stream.set_read_timeout(Some(patience)).map_err(Error::io("set a read timeout"))?;
        stream.set_write_timeout(Some(patience)).map_err(Error::io("set a write timeout"))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// If the peer has stopped reading.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).map_err(Error::io("write to the connection"))
    }

    /// Ends the sending side; the receiving side stays open.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn finish_writing(&mut self) -> Result<(), Error> {
        self.stream.shutdown(Shutdown::Write).map_err(Error::io("shut down the sending side"))
    }

    /// Sends a whole request and reads the answer while doing so. With `expect: 100-continue` the body is sent
    /// once the server asks for it, and not at all if it answers otherwise.
    ///
    /// # Errors
    /// If the head cannot be written. A body that the server does not take is not an error: the answer says why.
    pub fn send(&mut self, request: &Request) -> Result<Answer, Error> {
        self.write(&head_bytes(request)?)?;
        let mut interim = Vec::new();
        if request.headers.iter().any(|(n, v)| n.eq_ignore_ascii_case("expect") && v == b"100-continue") {
            match self.read_head() {
                Ok(head) if head.status == 100 => interim.push(head),
                Ok(head) => return Ok(self.rest(&request.method, interim, head)),
                Err(end) => return Ok(Answer::broken(end)),
            }
        }
        let writer = self.stream.try_clone().map_err(Error::io("clone a socket"))?;
        thread::scope(|scope| {
            scope.spawn(move || {
                // The server may answer, and close, before it has read everything. What it says is read below.
                let _ = write_body(writer, request);
            });
            Ok(self.read_after(&request.method, interim))
        })
    }

    /// Sends a request's head and the first `bytes` of its body, and nothing more.
    ///
    /// # Errors
    /// If the head cannot be written, or the peer has stopped reading.
    pub fn send_part(&mut self, request: &Request, bytes: usize) -> Result<(), Error> {
        let mut part = head_bytes(request)?;
        let (pieces, chunked) = match &request.body {
            Body::None => (&[][..], false),
            Body::Length(pieces) => (&pieces[..], false),
            Body::Chunked(pieces) => (&pieces[..], true),
        };
        let mut left = bytes;
        for piece in pieces {
            if chunked {
                part.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            }
            part.extend_from_slice(&piece[..left.min(piece.len())]);
            if left < piece.len() {
                break;
            }
            left -= piece.len();
            if chunked {
                part.extend_from_slice(b"\r\n");
            }
        }
        self.write(&part)
    }

    /// Reads one answer to a request of that method.
    pub fn read_answer(&mut self, method: &str) -> Answer {
        self.read_after(method, Vec::new())
    }

    /// Reads one head, 1xx ones too, and nothing of what follows.
    ///
    /// # Errors
    /// How the connection ended instead.
    pub fn read_head(&mut self) -> Result<Head, End> {
        self.read(|bytes| {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            let Status::Complete(length) = response.parse(bytes)? else { return Ok(Status::Partial) };
            let head =
                Head { status: response.code.unwrap_or_default(), headers: to_headers(response.headers) };
            Ok(Status::Complete((length, head)))
        })
    }

    /// Reads body bytes until at least `len` are there, and returns all that are. Transfer coding is left in.
    ///
    /// # Errors
    /// How the connection ended instead.
    pub fn read_at_least(&mut self, len: usize) -> Result<Vec<u8>, End> {
        while self.buffer.len() < len {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    fn read_after(&mut self, method: &str, mut interim: Vec<Head>) -> Answer {
        loop {
            match self.read_head() {
                Ok(head) if head.status / 100 == 1 => interim.push(head),
                Ok(head) => return self.rest(method, interim, head),
                Err(end) => return Answer { interim, ..Answer::broken(end) },
            }
        }
    }

    fn rest(&mut self, method: &str, interim: Vec<Head>, head: Head) -> Answer {
        let mut answer = Answer { interim, ..Answer::broken(End::Complete) };
        answer.end =
            self.body(method, &head, &mut answer.body, &mut answer.trailers).err().unwrap_or(End::Complete);
        answer.head = Some(head);
        answer
    }

    fn body(
        &mut self,
        method: &str,
        head: &Head,
        body: &mut Vec<u8>,
        trailers: &mut Headers,
    ) -> Result<(), Stop> {
        if method == "HEAD" || matches!(head.status, 204 | 304) {
            return Ok(());
        }
        let chunked = head.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case(b"chunked"));
        if chunked {
            return self.chunks(body, trailers);
        }
        match head.header("content-length") {
            Some(length) => {
                let length =
                    std::str::from_utf8(length).ok().and_then(|v| v.parse().ok()).ok_or(End::Closed)?;
                self.take(length, body)
            }
            // Delimited by the connection's end, which therefore is the answer's.
            None => loop {
                body.append(&mut self.buffer);
                match self.fill() {
                    Ok(()) => {}
                    Err(End::Closed) => return Ok(()),
                    Err(other) => return Err(other),
                }
            },
        }
    }

    fn chunks(&mut self, body: &mut Vec<u8>, trailers: &mut Headers) -> Result<(), Stop> {
        loop {
            let size =
                self.read(|bytes| httparse::parse_chunk_size(bytes).map_err(|_| httparse::Error::Token))?;
            if size == 0 {
                *trailers = self.read(|bytes| {
                    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
                    let parsed = httparse::parse_headers(bytes, &mut headers)?;
                    let Status::Complete((length, headers)) = parsed else { return Ok(Status::Partial) };
                    Ok(Status::Complete((length, to_headers(headers))))
                })?;
                return Ok(());
            }
            self.take(usize::try_from(size).map_err(|_| End::Closed)?, body)?;
            self.take(b"\r\n".len(), &mut Vec::new())?;
        }
    }

    /// Reads on until `parse` has what it needs, and uses the bytes that it counts up.
    fn read<T>(&mut self, parse: impl Fn(&[u8]) -> httparse::Result<(usize, T)>) -> Result<T, Stop> {
        loop {
            match parse(&self.buffer) {
                Ok(Status::Complete((length, parsed))) => {
                    self.buffer.drain(..length);
                    return Ok(parsed);
                }
                Ok(Status::Partial) => self.fill()?,
                Err(_) => return Err(End::Closed),
            }
        }
    }

    /// Moves `len` bytes to `out`, or as many as come.
    fn take(&mut self, mut len: usize, out: &mut Vec<u8>) -> Result<(), Stop> {
        loop {
            let n = len.min(self.buffer.len());
            out.extend_from_slice(&self.buffer[..n]);
            self.buffer.drain(..n);
            len -= n;
            if len == 0 {
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Stop> {
        let mut chunk = vec![0; 256 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(End::Closed),
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
            Err(e) => Err(match e.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => End::TimedOut,
                io::ErrorKind::ConnectionReset => End::Reset(None),
                _ => End::Closed,
            }),
        }
    }
}

fn head_bytes(request: &Request) -> Result<Vec<u8>, Error> {
    let mut out = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.path, request.authority)
        .into_bytes();
    match &request.body {
        Body::None if request.trailers.is_empty() => {}
        Body::Chunked(_) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Body::Length(pieces) if request.trailers.is_empty() => {
            let length: usize = pieces.iter().map(Vec::len).sum();
            out.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        }
        Body::None | Body::Length(_) => {
            return Err(Error::Protocol("HTTP/1.1 carries trailers after a chunked body only".into()));
        }
    }
    put_headers(&mut out, &request.headers);
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

fn write_body(mut stream: TcpStream, request: &Request) -> io::Result<()> {
    match &request.body {
        Body::None => Ok(()),
        Body::Length(pieces) => pieces.iter().try_for_each(|piece| stream.write_all(piece)),
        Body::Chunked(pieces) => {
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
                chunk.extend_from_slice(piece);
                chunk.extend_from_slice(b"\r\n");
                stream.write_all(&chunk)?;
            }
            let mut last = b"0\r\n".to_vec();
            put_headers(&mut last, &request.trailers);
            last.extend_from_slice(b"\r\n");
            stream.write_all(&last)
        }
    }
}

fn put_headers(out: &mut Vec<u8>, headers: &Headers) {
    for (name, value) in headers {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

fn to_headers(headers: &[httparse::Header<'_>]) -> Headers {
    let header = |header: &httparse::Header<'_>| (header.name.to_ascii_lowercase(), header.value.to_vec());
    headers.iter().map(header).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// An answer to a GET from a peer that writes `bytes` and then does `last`.
    fn answer(bytes: &'static [u8], last: impl FnOnce(TcpStream) + Send + 'static) -> Answer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let peer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].ends_with(b"\r\n\r\n"));
            stream.write_all(bytes).unwrap();
            last(stream);
        });
        let answer = Connection::open(address, PATIENCE).unwrap().send(&Request::get("/")).unwrap();
        peer.join().unwrap();
        answer
    }

    #[test]
    fn a_length_a_last_chunk_and_a_close_each_complete_an_answer() {
        let by_length = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Odd: \xff\r\n\r\nhi", drop);
        assert_eq!((by_length.end, by_length.body), (End::Complete, b"hi".to_vec()));
        assert_eq!(by_length.head.unwrap().header("x-odd"), Some(&b"\xff"[..]));

        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\nX-T: 1\r\n\r\n";
        let by_chunk = answer(chunked, drop);
        assert_eq!((&by_chunk.end, &by_chunk.body), (&End::Complete, &b"hi".to_vec()));
        assert_eq!(by_chunk.trailer("x-t"), Some(&b"1"[..]));

        let by_close = answer(b"HTTP/1.1 200 OK\r\n\r\nhi", drop);
        assert_eq!((by_close.end, by_close.body), (End::Complete, b"hi".to_vec()));
    }

    #[test]
    fn a_cut_answer_shows_as_closed_wherever_it_is_cut() {
        for cut in [
            &b"HTTP/1.1 200 OK\r\nContent-Le"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhi",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
        ] {
            let answer = answer(cut, drop);
            assert_eq!(answer.end, End::Closed, "{:?}", String::from_utf8_lossy(cut));
            assert!(answer.complete().is_err());
        }
    }

    #[test]
    fn interim_answers_are_kept_apart() {
        let answer = answer(b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", drop);
        assert_eq!(answer.interim[0].status, 103);
        assert_eq!((answer.status(), answer.end), (204, End::Complete));
    }

    #[test]
    fn a_silent_peer_is_told_from_a_closed_one() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Connection::open(address, Duration::from_millis(50)).unwrap().send(&Request::get("/"));
        assert_eq!(answer.unwrap().end, End::TimedOut);
    }
}
