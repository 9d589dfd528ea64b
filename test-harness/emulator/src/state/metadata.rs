//! Dynamic metadata, as Envoy hands it to modules (`source/extensions/common/wasm/context.cc`): a value by its path is
//! bytes that do not say what they are, and the whole is a message with types.

use crate::state::abi::Status;
use crate::state::headers::pairs;
use std::collections::BTreeMap;

/// A value of dynamic metadata (`google.protobuf.Value`).
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataValue {
    /// Nothing, for which the ABI has no form.
    Null,
    /// A boolean: one byte.
    Bool(bool),
    /// A number: eight bytes, little-endian.
    Number(f64),
    /// A string: its bytes.
    String(String),
    /// A list: the ABI's form of pairs, the items as names, the values empty.
    List(Vec<Self>),
    /// A structure: the ABI's form of pairs.
    Struct(BTreeMap<String, Self>),
}

/// Dynamic metadata: the members of each namespace's structure.
pub type Metadata = BTreeMap<String, BTreeMap<String, MetadataValue>>;

/// The property `metadata` and what lies below it.
pub(crate) fn get(metadata: &Metadata, path: &[&[u8]]) -> Result<Vec<u8>, Status> {
    match path {
        [] => Ok(entries(metadata.iter().map(|(name, members)| (name.as_str(), self::members(members))))),
        [b"filter_metadata", rest @ ..] => {
            let structure = |members: &BTreeMap<_, _>| MetadataValue::Struct(members.clone());
            let all = metadata.iter().map(|(name, members)| (name.clone(), structure(members))).collect();
            MetadataValue::Struct(all).at(rest).ok_or(Status::NotFound)?.untyped()
        }
        _ => Err(Status::NotFound),
    }
}

impl MetadataValue {
    fn at(&self, path: &[&[u8]]) -> Option<&Self> {
        let Some((step, rest)) = path.split_first() else { return Some(self) };
        let next = match self {
            Self::Struct(members) => members.get(std::str::from_utf8(step).ok()?),
            Self::List(items) => items.get(std::str::from_utf8(step).ok()?.trim().parse::<usize>().ok()?),
            _ => None,
        };
        next?.at(rest)
    }

    fn untyped(&self) -> Result<Vec<u8>, Status> {
        match self {
            Self::Null => Err(Status::SerializationFailure),
            Self::Bool(value) => Ok(vec![u8::from(*value)]),
            Self::Number(number) => Ok(number.to_le_bytes().to_vec()),
            Self::String(text) => Ok(text.clone().into_bytes()),
            Self::List(items) => {
                let item = |item: &Self| Ok((item.untyped()?, Vec::new()));
                Ok(pairs(items.iter().map(item).collect::<Result<_, _>>()?))
            }
            Self::Struct(members) => {
                let member =
                    |(name, value): (&String, &Self)| Ok((name.clone().into_bytes(), value.untyped()?));
                Ok(pairs(members.iter().map(member).collect::<Result<_, _>>()?))
            }
        }
    }

    /// As `google.protobuf.Value`.
    fn message(&self) -> Vec<u8> {
        match self {
            Self::Null => vec![1 << 3, 0],
            Self::Number(number) => [&[(2 << 3) | 1][..], &number.to_le_bytes()].concat(),
            Self::String(text) => field(3, text.as_bytes()),
            Self::Bool(value) => vec![4 << 3, u8::from(*value)],
            Self::Struct(fields) => field(5, &members(fields)),
            Self::List(items) => {
                field(6, &items.iter().flat_map(|item| field(1, &item.message())).collect::<Vec<_>>())
            }
        }
    }
}

/// The fields of a `google.protobuf.Struct`.
fn members(members: &BTreeMap<String, MetadataValue>) -> Vec<u8> {
    entries(members.iter().map(|(name, value)| (name.as_str(), value.message())))
}

/// The first field of a message, which is a map.
fn entries<'n>(entries: impl Iterator<Item = (&'n str, Vec<u8>)>) -> Vec<u8> {
    let entry = |(name, value): (&str, Vec<u8>)| [field(1, name.as_bytes()), field(2, &value)].concat();
    entries.flat_map(|found| field(1, &entry(found))).collect()
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
