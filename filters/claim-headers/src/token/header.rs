//! A token's header (RFC 7515, section 4; RFC 8725 for what must not be believed in it).

use super::{Algorithm, Refusal};
use crate::json::Value;

/// What is used of a header. Keys and addresses of keys in it (`jwk`, `jku`, `x5u`, `x5c`) are never looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
}

impl Header {
    /// Reads a header; `types` are the media types that `typ` may name.
    pub(crate) fn read(header: &Value, types: &[String]) -> Result<Self, Refusal> {
        // To understand an extension otherwise than the issuer is to believe too much: none is understood here.
        // `b64: false` (RFC 7797) would change what is signed and is refused whether or not `crit` names it.
        if header.get("crit").is_some() || header.get("b64").is_some() {
            return Err(Refusal::Header);
        }
        let algorithm = header.get("alg").and_then(Value::text).and_then(Algorithm::named);
        let algorithm = algorithm.ok_or(Refusal::Algorithm)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Refusal::Header),
        };
        match header.get("typ") {
            None => {}
            Some(Value::String(kind)) if types.iter().any(|allowed| is_same_type(kind, allowed)) => {}
            Some(_) => return Err(Refusal::Header),
        }
        Ok(Self { algorithm, key_id })
    }
}

/// Compares media types, in which `application/` may be left out (RFC 7515, section 4.1.9).
fn is_same_type(one: &str, other: &str) -> bool {
    let short = |kind: &str| {
        let kind = kind.to_ascii_lowercase();
        kind.strip_prefix("application/").map(str::to_owned).unwrap_or(kind)
    };
    short(one) == short(other)
}
