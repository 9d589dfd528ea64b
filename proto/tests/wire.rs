//! Messages cut anywhere, and what is not one.

use kserve_proto::wire::{Fields, Item, Reader, Value, WireError, take_varint};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn items(message: &[u8], step: usize) -> Result<Vec<String>, WireError> {
    let mut wire = Reader::default();
    let mut items: Vec<String> = Vec::new();
    for mut piece in message.chunks(step) {
        while let Some(item) = wire.next(&mut piece)? {
            match &item {
                Item::Length(1, _) => wire.bytes(),
                Item::Length(2, _) => wire.enter(),
                Item::Length(3, _) => wire.packed(),
                _ => {}
            }
            match item {
                Item::Bytes(bytes) => bytes_came(&mut items, bytes),
                other => items.push(format!("{other:?}")),
            }
        }
    }
    if wire.is_whole() { Ok(items) } else { Err(WireError::Cut) }
}

const MESSAGE: &[u8] = &[
    0x08, 0x96, 0x01, // field 1, varint 150
    0x0a, 0x03, b'a', b'b', b'c', // field 1, bytes
    0x12, 0x0a, // field 2, a message of 10 bytes
    0x1a, 0x03, 0x01, 0x80, 0x01, // field 3, packed 1 and 128
    0x0d, 1, 0, 0, 0, // field 1, fixed 32
    0x2a, 0x02, 9, 9, // field 5, skipped
    0x0a, 0x00, // field 1, no bytes
    0x11, 1, 0, 0, 0, 0, 0, 0, 0x80, // field 2, fixed 64
    0x12, 0x00, // field 2, an empty message
    0x18, 0x01, // field 3, varint
];

#[test]
fn a_message_cut_anywhere_gives_the_same_items() {
    let whole = items(MESSAGE, MESSAGE.len()).unwrap();
    let expected = "Varint(1, 150);Length(1, 3);Bytes [97, 98, 99];End;Length(2, 10);Length(3, 3);\
                    Varint(3, 1);Varint(3, 128);Fixed32(1, [1, 0, 0, 0]);End;Length(5, 2);Length(1, 0);End;\
                    Fixed64(2, [1, 0, 0, 0, 0, 0, 0, 128]);Length(2, 0);End;Varint(3, 1)";
    assert_eq!(whole.join(";"), expected);
    for step in 1..MESSAGE.len() {
        assert_eq!(items(MESSAGE, step).unwrap(), whole, "in pieces of {step}");
    }
}

#[test]
fn what_is_no_message_is_refused_however_it_is_cut() {
    let bad: [&[u8]; 9] = [
        &[0x12, 0x09, 0x1a, 0x03, 0x01, 0x80, 0x01, 0x0d, 1, 0, 0, 0],
        &[0x08],
        &[0x0a, 0x05, 1, 2],
        &[0x0b],
        &[0x00, 0x00],
        &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        &[0x12, 0x02, 0x0a, 0x01, b'a'],
        &[0x1a, 0x01, 0x80, 0x01],
        &[0x12, 0x01, 0x08, 0x01],
    ];
    for message in bad {
        for step in 1..=message.len() {
            assert!(items(message, step).is_err(), "{message:?} in pieces of {step}");
        }
    }
}

/// Adds a piece of a string to those before it.
fn bytes_came(items: &mut Vec<String>, bytes: &[u8]) {
    match items.last_mut().filter(|last| last.starts_with("Bytes")) {
        Some(last) => last.push_str(&format!(" {bytes:?}")),
        None => items.push(format!("Bytes {bytes:?}")),
    }
    if let Some(last) = items.last_mut() {
        *last = last.replace("] [", ", ");
    }
}

/// As [`items`], but takes packed numbers and short strings in one go where they are there.
fn items_at_once(message: &[u8], step: usize) -> Result<Vec<String>, WireError> {
    let mut wire = Reader::default();
    let mut items = Vec::new();
    for mut piece in message.chunks(step) {
        loop {
            if let Some((field, mut numbers)) = wire.numbers(&mut piece) {
                assert!(!numbers.is_empty());
                while !numbers.is_empty() {
                    items.push(format!("Varint({field}, {})", take_varint(&mut numbers)?));
                }
            }
            let Some(item) = wire.next(&mut piece)? else { break };
            match &item {
                Item::Bytes(bytes) => bytes_came(&mut items, bytes),
                other => items.push(format!("{other:?}")),
            }
            match item {
                Item::Length(1, _) => match wire.whole(&mut piece) {
                    Some(bytes) => {
                        if !bytes.is_empty() {
                            bytes_came(&mut items, bytes);
                        }
                        items.push("End".to_owned());
                    }
                    None => wire.bytes(),
                },
                Item::Length(2, _) => wire.enter(),
                Item::Length(3, _) => wire.packed(),
                _ => {}
            }
        }
    }
    if wire.is_whole() { Ok(items) } else { Err(WireError::Cut) }
}

#[test]
fn what_is_taken_at_once_is_what_comes_one_by_one() {
    let mut message = MESSAGE.to_vec();
    // Field 3 with a number of every length.
    let numbers: Vec<u8> = (0..10).flat_map(|len| [vec![0x81; len], vec![1]].concat()).collect();
    message.extend_from_slice(&[0x1a, numbers.len() as u8]);
    message.extend_from_slice(&numbers);
    message.extend_from_slice(&[0x18, 0x01]);
    let one_by_one = items(&message, message.len()).unwrap();
    for step in 1..=message.len() {
        let at_once = items_at_once(&message, step).unwrap();
        assert_eq!(at_once, one_by_one, "in pieces of {step}");
    }
}

#[test]
fn whole_fields_are_taken_where_one_begins_and_never_beyond_their_message() {
    let message = [0x12, 0x06, 0x0a, 0x02, b'h', b'i', 0x0a, 0x00, 0x0a, 0x01, b'x'];
    let mut wire = Reader::default();
    let mut bytes = &message[..];
    assert_eq!(wire.here(bytes), message);
    assert_eq!(wire.next(&mut bytes), Ok(Some(Item::Length(2, 6))));
    // Whether the field holds fields has not been said.
    assert_eq!(wire.here(bytes), b"");
    wire.enter();
    assert_eq!(wire.here(&bytes[..3]), &bytes[..3]);
    assert_eq!(wire.here(bytes), &bytes[..6]);
    wire.took(4, &mut bytes);
    assert_eq!(wire.here(bytes), [0x0a, 0x00]);
    // More than there is.
    wire.took(100, &mut bytes);
    assert_eq!(wire.here(bytes), b"");
    assert_eq!(wire.next(&mut bytes), Ok(Some(Item::End)));
    assert_eq!(wire.here(bytes), [0x0a, 0x01, b'x']);
    // Within a key, and within a number.
    assert_eq!(wire.next(&mut &[0x8a][..]), Ok(None));
    assert_eq!(wire.here(&[0x01]), b"");
}

#[test]
fn a_packed_number_that_is_too_long_or_cut_is_refused_either_way() {
    let bad: [&[u8]; 4] = [
        // Eleven bytes; ten that are more than 64 bits; a field that ends in a number; more than are left.
        &[0x1a, 0x0c, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
        &[0x1a, 0x0b, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        &[0x1a, 0x02, 1, 0x80, 0x01],
        &[0x12, 0x03, 0x1a, 0x02, 1],
    ];
    for message in bad {
        for step in 1..=message.len() {
            let error = items(message, step).unwrap_err();
            assert_eq!(items_at_once(message, step), Err(error), "{message:?} in pieces of {step}");
        }
    }
}

#[test]
fn a_message_that_is_whole_has_the_same_fields() {
    let fields: Vec<_> = Fields::of(MESSAGE).map(|field| field.unwrap()).collect();
    let numbers: Vec<u32> = fields.iter().map(|field| field.number).collect();
    assert_eq!(numbers, [1, 1, 2, 5, 1, 2, 2, 3]);
    assert_eq!(fields[1].value, Value::Bytes(b"abc"));
    let inner: Vec<_> = Fields::of(&MESSAGE[10..20]).map(|field| field.unwrap().value).collect();
    assert_eq!(inner, [Value::Bytes(&[1, 0x80, 1]), Value::Fixed32(1)]);
}

#[test]
fn groups_are_told_to_those_who_want_them() {
    let message = [0x0b, 0x08, 0x01, 0x0c];
    assert_eq!(Reader::default().next(&mut &message[..]), Err(WireError::WireType(3)));
    assert_eq!(Fields::of(&message).next(), Some(Err(WireError::WireType(3))));
    let (mut reader, mut bytes) = (Reader::with_groups(4), &message[..]);
    for item in [Item::GroupStart(1), Item::Varint(1, 1), Item::GroupEnd(1)] {
        assert_eq!(reader.next(&mut bytes), Ok(Some(item)));
    }
    assert!(reader.has_told_all() && reader.is_whole());
}

#[test]
fn a_reader_that_knows_the_length_sees_when_nothing_of_interest_can_follow() {
    // Field 2, of three bytes that are skipped, is the last.
    let message = [0x0a, 0x01, b'x', 0x12, 0x03, 1, 2, 3];
    let mut reader = Reader::with_groups(8);
    let mut told = None;
    for (at, byte) in message.iter().enumerate() {
        let mut one = std::slice::from_ref(byte);
        while reader.next(&mut one).unwrap().is_some() {}
        told = told.or(reader.has_told_all().then_some(at));
    }
    assert_eq!(told, Some(4));
    // A number of eight bytes cannot end in a message of three.
    assert_eq!(Reader::with_groups(3).next(&mut &[0x09][..]), Err(WireError::Cut));
}
