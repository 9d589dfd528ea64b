//! Envoy's foreign function `verify_signature`, for modules on the emulator.
//!
//! As `source/extensions/common/wasm/foreign.cc` has it: the key is a SubjectPublicKeyInfo (RFC 5280, section 4.1), RSA
//! signatures are PKCS #1 v1.5, and ECDSA's are in DER. What it cannot check is answered like a wrong signature, but
//! for the reason. Here BoringSSL's part is ring's, which the filters' own Rust does not share in wasm, and has no
//! P-521.

use prost::Message;
use proxy_wasm_emulator::{ForeignFunction, Status};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// `rsaEncryption` (RFC 8017, appendix A.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// `id-ecPublicKey` (RFC 5480, section 2.1.1), and two of its curves.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// For [`VmOptions::foreign_functions`](proxy_wasm_emulator::VmOptions::foreign_functions) where the module is to check
/// signatures itself: a host without the function.
#[must_use]
pub fn missing() -> BTreeMap<String, ForeignFunction> {
    [(Verifier::NAME.to_owned(), ForeignFunction::absent())].into()
}

/// The function under its name, and whether it found each signature right that it could check.
#[derive(Clone, Default)]
pub struct Verifier {
    found: Rc<RefCell<Vec<bool>>>,
    imports_no_key: bool,
}

impl Verifier {
    /// The name that modules call.
    pub const NAME: &'static str = "verify_signature";

    /// One that answers as Envoy does for a key that it cannot import, whatever the key.
    #[must_use]
    pub fn that_imports_no_key() -> Self {
        Self { imports_no_key: true, ..Self::default() }
    }

    /// For [`VmOptions::foreign_functions`](proxy_wasm_emulator::VmOptions::foreign_functions).
    #[must_use]
    pub fn function(&self) -> ForeignFunction {
        let (found, imports_no_key) = (self.found.clone(), self.imports_no_key);
        ForeignFunction::new(move |_, arguments| {
            let judged = verify(arguments)?.filter(|_| !imports_no_key);
            found.borrow_mut().extend(judged);
            let error = match judged {
                Some(true) => "",
                Some(false) => "Failed to verify digest. Error code: 0",
                None => "Failed to initialize digest verify.",
            };
            Ok(Verdict { result: judged == Some(true), error: error.to_owned() }.encode_to_vec())
        })
    }

    /// What it found since the last call, in order.
    #[must_use]
    pub fn take(&self) -> Vec<bool> {
        std::mem::take(&mut self.found.borrow_mut())
    }
}

/// `envoy.source.extensions.common.wasm.VerifySignatureArguments`.
#[derive(Message)]
struct Arguments {
    #[prost(string, tag = "1")]
    hash_function: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
}

/// `envoy.source.extensions.common.wasm.VerifySignatureResult`.
#[derive(Message)]
struct Verdict {
    #[prost(bool, tag = "1")]
    result: bool,
    #[prost(string, tag = "2")]
    error: String,
}

/// Whether a signature is right; `None` if it cannot be checked.
fn verify(arguments: &[u8]) -> Result<Option<bool>, Status> {
    let arguments = Arguments::decode(arguments).map_err(|_| Status::BadArgument)?;
    if arguments.public_key.is_empty() {
        return Err(Status::BadArgument);
    }
    let Ok(key) = SubjectPublicKeyInfoRef::try_from(arguments.public_key.as_slice()) else { return Ok(None) };
    let hash = arguments.hash_function.to_ascii_lowercase();
    let curve = key.algorithm.parameters_oid().ok();
    let algorithm: &'static dyn VerificationAlgorithm = match (key.algorithm.oid, curve, hash.as_str()) {
        (RSA, _, "sha256") => &RSA_PKCS1_2048_8192_SHA256,
        (RSA, _, "sha384") => &RSA_PKCS1_2048_8192_SHA384,
        (RSA, _, "sha512") => &RSA_PKCS1_2048_8192_SHA512,
        (EC, Some(P256), "sha256") => &ECDSA_P256_SHA256_ASN1,
        (EC, Some(P256), "sha384") => &ECDSA_P256_SHA384_ASN1,
        (EC, Some(P384), "sha256") => &ECDSA_P384_SHA256_ASN1,
        (EC, Some(P384), "sha384") => &ECDSA_P384_SHA384_ASN1,
        _ => return Ok(None),
    };
    let Some(key) = key.subject_public_key.as_bytes() else { return Ok(None) };
    Ok(Some(UnparsedPublicKey::new(algorithm, key).verify(&arguments.text, &arguments.signature).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(hash: &str, key: &[u8]) -> Result<Option<bool>, Status> {
        let (hash_function, public_key) = (hash.to_owned(), key.to_vec());
        let arguments = Arguments { hash_function, public_key, signature: vec![1], text: vec![2] };
        verify(&arguments.encode_to_vec())
    }

    #[test]
    fn no_key_is_a_bad_argument_and_with_one_that_is_not_rsas_or_ecdsas_nothing_can_be_checked() {
        assert_eq!(ask("sha256", b""), Err(Status::BadArgument));
        assert_eq!(ask("sha256", b"\x30\x03abc"), Ok(None));
        assert_eq!(verify(b"\x0a\xff"), Err(Status::BadArgument));
        // Ed25519 (RFC 8410, section 4).
        let ed25519 = [&b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"[..], &[7; 32]].concat();
        assert_eq!(ask("sha256", &ed25519), Ok(None));
        assert_eq!(ask("md5", &ed25519), Ok(None));
    }
}
