//! An HTTP/1.1 server behind Envoy that answers with its name and records its requests.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::answer::Headers;
use crate::error::Error;

/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest head of a request, in bytes. Envoy lets through 60 KiB of headers.
const MAX_HEAD: usize = 128 * 1024;

/// A server. It is ended when dropped.
///
/// Each answer ends its connection; a body of the request with a content length is read and forgotten.
pub struct Workload {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    closing: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

/// Status, content type and body for a request.
type Answers = dyn Fn(&Seen) -> (u16, String, String) + Send + Sync;

/// A request as it reached a [`Workload`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Method and path with query, as in the request line.
    pub target: String,
    /// Its headers in the order they came, names in lower case.
    pub headers: Headers,
}

impl Seen {
    /// The values of all headers of that (lower-case) name, as text.
    pub fn all(&self, name: &str) -> Vec<String> {
        let of_name = self.headers.iter().filter(|(n, _)| n == name);
        of_name.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    fn parse(head: &[u8]) -> Option<Self> {
        let mut lines =
            head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let line = String::from_utf8_lossy(lines.next()?).into_owned();
        let target = line.strip_suffix(" HTTP/1.1").unwrap_or(&line).to_owned();
        let header = |line: &[u8]| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            Some((name, line[colon + 1..].trim_ascii().to_vec()))
        };
        Some(Self { target, headers: lines.filter_map(header).collect() })
    }
}

impl Workload {
    /// A server that answers `workload NAME`.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn start(name: &str) -> Result<Self, Error> {
        Self::start_on(name, (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// [`start`](Self::start) at an address, such as a pod's.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_on(name: &str, address: SocketAddr) -> Result<Self, Error> {
        let text = format!("workload {name}\n");
        Self::answering(address, move |_| (200, text.clone()))
    }

    /// A server that answers every request with the same document, such as an issuer's keys.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn serving(content_type: &str, document: &str) -> Result<Self, Error> {
        let (content_type, document) = (content_type.to_owned(), document.to_owned());
        let answer = move |_: &Seen| (200, content_type.clone(), document.clone());
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), answer)
    }

    /// A server that answers each request with the status and text that it is given for it.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn answering(
        address: SocketAddr,
        answer: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let listener = TcpListener::bind(address).map_err(Error::io(format!("listen on {address}")))?;
        Self::answering_on(listener, answer)
    }

    /// [`answering`](Self::answering) on a listener of the caller's own making.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn answering_on(
        listener: TcpListener,
        answer: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::on(listener, move |seen| {
            let (status, text) = answer(seen);
            (status, "text/plain".to_owned(), text)
        })
    }

    fn at(
        address: SocketAddr,
        answer: impl Fn(&Seen) -> (u16, String, String) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::on(TcpListener::bind(address).map_err(Error::io(format!("listen on {address}")))?, answer)
    }

    fn on(
        listener: TcpListener,
        answer: impl Fn(&Seen) -> (u16, String, String) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let address = listener.local_addr().map_err(Error::io("read a listener's address"))?;
        let answer: Arc<Answers> = Arc::new(answer);
        let (seen, closing) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let acceptor = {
            let (seen, closing) = (Arc::clone(&seen), Arc::clone(&closing));
            thread::spawn(move || accept(&listener, &answer, &seen, &closing))
        };
        Ok(Self { address, seen, closing, acceptor: Some(acceptor) })
    }

    /// Where it listens, on a port of the kernel's choice.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests so far. A request is recorded before it is answered.
    pub fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        // Wakes the thread that accepts; if that fails it has ended.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, answer: &Arc<Answers>, seen: &Arc<Mutex<Vec<Seen>>>, closing: &AtomicBool) {
    for stream in listener.incoming() {
        if closing.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let (seen, answer) = (Arc::clone(seen), Arc::clone(answer));
        // A client that goes away while it is answered does not concern this server.
        thread::spawn(move || serve(stream, &*answer, &seen));
    }
}

fn serve(mut stream: TcpStream, answer: &Answers, seen: &Mutex<Vec<Seen>>) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        let read = stream.read(&mut buffer).ok().filter(|&read| read > 0 && bytes.len() < MAX_HEAD)?;
        bytes.extend_from_slice(&buffer[..read]);
    };
    let request = Seen::parse(&bytes[..end])?;
    let length = request.all("content-length").first().and_then(|length| length.parse::<usize>().ok());
    let mut left = length.unwrap_or(0).saturating_sub(bytes.len() - end - 4);
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    while left > 0 {
        let read = stream.read(&mut buffer).ok().filter(|&read| read > 0)?;
        left = left.saturating_sub(read);
    }
    let (status, content_type, body) = answer(&request);
    let head = format!(
        "HTTP/1.1 {status} \r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Protocol, Request, send};

    #[test]
    fn a_workload_says_its_name_and_keeps_what_it_was_asked() {
        let workload = Workload::start("one").unwrap();
        let request = Request::post("/a?b=c", "body").header("X-Twice", "1").header("x-twice", b"\xff");
        let answer = send(Protocol::Http1, workload.address(), &request).unwrap().complete().unwrap();
        assert_eq!((answer.status(), answer.text()), (200, "workload one\n".to_owned()));
        let [seen] = &workload.requests()[..] else { panic!("one request") };
        assert_eq!(
            (seen.target.as_str(), seen.all("x-twice")),
            ("POST /a?b=c", vec!["1".to_owned(), "\u{fffd}".to_owned()])
        );
        assert_eq!(seen.all("host"), ["test.local"]);
    }

    #[test]
    fn a_server_can_answer_by_what_it_was_asked() {
        let loopback = (Ipv4Addr::LOCALHOST, 0).into();
        let answer = |seen: &Seen| (403, format!("{:?}", seen.all("x-user")));
        let server = Workload::answering(loopback, answer).unwrap();
        let request = Request::get("/").header("x-user", "a");
        let answer = send(Protocol::Http1, server.address(), &request).unwrap().complete().unwrap();
        assert_eq!((answer.status(), answer.text()), (403, r#"["a"]"#.to_owned()));
    }
}
