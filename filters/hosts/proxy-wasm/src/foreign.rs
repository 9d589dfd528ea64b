//! Envoy's own functions beyond the ABI ("foreign functions").

use filter_api::{Hash, SignatureCheck};
use proxy_wasm::hostcalls;

/// Has Envoy check a signature; `None` if it has no such function, or cannot check such a one.
///
/// `verify_signature` takes the message `envoy.source.extensions.common.wasm.VerifySignatureArguments` and answers with
/// `VerifySignatureResult`.
pub(crate) fn verify(check: &SignatureCheck<'_>) -> Option<bool> {
    let hash = match check.hash {
        Hash::Sha256 => "sha256",
        Hash::Sha384 => "sha384",
        Hash::Sha512 => "sha512",
    };
    let fields = [hash.as_bytes(), check.key, check.signature, check.signed];
    let mut arguments = Vec::with_capacity(fields.iter().map(|field| field.len() + 8).sum());
    for (index, field) in fields.into_iter().enumerate() {
        // A length-delimited field: its number and wire type 2, its length, its bytes.
        arguments.push(((index as u8 + 1) << 3) | 2);
        varint(field.len(), &mut arguments);
        arguments.extend_from_slice(field);
    }
    let answer = hostcalls::call_foreign_function("verify_signature", Some(&arguments)).ok()?;
    judgement(&answer.unwrap_or_default())
}

/// Envoy's word for a signature that it has checked, and found wrong (`source/common/crypto/utility_impl.cc`). Every
/// other reason is one for which it could not check: a key that it cannot import, a hash that it does not know.
const WRONG: &[u8] = b"Failed to verify digest";

/// What a `VerifySignatureResult` says: its first field is whether the signature is right, and left out if it is not;
/// its second is the reason.
fn judgement(result: &[u8]) -> Option<bool> {
    match result {
        [8, 1, ..] => Some(true),
        // Texts of less than 128 bytes, which these are, have their length in one byte.
        [0x12, _, reason @ ..] | [8, 0, 0x12, _, reason @ ..] if reason.starts_with(WRONG) => Some(false),
        _ => None,
    }
}

/// Has Envoy select the route again. Any change of a request header does so, too, in the versions that were tried; this
/// is for where nothing was changed.
pub(crate) fn clear_route_cache() {
    let _unknown = hostcalls::call_foreign_function("clear_route_cache", None);
}

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_that_could_not_be_checked_is_not_a_wrong_one() {
        let because = |reason: &str| [&[0x12, reason.len() as u8], reason.as_bytes()].concat();
        assert_eq!(judgement(&[8, 1]), Some(true));
        assert_eq!(judgement(&because("Failed to verify digest. Error code: 0")), Some(false));
        assert_eq!(judgement(&because("Failed to initialize digest verify.")), None);
        assert_eq!(judgement(&because("sha256 is not supported.")), None);
        assert_eq!(judgement(&[]), None);
        assert_eq!(judgement(&[8]), None);
    }

    #[test]
    fn numbers_are_written_seven_bits_at_a_time() {
        let written = |number| {
            let mut out = Vec::new();
            varint(number, &mut out);
            out
        };
        assert_eq!(
            (written(0), written(127), written(128), written(300)),
            (vec![0], vec![127], vec![128, 1], vec![172, 2])
        );
    }
}
