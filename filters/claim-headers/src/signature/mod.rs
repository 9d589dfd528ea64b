//! Whether a signature is right.
//!
//! Everything else about a token has been checked before. The host is asked first (Envoy's own cryptography is many
//! times faster than Rust inside wasm); what it cannot check, or has no function for, is checked here: natively by
//! ring, which needs assembly and a C compiler, and else in plain Rust.

#[cfg(not(target_family = "wasm"))]
mod native;

use crate::keys::{Key, Material};
use crate::token::Algorithm;
use filter_api::{Hash, SignatureCheck};
use hmac::Mac as _;
use p256::ecdsa::signature::Verifier as _;
use rsa::pkcs8::der::{Encode as _, asn1::UintRef};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// Asks the host; `None` if it cannot check such a signature.
pub(crate) type AskHost<'a> = &'a dyn Fn(&SignatureCheck<'_>) -> Option<bool>;

/// Whether `signature` is that of `signed` by `key`.
pub(crate) fn is_right(
    algorithm: Algorithm,
    key: &Key,
    signed: &[u8],
    signature: &[u8],
    host: AskHost<'_>,
) -> bool {
    if !has_right_length(&key.material, signature) {
        return false;
    }
    let asked = |hash, key: &[u8], signature: &[u8]| host(&SignatureCheck { hash, key, signed, signature });
    let answer = match (algorithm, &key.material) {
        (Algorithm::RS256, Material::Rsa { spki, .. }) => asked(Hash::Sha256, spki, signature),
        (Algorithm::RS384, Material::Rsa { spki, .. }) => asked(Hash::Sha384, spki, signature),
        (Algorithm::RS512, Material::Rsa { spki, .. }) => asked(Hash::Sha512, spki, signature),
        (Algorithm::ES256, Material::P256 { spki, .. }) => {
            ecdsa_in_der(signature).and_then(|signature| asked(Hash::Sha256, spki, &signature))
        }
        (Algorithm::ES384, Material::P384 { spki, .. }) => {
            ecdsa_in_der(signature).and_then(|signature| asked(Hash::Sha384, spki, &signature))
        }
        (Algorithm::ES512, Material::P521 { spki, .. }) => {
            ecdsa_in_der(signature).and_then(|signature| asked(Hash::Sha512, spki, &signature))
        }
        _ => None,
    };
    #[cfg(not(target_family = "wasm"))]
    let answer = answer.or_else(|| native::is_right(algorithm, &key.material, signed, signature));
    answer.unwrap_or_else(|| is_right_in_rust(algorithm, key, signed, signature))
}

/// An ECDSA signature as a host takes it (RFC 3279, section 2.2.3), from the two numbers of equal length that a token has,
/// whether or not they can be a signature.
fn ecdsa_in_der(numbers: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = numbers.split_at(numbers.len() / 2);
    [UintRef::new(r).ok()?, UintRef::new(s).ok()?].to_der().ok()
}

/// Whether a signature has the length, in bytes, that every signature of the key has.
pub(crate) fn has_right_length(material: &Material, signature: &[u8]) -> bool {
    use rsa::traits::PublicKeyParts as _;
    let length = match material {
        Material::Rsa { key, .. } => key.size(),
        Material::P256 { .. } | Material::Ed25519(_) => 64,
        Material::P384 { .. } => 96,
        Material::P521 { .. } => 132,
        Material::Secret(_) => 32,
    };
    signature.len() == length
}

/// The same in plain Rust, whatever the algorithm.
pub(crate) fn is_right_in_rust(algorithm: Algorithm, key: &Key, signed: &[u8], signature: &[u8]) -> bool {
    use rsa::{Pkcs1v15Sign, Pss};
    match (algorithm, &key.material) {
        (Algorithm::RS256, Material::Rsa { key, .. }) => {
            key.verify(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(signed), signature).is_ok()
        }
        (Algorithm::RS384, Material::Rsa { key, .. }) => {
            key.verify(Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(signed), signature).is_ok()
        }
        (Algorithm::RS512, Material::Rsa { key, .. }) => {
            key.verify(Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(signed), signature).is_ok()
        }
        (Algorithm::PS256, Material::Rsa { key, .. }) => {
            // The salt is as long as the hash (RFC 7518, section 3.5).
            let padding = Pss::new_with_salt::<Sha256>(32);
            key.verify(padding, &Sha256::digest(signed), signature).is_ok()
        }
        (Algorithm::PS384, Material::Rsa { key, .. }) => {
            let padding = Pss::new_with_salt::<Sha384>(48);
            key.verify(padding, &Sha384::digest(signed), signature).is_ok()
        }
        (Algorithm::PS512, Material::Rsa { key, .. }) => {
            let padding = Pss::new_with_salt::<Sha512>(64);
            key.verify(padding, &Sha512::digest(signed), signature).is_ok()
        }
        (Algorithm::ES256, Material::P256 { key, .. }) => p256::ecdsa::Signature::from_slice(signature)
            .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
        (Algorithm::ES384, Material::P384 { key, .. }) => p384::ecdsa::Signature::from_slice(signature)
            .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
        (Algorithm::ES512, Material::P521 { key, .. }) => p521::ecdsa::Signature::from_slice(signature)
            .is_ok_and(|signature| key.verify(signed, &signature).is_ok()),
        (Algorithm::EdDsa, Material::Ed25519(key)) => ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| key.verify_strict(signed, &signature).is_ok()),
        (Algorithm::HS256, Material::Secret(secret)) => {
            // Compares in constant time.
            hmac::Hmac::<Sha256>::new_from_slice(secret)
                .is_ok_and(|mac| mac.chain_update(signed).verify_slice(signature).is_ok())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use std::cell::RefCell;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// What a host is asked about a signature of these two numbers, and the result if it says yes.
    fn asked(r: &[u8], s: &[u8]) -> (Vec<Vec<u8>>, bool) {
        // The key of RFC 7515, appendix A.3.
        let jwk = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
        let key = Key::read(&json::parse(jwk.as_bytes(), 4).unwrap()).unwrap();
        let mut signature = vec![0; 64];
        signature[32 - r.len()..32].copy_from_slice(r);
        signature[64 - s.len()..].copy_from_slice(s);
        let asked = RefCell::new(Vec::new());
        let host = |check: &SignatureCheck<'_>| {
            asked.borrow_mut().push(check.signature.to_vec());
            Some(true)
        };
        let right = is_right(Algorithm::ES256, &key, b"text", &signature, &host);
        (asked.into_inner(), right)
    }

    #[test]
    fn a_host_gets_the_numbers_of_a_signature_as_short_as_der_wants_them() {
        let der = [0x30, 8, 2, 1, 1, 2, 3, 0, 0xff, 0];
        assert_eq!(asked(&[1], &[0xff, 0]), (vec![der.to_vec()], true));
        let der = [0x30, 7, 2, 1, 0x7f, 2, 2, 0, 0x80];
        assert_eq!(asked(&[0x7f], &[0x80]), (vec![der.to_vec()], true));
    }

    #[test]
    fn what_is_wrong_about_the_numbers_is_for_the_host_to_say() {
        let zeros = [0x30, 6, 2, 1, 0, 2, 1, 0];
        assert_eq!(asked(&[0], &[0]), (vec![zeros.to_vec()], true));
        let (asked, _) = asked(&[0xff; 32], &[1]);
        assert_eq!(asked[0][..6], [0x30, 38, 2, 33, 0, 0xff]);
    }
}
