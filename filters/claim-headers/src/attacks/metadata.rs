//! Dynamic metadata as Envoy's proxy-wasm hands it out (`source/extensions/common/wasm/context.cc`): by a path as bytes
//! without a type, and as a whole in protobuf.

use super::proxy::Proxy;
use crate::json::{self, Value};
use kserve_proto::wire::Message;

pub(crate) const NAMESPACE: &str = "envoy.filters.http.jwt_authn";
pub(crate) const KEY: &str = "payload";

/// `jwt_authn` has verified a token with this payload.
pub(crate) fn verified(proxy: &mut Proxy, payload: &str) {
    let payload = json::parse(payload.as_bytes(), 32).unwrap();
    proxy.metadata.clear();
    enter(proxy, vec![NAMESPACE.to_owned(), KEY.to_owned()], &payload);
    let structure = fields([(KEY, typed(&payload))].into_iter());
    proxy.whole_metadata = fields([(NAMESPACE, structure)].into_iter()).into_bytes();
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
fn typed(value: &Value) -> Message {
    match value {
        Value::Null => Message::new().varint(1, 0),
        Value::Number(text) => Message::new().fixed64(2, text.parse::<f64>().unwrap().to_bits()),
        Value::String(text) => Message::new().bytes(3, text),
        Value::Bool(value) => Message::new().varint(4, u64::from(*value)),
        Value::Object(members) => {
            let members = fields(members.iter().map(|(name, value)| (name.as_str(), typed(value))));
            Message::new().message(5, &members)
        }
        Value::Array(items) => {
            let list = items.iter().fold(Message::new(), |list, item| list.message(1, &typed(item)));
            Message::new().message(6, &list)
        }
    }
}

/// A message whose first field is a map.
fn fields<'n>(members: impl Iterator<Item = (&'n str, Message)>) -> Message {
    members.fold(Message::new(), |message, (name, value)| {
        message.message(1, &Message::new().bytes(1, name).message(2, &value))
    })
}
