//! Signatures where there is no host to ask and the processor can be used to the full: in a dynamic module.
//!
//! ring does with a signature of RSA in a fifth of the time what plain Rust does, and with one of ECDSA in a third.

use crate::keys::Material;
use crate::token::Algorithm;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use rsa::traits::PublicKeyParts as _;

/// Whether `signature` is that of `signed`; `None` for the algorithms that are left to plain Rust: `HS256`, `ES512`,
/// which ring does not have, and `EdDSA`, which is checked more strictly there.
pub(super) fn is_right(
    algorithm: Algorithm,
    material: &Material,
    signed: &[u8],
    signature: &[u8],
) -> Option<bool> {
    let rsa = |parameters: &'static RsaParameters, key: &rsa::RsaPublicKey| {
        let key = RsaPublicKeyComponents { n: key.n().to_bytes_be(), e: key.e().to_bytes_be() };
        Some(key.verify(parameters, signed, signature).is_ok())
    };
    let ecdsa = |algorithm: &'static EcdsaVerificationAlgorithm, point: &[u8]| {
        Some(UnparsedPublicKey::new(algorithm, point).verify(signed, signature).is_ok())
    };
    match (algorithm, material) {
        (Algorithm::RS256, Material::Rsa { key, .. }) => rsa(&RSA_PKCS1_2048_8192_SHA256, key),
        (Algorithm::RS384, Material::Rsa { key, .. }) => rsa(&RSA_PKCS1_2048_8192_SHA384, key),
        (Algorithm::RS512, Material::Rsa { key, .. }) => rsa(&RSA_PKCS1_2048_8192_SHA512, key),
        (Algorithm::PS256, Material::Rsa { key, .. }) => rsa(&RSA_PSS_2048_8192_SHA256, key),
        (Algorithm::PS384, Material::Rsa { key, .. }) => rsa(&RSA_PSS_2048_8192_SHA384, key),
        (Algorithm::PS512, Material::Rsa { key, .. }) => rsa(&RSA_PSS_2048_8192_SHA512, key),
        (Algorithm::ES256, Material::P256 { key, .. }) => {
            ecdsa(&ECDSA_P256_SHA256_FIXED, key.to_encoded_point(false).as_bytes())
        }
        (Algorithm::ES384, Material::P384 { key, .. }) => {
            ecdsa(&ECDSA_P384_SHA384_FIXED, key.to_encoded_point(false).as_bytes())
        }
        _ => None,
    }
}
