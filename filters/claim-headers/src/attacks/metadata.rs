//! Dynamic metadata as Envoy's proxy-wasm hands it out (`source/extensions/common/wasm/context.cc`): by a path as bytes
//! without a type, and as a whole in protobuf.

use super::proxy::Proxy;
use crate::json::{self, Value};

pub(crate) const NAMESPACE: &str = "envoy.filters.http.jwt_authn";
pub(crate) const KEY: &str = "payload";

/// `jwt_authn` has verified a token with this payload.
pub(crate) fn verified(proxy: &mut Proxy, payload: &str) {
    let payload = json::parse(payload.as_bytes(), 32).unwrap();
    proxy.metadata.clear();
    enter(proxy, vec![NAMESPACE.to_owned(), KEY.to_owned()], &payload);
    let structure = fields([(KEY, typed(&payload))].into_iter());
    proxy.whole_metadata = fields([(NAMESPACE, structure)].into_iter());
}

fn enter(proxy: &mut Proxy, path: Vec<String>, value: &Value) {
    if let Value::Object(members) = value {
        for (name, value) in members {
            enter(proxy, [&path[..], std::slice::from_ref(name)].concat(), value);
        }
    }
    if let Some(bytes) = untyped(value) {
        proxy.metadata.insert(path, bytes);
    }
}

/// A value by its path; a null, and what has one in it, has no form.
fn untyped(value: &Value) -> Option<Vec<u8>> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => vec![u8::from(*value)],
        Value::Number(text) => text.parse::<f64>().unwrap().to_le_bytes().to_vec(),
        Value::String(text) => text.clone().into_bytes(),
        Value::Array(items) => {
            pairs(&items.iter().map(|item| Some((untyped(item)?, Vec::new()))).collect::<Option<Vec<_>>>()?)
        }
        Value::Object(members) => {
            let pair = |(name, value): (&String, &Value)| Some((name.clone().into_bytes(), untyped(value)?));
            pairs(&members.iter().map(pair).collect::<Option<Vec<_>>>()?)
        }
    })
}

fn pairs(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        bytes.extend([&name[..], b"\0", value, b"\0"].concat());
    }
    bytes
}

/// A `google.protobuf.Value`.
fn typed(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => vec![1 << 3, 0],
        Value::Number(text) => [&[(2 << 3) | 1][..], &text.parse::<f64>().unwrap().to_le_bytes()].concat(),
        Value::String(text) => field(3, text.as_bytes()),
        Value::Bool(value) => vec![4 << 3, u8::from(*value)],
        Value::Object(members) => {
            field(5, &fields(members.iter().map(|(name, value)| (name.as_str(), typed(value)))))
        }
        Value::Array(items) => {
            field(6, &items.iter().flat_map(|item| field(1, &typed(item))).collect::<Vec<_>>())
        }
    }
}

/// The first field of a message that is a map.
fn fields<'n>(members: impl Iterator<Item = (&'n str, Vec<u8>)>) -> Vec<u8> {
    let entry = |(name, value): (&str, Vec<u8>)| [field(1, name.as_bytes()), field(2, &value)].concat();
    members.flat_map(|member| field(1, &entry(member))).collect()
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![(number << 3) | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}
