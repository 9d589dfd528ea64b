//! HTTP/2 in clear text with prior knowledge, stream by stream, with blocking calls.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::answer::{Answer, End, Head, Headers};
use crate::error::Error;
use crate::request::{Body, Request};

/// Window of a stream and of the connection, in bytes, unless [`Connection::open_with_window`] says otherwise.
const WINDOW: u32 = 16 << 20;

/// A connection, on which any number of streams may run.
pub struct Connection {
    runtime: Runtime,
    client: SendRequest<Bytes>,
    patience: Duration,
}

/// One request and its answer.
pub struct Stream<'a> {
    connection: &'a Connection,
    send: SendStream<Bytes>,
    response: Response,
}

enum Response {
    Awaited(ResponseFuture),
    Body(RecvStream),
    Broken(End),
}

/// The next thing to come on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One DATA frame's payload.
    Data(Vec<u8>),
    /// The stream's end, with the trailers if there were any.
    End(Headers),
    /// It broke.
    Broken(End),
}

impl Connection {
    /// Connects. `patience` bounds every wait for the peer.
    ///
    /// # Errors
    /// If nothing listens there, or the server does not speak HTTP/2.
    pub fn open(address: SocketAddr, patience: Duration) -> Result<Self, Error> {
        Self::open_with_window(address, patience, WINDOW)
    }

    /// Connects with a receive window of `window` bytes: the peer may send that much before anything is read.
    ///
    /// # Errors
    /// If nothing listens there, or the server does not speak HTTP/2.
    pub fn open_with_window(address: SocketAddr, patience: Duration, window: u32) -> Result<Self, Error> {
        // One worker of its own drives the connection while the caller does other things.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_io()
            .enable_time()
            .build()
            .map_err(Error::io("start a runtime"))?;
        let client = runtime.block_on(async {
            let socket =
                TcpStream::connect(address).await.map_err(Error::io(format!("connect to {address}")))?;
            socket.set_nodelay(true).map_err(Error::io("set TCP_NODELAY"))?;
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(window).initial_connection_window_size(window);
            let (client, connection) =
                builder.handshake(socket).await.map_err(|e| Error::Protocol(format!("{address}: {e}")))?;
            tokio::spawn(async move {
                // Those that wait on one of its streams see the error.
                let _ = connection.await;
            });
            Ok(client)
        })?;
        Ok(Self { runtime, client, patience })
    }

    /// Begins a request: its head goes out, and ends the stream if `end`.
    ///
    /// # Errors
    /// If HTTP/2 forbids the head, or the connection takes no further streams.
    pub fn begin(&self, request: &Request, end: bool) -> Result<Stream<'_>, Error> {
        let uri = format!("http://{}{}", request.authority, request.path);
        let mut head = http::Request::builder()
            .method(request.method.as_str())
            .uri(uri)
            .body(())
            .map_err(|e| Error::Protocol(format!("request head: {e}")))?;
        *head.headers_mut() = to_map(&request.headers)?;
        if let Body::Length(pieces) = &request.body {
            let length: usize = pieces.iter().map(Vec::len).sum();
            head.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        }
        let ready = self.bounded(self.client.clone().ready());
        let mut client = match ready {
            Some(Ok(client)) => client,
            Some(Err(e)) => return Err(Error::Protocol(format!("no new stream: {e}"))),
            None => return Err(self.late("a new stream")),
        };
        let (response, send) =
            client.send_request(head, end).map_err(|e| Error::Protocol(format!("request head: {e}")))?;
        Ok(Stream { connection: self, send, response: Response::Awaited(response) })
    }

    /// Sends a whole request and reads the answer, however broken.
    ///
    /// # Errors
    /// If HTTP/2 forbids the head, or the connection takes no further streams.
    pub fn send(&self, request: &Request) -> Result<Answer, Error> {
        let pieces = match &request.body {
            Body::None => &[][..],
            Body::Length(pieces) | Body::Chunked(pieces) => pieces,
        };
        let no_body = request.body == Body::None && request.trailers.is_empty();
        let mut stream = self.begin(request, no_body)?;
        if no_body {
            return Ok(stream.answer());
        }
        for (i, piece) in pieces.iter().enumerate() {
            let last = i + 1 == pieces.len() && request.trailers.is_empty();
            if stream.data(piece, last).is_err() {
                // The server has answered, or given up, without reading everything.
                return Ok(stream.answer());
            }
        }
        if !request.trailers.is_empty() {
            // As above.
            let _ = stream.trailers(&request.trailers);
        } else if pieces.is_empty() {
            // As above.
            let _ = stream.data(b"", true);
        }
        Ok(stream.answer())
    }

    fn bounded<F: Future>(&self, future: F) -> Option<F::Output> {
        self.runtime.block_on(async { tokio::time::timeout(self.patience, future).await.ok() })
    }

    fn late(&self, what: &str) -> Error {
        Error::TimedOut { what: what.into(), bound: self.patience, log: String::new() }
    }
}

impl Stream<'_> {
    /// Sends `bytes` in as few DATA frames as the peer's limits allow, once its window has room.
    ///
    /// # Errors
    /// If the peer has reset the stream, or leaves no room in time.
    pub fn data(&mut self, bytes: &[u8], end: bool) -> Result<(), Error> {
        let mut bytes = Bytes::copy_from_slice(bytes);
        if bytes.is_empty() {
            return self.send.send_data(bytes, end).map_err(|e| Error::Protocol(format!("send data: {e}")));
        }
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            let capacity = self.connection.bounded(std::future::poll_fn(|cx| self.send.poll_capacity(cx)));
            let capacity = match capacity {
                Some(Some(Ok(capacity))) => capacity,
                Some(Some(Err(e))) => return Err(Error::Protocol(format!("send data: {e}"))),
                Some(None) => return Err(Error::Protocol("send data: the stream is closed".into())),
                None => return Err(self.connection.late("room in the peer's window")),
            };
            let chunk = bytes.split_to(capacity.min(bytes.len()));
            let last = end && bytes.is_empty();
            self.send.send_data(chunk, last).map_err(|e| Error::Protocol(format!("send data: {e}")))?;
        }
        Ok(())
    }

    /// Sends trailers, which end the request.
    ///
    /// # Errors
    /// If HTTP/2 forbids them, or the peer has reset the stream.
    pub fn trailers(&mut self, trailers: &Headers) -> Result<(), Error> {
        let trailers = to_map(trailers)?;
        self.send.send_trailers(trailers).map_err(|e| Error::Protocol(format!("send trailers: {e}")))
    }

    /// Gives up, with that code.
    pub fn reset(&mut self, code: u32) {
        self.send.send_reset(Reason::from(code));
    }

    /// Waits for the response head.
    ///
    /// # Errors
    /// How the stream ended instead.
    pub fn head(&mut self) -> Result<Head, End> {
        let Response::Awaited(response) = &mut self.response else { return Err(End::Complete) };
        match self.connection.bounded(response) {
            Some(Ok(response)) => {
                let (head, body) = response.into_parts();
                self.response = Response::Body(body);
                Ok(Head { status: head.status.as_u16(), headers: to_headers(&head.headers) })
            }
            Some(Err(e)) => {
                let end = end_of(&e);
                self.response = Response::Broken(end.clone());
                Err(end)
            }
            None => Err(End::TimedOut),
        }
    }

    /// Waits for what comes after the head.
    pub fn event(&mut self) -> Event {
        let body = match &mut self.response {
            Response::Body(body) => body,
            Response::Broken(end) => return Event::Broken(end.clone()),
            Response::Awaited(_) => match self.head() {
                Ok(_) => return self.event(),
                Err(end) => return Event::Broken(end),
            },
        };
        let next = self.connection.bounded(async {
            match body.data().await {
                Some(Ok(bytes)) => {
                    // It fails only on a stream that has just been reset, which the next call shows.
                    let _ = body.flow_control().release_capacity(bytes.len());
                    Ok(Event::Data(bytes.to_vec()))
                }
                Some(Err(e)) => Err(e),
                None => {
                    body.trailers().await.map(|t| Event::End(t.as_ref().map(to_headers).unwrap_or_default()))
                }
            }
        });
        match next {
            Some(Ok(event)) => event,
            Some(Err(e)) => {
                let end = end_of(&e);
                self.response = Response::Broken(end.clone());
                Event::Broken(end)
            }
            None => Event::Broken(End::TimedOut),
        }
    }

    /// Reads the whole answer. Interim responses are not shown.
    pub fn answer(&mut self) -> Answer {
        let mut answer = Answer::broken(End::Complete);
        match self.head() {
            Ok(head) => answer.head = Some(head),
            Err(end) => return Answer { end, ..answer },
        }
        loop {
            match self.event() {
                Event::Data(bytes) => answer.body.extend_from_slice(&bytes),
                Event::End(trailers) => return Answer { trailers, ..answer },
                Event::Broken(end) => return Answer { end, ..answer },
            }
        }
    }
}

fn end_of(error: &h2::Error) -> End {
    match error.reason() {
        Some(reason) if error.is_reset() => End::Reset(Some(reason.into())),
        _ => End::Closed,
    }
}

fn to_headers(map: &HeaderMap) -> Headers {
    map.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

fn to_map(headers: &Headers) -> Result<HeaderMap, Error> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let key = HeaderName::from_lowercase(name.as_bytes())
            .map_err(|e| Error::Protocol(format!("header name {name:?}: {e}")))?;
        let value = HeaderValue::from_bytes(value)
            .map_err(|e| Error::Protocol(format!("value of header {name}: {e}")))?;
        map.append(key, value);
    }
    Ok(map)
}
