//! HTTP/1.1 over TLS: the part that the registry and the issuer of tokens have in common.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::task::{Alive, Task};

/// How long a TLS handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait when a connection could not be accepted, for lack of file descriptors for example.
const PAUSE: Duration = Duration::from_millis(20);

/// A server that keeps what it was asked, and can be made to fail. It ends when dropped, and its port is free then.
pub(crate) struct Https {
    address: SocketAddr,
    state: Arc<State>,
    _task: Task,
}

/// What a server answers to a request.
pub(crate) trait Answers: Send + Sync + 'static {
    /// The answer. That to a HEAD may have a body, of which only the length is sent.
    fn answer(&self, request: &http::Request<Bytes>) -> Response<Full<Bytes>>;
}

struct State {
    requests: Mutex<Vec<String>>,
    outage: watch::Sender<Outage>,
}

/// Connections from before an outage are not served after it, either, however short it was.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Outage {
    down: bool,
    number: u64,
}

impl Https {
    /// Listens on an address, port 0 for any free one. Another socket of this user may have the same port on all
    /// addresses, as a gateway has 443: what comes to `address` is the more exact socket's.
    pub(crate) fn start(
        runtime: &Handle,
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        answers: Arc<dyn Answers>,
    ) -> Result<Self> {
        let socket = listen(address).with_context(|| format!("listen on {address}"))?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(socket.into()).with_context(|| format!("listen on {address}"))?
        };
        let address = listener.local_addr().context("read the address of a listener")?;
        let outage = watch::Sender::new(Outage { down: false, number: 0 });
        let state = Arc::new(State { requests: Mutex::default(), outage });
        let server = Server { tls: TlsAcceptor::from(tls), answers, state: Arc::clone(&state) };
        let task = Task::spawn(runtime, |alive| accept(listener, server, alive));
        Ok(Self { address, state, _task: task })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `METHOD /path` of each request so far, in the order they came. A request is here before it is answered.
    pub(crate) fn forget(&self) {
        self.state.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Down: open connections are closed, and each new one as soon as it is there. The listener itself stays, because
    /// its connections would go to a gateway on the same port of all addresses.
    pub(crate) fn set_down(&self, down: bool) {
        self.state.outage.send_if_modified(|outage| {
            let changed = outage.down != down;
            (outage.down, outage.number) = (down, outage.number + u64::from(changed && down));
            changed
        });
    }
}

/// A whole answer.
pub(crate) fn answer(
    status: StatusCode,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let body = body.into();
    let length = body.len();
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    if let Ok(value) = content_type.try_into() {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// A listener at a pod's address, whose port a gateway may have on all addresses.
pub(crate) fn of_pod(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = listen(address)?;
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

pub(crate) fn listen(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    Ok(socket)
}

#[derive(Clone)]
struct Server {
    tls: TlsAcceptor,
    answers: Arc<dyn Answers>,
    state: Arc<State>,
}

async fn accept(listener: TcpListener, server: Server, alive: Alive) {
    // Dropped with this future, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let began = *server.state.outage.borrow();
        if !began.down {
            let server = server.clone();
            connections.spawn(alive.clone().hold(async move {
                let mut outage = server.state.outage.subscribe();
                tokio::select! {
                    biased;
                    _ = outage.wait_for(|now| *now != began) => {}
                    () = server.serve(stream, began) => {}
                }
            }));
        }
    }
}

impl Server {
    /// A client that goes away or speaks no TLS is its own concern: the next one is served.
    async fn serve(&self, stream: TcpStream, began: Outage) {
        let Ok(Ok(stream)) = timeout(PATIENCE, self.tls.accept(stream)).await else { return };
        let service = service_fn(|request| self.answer(request, began));
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer<B: Body>(
        &self,
        request: http::Request<B>,
        began: Outage,
    ) -> Result<Response<Full<Bytes>>, Closed> {
        // The connection may be served once more before its task sees that it is to end.
        if *self.state.outage.borrow() != began {
            return Err(Closed);
        }
        let seen = format!("{} {}", request.method(), request.uri().path());
        self.state.requests.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        let (head, body) = request.into_parts();
        // A client that breaks off expects no answer.
        let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
        Ok(self.answers.answer(&http::Request::from_parts(head, body)))
    }
}

/// Why a connection is to be closed without an answer.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the server is down, or the client has gone")
    }
}

impl std::error::Error for Closed {}

/// A blocking client that trusts one authority, for the tests of the servers.
#[cfg(test)]
pub(crate) mod client {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::Arc;

    use anyhow::{Context as _, Result};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, ServerName};

    use super::PATIENCE;

    pub(crate) struct Answer {
        pub(crate) status: u16,
        headers: Vec<(String, String)>,
        pub(crate) body: Vec<u8>,
    }

    impl Answer {
        /// The only header of that (lower-case) name.
        pub(crate) fn header(&self, name: &str) -> Option<&str> {
            let mut of_name = self.headers.iter().filter(|(n, _)| n == name);
            of_name.next().map(|(_, value)| value.as_str()).filter(|_| of_name.next().is_none())
        }

        pub(crate) fn json(&self) -> serde_json::Value {
            serde_json::from_slice(&self.body).unwrap()
        }
    }

    pub(crate) type Connection = StreamOwned<ClientConnection, TcpStream>;

    /// A connection to a server whose certificate is for `name`, by the authority of `trusted`.
    pub(crate) fn connect(address: SocketAddr, name: &str, trusted: &str) -> Result<Connection> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.as_bytes())?)?;
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut tls = ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned())?)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(tls, stream))
    }

    /// The protocol agreed on.
    pub(crate) fn handshake(address: SocketAddr, name: &str, trusted: &str) -> Result<Vec<u8>> {
        let connection = connect(address, name, trusted)?;
        Ok(connection.conn.alpn_protocol().context("no protocol")?.to_vec())
    }

    /// A request on a connection that ends with its answer.
    pub(crate) fn send(connection: &mut Connection, name: &str, target: &str) -> Result<Answer> {
        write!(connection, "{target} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n")?;
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes)?;
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("no answer")?;
        let head = std::str::from_utf8(&bytes[..end])?;
        let (line, headers) = head.split_once("\r\n").context("no headers")?;
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).context("no status")?;
        let header = |line: &str| {
            line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        };
        Ok(Answer {
            status: status.parse()?,
            headers: headers.split("\r\n").filter_map(header).collect(),
            body: bytes[end + 4..].to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;
    use crate::authority::Authority;

    struct Path;

    impl Answers for Path {
        fn answer(&self, request: &http::Request<Bytes>) -> Response<Full<Bytes>> {
            answer(StatusCode::OK, "text/plain", request.uri().path().to_owned())
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    fn start(runtime: &Handle, authority: &Authority, address: SocketAddr) -> Https {
        let tls = authority.server(&["server.example"]).unwrap();
        Https::start(runtime, address, tls, Arc::new(Path)).unwrap()
    }

    #[test]
    fn connections_from_before_an_outage_end_with_it_and_new_ones_are_served_after_it() {
        let (runtime, authority) = (runtime(), Authority::new().unwrap());
        let server = start(runtime.handle(), &authority, ([127, 0, 0, 1], 0).into());
        let connect = || client::connect(server.address(), "server.example", authority.pem());
        let mut before = connect().unwrap();
        server.set_down(true);
        assert!(connect().is_err());
        // Even if it was over before anyone looked.
        server.set_down(false);
        assert!(client::send(&mut before, "server.example", "GET /before").is_err());
        let after = client::send(&mut connect().unwrap(), "server.example", "GET /after").unwrap();
        assert_eq!((after.status, after.body), (200, b"/after".to_vec()));
        assert_eq!(server.requests(), ["GET /after"]);
    }

    #[test]
    fn a_client_that_speaks_no_tls_does_not_disturb_the_next_one() {
        let (runtime, authority) = (runtime(), Authority::new().unwrap());
        let server = start(runtime.handle(), &authority, ([127, 0, 0, 1], 0).into());
        let mut plain = std::net::TcpStream::connect(server.address()).unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut next = client::connect(server.address(), "server.example", authority.pem()).unwrap();
        let answer = client::send(&mut next, "server.example", "POST /p?q").unwrap();
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("2")));
        assert_eq!(server.requests(), ["POST /p"]);
    }

    #[test]
    fn its_address_wins_over_another_socket_with_the_port_on_all_addresses() {
        let (runtime, authority) = (runtime(), Authority::new().unwrap());
        let everywhere = listen(([0, 0, 0, 0], 0).into()).unwrap();
        let port = everywhere.local_addr().unwrap().as_socket().unwrap().port();
        let server = start(runtime.handle(), &authority, ([127, 0, 0, 3], port).into());
        for _ in 0..8 {
            assert!(client::connect(server.address(), "server.example", authority.pem()).is_ok());
        }
    }

    #[test]
    fn a_dropped_server_leaves_its_port_and_its_connections_closed() {
        let (runtime, authority) = (runtime(), Authority::new().unwrap());
        let server = start(runtime.handle(), &authority, ([127, 0, 0, 1], 0).into());
        let address = server.address();
        let mut open = client::connect(address, "server.example", authority.pem()).unwrap();
        drop(server);
        TcpListener::bind(address).unwrap();
        assert!(client::send(&mut open, "server.example", "GET /").is_err());
    }
}
