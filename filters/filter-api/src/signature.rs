//! Signatures that a host may check for a core.

/// A hash function of the SHA-2 family (FIPS 180-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A signature for the host to check: RSASSA-PKCS1-v1_5 with an RSA key, ECDSA with an elliptic-curve key. Everything
/// is public, so nothing depends on how long it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureCheck<'a> {
    /// What the message is hashed with.
    pub hash: Hash,
    /// The public key: SubjectPublicKeyInfo (RFC 5280) in DER.
    pub key: &'a [u8],
    /// The message.
    pub signed: &'a [u8],
    /// The signature; of ECDSA as DER (RFC 3279, section 2.2.3).
    pub signature: &'a [u8],
}
