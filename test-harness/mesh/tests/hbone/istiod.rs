//! What the tests have in place of istiod's certificate authority.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::{HeaderMap, Request, Response};
use mesh::hbone::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;

/// The name that its own certificate has.
pub(crate) const NAME: &str = "istiod.istio-system.svc";

/// It signs for the account that the token names, whatever the request says, as istiod does. A token is `NS/ACCOUNT`;
/// another is refused.
pub(crate) struct Istiod {
    pub(crate) address: SocketAddr,
    authority: Arc<Authority>,
    asked: Arc<Mutex<Vec<Asked>>>,
    handle: Handle,
}

/// One request.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) message: Vec<u8>,
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// For its own certificate.
    fn server(&self) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([NAME.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(vec![leaf.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// The answer's message: the chain.
    fn sign(&self, csr: &str, spiffe_id: &str) -> Vec<u8> {
        let mut csr = CertificateSigningRequestParams::from_pem(csr).unwrap();
        csr.params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into().unwrap())];
        csr.params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = csr.signed_by(&self.issuer).unwrap().pem();
        [leaf, self.issuer.pem()].iter().flat_map(|pem| field(1, pem.as_bytes())).collect()
    }
}

impl Istiod {
    pub(crate) fn start(handle: &Handle) -> Self {
        let authority = Arc::new(Authority::new());
        let listener = handle.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let tls = TlsAcceptor::from(Arc::new(authority.server()));
        handle.spawn(serve(listener, tls, Arc::clone(&authority), Arc::clone(&asked)));
        Self { address, authority, asked, handle: handle.clone() }
    }

    pub(crate) fn roots_pem(&self) -> String {
        self.authority.issuer.pem()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// As a workload gets one.
    pub(crate) fn identity(&self, namespace: &str, account: &str) -> Identity {
        self.ask(&format!("{namespace}/{account}"), namespace, account).unwrap()
    }

    pub(crate) fn ask(&self, token: &str, namespace: &str, account: &str) -> anyhow::Result<Identity> {
        let roots = self.roots_pem();
        Identity::from_istiod(&self.handle, self.address, NAME, &roots, token, namespace, account)
    }
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    authority: Arc<Authority>,
    asked: Arc<Mutex<Vec<Asked>>>,
) {
    while let Ok((socket, _)) = listener.accept().await {
        let (tls, authority, asked) = (tls.clone(), Arc::clone(&authority), Arc::clone(&asked));
        tokio::spawn(async move {
            // A client that refuses the certificate does not connect.
            let Ok(socket) = tls.accept(socket).await else { return };
            let Ok(mut connection) = server::handshake(socket).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(answer(request, respond, Arc::clone(&authority), Arc::clone(&asked)));
            }
        });
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    authority: Arc<Authority>,
    asked: Arc<Mutex<Vec<Asked>>>,
) {
    let (head, mut body) = request.into_parts();
    let mut message = BytesMut::new();
    while let Some(data) = body.data().await {
        message.extend_from_slice(&data.unwrap());
    }
    let message = message[5..].to_vec();
    asked.lock().unwrap().push(Asked { headers: head.headers.clone(), message: message.clone() });
    let response = Response::builder().header("content-type", "application/grpc");
    let token = head.headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let known = head.uri.path() == "/istio.v1.auth.IstioCertificateService/CreateCertificate";
    let Some((namespace, account)) = token.split_once('/').filter(|_| known) else {
        let refusal = response.header("grpc-status", "16").header("grpc-message", "token%3a expired");
        respond.send_response(refusal.body(()).unwrap(), true).unwrap();
        return;
    };
    let spiffe_id = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
    let chain = authority.sign(csr(&message), &spiffe_id);
    let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
    let length = u32::try_from(chain.len()).unwrap().to_be_bytes();
    send.send_data([&[0], &length[..], &chain].concat().into(), false).unwrap();
    send.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]))
        .unwrap();
}

/// Field 1 of a request, which comes first and is of 128 to 16383 bytes.
pub(crate) fn csr(message: &[u8]) -> &str {
    let [0x0a, low, high, rest @ ..] = message else { panic!("{message:?}") };
    let length = usize::from(low & 0x7f) + (usize::from(*high) << 7);
    std::str::from_utf8(&rest[..length]).unwrap()
}

/// A field of such a length.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let [low, high] = [value.len() as u8 | 0x80, (value.len() >> 7) as u8];
    [&[number << 3 | 2, low, high], value].concat()
}
