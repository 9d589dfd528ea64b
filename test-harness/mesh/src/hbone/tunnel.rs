//! A loopback port that leads through a waypoint.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use http::uri::Authority;
use http::{Method, Request, Uri};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::connection::Connection;
use super::{Identity, tls};

/// How long a waypoint may take to answer CONNECT.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a tunnel that is dropped may take to end.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait for file descriptors when there are none left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// How much is read from a client at a time, in bytes: what one DATA frame holds.
const CHUNK: usize = 16 << 10;

/// A listener on loopback, each of whose connections is one CONNECT stream to a waypoint, all of them on one TLS
/// connection. If that has gone away, the next client gets a new one. It ends, with its connections, when dropped.
pub struct Tunnel {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: AbortHandle,
    /// Hangs up when nothing listens any more.
    ended: Mutex<Receiver<()>>,
}

struct Shared {
    waypoint: SocketAddr,
    authority: Authority,
    source: IpAddr,
    tls: Arc<ClientConfig>,
    current: tokio::sync::Mutex<Option<Arc<Connection>>>,
    seen: Mutex<Seen>,
}

/// What says that it has ended, after it has: fields are dropped in order.
struct Listening {
    listener: TcpListener,
    _ending: Sender<()>,
}

/// What has been noticed.
#[derive(Default)]
struct Seen {
    refusals: Vec<u16>,
    failures: Vec<String>,
    peer: Option<String>,
    connections: usize,
}

/// What CONNECT was answered with by 200.
struct Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// Held for as long as the stream, also when another has taken its place.
    _connection: Arc<Connection>,
}

/// Why a client got no stream.
enum Closed {
    /// The answer to CONNECT was this status.
    Refused(u16),
    /// There was no answer.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Closed {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl Tunnel {
    /// Connects to `waypoint` (port 15008) from the address `source`, as `identity`, and listens on a free loopback port
    /// for clients of `authority`: the `VIP:PORT` of a Service.
    ///
    /// # Errors
    /// If the waypoint cannot be reached, its certificate is not vouched for, or it refuses this identity's
    /// certificate.
    pub fn open(
        handle: &Handle,
        waypoint: SocketAddr,
        authority: &str,
        identity: &Identity,
        source: IpAddr,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            waypoint,
            authority: authority.parse().with_context(|| format!("authority {authority:?}"))?,
            source,
            tls: Arc::new(tls::to_waypoint(identity)?),
            current: tokio::sync::Mutex::default(),
            seen: Mutex::default(),
        });
        let listener = handle.block_on(async {
            shared.connection(None).await?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen on loopback")
        });
        let listener = listener.with_context(|| format!("tunnel to {authority}"))?;
        let address = listener.local_addr().context("read a listener's address")?;
        let (ending, ended) = channel();
        let listening = Listening { listener, _ending: ending };
        let acceptor = handle.spawn(accept(listening, Arc::clone(&shared))).abort_handle();
        Ok(Self { address, shared, acceptor, ended: ended.into() })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The SPIFFE id in the waypoint's certificate, of the newest connection; `None` if it names none.
    pub fn peer(&self) -> Option<String> {
        self.shared.seen().peer.clone()
    }

    /// The statuses other than 200 with which CONNECT was answered, oldest first.
    pub fn refusals(&self) -> Vec<u16> {
        self.shared.seen().refusals.clone()
    }

    /// Why CONNECT was not answered at all, oldest first.
    pub fn failures(&self) -> Vec<String> {
        self.shared.seen().failures.clone()
    }

    /// How many TLS connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.seen().connections
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.acceptor.abort();
        // It never receives; either it has hung up or the runtime has stalled.
        let _ = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(END_WITHIN);
    }
}

/// Serves clients until it is aborted, which ends them too.
async fn accept(listening: Listening, shared: Arc<Shared>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listening.listener.accept() => match accepted {
                Ok((client, _)) => {
                    clients.spawn(Arc::clone(&shared).serve(client));
                }
                Err(error) => {
                    shared.seen().failures.push(format!("accept a client: {error}"));
                    sleep(ACCEPT_AGAIN).await;
                }
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>, client: TcpStream) {
        match self.stream().await {
            Ok(stream) => pipe(client, stream).await,
            Err(Closed::Refused(status)) => self.seen().refusals.push(status),
            Err(Closed::Failed(error)) => self.seen().failures.push(format!("{error:#}")),
        }
    }

    async fn stream(&self) -> Result<Stream, Closed> {
        let stream = timeout(ANSWER_WITHIN, self.stream_on_any_connection()).await;
        stream.unwrap_or_else(|_| Err(anyhow!("no answer to CONNECT within {ANSWER_WITHIN:?}").into()))
    }

    /// That a connection had gone away may show only here: then there is a second attempt, on a new one.
    async fn stream_on_any_connection(&self) -> Result<Stream, Closed> {
        let mut connection = self.connection(None).await?;
        let mut answer = self.connect(&connection).await;
        if answer.as_ref().is_err_and(|error| error.is_io() || error.is_go_away()) {
            connection = self.connection(Some(&connection)).await?;
            answer = self.connect(&connection).await;
        }
        match answer.with_context(|| format!("CONNECT {}", self.authority))? {
            (200, send, receive) => Ok(Stream { send, receive, _connection: connection }),
            (status, ..) => Err(Closed::Refused(status)),
        }
    }

    /// The connection that streams share: a new one if there is none, or if it has ended or is the one that is `stale`.
    async fn connection(&self, stale: Option<&Arc<Connection>>) -> Result<Arc<Connection>> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current
            && connection.is_alive()
            && !stale.is_some_and(|stale| Arc::ptr_eq(stale, connection))
        {
            return Ok(Arc::clone(connection));
        }
        let name = ServerName::from(self.waypoint.ip());
        let connection = Arc::new(Connection::open(self.waypoint, Some(self.source), name, &self.tls).await?);
        let mut seen = self.seen();
        seen.peer = connection.peer().map(str::to_owned);
        seen.connections += 1;
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Asks for a stream, and waits for the answer.
    async fn connect(
        &self,
        connection: &Connection,
    ) -> Result<(u16, SendStream<Bytes>, RecvStream), h2::Error> {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = Uri::from(self.authority.clone());
        let mut client = connection.client().ready().await?;
        let (response, send) = client.send_request(request, false)?;
        let (head, receive) = response.await?.into_parts();
        Ok((head.status.as_u16(), send, receive))
    }
}

/// Carries bytes both ways, each at the pace of its reader, until both directions have ended. What breaks one breaks the
/// client's connection.
async fn pipe(mut client: TcpStream, mut stream: Stream) {
    // It fails only if the client has gone, which shows below.
    let _ = client.set_nodelay(true);
    let (mut from, mut to) = client.split();
    let carried = tokio::try_join!(up(&mut from, &mut stream.send), down(&mut stream.receive, &mut to));
    if carried.is_err() {
        stream.send.send_reset(Reason::CANCEL);
        // Closed so, the client's connection is reset: what was cut off doesn't look whole. As above.
        let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
    }
}

/// What the client says, for as long as the peer wants it: why that ends, [`down`] says.
async fn up(from: &mut ReadHalf<'_>, send: &mut SendStream<Bytes>) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let read = tokio::select! {
            read = from.read_buf(&mut buffer) => read?,
            _ = poll_fn(|context| send.poll_reset(context)) => return Ok(()),
        };
        if read == 0 {
            // It fails only after a reset.
            let _ = send.send_data(Bytes::new(), true);
            return Ok(());
        }
        // Window is taken only for bytes that are there: what idle streams held, the others would lack.
        let mut data = buffer.split().freeze();
        while !data.is_empty() {
            send.reserve_capacity(data.len());
            let window = poll_fn(|context| send.poll_capacity(context)).await;
            let Some(Ok(window)) = window else { return Ok(()) };
            if send.send_data(data.split_to(window.min(data.len())), false).is_err() {
                return Ok(());
            }
        }
    }
}

/// What the client hears. A reset after the stream's end, which Envoy sends when a pod ended first, is not an error.
async fn down(receive: &mut RecvStream, to: &mut WriteHalf<'_>) -> io::Result<()> {
    while let Some(data) = receive.data().await {
        let data = data.map_err(io::Error::other)?;
        to.write_all(&data).await?;
        receive.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
    }
    to.shutdown().await
}
