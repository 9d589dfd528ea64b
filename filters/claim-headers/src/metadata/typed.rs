//! Dynamic metadata as a whole: `envoy.config.core.v3.Metadata`, in protobuf's wire format, whose values are those of
//! `google.protobuf.Struct`. A host writes it, so that what is malformed is nothing that must be told apart.

use crate::json::Value;
use kserve_proto::wire::{self, Field, Fields};

/// Field 1 is the one that matters in `Metadata` (`filter_metadata`), `Struct` (`fields`) and `ListValue` (`values`),
/// and the name in the entries of maps, of which field 2 is the value.
const MEMBERS: u32 = 1;
const NAME: u32 = 1;
const VALUE: u32 = 2;
/// Of `Value`.
const NUMBER: u32 = 2;
const STRING: u32 = 3;
const BOOL: u32 = 4;
const STRUCT: u32 = 5;
const LIST: u32 = 6;

/// The value at a path in a namespace. What lies in objects is not read, and of what lies in lists nothing but texts,
/// numbers and booleans.
pub(super) fn find<'p>(
    metadata: &[u8],
    namespace: &str,
    path: impl Iterator<Item = &'p str>,
) -> Option<Value> {
    let mut members = member(metadata, namespace)?;
    let mut found: &[u8] = &[];
    for (index, step) in path.enumerate() {
        if index > 0 {
            members = match last(found)? {
                (STRUCT, wire::Value::Bytes(members)) => members,
                _ => return None,
            };
        }
        found = member(members, step)?;
    }
    value(found)
}

/// The entry of this name in a map.
fn member<'m>(map: &'m [u8], name: &str) -> Option<&'m [u8]> {
    let mut found = None;
    for field in fields(map) {
        let (MEMBERS, wire::Value::Bytes(entry)) = field? else { continue };
        let (mut is_it, mut value) = (name.is_empty(), &[][..]);
        for field in fields(entry) {
            match field? {
                (NAME, wire::Value::Bytes(found)) => is_it = found == name.as_bytes(),
                (VALUE, wire::Value::Bytes(found)) => value = found,
                _ => {}
            }
        }
        if is_it {
            found = Some(value);
        }
    }
    found
}

fn value(bytes: &[u8]) -> Option<Value> {
    Some(match last(bytes)? {
        (LIST, wire::Value::Bytes(items)) => {
            let mut values = Vec::new();
            for field in fields(items) {
                if let (MEMBERS, wire::Value::Bytes(item)) = field? {
                    values.push(plain(last(item)?)?);
                }
            }
            Value::Array(values)
        }
        other => plain(other)?,
    })
}

/// A value without what lies in it.
fn plain(field: (u32, wire::Value<'_>)) -> Option<Value> {
    Some(match field {
        (NUMBER, wire::Value::Fixed64(bits)) => Value::Number(digits(f64::from_bits(bits))),
        (STRING, wire::Value::Bytes(text)) => Value::String(std::str::from_utf8(text).ok()?.to_owned()),
        (BOOL, wire::Value::Varint(value)) => Value::Bool(value != 0),
        (STRUCT, wire::Value::Bytes(_)) => Value::Object(Default::default()),
        (LIST, wire::Value::Bytes(_)) => Value::Array(Vec::new()),
        _ => Value::Null,
    })
}

/// A number as text: as a whole one only if it has lost no digits on its way here, which it may have beyond 2^53.
fn digits(number: f64) -> String {
    const MAX: f64 = 9_007_199_254_740_991.0;
    let exact = number.fract() == 0.0 && number.abs() <= MAX;
    if exact { (number as i64).to_string() } else { format!("{number:e}") }
}

/// What a `Value` is: of fields of which there is one, the last counts.
fn last(value: &[u8]) -> Option<(u32, wire::Value<'_>)> {
    fields(value).last()?
}

/// The fields of a message, by number; `None` in place of the rest of one that is malformed.
fn fields(message: &[u8]) -> impl Iterator<Item = Option<(u32, wire::Value<'_>)>> {
    Fields::of(message).map(|field| field.ok().map(|Field { number, value }| (number, value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn numbers_that_lost_digits_are_not_whole() {
        for (number, text) in
            [(3.0, "3"), (-3.0, "-3"), (-0.0, "0"), (9_007_199_254_740_991.0, "9007199254740991")]
        {
            assert_eq!(digits(number), text);
        }
        for number in [1.5, 9_007_199_254_740_992.0, 1e21, f64::NAN, f64::INFINITY] {
            assert!(!digits(number).bytes().all(|byte| byte.is_ascii_digit()), "{number}");
        }
    }

    #[test]
    fn metadata_that_is_cut_off_anywhere_is_read_without_a_panic() {
        let whole =
            b"\x0a\x18\x0a\x02ns\x12\x12\x0a\x10\x0a\x01k\x12\x0b\x32\x09\x0a\x04\x1a\x02ab\x0a\x01\x00";
        let of = |bytes: &[u8]| find(bytes, "ns", ["k"].into_iter());
        for end in 0..whole.len() {
            let _read = of(&whole[..end]);
        }
        let good = b"\x0a\x15\x0a\x02ns\x12\x0f\x0a\x0d\x0a\x01k\x12\x08\x32\x06\x0a\x04\x1a\x02ab";
        assert_eq!(of(good), Some(Value::Array(vec![Value::String("ab".to_owned())])));
    }
}
