//! What istiod is asked, and what its answers lead to.

use mesh::hbone::Identity;
use rcgen::CertificateSigningRequestParams;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;

use crate::istiod::{self, Istiod};
use crate::runtime;

pub(crate) fn signed() {
    let runtime = runtime();
    let istiod = Istiod::start(runtime.handle());
    let identity = istiod.identity("models", "triton");
    assert_eq!(identity.spiffe_id(), "spiffe://cluster.local/ns/models/sa/triton");
    assert!(identity.key_pem().starts_with("-----BEGIN PRIVATE KEY-----"));
    let certificates: Vec<_> = identity.chain_pem().split_inclusive("-----END CERTIFICATE-----\n").collect();
    assert_eq!(certificates.len(), 2, "{}", identity.chain_pem());
    assert_eq!(certificates[1].trim(), istiod.roots_pem().replace('\r', "").trim());
    assert_eq!(identity.roots_pem(), istiod.roots_pem());

    let asked = &istiod.asked()[0];
    assert_eq!(asked.headers["authorization"], "Bearer models/triton");
    assert_eq!(asked.headers["clusterid"], "Kubernetes");
    assert_eq!(asked.headers["content-type"], "application/grpc");
    assert_eq!(
        asked.message[asked.message.len() - 4..],
        [0x18, 0x80, 0xa3, 0x05],
        "field 3, a day in seconds"
    );
    let csr = istiod::csr(&asked.message);
    let request = CertificateSigningRequestParams::from_pem(csr).unwrap();
    assert_eq!(request.params.distinguished_name.iter().count(), 0);
    assert_eq!(request.public_key.algorithm(), &rcgen::PKCS_ECDSA_P256_SHA256);
    let name = b"spiffe://cluster.local/ns/models/sa/triton";
    let critical = [&b"\x06\x03\x55\x1d\x11\x01\x01\xff"[..], &[4, 46, 48, 44, 0x86, 42], name].concat();
    let der = CertificateSigningRequestDer::from_pem_slice(csr.as_bytes()).unwrap();
    assert!(der.windows(critical.len()).any(|window| window == critical), "{der:?}");
}

pub(crate) fn refused() {
    let runtime = runtime();
    let istiod = Istiod::start(runtime.handle());
    let error = format!("{:#}", istiod.ask("worn-out", "models", "triton").unwrap_err());
    assert!(
        error.starts_with("get a certificate for spiffe://cluster.local/ns/models/sa/triton: "),
        "{error}"
    );
    assert!(error.ends_with("gRPC status 16: token: expired"), "{error}");
}

pub(crate) fn another_account() {
    let runtime = runtime();
    let istiod = Istiod::start(runtime.handle());
    let error = istiod.ask("models/ovms", "models", "triton").unwrap_err().to_string();
    let signed = "istiod signed spiffe://cluster.local/ns/models/sa/ovms and not \
                  spiffe://cluster.local/ns/models/sa/triton: check whose token it was given";
    assert_eq!(error, signed);
}

pub(crate) fn another_istiod() {
    let runtime = runtime();
    let (istiod, other) = (Istiod::start(runtime.handle()), Istiod::start(runtime.handle()));
    let ask = |name: &str, roots: &str| {
        Identity::from_istiod(runtime.handle(), istiod.address, name, roots, "a/b", "a", "b").unwrap_err()
    };
    let error = format!("{:#}", ask("istiod.example", &istiod.roots_pem()));
    assert!(error.contains("not valid for name"), "{error}");
    let error = format!("{:#}", ask(istiod::NAME, &other.roots_pem()));
    assert!(error.contains("TLS: invalid peer certificate"), "{error}");
    assert!(istiod.asked().is_empty());
}
