//! Claims that `jwt_authn` would have verified, as a filter finds them in dynamic metadata.

use serde_json::Value;

use super::refused;
use crate::Error;

/// The filter whose metadata it is.
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";
/// The key that Istio has it written under.
const KEY: &str = "payload";

/// Reads the claims: a JSON object.
pub(super) fn read(text: Option<&str>) -> Result<Option<Value>, Error> {
    let Some(text) = text else { return Ok(None) };
    match serde_json::from_str(text) {
        Ok(claims @ Value::Object(_)) => Ok(Some(claims)),
        Ok(_) => Err(refused("--claims", "not a JSON object")),
        Err(error) => Err(refused("--claims", error)),
    }
}

/// Whether the metadata has a key of a namespace.
pub(super) fn has(claims: Option<&Value>, namespace: &str, key: &str) -> bool {
    claims.is_some() && namespace == NAMESPACE && key == KEY
}

/// A property, as proxy-wasm hands it out: a text by its path, or the metadata as a whole.
pub(super) fn property(claims: Option<&Value>, path: &[&str]) -> Option<Vec<u8>> {
    let claims = claims?;
    match path {
        ["metadata"] => Some(whole(claims)),
        ["metadata", "filter_metadata", NAMESPACE, KEY, steps @ ..] => {
            let found = steps.iter().try_fold(claims, |value, step| value.get(step))?;
            found.as_str().filter(|text| !text.is_empty()).map(|text| text.as_bytes().to_vec())
        }
        _ => None,
    }
}

/// `envoy.config.core.v3.Metadata` in protobuf's wire format.
fn whole(claims: &Value) -> Vec<u8> {
    let mut payload = Vec::new();
    entry(&mut payload, KEY, &value(claims));
    let mut metadata = Vec::new();
    entry(&mut metadata, NAMESPACE, &payload);
    metadata
}

/// `google.protobuf.Value`.
fn value(json: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match json {
        Value::Null => out.extend([0x08, 0]),
        Value::Number(number) => {
            out.push(0x11);
            out.extend(number.as_f64().unwrap_or_default().to_le_bytes());
        }
        Value::String(text) => bytes(&mut out, 3, text.as_bytes()),
        Value::Bool(value) => out.extend([0x20, u8::from(*value)]),
        Value::Object(fields) => {
            let mut members = Vec::new();
            fields.iter().for_each(|(name, below)| entry(&mut members, name, &value(below)));
            bytes(&mut out, 5, &members);
        }
        Value::Array(items) => {
            let mut list = Vec::new();
            items.iter().for_each(|item| bytes(&mut list, 1, &value(item)));
            bytes(&mut out, 6, &list);
        }
    }
    out
}

/// An entry of a map that is field 1.
fn entry(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let mut entry = Vec::new();
    bytes(&mut entry, 1, name.as_bytes());
    bytes(&mut entry, 2, value);
    bytes(out, 1, &entry);
}

/// A field with a length (wire type 2).
fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    let mut length = value.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(value);
}
