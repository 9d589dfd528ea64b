//! Makes tokens, with the private keys of the public vectors and one of its own.

use crate::json::{self, Value};
use crate::token::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use ed25519_dalek::Signer as _;
use hmac::Mac as _;
use p521::ecdsa::signature::RandomizedSigner as _;
use rsa::pkcs8::EncodePublicKey as _;
use rsa::rand_core::{CryptoRng, RngCore};
use rsa::{BigUint, Pkcs1v15Sign, Pss, RsaPrivateKey};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use std::sync::OnceLock;

/// An issuer's private keys.
pub(crate) struct Mint;

/// A header that is right.
pub(crate) const RS256: &str = r#"{"alg":"RS256","kid":"kid-rsa-sign","typ":"JWT"}"#;
pub(crate) const ES256: &str = r#"{"alg":"ES256","kid":"kid-ec-sign","typ":"JWT"}"#;
pub(crate) const EDDSA: &str = r#"{"alg":"EdDSA","kid":"kid-ed-sign","typ":"at+jwt"}"#;

/// A payload that is right, whose members `also` follow.
pub(crate) fn payload(also: &str) -> String {
    format!(
        r#"{{"iss":"https://idp.test","aud":"inference","exp":4102444800,"iat":1700000000,"sub":"alice"{also}}}"#
    )
}

/// A payload that is right, of a premium user.
pub(crate) fn premium() -> String {
    payload(r#","user_type":"premium""#)
}

/// A payload of a premium user in which `from` is written as `to`.
pub(crate) fn premium_but(from: &str, to: &str) -> String {
    let payload = premium();
    assert!(payload.contains(from), "{from}");
    payload.replacen(from, to, 1)
}

impl Mint {
    /// The public keys.
    pub(crate) fn key_set() -> String {
        let (rsa, ec) = (jwk("rs256"), jwk("es256"));
        let ed = encode(ed25519().verifying_key().as_bytes());
        format!(
            r#"{{"keys":[
{{"kty":"RSA","kid":"kid-rsa-sign","alg":"RS256","use":"sig","n":"{}","e":"{}"}},
{{"kty":"EC","kid":"kid-ec-sign","alg":"ES256","use":"sig","crv":"P-256","x":"{}","y":"{}"}},
{{"kty":"OKP","kid":"kid-ed-sign","alg":"EdDSA","use":"sig","crv":"Ed25519","x":"{ed}"}}]}}"#,
            member(&rsa, "n"),
            member(&rsa, "e"),
            member(&ec, "x"),
            member(&ec, "y"),
        )
    }

    /// Signs with the key that goes with the algorithm of the header's name; the header may say anything else.
    pub(crate) fn rs256(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        Self::rsa(Algorithm::RS256, header, payload)
    }

    pub(crate) fn es256(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let key = p256::ecdsa::SigningKey::from_slice(&bytes(&jwk("es256"), "d")).unwrap();
        signed(header, payload, |text| {
            let signature: p256::ecdsa::Signature = key.sign(text);
            signature.to_bytes().to_vec()
        })
    }

    /// Signs with the RSA key by any algorithm that it can be used with; PSS with a salt that is the same each time.
    pub(crate) fn rsa(algorithm: Algorithm, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let sign = |text: &[u8]| {
            let key = rsa_key();
            match algorithm {
                Algorithm::RS256 => key.sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(text)),
                Algorithm::RS384 => key.sign(Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(text)),
                Algorithm::RS512 => key.sign(Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(text)),
                Algorithm::PS256 => {
                    key.sign_with_rng(&mut Same, Pss::new_with_salt::<Sha256>(32), &Sha256::digest(text))
                }
                Algorithm::PS384 => {
                    key.sign_with_rng(&mut Same, Pss::new_with_salt::<Sha384>(48), &Sha384::digest(text))
                }
                Algorithm::PS512 => {
                    key.sign_with_rng(&mut Same, Pss::new_with_salt::<Sha512>(64), &Sha512::digest(text))
                }
                other => panic!("{other:?} is not RSA's"),
            }
        };
        signed(header, payload, |text| sign(text).unwrap())
    }

    /// As the load balancer makes them: each part padded, and signed so.
    pub(crate) fn padded_es256(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let key = p256::ecdsa::SigningKey::from_slice(&bytes(&jwk("es256"), "d")).unwrap();
        let text = format!("{}.{}", URL_SAFE.encode(header), URL_SAFE.encode(payload));
        let signature: p256::ecdsa::Signature = key.sign(text.as_bytes());
        format!("{text}.{}", URL_SAFE.encode(signature.to_bytes()))
    }

    pub(crate) fn es384(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        signed(header, payload, |text| {
            let signature: p384::ecdsa::Signature = es384_key().sign(text);
            signature.to_bytes().to_vec()
        })
    }

    pub(crate) fn es512(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        signed(header, payload, |text| {
            let signature: p521::ecdsa::Signature = es512_key().sign_with_rng(&mut Same, text);
            signature.to_bytes().to_vec()
        })
    }

    /// The public key of an algorithm as the members of a JWK, without `kid`, `alg` and `use`.
    pub(crate) fn public(algorithm: Algorithm) -> serde_json::Value {
        use serde_json::json;
        let coordinates = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
        };
        match algorithm {
            Algorithm::ES256 => {
                let key = p256::ecdsa::SigningKey::from_slice(&bytes(&jwk("es256"), "d")).unwrap();
                coordinates("P-256", key.verifying_key().to_encoded_point(false).as_bytes())
            }
            Algorithm::ES384 => {
                coordinates("P-384", es384_key().verifying_key().to_encoded_point(false).as_bytes())
            }
            Algorithm::ES512 => {
                let key = p521::ecdsa::VerifyingKey::from(&es512_key());
                coordinates("P-521", key.to_encoded_point(false).as_bytes())
            }
            Algorithm::EdDsa => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(ed25519().verifying_key().as_bytes())})
            }
            Algorithm::HS256 => panic!("it has no public key"),
            _ => json!({"kty": "RSA", "n": member(&jwk("rs256"), "n"), "e": member(&jwk("rs256"), "e")}),
        }
    }

    pub(crate) fn eddsa(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        signed(header, payload, |text| ed25519().sign(text).to_bytes().to_vec())
    }

    /// Signs with any secret.
    pub(crate) fn hs256(secret: &[u8], header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let mac = hmac::Hmac::<Sha256>::new_from_slice(secret).unwrap();
        signed(header, payload, |text| mac.clone().chain_update(text).finalize().into_bytes().to_vec())
    }

    /// Signs with the key of somebody else.
    pub(crate) fn stranger(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
        signed(header, payload, |text| key.sign(text).to_bytes().to_vec())
    }

    /// The stranger's public key as JSON.
    pub(crate) fn stranger_key() -> String {
        let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
        let x = encode(key.verifying_key().as_bytes());
        format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"kid-ed-sign","alg":"EdDSA","x":"{x}"}}"#)
    }

    /// Another issuer's public RSA key, a different one for each `number`, as JSON with these members.
    pub(crate) fn other_rsa_key(number: u8, members: &str) -> String {
        let mut modulus = Self::rsa_modulus();
        modulus[100] ^= number;
        format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"{members}}}"#, encode(modulus))
    }

    /// The RSA key's modulus, which is public.
    pub(crate) fn rsa_modulus() -> Vec<u8> {
        bytes(&jwk("rs256"), "n")
    }

    /// The RSA key in DER, which anyone can make.
    pub(crate) fn rsa_der() -> Vec<u8> {
        let [n, e] = ["n", "e"].map(|name| rsa::BigUint::from_bytes_be(&bytes(&jwk("rs256"), name)));
        rsa::RsaPublicKey::new(n, e).unwrap().to_public_key_der().unwrap().into_vec()
    }
}

/// A premium user's token that is right in every way.
pub(crate) fn good() -> String {
    Mint::rs256(RS256, premium())
}

/// A token with an empty signature.
pub(crate) fn unsigned(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    signed(header, payload, |_| Vec::new())
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(
    header: impl AsRef<[u8]>,
    payload: impl AsRef<[u8]>,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> String {
    let text = format!("{}.{}", encode(header), encode(payload));
    let signature = sign(text.as_bytes());
    format!("{text}.{}", encode(signature))
}

fn rsa_key() -> RsaPrivateKey {
    let key = jwk("rs256");
    let number = |name: &str| BigUint::from_bytes_be(&bytes(&key, name));
    let primes = vec![number("p"), number("q")];
    RsaPrivateKey::from_components(number("n"), number("e"), number("d"), primes).unwrap()
}

fn es384_key() -> p384::ecdsa::SigningKey {
    p384::ecdsa::SigningKey::from_slice(&[5; 48]).unwrap()
}

fn es512_key() -> p521::ecdsa::SigningKey {
    p521::ecdsa::SigningKey::from_slice(&[&[0; 2][..], &[5; 64]].concat()).unwrap()
}

/// Random numbers that are the same each time, so that tokens are.
struct Same;

impl RngCore for Same {
    fn next_u32(&mut self) -> u32 {
        1
    }

    fn next_u64(&mut self) -> u64 {
        1
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(1);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Same {}

fn ed25519() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[7; 32])
}

/// The private key of a group of Wycheproof's signatures.
fn jwk(comment: &str) -> Value {
    static FILE: OnceLock<Value> = OnceLock::new();
    let text = include_str!("../../tests/vectors/wycheproof_json_web_signature_test.json");
    let file = FILE.get_or_init(|| json::parse(text.as_bytes(), 32).unwrap());
    let Some(Value::Array(groups)) = file.get("testGroups") else { panic!("no groups") };
    let group = groups.iter().find(|group| group.get("comment").unwrap().text() == Some(comment)).unwrap();
    group.get("private").unwrap().clone()
}

fn member<'v>(jwk: &'v Value, name: &str) -> &'v str {
    jwk.get(name).unwrap().text().unwrap()
}

fn bytes(jwk: &Value, name: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(member(jwk, name)).unwrap()
}
