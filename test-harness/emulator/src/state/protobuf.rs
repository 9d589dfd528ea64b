//! The small part of protobuf's wire format that Envoy's own messages to modules need
//! (<https://protobuf.dev/programming-guides/encoding>).

/// A field of a message: its number, and what it holds.
pub(crate) struct Field<'a> {
    pub(crate) number: u64,
    pub(crate) value: Value<'a>,
}

/// The value of a field, of the kinds that are needed here.
pub(crate) enum Value<'a> {
    Bytes(&'a [u8]),
    Number(u64),
    Fixed,
}

/// The fields of a message in order; `None` if it is not one.
pub(crate) fn fields(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            1 => skip(&mut bytes, 8)?,
            5 => skip(&mut bytes, 4)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Value::Bytes(value)
            }
            _ => return None,
        };
        let number = key >> 3;
        if number == 0 || key > u64::from(u32::MAX) {
            return None;
        }
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn skip<'a>(bytes: &mut &'a [u8], length: usize) -> Option<Value<'a>> {
    *bytes = bytes.split_at_checked(length)?.1;
    Some(Value::Fixed)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The last value of a field of bytes.
pub(crate) fn bytes_of<'a>(fields: &[Field<'a>], number: u64) -> Option<&'a [u8]> {
    fields.iter().rev().filter(|field| field.number == number).find_map(|field| match field.value {
        Value::Bytes(bytes) => Some(bytes),
        Value::Number(_) | Value::Fixed => None,
    })
}

/// The last value of a field that holds a number or a truth value.
pub(crate) fn number_of(fields: &[Field<'_>], number: u64) -> Option<u64> {
    fields.iter().rev().filter(|field| field.number == number).find_map(|field| match field.value {
        Value::Number(value) => Some(value),
        Value::Bytes(_) | Value::Fixed => None,
    })
}
