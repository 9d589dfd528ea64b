//! The compact serialisation of a JSON Web Signature (RFC 7515, section 3.1).

use super::{MAX_DEPTH, Refusal};
use crate::json::{self, Value};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

/// A token in its parts. Nothing in it is believed yet.
#[derive(Debug)]
pub(crate) struct Jws<'t> {
    /// The header, which is JSON.
    pub(crate) header: Value,
    /// What is signed: the first two parts as they were sent.
    pub(crate) signed: &'t [u8],
    /// The payload's bytes.
    pub(crate) payload: Vec<u8>,
    /// The signature's bytes.
    pub(crate) signature: Vec<u8>,
    /// One of the parts is padded, which only some issuers may do.
    pub(crate) padded: bool,
}

impl<'t> Jws<'t> {
    /// Takes a token of at most `max_bytes` apart.
    ///
    /// base64url is read canonically: with no bit set that means nothing, and without padding (RFC 7515, section 2) or
    /// with all of it, which the caller refuses where it is not expected. So no two texts are the same token.
    pub(crate) fn parse(token: &'t [u8], max_bytes: usize) -> Result<Self, Refusal> {
        if token.len() > max_bytes {
            return Err(Refusal::TooLarge);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Malformed);
        };
        let signed = &token[..header.len() + 1 + payload.len()];
        let padded = [header, payload, signature].iter().any(|part| part.ends_with(b"="));
        let header = json::parse(&decode(header)?, MAX_DEPTH)?;
        if !matches!(header, Value::Object(_)) {
            return Err(Refusal::Malformed);
        }
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        Ok(Self { header, signed, payload, signature, padded })
    }

    /// The payload as claims: a JSON object.
    pub(crate) fn claims(&self) -> Result<Value, Refusal> {
        match json::parse(&self.payload, MAX_DEPTH)? {
            claims @ Value::Object(_) => Ok(claims),
            _ => Err(Refusal::Malformed),
        }
    }
}

fn decode(part: &[u8]) -> Result<Vec<u8>, Refusal> {
    let form = if part.ends_with(b"=") { URL_SAFE } else { URL_SAFE_NO_PAD };
    form.decode(part).map_err(|_| Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_token_comes_apart_and_only_its_exact_text_is_signed() {
        let jws = Jws::parse(b"e30.e30.AQ", 10).unwrap();
        assert_eq!(
            (jws.signed, jws.payload.as_slice(), jws.signature.as_slice()),
            (&b"e30.e30"[..], &b"{}"[..], &[1][..])
        );
        assert_eq!(Jws::parse(b"e30.e30.AQ", 9).unwrap_err(), Refusal::TooLarge);
    }

    #[test]
    fn a_padded_token_is_told_from_one_that_is_not() {
        for (token, padded) in
            [("e30.e30.AQ", false), ("e30=.e30=.AQ==", true), ("e30.e30.AQ==", true), ("e30=.e30.AQ", true)]
        {
            assert_eq!(Jws::parse(token.as_bytes(), 20).unwrap().padded, padded, "{token}");
        }
    }

    #[test]
    fn a_text_that_is_not_canonical_is_no_token() {
        for token in [
            "",
            ".",
            "..",
            "e30.e30",
            "e30.e30.AQ.",
            ".e30.AQ",
            "e30==.e30.AQ",
            "e30.e30.AQ=",
            "e30.e30.AQ===",
            "e30.e30.AR==",
            "e30.e30.A=Q=",
            "e30.e30.====",
            "e30.e30.AR",
            "e31.e30.AQ",
            "e30.e30.AQ ",
            " e30.e30.AQ",
            "e30.e30.A+",
            "e30.e30.A/",
            "e30.e30.A",
            "e30.e30.AQ?",
            "e30.e30.A\nQ",
            "W10.e30.AQ",
        ] {
            assert_eq!(Jws::parse(token.as_bytes(), 100).unwrap_err(), Refusal::Malformed, "{token:?}");
        }
    }
}
