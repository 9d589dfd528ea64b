//! Tokens as an issuer signs them (RFC 7515, RFC 7519), valid ones and any others that a test sends.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};

use crate::error::Error;

/// An issuer's private key, P-256 for `ES256` (RFC 7518, 3.4).
pub struct TokenKey(SigningKey);

impl TokenKey {
    /// The header of a token that is right. Every key has the same identifier: two issuers have two sets of keys.
    pub const HEADER: &str = r#"{"alg":"ES256","kid":"one","typ":"JWT"}"#;

    /// The same key for the same seed.
    ///
    /// # Errors
    /// For a seed of 0 or 255, which make no private key.
    pub fn new(seed: u8) -> Result<Self, Error> {
        let key = SigningKey::from_slice(&[seed; 32]);
        key.map(Self).map_err(|_| Error::Protocol(format!("no P-256 key can be made of the seed {seed}")))
    }

    /// The public key as a JSON Web Key (RFC 7517).
    pub fn key(&self) -> String {
        // Uncompressed, this is a byte of form and two coordinates (SEC 1, 2.3.3).
        let point = self.0.verifying_key().to_encoded_point(false);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        let (x, y) = (base64url(x), base64url(y));
        format!(r#"{{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"one","x":"{x}","y":"{y}"}}"#)
    }

    /// The set of this one key (RFC 7517, section 5), as an issuer publishes it.
    pub fn key_set(&self) -> String {
        format!(r#"{{"keys":[{}]}}"#, self.key())
    }

    /// A token of any header and payload, as they are.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let text = format!("{}.{}", base64url(header), base64url(payload));
        let signature: Signature = self.0.sign(text.as_bytes());
        format!("{text}.{}", base64url(signature.to_bytes()))
    }
}

/// Base64 with the alphabet of URLs and without padding, as tokens and keys are written.
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use p256::EncodedPoint;
    use p256::ecdsa::VerifyingKey;
    use p256::ecdsa::signature::Verifier as _;
    use serde_json::Value;

    use super::*;

    /// Whether the published key verifies a token.
    fn verifies(key: &str, token: &str) -> bool {
        let key: Value = serde_json::from_str(key).unwrap();
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        let (x, y) = (coordinate("x"), coordinate("y"));
        let point = EncodedPoint::from_affine_coordinates(x[..].into(), y[..].into(), false);
        let (text, signature) = token.rsplit_once('.').unwrap();
        let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        VerifyingKey::from_encoded_point(&point).unwrap().verify(text.as_bytes(), &signature).is_ok()
    }

    #[test]
    fn a_token_is_verified_by_the_key_of_its_issuer_and_by_no_other() {
        let (issuer, stranger) = (TokenKey::new(1).unwrap(), TokenKey::new(2).unwrap());
        let token = issuer.sign(TokenKey::HEADER, r#"{"sub":"u"}"#);
        assert!(token.contains(".eyJzdWIiOiJ1In0."), "{token}");
        assert!(verifies(&issuer.key(), &token));
        assert!(!verifies(&stranger.key(), &token));
        let set: Value = serde_json::from_str(&issuer.key_set()).unwrap();
        assert_eq!(
            set["keys"][0].to_string(),
            serde_json::from_str::<Value>(&issuer.key()).unwrap().to_string()
        );
    }

    #[test]
    fn a_seed_that_makes_no_key_is_refused() {
        assert!(TokenKey::new(0).is_err());
        assert!(TokenKey::new(255).is_err());
        assert!(TokenKey::new(254).is_ok());
    }
}
