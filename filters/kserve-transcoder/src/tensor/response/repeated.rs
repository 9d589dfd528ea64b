//! Elements that are fields of their own: of BYTES always, of numbers where a server does not pack them.

use super::varints::{Block, number};
use crate::tensor::datatype::Typed;
use crate::tensor::text::words::{ROOM, put_short};
use filter_api::{OverBudget, Rope};

/// How many numbers are written at a time.
const AT_ONCE: usize = 64;

/// How many bytes of strings are written at a time.
const SOME_BYTES: usize = 1024;

/// What has been read off the front of some fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) elements: u64,
    /// How many bytes their fields have.
    pub(super) bytes: usize,
}

/// Writes those elements of `field` that are at the front of `fields`, whole and simple, with their own width, those of
/// BYTES with their lengths in front. Leaves everything else to the caller.
pub(super) fn take(field: Typed, fields: &[u8], out: &mut Rope) -> Result<Run, OverBudget> {
    match field {
        Typed::Bool => varints(field, fields, out, |value| [u8::from(value != 0)]),
        // Protobuf cuts longer varints to the type's width.
        Typed::Int | Typed::Uint => varints(field, fields, out, |value| (value as u32).to_le_bytes()),
        Typed::Int64 | Typed::Uint64 => varints(field, fields, out, u64::to_le_bytes),
        Typed::Fp32 => fixed::<4, 5>(key(field, 5), fields, out),
        Typed::Fp64 => fixed::<8, 9>(key(field, 1), fields, out),
        Typed::Bytes => strings(key(field, 2), fields, out),
    }
}

fn key(field: Typed, wire_type: u8) -> u8 {
    (field as u8) << 3 | wire_type
}

fn varints<const SIZE: usize>(
    field: Typed,
    fields: &[u8],
    out: &mut Rope,
    element: impl Fn(u64) -> [u8; SIZE],
) -> Result<Run, OverBudget> {
    /// The keys of four fields with numbers of one byte, and the top bits of the numbers.
    const FOUR: u64 = 0x80ff_80ff_80ff_80ff;
    let key = key(field, 0);
    let four = u64::from(key) * 0x0001_0001_0001_0001;
    let mut run = Run::default();
    let mut some = [[0; SIZE]; AT_ONCE];
    let mut have = 0;
    'fields: while let Some(eight) = fields[run.bytes..].first_chunk() {
        if have > AT_ONCE - Block::LEN / 2 {
            out.push(some[..have].as_flattened())?;
            run.elements += have as u64;
            have = 0;
        }
        if u64::from_le_bytes(*eight) & FOUR == four {
            if let Some(place) = some[have..].first_chunk_mut() {
                *place = [1, 3, 5, 7].map(|at| element(eight[at].into()));
            }
            have += 4;
            run.bytes += 8;
            continue;
        }
        let rest = &fields[run.bytes..];
        let Some(block) = Block::new(rest) else {
            // A key, and as much as a number can have.
            let Some([own, eight @ .., ninth, tenth]) = rest.first_chunk::<11>() else { break };
            let number = number(u64::from_le_bytes(*eight), *ninth, *tenth).filter(|_| *own == key);
            // What is wrong with a number is said where it is read byte by byte.
            let Some((value, len)) = number else { break };
            some[have] = element(value);
            have += 1;
            run.bytes += 1 + len;
            continue;
        };
        let mut ends = block.ends();
        let mut start = 0;
        // A key is a number of one byte.
        while let (Some(_), Some(end)) = (ends.next(), ends.next()) {
            let number = block.number(start + 1, end).filter(|_| block.byte(start) == key);
            let Some(value) = number else {
                run.bytes += start;
                break 'fields;
            };
            some[have] = element(value);
            have += 1;
            start = end + 1;
        }
        if start == 0 {
            break;
        }
        run.bytes += start;
    }
    out.push(some[..have].as_flattened())?;
    run.elements += have as u64;
    Ok(run)
}

/// Numbers of `SIZE` bytes, with a key of one byte in front: `FIELD` in all.
fn fixed<const SIZE: usize, const FIELD: usize>(
    key: u8,
    fields: &[u8],
    out: &mut Rope,
) -> Result<Run, OverBudget> {
    let (fields, _) = fields.as_chunks::<FIELD>();
    let count = fields.iter().position(|field| field[0] != key).unwrap_or(fields.len());
    let mut values = [[0; SIZE]; AT_ONCE];
    for some in fields[..count].chunks(AT_ONCE) {
        for (value, field) in values.iter_mut().zip(some) {
            value.copy_from_slice(&field[1..]);
        }
        out.push(values[..some.len()].as_flattened())?;
    }
    Ok(Run { elements: count as u64, bytes: FIELD * count })
}

/// Strings of less than 128 bytes.
fn strings(key: u8, fields: &[u8], out: &mut Rope) -> Result<Run, OverBudget> {
    let mut run = Run::default();
    let mut some = [0; SOME_BYTES + 4 + 0x7f + ROOM];
    let mut have = 0;
    while let Some((&[own, len @ ..0x80], rest)) = fields[run.bytes..].split_first_chunk() {
        let len = usize::from(len);
        if own != key || rest.len() < len {
            break;
        }
        some[have..have + 4].copy_from_slice(&(len as u32).to_le_bytes());
        put_short(rest, len, &mut some[have + 4..]);
        have += 4 + len;
        run.bytes += 2 + len;
        run.elements += 1;
        if have > SOME_BYTES {
            out.push(&some[..have])?;
            have = 0;
        }
    }
    out.push(&some[..have])?;
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use filter_api::Memory;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn taken(field: Typed, fields: &[u8]) -> (Run, Vec<u8>) {
        let mut out = Rope::new(Memory::new(1 << 30).account(usize::MAX).charge());
        let run = take(field, fields, &mut out).unwrap();
        let mut bytes = Vec::new();
        out.drain_to(&mut bytes);
        (run, bytes)
    }

    /// Reads what is at the front of these fields and, behind that, each of the numbers that were left, which must be few.
    fn assert_all_but_a_few(field: Typed, values: &[Vec<u8>], fields: &[Vec<u8>]) {
        let all = fields.concat();
        let (run, bytes) = taken(field, &all);
        let elements = run.elements as usize;
        assert_eq!(run.bytes, fields[..elements].concat().len());
        assert_eq!(bytes, values[..elements].concat());
        let left = all.len() - run.bytes;
        assert!(left < 11, "{left} bytes are left of {}", all.len());
        // Not of another field, and not of another wire type.
        let other = if field == Typed::Bool { Typed::Int } else { Typed::Bool };
        assert_eq!(taken(other, &all).0, Run::default());
    }

    #[test]
    fn numbers_of_every_length_come_out_whatever_stands_around_them() {
        let edges = (0..64).flat_map(|shift| [(1 << shift) - 1, 1 << shift, !0 << shift, u64::MAX >> shift]);
        for edge in edges {
            for others in 0..9 {
                let mut values = vec![1; 100 + others];
                values.push(edge);
                values.extend(vec![0; 9 - others]);
                let fields = |field: Typed| -> Vec<Vec<u8>> {
                    values.iter().map(|value| [vec![key(field, 0)], varint(*value)].concat()).collect()
                };
                let long: Vec<Vec<u8>> = values.iter().map(|value| value.to_le_bytes().to_vec()).collect();
                let short: Vec<Vec<u8>> = long.iter().map(|value| value[..4].to_vec()).collect();
                let bools: Vec<Vec<u8>> = values.iter().map(|value| vec![u8::from(*value != 0)]).collect();
                assert_all_but_a_few(Typed::Int64, &long, &fields(Typed::Int64));
                assert_all_but_a_few(Typed::Uint64, &long, &fields(Typed::Uint64));
                assert_all_but_a_few(Typed::Int, &short, &fields(Typed::Int));
                assert_all_but_a_few(Typed::Uint, &short, &fields(Typed::Uint));
                assert_all_but_a_few(Typed::Bool, &bools, &fields(Typed::Bool));
            }
        }
    }

    #[test]
    fn numbers_of_fixed_size_come_out_without_their_keys() {
        for count in [0, 1, 63, 64, 65, 200] {
            for (field, size, wire_type) in [(Typed::Fp32, 4, 5), (Typed::Fp64, 8, 1)] {
                let values: Vec<Vec<u8>> = (0..count).map(|at| vec![at as u8; size]).collect();
                let fields: Vec<Vec<u8>> =
                    values.iter().map(|value| [&[key(field, wire_type)], &value[..]].concat()).collect();
                assert_all_but_a_few(field, &values, &fields);
            }
        }
    }

    #[test]
    fn strings_of_every_short_length_come_out_with_their_lengths_in_front() {
        let texts: Vec<Vec<u8>> =
            (0..128).chain([3; 100]).map(|len| vec![b'a' + len as u8 % 26; len]).collect();
        let fields: Vec<Vec<u8>> = texts
            .iter()
            .map(|text| [&[key(Typed::Bytes, 2), text.len() as u8], &text[..]].concat())
            .collect();
        let elements: Vec<Vec<u8>> =
            texts.iter().map(|text| [&(text.len() as u32).to_le_bytes(), &text[..]].concat()).collect();
        assert_all_but_a_few(Typed::Bytes, &elements, &fields);
        // A longer one, one of another field and one that is cut end it.
        for end in [&[0x42, 0x80, 0x01][..], &[0x3a, 0x00], &[0x42, 0x02, b'x'], &[0x42]] {
            let (run, bytes) = taken(Typed::Bytes, &[b"\x42\x02hi", end].concat());
            assert_eq!((run, &bytes[..]), (Run { elements: 1, bytes: 4 }, &b"\x02\0\0\0hi"[..]));
        }
    }

    #[test]
    fn a_run_ends_at_another_field_and_at_a_number_of_more_than_64_bits() {
        for (end, values) in
            [(&[0x18, 1][..], 1), (&[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], 1)]
        {
            let (run, _) = taken(Typed::Int, &[&[0x10, 5], end, &[0x10, 1].repeat(9)].concat());
            assert_eq!(run, Run { elements: values, bytes: 2 });
        }
    }
}
