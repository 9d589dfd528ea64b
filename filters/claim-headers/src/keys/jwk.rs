//! One key (RFC 7517, section 4; RFC 7518, section 6; RFC 8037 for Ed25519).
//!
//! An optional member that is null is taken for one that is not there: some issuers write `"alg": null`.

use super::roca;
use crate::json::Value;
use crate::token::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::BigUint;
use rsa::pkcs8::EncodePublicKey;

/// How many bits an RSA key has: at least 2048 (RFC 7518, section 3.3), and no more than 8192, because a check's cost
/// grows with their square.
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
    P521 { key: p521::ecdsa::VerifyingKey, spki: Vec<u8> },
    Ed25519(ed25519_dalek::VerifyingKey),
    Secret(Vec<u8>),
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "RSA",
            Self::P256 { .. } => "P-256",
            Self::P384 { .. } => "P-384",
            Self::P521 { .. } => "P-521",
            Self::Ed25519(_) => "Ed25519",
            Self::Secret(_) => "a secret",
        })
    }
}

impl Material {
    /// Whether both are the same key.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rsa { spki: one, .. }, Self::Rsa { spki: other, .. })
            | (Self::P256 { spki: one, .. }, Self::P256 { spki: other, .. })
            | (Self::P384 { spki: one, .. }, Self::P384 { spki: other, .. })
            | (Self::P521 { spki: one, .. }, Self::P521 { spki: other, .. })
            | (Self::Secret(one), Self::Secret(other)) => one == other,
            (Self::Ed25519(one), Self::Ed25519(other)) => one == other,
            _ => false,
        }
    }
}

/// Why a key of a set is left out. No text of the key itself is in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("its `{0}` is not supported")]
    Unknown(&'static str),
    #[error("its `use` or `key_ops` is not for checking signatures")]
    Use,
    #[error("its `{0}` is missing or malformed")]
    Malformed(&'static str),
    #[error("it has a private part, so that everyone who can read the set can sign with it")]
    Private,
    #[error("its modulus has {0} bits; 2048 to 8192 are accepted")]
    Size(usize),
    #[error("it is too weak: {0}")]
    Weak(&'static str),
    #[error("its `alg` does not go with its `kty` or `crv`")]
    Mismatch,
}

impl Key {
    /// Reads a key.
    pub(crate) fn read(jwk: &Value) -> Result<Self, Unusable> {
        let kind = optional_text(jwk, "kty")?.ok_or(Unusable::Malformed("kty"))?;
        check_use(jwk)?;
        let algorithm = optional_text(jwk, "alg")?;
        let algorithm =
            algorithm.map(|name| Algorithm::named(name).ok_or(Unusable::Unknown("alg"))).transpose()?;
        let id = optional_text(jwk, "kid")?.map(str::to_owned);
        // A key whose private part is published is worthless.
        if kind != "oct" && has_private_part(jwk) {
            return Err(Unusable::Private);
        }
        let curve = optional_text(jwk, "crv")?;
        let material = match (kind, curve) {
            ("RSA", _) => rsa(jwk)?,
            ("EC", Some("P-256")) => p256(jwk)?,
            ("EC", Some("P-384")) => p384(jwk)?,
            ("EC", Some("P-521")) => p521(jwk)?,
            ("OKP", Some("Ed25519")) => ed25519(jwk)?,
            ("oct", _) => secret(jwk)?,
            ("EC" | "OKP", Some(_)) => return Err(Unusable::Unknown("crv")),
            ("EC" | "OKP", None) => return Err(Unusable::Malformed("crv")),
            _ => return Err(Unusable::Unknown("kty")),
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
        use Algorithm::{ES256, ES384, ES512, EdDsa, HS256, PS256, PS384, PS512, RS256, RS384, RS512};
        match self.material {
            Material::Rsa { .. } => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
            Material::P256 { .. } => algorithm == ES256,
            Material::P384 { .. } => algorithm == ES384,
            Material::P521 { .. } => algorithm == ES512,
            Material::Ed25519(_) => algorithm == EdDsa,
            Material::Secret(_) => algorithm == HS256,
        }
    }

    /// Whether both are one key under one name and for one algorithm.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.algorithm == other.algorithm && self.material.is_same(&other.material)
    }

    /// Whether the key is a secret that both sides share.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.material, Material::Secret(_))
    }
}

/// An optional member of a key; null counts as missing.
pub(super) fn optional<'v>(jwk: &'v Value, name: &str) -> Option<&'v Value> {
    jwk.get(name).filter(|value| **value != Value::Null)
}

fn optional_text<'v>(jwk: &'v Value, name: &'static str) -> Result<Option<&'v str>, Unusable> {
    optional(jwk, name).map(|value| value.text().ok_or(Unusable::Malformed(name))).transpose()
}

/// Whether a key that is not a secret has members that only its owner may know.
pub(super) fn has_private_part(jwk: &Value) -> bool {
    ["d", "p", "q", "dp", "dq", "qi", "oth"].iter().any(|part| optional(jwk, part).is_some())
}

/// `use` and `key_ops`, where they are there, must both mean signatures.
pub(super) fn check_use(jwk: &Value) -> Result<(), Unusable> {
    // SPIFFE calls it by a name of its own (SPIFFE Trust Domain and Bundle, section 4.2.2).
    if optional_text(jwk, "use")?.is_some_and(|purpose| !matches!(purpose, "sig" | "jwt-svid")) {
        return Err(Unusable::Use);
    }
    match optional(jwk, "key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|item| item.text() == Some("verify")) => {
            Ok(())
        }
        Some(Value::Array(_)) => Err(Unusable::Use),
        Some(_) => Err(Unusable::Malformed("key_ops")),
    }
}

fn rsa(jwk: &Value) -> Result<Material, Unusable> {
    let (modulus, exponent) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let (n, e) = (BigUint::from_bytes_be(&modulus), BigUint::from_bytes_be(&exponent));
    if !RSA_BITS.contains(&n.bits()) {
        return Err(Unusable::Size(n.bits()));
    }
    // An exponent of 1 signs everything by itself; an even one is not valid.
    if e < BigUint::from(3u8) {
        return Err(Unusable::Weak("its exponent is below 3"));
    }
    if roca::is_weak(&n.to_bytes_be()) {
        return Err(Unusable::Weak("it was made by a broken generator (CVE-2017-15361)"));
    }
    let key = rsa::RsaPublicKey::new_with_max_size(n, e, *RSA_BITS.end());
    let key = key.map_err(|_| Unusable::Malformed("e"))?;
    Ok(Material::Rsa { spki: spki(&key)?, key })
}

fn p256(jwk: &Value) -> Result<Material, Unusable> {
    let point = point(jwk, 32)?;
    // Also checks that the point is on the curve.
    let key = p256::PublicKey::from_sec1_bytes(&point).map_err(|_| Unusable::Malformed("x"))?;
    Ok(Material::P256 { spki: spki(&key)?, key: key.into() })
}

fn p384(jwk: &Value) -> Result<Material, Unusable> {
    let point = point(jwk, 48)?;
    let key = p384::PublicKey::from_sec1_bytes(&point).map_err(|_| Unusable::Malformed("x"))?;
    Ok(Material::P384 { spki: spki(&key)?, key: key.into() })
}

fn p521(jwk: &Value) -> Result<Material, Unusable> {
    let point = point(jwk, 66)?;
    let key = p521::PublicKey::from_sec1_bytes(&point).map_err(|_| Unusable::Malformed("x"))?;
    let spki = spki(&key)?;
    let key = p521::ecdsa::VerifyingKey::from_affine(*key.as_affine());
    Ok(Material::P521 { key: key.map_err(|_| Unusable::Malformed("x"))?, spki })
}

/// An uncompressed point (SEC 1, section 2.3.3), whose coordinates have `length` bytes each.
fn point(jwk: &Value, length: usize) -> Result<Vec<u8>, Unusable> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != length {
        return Err(Unusable::Malformed("x"));
    }
    if y.len() != length {
        return Err(Unusable::Malformed("y"));
    }
    Ok([&[4], x.as_slice(), y.as_slice()].concat())
}

/// A key as a host takes it; none that is otherwise right is too long for DER.
fn spki(key: &impl EncodePublicKey) -> Result<Vec<u8>, Unusable> {
    Ok(key.to_public_key_der().map_err(|_| Unusable::Malformed("kty"))?.into_vec())
}

fn ed25519(jwk: &Value) -> Result<Material, Unusable> {
    let point = <[u8; 32]>::try_from(bytes(jwk, "x")?).map_err(|_| Unusable::Malformed("x"))?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(&point).map_err(|_| Unusable::Malformed("x"))?;
    // A signature by a point of small order holds for many messages.
    let weak = Unusable::Weak("its point has a small order");
    if key.is_weak() { Err(weak) } else { Ok(Material::Ed25519(key)) }
}

fn secret(jwk: &Value) -> Result<Material, Unusable> {
    let secret = bytes(jwk, "k")?;
    let weak = Unusable::Weak("its secret has fewer than 32 bytes");
    if secret.len() < LEAST_SECRET_BYTES { Err(weak) } else { Ok(Material::Secret(secret)) }
}

fn bytes(jwk: &Value, name: &'static str) -> Result<Vec<u8>, Unusable> {
    let text = optional_text(jwk, name)?.ok_or(Unusable::Malformed(name))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Unusable::Malformed(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Keys, and what OpenSSL 3 writes of each in DER, in base64url.
    const IN_DER: [(&str, &str); 4] = [
        (
            concat!(
                r#"{"kty":"RSA","n":"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nq"#,
                r#"Q0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHY"#,
                r#"pPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vn"#,
                r#"iUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw","e":"AQAB"}"#,
            ),
            concat!(
                "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAn4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVT",
                "eT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrH",
                "qkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrt",
                "IQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5",
                "zwIDAQAB",
            ),
        ),
        (
            concat!(
                r#"{"kty":"EC","crv":"P-256","x":"04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY","y":"UI8exy-C06a7DUn"#,
                r#"jIdENkxeFtHM4-l_41LqEw9nVgmw"}"#,
            ),
            concat!(
                "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wZQjx7HL4LTprsNSeMh",
                "0Q2TF4W0czj6X_jUuoTD2dWCbA",
            ),
        ),
        (
            concat!(
                r#"{"kty":"EC","crv":"P-384","x":"v9FSRlRY5bnxqQPq_vAwlev9UsX56pe-dN6RlDVfz7QOwJcxWt9q_e-6IfRLYltI""#,
                r#","y":"FwWO_5oa0XWkZ16ccwywKOx2rsVE96VtWBZNjPwEArSJxOdMkY3Dp39cIZ0xuOJF"}"#,
            ),
            concat!(
                "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEv9FSRlRY5bnxqQPq_vAwlev9UsX56pe-dN6RlDVfz7QOwJcxWt9q_e-6IfRLYltI",
                "FwWO_5oa0XWkZ16ccwywKOx2rsVE96VtWBZNjPwEArSJxOdMkY3Dp39cIZ0xuOJF",
            ),
        ),
        (
            concat!(
                r#"{"kty":"EC","crv":"P-521","x":"AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvj"#,
                r#"yekWF-7ytDyRXYgCF5cj0Kt","y":"AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPr"#,
                r#"wQrJmbnX9cwlGfP-HqHZR1"}"#,
            ),
            concat!(
                "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAcpkss6wI7PPlxj3t7A1RqMH3nvL4L5Tzxze_XeeYZnHqxiX-gle70DlGRMqq",
                "Oq-PJ6RYX7vK0PJFdiAIXlyPQq0B3KaUe86IvFeQSFrJdCc0K8NfiH2G1loIk3fiR-YLqlXk6FAeKtpXJKxR1pCQCAM-vBCs",
                "mZudf1zCUZ8_4eodlHU",
            ),
        ),
    ];

    #[test]
    fn a_host_gets_a_key_as_openssl_writes_it() {
        for (jwk, der) in IN_DER {
            let key = Key::read(&json::parse(jwk.as_bytes(), 4).unwrap()).unwrap();
            let (Material::Rsa { spki, .. }
            | Material::P256 { spki, .. }
            | Material::P384 { spki, .. }
            | Material::P521 { spki, .. }) = key.material
            else {
                panic!("a key that hosts take")
            };
            assert_eq!(URL_SAFE_NO_PAD.encode(spki), der, "{jwk}");
        }
    }
}
