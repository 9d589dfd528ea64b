//! TLS for peers that speak none: in front of a plain server, and for a plain client.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::https::listen;
use crate::task::{Alive, Task};

/// How long a connection and its handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait when a connection could not be accepted, for lack of file descriptors for example.
const PAUSE: Duration = Duration::from_millis(20);

/// A listener whose connections are carried on. It ends, with them, when dropped.
pub(crate) struct TlsRelay {
    address: SocketAddr,
    _task: Task,
}

impl TlsRelay {
    /// Ends TLS at an address, whose port a gateway may have on all addresses, in front of the plain server `to`.
    pub(crate) fn in_front_of(
        runtime: &Handle,
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        to: SocketAddr,
    ) -> Result<Self> {
        let acceptor = TlsAcceptor::from(tls);
        Self::start(runtime, address, move |client| {
            let acceptor = acceptor.clone();
            async move {
                let client = bounded(acceptor.accept(client)).await?;
                carry(client, bounded(TcpStream::connect(to)).await?).await
            }
        })
    }

    /// Listens on loopback for plain clients of the TLS server `to`, whose certificate the authority of `trusted`, in
    /// PEM, must have signed for `name`.
    pub(crate) fn for_clients(
        runtime: &Handle,
        to: SocketAddr,
        name: &'static str,
        trusted: &str,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).context("read the authority")?)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name).with_context(|| format!("{name} is not a host's name"))?;
        Self::start(runtime, (Ipv4Addr::LOCALHOST, 0).into(), move |client| {
            let (connector, name) = (connector.clone(), name.clone());
            async move {
                let server = bounded(TcpStream::connect(to)).await?;
                carry(client, bounded(connector.connect(name, server)).await?).await
            }
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn start<F>(
        runtime: &Handle,
        address: SocketAddr,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = listen(address).and_then(|socket| {
            let _context = runtime.enter();
            TcpListener::from_std(socket.into())
        });
        let listener = listener.with_context(|| format!("listen on {address}"))?;
        let address = listener.local_addr().context("read the address of a listener")?;
        Ok(Self { address, _task: Task::spawn(runtime, |alive| accept(listener, serve, alive)) })
    }
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F, alive: Alive)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    // Dropped with this future, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let served = serve(client);
        // A connection that fails is closed, which is all that its peers have to know.
        connections.spawn(alive.clone().hold(async move { drop(served.await) }));
    }
}

async fn carry<A, B>(mut one: A, mut other: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    copy_bidirectional(&mut one, &mut other).await.map(drop)
}

async fn bounded<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use e2e::{Protocol, Request, Workload, send};

    use super::*;
    use crate::authority::Authority;

    fn relays(certificate: &str) -> (Workload, Vec<TlsRelay>, tokio::runtime::Runtime) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let authority = Authority::new().unwrap();
        let server = Workload::start("one").unwrap();
        let (handle, loopback) = (runtime.handle(), (Ipv4Addr::LOCALHOST, 0).into());
        let tls = authority.server(&[certificate]).unwrap();
        let front = TlsRelay::in_front_of(handle, loopback, tls, server.address()).unwrap();
        let back = TlsRelay::for_clients(handle, front.address(), "server.example", authority.pem()).unwrap();
        (server, vec![back, front], runtime)
    }

    #[test]
    fn a_plain_client_reaches_a_plain_server_over_tls() {
        let (server, relays, _runtime) = relays("server.example");
        let answer = send(Protocol::Http1, relays[0].address(), &Request::get("/a")).unwrap();
        assert_eq!(answer.complete().unwrap().text(), "workload one\n");
        assert_eq!(server.requests().len(), 1);
    }

    #[test]
    fn a_server_of_another_name_is_not_reached() {
        let (server, relays, _runtime) = relays("other.example");
        let answer = send(Protocol::Http1, relays[0].address(), &Request::get("/a"));
        assert!(answer.and_then(e2e::Answer::complete).is_err());
        assert_eq!(server.requests().len(), 0);
    }
}
