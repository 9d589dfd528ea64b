//! Plays a script for one request.

use std::future::poll_fn;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::frames::{Frames, Sent};
use crate::script::{Headers, Script, Step};

/// What a played request tells as it goes on.
pub(crate) trait Observer {
    /// More body bytes.
    fn body(&self, bytes: &[u8]);
    /// The request ended, perhaps with trailers.
    fn ended(&self, trailers: Option<Headers>);
    /// The peer reset the stream, or the connection ended.
    fn reset(&self, code: u32);
}

/// Why playing stopped before the script's end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The peer gave up; the observer was told.
    Peer,
    /// The script asks for what HTTP/2 forbids.
    Fault(String),
    /// The script asks for the connection to be closed.
    HangUp,
}

/// One request being answered.
pub(crate) struct Exchange<'a, O> {
    pub(crate) request: RecvStream,
    pub(crate) respond: SendResponse<Bytes>,
    pub(crate) frames: Frames,
    pub(crate) observer: &'a O,
    pub(crate) read: usize,
    stream: Option<SendStream<Bytes>>,
    sent: Sent,
}

impl<'a, O: Observer> Exchange<'a, O> {
    pub(crate) fn new(
        request: RecvStream,
        respond: SendResponse<Bytes>,
        frames: Frames,
        observer: &'a O,
    ) -> Self {
        Self { request, respond, frames, observer, read: 0, stream: None, sent: Sent::default() }
    }

    pub(crate) async fn play(&mut self, script: Script) -> Result<(), Stopped> {
        for step in script.steps {
            self.step(step).await?;
        }
        Ok(())
    }

    /// Reads the request until its end or `at_least` body bytes.
    pub(crate) async fn read(&mut self, at_least: usize) -> Result<(), Stopped> {
        while self.read < at_least {
            match self.request.data().await {
                Some(Ok(bytes)) => {
                    self.read += bytes.len();
                    self.observer.body(&bytes);
                    self.request.flow_control().release_capacity(bytes.len()).map_err(|e| self.gone(&e))?;
                }
                Some(Err(e)) => return Err(self.gone(&e)),
                None => {
                    let trailers = self.request.trailers().await.map_err(|e| self.gone(&e))?;
                    self.observer.ended(trailers.as_ref().map(to_headers));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), Stopped> {
        match step {
            Step::ReadRequest => self.read(usize::MAX).await,
            Step::ReadAtLeast(bytes) => self.read(bytes).await,
            Step::Headers { status, headers, end } => {
                let mut response = Response::new(());
                *response.status_mut() = StatusCode::from_u16(status)
                    .map_err(|e| Stopped::Fault(format!("status {status}: {e}")))?;
                *response.headers_mut() = to_map(&headers)?;
                let stream = self.respond.send_response(response, end).map_err(|e| self.refused(&e))?;
                self.stream = Some(stream);
                self.sent.headers += 1;
                Ok(())
            }
            Step::Data { bytes, end } => self.data(Bytes::from(bytes), end).await,
            Step::Repeat { bytes, times } => {
                let bytes = Bytes::from(bytes);
                for _ in 0..times {
                    self.data(bytes.clone(), false).await?;
                }
                Ok(())
            }
            Step::Trailers(headers) => {
                let trailers = to_map(&headers)?;
                let sent = self.stream()?.send_trailers(trailers);
                sent.map_err(|e| self.refused(&e))
            }
            Step::Wait(gate) => tokio::select! {
                () = gate.pass() => Ok(()),
                code = peer_reset(&mut self.respond, self.stream.as_mut()) => Err(self.peer(code)),
            },
            Step::Pause(duration) => tokio::select! {
                () = tokio::time::sleep(duration) => Ok(()),
                code = peer_reset(&mut self.respond, self.stream.as_mut()) => Err(self.peer(code)),
            },
            Step::Reset(code) => {
                self.flushed().await;
                match &mut self.stream {
                    Some(stream) => stream.send_reset(Reason::from(code)),
                    None => self.respond.send_reset(Reason::from(code)),
                }
                Ok(())
            }
            Step::HangUp => {
                self.flushed().await;
                Err(Stopped::HangUp)
            }
            Step::Never => {
                let code = peer_reset(&mut self.respond, self.stream.as_mut()).await;
                Err(self.peer(code))
            }
        }
    }

    async fn data(&mut self, mut bytes: Bytes, end: bool) -> Result<(), Stopped> {
        if bytes.is_empty() {
            let sent = self.stream()?.send_data(bytes, end);
            return sent.map_err(|e| self.refused(&e));
        }
        while !bytes.is_empty() {
            let stream = self.stream()?;
            stream.reserve_capacity(bytes.len());
            let capacity = match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(capacity)) => capacity,
                Some(Err(e)) => return Err(self.gone(&e)),
                None => return Err(self.peer(Reason::CANCEL.into())),
            };
            let chunk = bytes.split_to(capacity.min(bytes.len()));
            let len = chunk.len();
            let sent = self.stream()?.send_data(chunk, end && bytes.is_empty());
            sent.map_err(|e| self.refused(&e))?;
            self.sent.data += len;
        }
        Ok(())
    }

    /// Waits until everything sent is on the wire.
    async fn flushed(&self) {
        self.frames.wait_for(self.respond.stream_id().as_u32(), self.sent).await;
    }

    fn stream(&mut self) -> Result<&mut SendStream<Bytes>, Stopped> {
        self.stream.as_mut().ok_or_else(|| Stopped::Fault("data or trailers before headers".into()))
    }

    fn peer(&self, code: u32) -> Stopped {
        self.observer.reset(code);
        Stopped::Peer
    }

    fn gone(&self, e: &h2::Error) -> Stopped {
        self.peer(e.reason().map_or(Reason::CANCEL.into(), Into::into))
    }

    /// An error from sending: the peer's doing if it reset the stream, else the script's.
    fn refused(&self, e: &h2::Error) -> Stopped {
        if e.is_remote() || e.is_io() || e.is_reset() {
            self.gone(e)
        } else if e.to_string().contains("inactive") {
            // The stream is closed already: the peer was quicker than the script.
            self.peer(Reason::CANCEL.into())
        } else {
            Stopped::Fault(e.to_string())
        }
    }
}

/// Resolves when the peer resets the stream or the connection ends.
async fn peer_reset(respond: &mut SendResponse<Bytes>, stream: Option<&mut SendStream<Bytes>>) -> u32 {
    let result = match stream {
        Some(stream) => poll_fn(|cx| stream.poll_reset(cx)).await,
        None => poll_fn(|cx| respond.poll_reset(cx)).await,
    };
    match result {
        Ok(reason) => reason.into(),
        Err(e) => e.reason().map_or(Reason::CANCEL.into(), Into::into),
    }
}

/// Header fields in our form.
pub(crate) fn to_headers(map: &HeaderMap) -> Headers {
    map.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

/// Header fields in h2's form.
pub(crate) fn to_map(headers: &Headers) -> Result<HeaderMap, Stopped> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let key = HeaderName::from_lowercase(name.as_bytes())
            .map_err(|e| Stopped::Fault(format!("header name {name:?}: {e}")))?;
        let value = HeaderValue::from_bytes(value)
            .map_err(|e| Stopped::Fault(format!("value of header {name}: {e}")))?;
        map.append(key, value);
    }
    Ok(map)
}
