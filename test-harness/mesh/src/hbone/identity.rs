//! A workload's certificate.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use tokio::runtime::Handle;

use super::{grpc, tls};

/// Istio's certificate service (`security/v1alpha1/ca.proto` of istio.io/api).
const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// How long a certificate is asked to be valid, in seconds: a day, as Istio's own proxies ask.
const VALID_FOR: u64 = 24 * 60 * 60;
/// Wire types of protobuf.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// Who a workload is: a private key, a certificate for it that names a SPIFFE id, and the roots by which it judges
/// others.
#[derive(Clone)]
pub struct Identity {
    spiffe_id: String,
    chain_pem: String,
    key_pem: String,
    roots_pem: String,
}

impl Identity {
    /// Has istiod at `istiod` sign a certificate for a new key of the service account `account` in `namespace`.
    /// `server_name` is what istiod's own certificate, signed by one of `roots_pem`, must be valid for. `token` is one
    /// of that account, for the audience `istio-ca`.
    ///
    /// # Errors
    /// If istiod cannot be reached or refuses, with its gRPC status and message; or if it signs another identity, as
    /// it does when the token is another account's.
    pub fn from_istiod(
        handle: &Handle,
        istiod: SocketAddr,
        server_name: &str,
        roots_pem: &str,
        token: &str,
        namespace: &str,
        account: &str,
    ) -> Result<Self> {
        let asked = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a private key")?;
        let message = certificate_request(&signing_request(&key, &asked)?);
        let tls = Arc::new(tls::to_istiod(roots_pem)?);
        let bearer = format!("Bearer {token}");
        let metadata = [("authorization", bearer.as_str()), ("clusterid", "Kubernetes")];
        let answer = grpc::call(istiod, server_name, &tls, CREATE_CERTIFICATE, &metadata, &message);
        let answer = handle.block_on(answer).with_context(|| format!("get a certificate for {asked}"))?;
        let chain = certificate_chain(&answer).context("read istiod's answer")?;
        let identity = Self::from_pem(&chain, &key.serialize_pem(), roots_pem)?;
        ensure!(
            identity.spiffe_id == asked,
            "istiod signed {} and not {asked}: check whose token it was given",
            identity.spiffe_id
        );
        Ok(identity)
    }

    /// What a certificate chain (leaf first) says, with its key, in PEM.
    ///
    /// # Errors
    /// If the chain has no certificate, or its first names no SPIFFE id.
    pub fn from_pem(chain_pem: &str, key_pem: &str, roots_pem: &str) -> Result<Self> {
        let chain = tls::certificates(chain_pem).context("a workload's certificate chain")?;
        let spiffe_id =
            chain.first().and_then(tls::spiffe_id).context("the certificate names no SPIFFE id")?;
        let (chain_pem, key_pem, roots_pem) = (chain_pem.into(), key_pem.into(), roots_pem.into());
        Ok(Self { spiffe_id, chain_pem, key_pem, roots_pem })
    }

    /// A caller outside the mesh: it has no certificate, and its SPIFFE id, chain and key are empty.
    pub fn none(roots_pem: &str) -> Self {
        let empty = String::new;
        Self { spiffe_id: empty(), chain_pem: empty(), key_pem: empty(), roots_pem: roots_pem.into() }
    }

    /// `spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT`.
    pub fn spiffe_id(&self) -> &str {
        &self.spiffe_id
    }

    /// The certificates, the workload's own first.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The private key.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Who may vouch for others.
    pub fn roots_pem(&self) -> &str {
        &self.roots_pem
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.spiffe_id)
    }
}

/// The request for a certificate (PKCS #10), in PEM. Its subject is empty, for which rcgen marks the name critical.
fn signing_request(key: &KeyPair, spiffe_id: &str) -> Result<String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names =
        vec![SanType::URI(spiffe_id.try_into().context("the identity in a certificate")?)];
    let request = params.serialize_request(key).context("sign the request for a certificate")?;
    request.pem().context("write the request for a certificate")
}

/// An `IstioCertificateRequest`: field 1 is the request in PEM, field 3 the validity in seconds.
fn certificate_request(csr: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(csr.len() + 16);
    put_varint(&mut message, 1 << 3 | LENGTH);
    put_varint(&mut message, csr.len() as u64);
    message.extend_from_slice(csr.as_bytes());
    put_varint(&mut message, 3 << 3 | VARINT);
    put_varint(&mut message, VALID_FOR);
    message
}

/// An `IstioCertificateResponse`: field 1, repeated, is the chain in PEM, leaf first.
fn certificate_chain(mut message: &[u8]) -> Result<String> {
    let mut chain = String::new();
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        let length = match key & 7 {
            VARINT => {
                take_varint(&mut message)?;
                continue;
            }
            FIXED64 => 8,
            LENGTH => usize::try_from(take_varint(&mut message)?)?,
            FIXED32 => 4,
            other => bail!("wire type {other}"),
        };
        let (value, rest) = message.split_at_checked(length).context("the message is cut off")?;
        message = rest;
        if key == 1 << 3 | LENGTH {
            chain.push_str(std::str::from_utf8(value).context("a certificate in PEM")?.trim_end());
            chain.push('\n');
        }
    }
    ensure!(!chain.is_empty(), "no certificate in it");
    Ok(chain)
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn take_varint(message: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first().context("the message is cut off")?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    bail!("a number of more than 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_says_what_istiod_reads() {
        let message = certificate_request(&"x".repeat(300));
        assert_eq!(message[..3], [0x0a, 0xac, 0x02]);
        assert_eq!(message[303..], [0x18, 0x80, 0xa3, 0x05]);
    }

    #[test]
    fn the_chain_is_read_in_order_past_unknown_fields() {
        let mut message = vec![0x10, 0x96, 0x01];
        message.extend(b"\x0a\x05leaf\n\x1d\0\0\0\0\x19\0\0\0\0\0\0\0\0\x22\x02xx\x0a\x04root");
        assert_eq!(certificate_chain(&message).unwrap(), "leaf\nroot\n");
    }

    #[test]
    fn an_answer_without_certificates_or_cut_off_is_an_error() {
        for message in [&b""[..], b"\x0a\x05leaf", b"\x0a", b"\x0b", b"\x10\xff"] {
            assert!(certificate_chain(message).is_err(), "{message:?}");
        }
    }

    #[test]
    fn debug_output_does_not_show_the_key() {
        let identity = Identity { key_pem: "secret".into(), ..Identity::none("") };
        assert!(!format!("{identity:?}").contains("secret"));
    }
}
