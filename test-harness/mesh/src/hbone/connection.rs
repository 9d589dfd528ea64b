//! HTTP/2 over TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::tls::spiffe_id;

/// How long it may take to connect, agree on TLS and hear from the peer.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// What a peer may send on one stream before it is read, in bytes: Envoy's own default. When what is behind it ends first,
/// Envoy sends what the window holds, resets the stream, and loses the rest.
const STREAM_WINDOW: u32 = 16 << 20;
/// The same for all streams together, so that many stalled ones don't stop the others.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// A connection whose peer has answered. It is closed when dropped.
pub(super) struct Connection {
    client: SendRequest<Bytes>,
    peer: Option<String>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl Connection {
    /// Connects to `target`, from `source` if that is given, and waits for the peer's answer to a ping: under TLS 1.3
    /// a certificate is refused only after the client's own handshake has ended.
    pub(super) async fn open(
        target: SocketAddr,
        source: Option<IpAddr>,
        name: ServerName<'static>,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self> {
        let opened = timeout(OPEN_WITHIN, Self::open_unbounded(target, source, name, tls)).await;
        let opened = opened.unwrap_or_else(|_| Err(anyhow!("no answer within {OPEN_WITHIN:?}")));
        opened.with_context(|| format!("connect to {target}"))
    }

    async fn open_unbounded(
        target: SocketAddr,
        source: Option<IpAddr>,
        name: ServerName<'static>,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self> {
        let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.context("make a socket")?;
        if let Some(source) = source {
            socket.bind((source, 0).into()).with_context(|| format!("bind to {source}"))?;
        }
        let socket = socket.connect(target).await.context("TCP")?;
        socket.set_nodelay(true).context("set TCP_NODELAY")?;
        let socket = TlsConnector::from(Arc::clone(tls)).connect(name, socket).await.context("TLS")?;
        let peer = socket.get_ref().1.peer_certificates().and_then(|chain| spiffe_id(chain.first()?));

        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let (client, mut connection) = builder.handshake(socket).await.context("HTTP/2")?;
        let ping_pong = connection.ping_pong();
        let mut opened = Self { client, peer, driver: tokio::spawn(connection) };
        opened.hear_from_peer(ping_pong).await?;
        Ok(opened)
    }

    async fn hear_from_peer(&mut self, ping_pong: Option<PingPong>) -> Result<()> {
        let mut ping_pong = ping_pong.context("a connection has one ping")?;
        let Err(error) = ping_pong.ping(Ping::opaque()).await else { return Ok(()) };
        // The connection itself says more, a TLS alert for example.
        match (&mut self.driver).await {
            Ok(Err(reason)) => Err(reason).context("the peer ended the connection"),
            _ => Err(error).context("the peer ended the connection"),
        }
    }

    /// For one more stream.
    pub(super) fn client(&self) -> SendRequest<Bytes> {
        self.client.clone()
    }

    /// The SPIFFE id in the peer's certificate.
    pub(super) fn peer(&self) -> Option<&str> {
        self.peer.as_deref()
    }

    /// Whether it has not ended.
    pub(super) fn is_alive(&self) -> bool {
        !self.driver.is_finished()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
