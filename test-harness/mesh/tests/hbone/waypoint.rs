//! A waypoint that does to a stream what its authority says.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response};
use mesh::hbone::Identity;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

/// The window of its streams, in bytes.
const WINDOW: u32 = 64 << 10;

/// Authorities and what they do, all on port 80: `status-N` answers CONNECT with that status, `echo` sends back what
/// comes, `cut` resets after the first bytes, `held` waits for [`Waypoint::let_go`] and then counts what comes and says
/// the count, `flood` sends [`FLOOD`] bytes as the window lets it, `short` answers and, when let go, resets.
pub(crate) struct Waypoint {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

pub(crate) const FLOOD: usize = 64 << 20;

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    sources: Mutex<Vec<SocketAddr>>,
    flooded: AtomicUsize,
    let_go: watch::Sender<bool>,
    go_away: Notify,
    hang_up: Notify,
}

impl Waypoint {
    pub(crate) fn start(handle: &Handle, identity: &Identity) -> Self {
        let listener = handle.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Shared>::default());
        let tls = TlsAcceptor::from(Arc::new(tls(identity)));
        handle.spawn(accept(listener, tls, Arc::clone(&shared)));
        Self { address, shared }
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Where they came from.
    pub(crate) fn sources(&self) -> Vec<SocketAddr> {
        self.shared.sources.lock().unwrap().clone()
    }

    /// How many bytes `flood` could send.
    pub(crate) fn flooded(&self) -> usize {
        self.shared.flooded.load(Ordering::SeqCst)
    }

    /// Lets `held` streams go on.
    pub(crate) fn let_go(&self) {
        self.shared.let_go.send_replace(true);
    }

    /// Ends the connection politely: streams that there are go on.
    pub(crate) fn go_away(&self) {
        self.shared.go_away.notify_one();
    }

    /// Ends the connection at once.
    pub(crate) fn hang_up(&self) {
        self.shared.hang_up.notify_one();
    }
}

fn tls(identity: &Identity) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem().as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem().as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(identity.roots_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((socket, source)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        shared.sources.lock().unwrap().push(source);
        tokio::spawn(connection(socket, tls.clone(), Arc::clone(&shared)));
    }
}

async fn connection(socket: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(socket) = tls.accept(socket).await else { return };
    let Ok(mut connection) = server::Builder::new().initial_window_size(WINDOW).handshake(socket).await
    else {
        return;
    };
    loop {
        tokio::select! {
            request = connection.accept() => {
                let Some(Ok((request, respond))) = request else { return };
                tokio::spawn(stream(request, respond, Arc::clone(&shared)));
            }
            () = shared.go_away.notified() => connection.graceful_shutdown(),
            () = shared.hang_up.notified() => return,
        }
    }
}

/// What goes wrong here is seen by the client, and there by the test.
async fn stream(request: Request<RecvStream>, respond: SendResponse<Bytes>, shared: Arc<Shared>) {
    let _ = behave(request, respond, shared).await;
}

async fn behave(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: Arc<Shared>,
) -> Result<(), h2::Error> {
    assert_eq!((request.method(), request.headers().len()), (&Method::CONNECT, 0));
    let authority = request.uri().authority().unwrap().to_string();
    let what = authority.strip_suffix(":80").unwrap();
    let mut body = request.into_body();
    if let Some(status) = what.strip_prefix("status-") {
        respond.send_response(Response::builder().status(status).body(()).unwrap(), true)?;
        return Ok(());
    }
    let mut send = respond.send_response(Response::new(()), false)?;
    match what {
        "cut" => {
            send.send_data("half a ".into(), false)?;
            next(&mut body).await;
            send.send_reset(Reason::INTERNAL_ERROR);
        }
        "held" => {
            shared.let_go.subscribe().wait_for(|go| *go).await.unwrap();
            let mut count = 0;
            while let Some(data) = next(&mut body).await {
                count += data.len();
            }
            send.send_data(count.to_string().into(), true)?;
        }
        "flood" => {
            for _ in 0..FLOOD / 16384 {
                all(&mut send, vec![7; 16384].into()).await?;
                shared.flooded.fetch_add(16384, Ordering::SeqCst);
            }
            send.send_data(Bytes::new(), true)?;
        }
        "short" => {
            send.send_data("that is all".into(), true)?;
            shared.let_go.subscribe().wait_for(|go| *go).await.unwrap();
            send.send_reset(Reason::INTERNAL_ERROR);
        }
        _ => {
            while let Some(data) = next(&mut body).await {
                all(&mut send, data).await?;
            }
            send.send_data("; over".into(), true)?;
        }
    }
    Ok(())
}

async fn next(body: &mut RecvStream) -> Option<Bytes> {
    let data = body.data().await?.ok()?;
    body.flow_control().release_capacity(data.len()).ok()?;
    Some(data)
}

async fn all(send: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        let window =
            poll_fn(|context| send.poll_capacity(context)).await.unwrap_or(Err(Reason::CANCEL.into()))?;
        send.send_data(data.split_to(window.min(data.len())), false)?;
    }
    Ok(())
}
