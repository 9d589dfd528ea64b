//! A certificate authority of the run's own, and what it vouches for.
//!
//! Its key never leaves the process. Its certificate is what `SSL_CERT_FILE` and the system's bundle hold within the
//! namespace, so the registry, the issuer of tokens and gateways are trusted there under the names that the resources
//! give them, and nowhere else.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate authority with a P-256 key, made anew by each [`Authority::new`].
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pem: String,
}

/// A server's certificate, and its key.
pub struct Leaf {
    /// The certificate alone, in PEM. The authority's own is [`Authority::pem`].
    pub certificate_pem: String,
    /// Its private key as PKCS #8 in PEM.
    pub key_pem: String,
}

impl Authority {
    /// An authority with a new key.
    ///
    /// # Errors
    /// If the key cannot be made.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate().context("make the key of the certificate authority")?;
        let mut params = params("Inference mesh test authority", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, key)
            .context("sign the certificate of the certificate authority")?;
        let pem = issuer.pem();
        Ok(Self { issuer, pem })
    }

    /// The authority's certificate in PEM, which clients are to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server certificate with a key of its own. Each name is a DNS name, with or without a wildcard as its first
    /// label, or an IP address; the first is also the subject's common name.
    ///
    /// # Errors
    /// If a name is neither, or there is none.
    pub fn leaf(&self, names: &[&str]) -> Result<Leaf> {
        let (certificate, key) = self.sign(names)?;
        Ok(Leaf { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// What a TLS server with such a [`leaf`](Self::leaf) is configured with: TLS 1.2 and 1.3, ALPN `http/1.1`, no
    /// client certificates.
    ///
    /// # Errors
    /// As for [`leaf`](Self::leaf).
    pub fn server(&self, names: &[&str]) -> Result<Arc<ServerConfig>> {
        let (certificate, key) = self.sign(names)?;
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // A provider of the process would be whichever of the dependencies asked first.
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .context("set up TLS")?
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .with_context(|| format!("serve with the certificate for {}", names.join(", ")))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn sign(&self, names: &[&str]) -> Result<(rcgen::Certificate, KeyPair)> {
        let of = || format!("the certificate for {}", names.join(", "));
        let name = names.first().context("a server's certificate needs a name")?;
        let key = KeyPair::generate().with_context(|| format!("make the key of {}", of()))?;
        let mut params = params(name, names)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).with_context(|| format!("sign {}", of()))?;
        Ok((certificate, key))
    }
}

/// A certificate's content, valid for longer than any machine that runs this.
fn params(common_name: &str, names: &[&str]) -> Result<CertificateParams> {
    let owned: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(owned)
        .with_context(|| format!("{} is neither DNS names nor IP addresses", names.join(", ")))?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1));
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::https::client;

    /// What a client that trusts `trusted` says of a server whose certificate is for `names`, called `name`.
    fn handshake(authority: &Authority, trusted: &Authority, names: &[&str], name: &str) -> Result<Vec<u8>> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let config = authority.server(names).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut tls = rustls::ServerConnection::new(config).unwrap();
            while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
        });
        let shaken = client::handshake(address, name, trusted.pem());
        server.join().unwrap();
        shaken
    }

    #[test]
    fn a_server_is_believed_under_each_of_its_names_and_addresses_by_who_trusts_the_authority() {
        let authority = Authority::new().unwrap();
        let names = ["registry.example", "*.models.example", "127.0.0.2", "fd00::1"];
        for name in ["registry.example", "a.models.example", "127.0.0.2", "fd00::1"] {
            assert_eq!(handshake(&authority, &authority, &names, name).unwrap(), b"http/1.1", "{name}");
        }
        for name in ["idp.example", "127.0.0.1", "a.b.models.example"] {
            assert!(handshake(&authority, &authority, &names, name).is_err(), "{name}");
        }
        let stranger = Authority::new().unwrap();
        assert!(handshake(&stranger, &authority, &names, "registry.example").is_err());
    }

    #[test]
    fn certificates_and_keys_are_written_as_pem() {
        let authority = Authority::new().unwrap();
        let leaf = authority.leaf(&["gateway.example"]).unwrap();
        assert!(authority.pem().starts_with("-----BEGIN CERTIFICATE-----\n"), "{}", authority.pem());
        assert!(
            leaf.certificate_pem.starts_with("-----BEGIN CERTIFICATE-----\n"),
            "{}",
            leaf.certificate_pem
        );
        assert!(leaf.key_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert_eq!(leaf.certificate_pem.matches("BEGIN").count(), 1);
    }

    #[test]
    fn a_name_that_cannot_be_certified_is_refused() {
        let authority = Authority::new().unwrap();
        let refused = authority.leaf(&["ok.example", "é.example"]).err().unwrap();
        assert!(format!("{refused:#}").starts_with("ok.example, é.example is neither"), "{refused:#}");
        assert!(authority.leaf(&[]).is_err());
    }
}
