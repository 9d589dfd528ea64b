//! One key (RFC 7517, section 4; RFC 7518, section 6; RFC 8037 for Ed25519).

use super::roca;
use crate::json::Value;
use crate::signature::der;
use crate::token::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::BigUint;

/// RSA keys have at least so many bits (RFC 7518, section 3.3) and, because a check's cost grows with their square, at
/// most so many.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A secret is at least as long as the hash (RFC 7518, section 3.2), in bytes.
const LEAST_SECRET_BYTES: usize = 32;

/// A key that checks signatures.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) id: Option<String>,
    /// The only algorithm that the key may be used with, if its issuer said so.
    algorithm: Option<Algorithm>,
    pub(crate) material: Material,
}

/// The key itself, and its SubjectPublicKeyInfo in DER (RFC 5280) for a host that checks signatures.
#[derive(Clone)]
pub(crate) enum Material {
    Rsa { key: rsa::RsaPublicKey, spki: Vec<u8> },
    P256 { key: p256::ecdsa::VerifyingKey, spki: Vec<u8> },
    P384 { key: p384::ecdsa::VerifyingKey, spki: Vec<u8> },
    Ed25519(ed25519_dalek::VerifyingKey),
    Secret(Vec<u8>),
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "RSA",
            Self::P256 { .. } => "P-256",
            Self::P384 { .. } => "P-384",
            Self::Ed25519(_) => "Ed25519",
            Self::Secret(_) => "a secret",
        })
    }
}

/// Why a key of a set is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it is of a kind, curve or algorithm that this filter does not use")]
    Unknown,
    #[error("it is not for checking signatures")]
    Use,
    #[error("it is malformed")]
    Malformed,
    #[error("it has a private part")]
    Private,
    #[error("it is too weak")]
    Weak,
    #[error("its algorithm does not go with its kind or curve")]
    Mismatch,
}

impl Key {
    /// Reads a key.
    pub(crate) fn read(jwk: &Value) -> Result<Self, Unusable> {
        let kind = jwk.get("kty").and_then(Value::text).ok_or(Unusable::Malformed)?;
        check_use(jwk)?;
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(Value::String(name)) => Some(Algorithm::named(name).ok_or(Unusable::Unknown)?),
            Some(_) => return Err(Unusable::Malformed),
        };
        let id = match jwk.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Unusable::Malformed),
        };
        // Whoever publishes the private part of a key has no key any more.
        if kind != "oct"
            && ["d", "p", "q", "dp", "dq", "qi", "oth"].iter().any(|part| jwk.get(part).is_some())
        {
            return Err(Unusable::Private);
        }
        let curve = jwk.get("crv").and_then(Value::text);
        let material = match (kind, curve) {
            ("RSA", _) => rsa(jwk)?,
            ("EC", Some("P-256")) => p256(jwk)?,
            ("EC", Some("P-384")) => p384(jwk)?,
            ("OKP", Some("Ed25519")) => ed25519(jwk)?,
            ("oct", _) => secret(jwk)?,
            _ => return Err(Unusable::Unknown),
        };
        let key = Self { id, algorithm: None, material };
        match algorithm {
            Some(algorithm) if !key.suits(algorithm) => Err(Unusable::Mismatch),
            _ => Ok(Self { algorithm, ..key }),
        }
    }

    /// Whether signatures of this algorithm may be checked with the key. A key whose issuer named no algorithm may be
    /// used with those in `allowed` that go with its kind; but PS256 and RS256 share a kind, so that an RSA key without
    /// `alg` is for RS256 unless the configuration says otherwise.
    pub(crate) fn may_check(&self, algorithm: Algorithm, allowed: Option<&[Algorithm]>) -> bool {
        let unnamed = || match (allowed, &self.material) {
            (None, Material::Rsa { .. }) => algorithm == Algorithm::RS256,
            _ => self.suits(algorithm),
        };
        self.algorithm.map_or_else(unnamed, |only| only == algorithm)
    }

    /// Whether an algorithm goes with the key's kind and curve.
    fn suits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDsa, HS256, PS256, RS256, RS384, RS512};
        match self.material {
            Material::Rsa { .. } => matches!(algorithm, RS256 | RS384 | RS512 | PS256),
            Material::P256 { .. } => algorithm == ES256,
            Material::P384 { .. } => algorithm == ES384,
            Material::Ed25519(_) => algorithm == EdDsa,
            Material::Secret(_) => algorithm == HS256,
        }
    }

    /// Whether the key is a secret that both sides share.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.material, Material::Secret(_))
    }
}

/// `use` and `key_ops`, where they are there, must both mean signatures.
fn check_use(jwk: &Value) -> Result<(), Unusable> {
    match jwk.get("use") {
        None => {}
        Some(Value::String(purpose)) if purpose == "sig" => {}
        Some(Value::String(_)) => return Err(Unusable::Use),
        Some(_) => return Err(Unusable::Malformed),
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|item| item.text() == Some("verify")) => {
            Ok(())
        }
        Some(Value::Array(_)) => Err(Unusable::Use),
        Some(_) => Err(Unusable::Malformed),
    }
}

fn rsa(jwk: &Value) -> Result<Material, Unusable> {
    let (modulus, exponent) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let (n, e) = (BigUint::from_bytes_be(&modulus), BigUint::from_bytes_be(&exponent));
    // An exponent of 1 signs everything by itself; an even one is none.
    if !RSA_BITS.contains(&n.bits()) || e < BigUint::from(3u8) || roca::is_weak(&n.to_bytes_be()) {
        return Err(Unusable::Weak);
    }
    let spki = der::rsa_key(&n.to_bytes_be(), &e.to_bytes_be());
    let key = rsa::RsaPublicKey::new_with_max_size(n, e, *RSA_BITS.end()).map_err(|_| Unusable::Malformed)?;
    Ok(Material::Rsa { key, spki })
}

fn p256(jwk: &Value) -> Result<Material, Unusable> {
    let point = point(jwk, 32)?;
    // Also checks that the point is on the curve.
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(|_| Unusable::Malformed)?;
    Ok(Material::P256 { key, spki: der::p256_key(&point) })
}

fn p384(jwk: &Value) -> Result<Material, Unusable> {
    let point = point(jwk, 48)?;
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(|_| Unusable::Malformed)?;
    Ok(Material::P384 { key, spki: der::p384_key(&point) })
}

/// An uncompressed point (SEC 1, section 2.3.3), whose coordinates have `length` bytes each.
fn point(jwk: &Value, length: usize) -> Result<Vec<u8>, Unusable> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != length || y.len() != length {
        return Err(Unusable::Malformed);
    }
    Ok([&[4], x.as_slice(), y.as_slice()].concat())
}

fn ed25519(jwk: &Value) -> Result<Material, Unusable> {
    let point = <[u8; 32]>::try_from(bytes(jwk, "x")?).map_err(|_| Unusable::Malformed)?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(&point).map_err(|_| Unusable::Malformed)?;
    // A signature by a point of small order holds for many messages.
    if key.is_weak() { Err(Unusable::Weak) } else { Ok(Material::Ed25519(key)) }
}

fn secret(jwk: &Value) -> Result<Material, Unusable> {
    let secret = bytes(jwk, "k")?;
    if secret.len() < LEAST_SECRET_BYTES { Err(Unusable::Weak) } else { Ok(Material::Secret(secret)) }
}

fn bytes(jwk: &Value, name: &str) -> Result<Vec<u8>, Unusable> {
    let text = jwk.get(name).and_then(Value::text).ok_or(Unusable::Malformed)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Unusable::Malformed)
}
