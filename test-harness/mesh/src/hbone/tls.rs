//! Both ends' certificates.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use webpki::EndEntityCert;

use super::Identity;

/// A client of istiod: the server's name counts, and a token in the request says who asks.
pub(super) fn to_istiod(roots_pem: &str) -> Result<ClientConfig> {
    let builder = builder()?.with_root_certificates(roots(roots_pem)?);
    Ok(with_h2(builder.with_no_client_auth()))
}

/// A client of a waypoint: any name will do, if the roots vouch for the certificate. An identity without a certificate
/// presents none.
pub(super) fn to_waypoint(identity: &Identity) -> Result<ClientConfig> {
    let verifier =
        AnyName { roots: roots(identity.roots_pem())?, provider: Arc::new(ring::default_provider()) };
    let builder = builder()?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    if identity.chain_pem().is_empty() {
        return Ok(with_h2(builder.with_no_client_auth()));
    }
    let chain = certificates(identity.chain_pem())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem().as_bytes()).context("read the private key")?;
    Ok(with_h2(builder.with_client_auth_cert(chain, key).context("use the workload certificate")?))
}

/// All certificates of a PEM text, at least one.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .context("read certificates")?;
    if certificates.is_empty() {
        bail!("no certificate in {} bytes of PEM", pem.len());
    }
    Ok(certificates)
}

/// The SPIFFE id that a certificate names, as its first `spiffe:` URI.
pub(super) fn spiffe_id(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    certificate.valid_uri_names().find(|uri| uri.starts_with("spiffe://")).map(str::to_owned)
}

fn builder() -> Result<ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    let provider = Arc::new(ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().context("set up TLS")
}

fn with_h2(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

fn roots(pem: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).context("roots to trust")? {
        roots.add(certificate).context("trust a root")?;
    }
    Ok(roots)
}

/// Accepts a certificate of any name: a waypoint's has its identity in it, which is for the caller to judge.
#[derive(Debug)]
struct AnyName {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
