//! Claims that another filter has verified (Envoy's `envoy.extensions.filters.http.jwt_authn.v3`), which leaves them in
//! dynamic metadata (`payload_in_metadata`) and, if told so, in a header (`forward_payload_header`).

use crate::config::{self, Kind, Rule};
use crate::json::{self, Value};
use crate::mapping::{Claim, Mapped};
use crate::place;
use crate::token::{MAX_DEPTH, Refusal};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use filter_api::View;

/// Maps the claims that were verified for a request.
pub(crate) fn verified(
    from: &config::Metadata,
    view: &dyn View,
    map: &[Rule],
) -> Result<Vec<Mapped>, Refusal> {
    let verified = || match view.has_metadata(&from.filter, &from.key) {
        true => Ok(()),
        false => Err(Refusal::Missing),
    };
    match &from.payload_header {
        Some(name) => {
            verified()?;
            let payload = payload(&place::values(view, name))?;
            Ok(map.iter().map(|rule| rule.apply(Claim::in_payload(&payload, rule))).collect())
        }
        None => {
            let claims: Vec<Claim> = map.iter().map(|rule| in_property(from, view, rule)).collect();
            // A claim that is there is below the key. To ask for the key itself has the host write all claims out.
            if claims.iter().all(|claim| *claim == Claim::Absent) {
                verified()?;
            }
            Ok(map.iter().zip(claims).map(|(rule, claim)| rule.apply(claim)).collect())
        }
    }
}

/// The claims in the header that the verifying filter adds. It replaces a client's own; so two of them mean that another
/// filter than the one which verified wrote there.
fn payload(values: &[Vec<u8>]) -> Result<Value, Refusal> {
    let [value] = values else {
        return Err(if values.is_empty() { Refusal::Malformed } else { Refusal::Ambiguous });
    };
    // Padded where `pad_forward_payload_header` is set.
    let text = value.strip_suffix(b"==").or_else(|| value.strip_suffix(b"=")).unwrap_or(value);
    let payload = URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed)?;
    match json::parse(&payload, MAX_DEPTH)? {
        claims @ Value::Object(_) => Ok(claims),
        _ => Err(Refusal::Malformed),
    }
}

/// A claim as proxy-wasm hands it out: bytes that do not say what they are. So the rule's type decides how they are
/// read, and what cannot be of that type is refused.
fn in_property(from: &config::Metadata, view: &dyn View, rule: &Rule) -> Claim {
    let mut path = vec!["metadata", "filter_metadata", &from.filter, &from.key];
    path.extend(rule.claim.iter().map(String::as_str));
    let Some(bytes) = view.property(&path) else { return Claim::Absent };
    match rule.kind {
        Kind::String => text(bytes),
        Kind::Bool => match bytes.as_slice() {
            [0] => Claim::Text("false".to_owned()),
            [1] => Claim::Text("true".to_owned()),
            _ => Claim::Other,
        },
        Kind::Integer => match <[u8; 8]>::try_from(bytes) {
            Ok(bytes) => integer(f64::from_le_bytes(bytes)),
            Err(_) => Claim::Other,
        },
        Kind::List => match list(&bytes) {
            Some(items) => items,
            None => match text(bytes) {
                Claim::Text(text) => Claim::Texts(vec![text]),
                other => other,
            },
        },
    }
}

fn text(bytes: Vec<u8>) -> Claim {
    String::from_utf8(bytes).map_or(Claim::Other, Claim::Text)
}

/// Beyond 2^53 a number has lost digits on its way here.
fn integer(number: f64) -> Claim {
    const MAX: f64 = 9_007_199_254_740_991.0;
    let exact = number.fract() == 0.0 && number.abs() <= MAX;
    if exact { Claim::Text((number as i64).to_string()) } else { Claim::Other }
}

/// A list: the proxy-wasm form of pairs (a count, the sizes of all names and values, then each of them with a NUL after
/// it), the items as names.
fn list(bytes: &[u8]) -> Option<Claim> {
    let word = |at: usize| {
        let word = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(word.try_into().ok()?) as usize)
    };
    let count = word(0)?;
    let mut at = count.checked_mul(8)?.checked_add(4)?;
    if at > bytes.len() {
        return None;
    }
    let mut items = Vec::with_capacity(count);
    for index in 0..count {
        let (name, value) = (word(4 + 8 * index)?, word(8 + 8 * index)?);
        let item = bytes.get(at..at.checked_add(name)?)?;
        at = at.checked_add(name)?.checked_add(value)?.checked_add(2)?;
        if value > 0 || at > bytes.len() {
            return Some(Claim::Other);
        }
        items.push(String::from_utf8(item.to_vec()).ok());
    }
    let items: Option<Vec<String>> = items.into_iter().collect();
    (at == bytes.len()).then(|| items.map_or(Claim::Other, Claim::Texts))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn pairs(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
        for (name, value) in pairs {
            bytes.extend((name.len() as u32).to_le_bytes());
            bytes.extend((value.len() as u32).to_le_bytes());
        }
        for (name, value) in pairs {
            bytes.extend([name, &b"\0"[..], value, b"\0"].concat());
        }
        bytes
    }

    #[test]
    fn a_list_is_read_from_pairs_and_a_struct_is_none() {
        let texts =
            |items: &[&str]| Some(Claim::Texts(items.iter().map(|item| (*item).to_owned()).collect()));
        assert_eq!(list(&pairs(&[(b"a", b""), (b"b c", b"")])), texts(&["a", "b c"]));
        assert_eq!(list(&pairs(&[])), texts(&[]));
        assert_eq!(list(&pairs(&[(b"a", b"1")])), Some(Claim::Other));
        assert_eq!(list(&pairs(&[(&[0xff], b"")])), Some(Claim::Other));
        assert_eq!(list(b"admin"), None);
        assert_eq!(list(b"abc"), None);
        assert_eq!(list(&[0xff; 64]), None);
        for cut in 0..20 {
            assert_ne!(list(&pairs(&[(b"a", b""), (b"b", b"")])[..cut]), texts(&["a", "b"]));
        }
    }

    #[test]
    fn numbers_that_lost_digits_are_no_integers() {
        assert_eq!(integer(3.0), Claim::Text("3".to_owned()));
        assert_eq!(integer(-3.0), Claim::Text("-3".to_owned()));
        assert_eq!(integer(-0.0), Claim::Text("0".to_owned()));
        assert_eq!(integer(9_007_199_254_740_991.0), Claim::Text("9007199254740991".to_owned()));
        for number in [1.5, 9_007_199_254_740_992.0, 1e21, f64::NAN, f64::INFINITY] {
            assert_eq!(integer(number), Claim::Other, "{number}");
        }
    }
}
