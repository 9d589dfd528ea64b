//! Values of properties, and the bytes as which Envoy hands them to a module.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::headers::pairs;

/// The value of a property. A module gets bytes that do not say of what type they are
/// (`serializeValue` in `source/extensions/common/wasm/context.cc`).
#[derive(Clone, Debug, PartialEq)]
pub enum PropertyValue {
    /// Text or bytes, as they are.
    Bytes(Vec<u8>),
    /// Eight bytes, little-endian; also how Envoy hands over times and durations, in nanoseconds.
    Int(i64),
    /// Eight bytes, little-endian.
    Uint(u64),
    /// Eight bytes, little-endian (IEEE 754).
    Double(f64),
    /// One byte.
    Bool(bool),
    /// The ABI's form of pairs, as header maps have.
    Map(Vec<(Vec<u8>, Self)>),
    /// The ABI's form of pairs, the items as names, the values empty.
    List(Vec<Self>),
}

impl PropertyValue {
    /// What lies below: a member of a map by its name, an item of a list by its number.
    pub(crate) fn at(&self, path: &[&[u8]]) -> Option<&Self> {
        let Some((step, rest)) = path.split_first() else { return Some(self) };
        let next = match self {
            Self::Map(members) => members.iter().find(|(name, _)| name == step).map(|(_, value)| value),
            Self::List(items) => items.get(std::str::from_utf8(step).ok()?.trim().parse::<usize>().ok()?),
            _ => None,
        };
        next?.at(rest)
    }

    /// The bytes that a module gets.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Int(number) => number.to_le_bytes().to_vec(),
            Self::Uint(number) => number.to_le_bytes().to_vec(),
            Self::Double(number) => number.to_le_bytes().to_vec(),
            Self::Bool(value) => vec![u8::from(*value)],
            Self::Map(members) => {
                pairs(members.iter().map(|(name, value)| (name.clone(), value.to_bytes())).collect())
            }
            Self::List(items) => pairs(items.iter().map(|item| (item.to_bytes(), Vec::new())).collect()),
        }
    }
}

/// A conversion without loss, each of which is one line.
macro_rules! from {
    ($($from:ty => |$value:ident| $to:expr;)*) => {
        $(impl From<$from> for PropertyValue {
            fn from($value: $from) -> Self {
                $to
            }
        })*
    };
}

from! {
    &str => |value| Self::Bytes(value.into());
    String => |value| Self::Bytes(value.into());
    &[u8] => |value| Self::Bytes(value.into());
    Vec<u8> => |value| Self::Bytes(value);
    i64 => |value| Self::Int(value);
    u64 => |value| Self::Uint(value);
    f64 => |value| Self::Double(value);
    bool => |value| Self::Bool(value);
    Duration => |value| Self::Int(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX));
    SystemTime => |value| value.duration_since(UNIX_EPOCH).unwrap_or_default().into();
}

impl<const N: usize> From<&[u8; N]> for PropertyValue {
    fn from(value: &[u8; N]) -> Self {
        Self::Bytes(value.to_vec())
    }
}
