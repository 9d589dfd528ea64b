//! Keys and signatures in the form that hosts take: DER (X.690).

/// `1.2.840.113549.1.1.1` with its NULL: an RSA key (RFC 8017, appendix A.1).
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// `1.2.840.10045.2.1` and `1.2.840.10045.3.1.7`: a key on P-256 (RFC 5480).
const P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];
/// `1.2.840.10045.2.1` and `1.3.132.0.34`: a key on P-384.
const P384: &[u8] =
    &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// `1.2.840.10045.2.1` and `1.3.132.0.35`: a key on P-521.
const P521: &[u8] =
    &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// The SubjectPublicKeyInfo of an RSA key, from its numbers in big-endian.
pub(crate) fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = tagged(SEQUENCE, &[integer(modulus), integer(exponent)].concat());
    public_key(RSA, &key)
}

/// The SubjectPublicKeyInfo of a key on P-256, from its uncompressed point.
pub(crate) fn p256_key(point: &[u8]) -> Vec<u8> {
    public_key(P256, point)
}

/// The same on P-384.
pub(crate) fn p384_key(point: &[u8]) -> Vec<u8> {
    public_key(P384, point)
}

/// The same on P-521.
pub(crate) fn p521_key(point: &[u8]) -> Vec<u8> {
    public_key(P521, point)
}

/// An ECDSA signature (RFC 3279, section 2.2.3) from the two numbers of equal length that a token has.
pub(crate) fn ecdsa_signature(numbers: &[u8]) -> Vec<u8> {
    let (r, s) = numbers.split_at(numbers.len() / 2);
    tagged(SEQUENCE, &[integer(r), integer(s)].concat())
}

fn public_key(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    // No bits of the last byte are unused.
    let bits = tagged(BIT_STRING, &[&[0], key].concat());
    tagged(SEQUENCE, &[tagged(SEQUENCE, algorithm), bits].concat())
}

/// A number that is not negative: without leading zeros, except one where the first bit would be a sign.
fn integer(big_endian: &[u8]) -> Vec<u8> {
    let start = big_endian.iter().position(|byte| *byte != 0).unwrap_or(big_endian.len());
    let digits = &big_endian[start..];
    match digits.first() {
        Some(first) if *first < 0x80 => tagged(INTEGER, digits),
        _ => tagged(INTEGER, &[&[0], digits].concat()),
    }
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        out.push(0x80 | length.len() as u8);
    }
    out.extend_from_slice(length);
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn numbers_are_as_short_as_der_wants_them() {
        assert_eq!(integer(&[0, 0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(ecdsa_signature(&[0, 1, 0xff, 0]), [0x30, 8, 2, 1, 1, 2, 3, 0, 0xff, 0]);
    }

    #[test]
    fn long_contents_have_long_lengths() {
        assert_eq!(tagged(4, &[7; 0x7f])[..3], [4, 0x7f, 7]);
        assert_eq!(tagged(4, &[7; 0x80])[..4], [4, 0x81, 0x80, 7]);
        assert_eq!(tagged(4, &[7; 0x100])[..5], [4, 0x82, 1, 0, 7]);
        assert_eq!(tagged(4, &[]), [4, 0]);
    }
}
