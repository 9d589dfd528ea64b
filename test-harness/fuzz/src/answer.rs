//! An inference's answer, read a second time: the message by `prost`, the filter's JSON by `serde_json`.
//!
//! Where the filter differs from `prost` on purpose: groups, which no proto3 message has, are refused; a known field of
//! a wrong wire type is skipped as an unknown one, where `prost` refuses the message.

use crate::json::Json;
use crate::message::{Choice, Contents, Entry, ModelInferResponse, Tensor};
use crate::number::{value_of_bf16, value_of_fp16};
use crate::request::{element_size, elements};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a client should get for a message: the JSON part, and the binary tensors behind it. `None` if the message makes
/// no sense as an answer.
pub(crate) fn expected(message: &ModelInferResponse, binary: bool) -> Option<(Json, Vec<u8>)> {
    let mut fields = vec![("model_name".to_owned(), text(&message.model_name))];
    for (key, value) in [("id", &message.id), ("model_version", &message.model_version)] {
        if !value.is_empty() {
            fields.push((key.to_owned(), text(value)));
        }
    }
    if let Some(parameters) = parameters(message.parameters.iter().collect()) {
        fields.push(("parameters".to_owned(), parameters));
    }
    let shared = message.outputs.iter().filter(|output| is_shared(output)).count();
    let (raws, outputs) = (message.raw_output_contents.len(), message.outputs.len());
    if raws != 0 && raws != outputs && raws + shared != outputs {
        return None;
    }
    let mut raw = message.raw_output_contents.iter();
    let (mut rendered, mut tail) = (Vec::new(), Vec::new());
    for output in &message.outputs {
        let own = if is_shared(output) && raws != outputs { None } else { raw.next() };
        rendered.push(self::output(output, own, binary, &mut tail)?);
    }
    fields.push(("outputs".to_owned(), Json::Array(rendered)));
    Some((Json::Object(fields), tail))
}

fn output(output: &Tensor, raw: Option<&Vec<u8>>, binary: bool, tail: &mut Vec<u8>) -> Option<Json> {
    if output.shape.len() > 64 || output.shape.iter().any(|size| *size < 0) {
        return None;
    }
    let number = elements(&output.shape)?;
    let datatype = output.datatype.as_str();
    let empty = Contents::default();
    let contents = output.contents.as_ref().unwrap_or(&empty);
    let known = element_size(datatype).is_some() || datatype == "BYTES";
    let filled = filled(contents);
    // Also where raw contents win: a server that fills two fields is not to be believed.
    if !known || filled.len() > 1 {
        return None;
    }
    let raw = match (raw, filled.first()) {
        (Some(raw), _) => Some(raw.clone()),
        (None, Some(field)) => Some(raw_of(datatype, field, contents)?),
        (None, None) if is_shared(output) => None,
        (None, None) => Some(Vec::new()),
    };
    let mut own: Vec<&Entry> =
        output.parameters.iter().filter(|entry| entry.name != "binary_data_size").collect();
    let (size, mark) = (
        Entry::new("binary_data_size", Choice::Uint64(raw.as_ref().map_or(0, Vec::len) as u64)),
        base64_mark(),
    );
    let mut data = None;
    if let Some(raw) = raw {
        let items = items(datatype, &raw, number)?;
        if binary {
            tail.extend(&raw);
            own.push(&size);
        } else {
            let is_text = items.iter().all(|item| std::str::from_utf8(item).is_ok());
            if datatype == "BYTES" && !is_text {
                own.retain(|entry| entry.name != "content_type");
                own.push(&mark);
            }
            data = Some(items.iter().map(|item| element(datatype, item, is_text)).collect());
        }
    }
    let mut fields = vec![
        ("name".to_owned(), text(&output.name)),
        ("datatype".to_owned(), text(datatype)),
        (
            "shape".to_owned(),
            Json::Array(output.shape.iter().map(|size| Json::Number(size.to_string())).collect()),
        ),
    ];
    if let Some(parameters) = parameters(own) {
        fields.push(("parameters".to_owned(), parameters));
    }
    if let Some(data) = data {
        fields.push(("data".to_owned(), Json::Array(data)));
    }
    Some(Json::Object(fields))
}

fn is_shared(output: &Tensor) -> bool {
    output.parameters.iter().any(|entry| entry.name == "shared_memory_region")
}

fn base64_mark() -> Entry {
    Entry::new("content_type", Choice::String("base64".to_owned()))
}

/// The fields with elements, as their datatypes' common name.
fn filled(contents: &Contents) -> Vec<&'static str> {
    let fields = [
        ("bool", contents.bool_contents.len()),
        ("int", contents.int_contents.len()),
        ("int64", contents.int64_contents.len()),
        ("uint", contents.uint_contents.len()),
        ("uint64", contents.uint64_contents.len()),
        ("fp32", contents.fp32_contents.len()),
        ("fp64", contents.fp64_contents.len()),
        ("bytes", contents.bytes_contents.len()),
    ];
    fields.iter().filter(|(_, len)| *len > 0).map(|(name, _)| *name).collect()
}

/// Typed contents as raw ones; `None` if they are not of the datatype.
fn raw_of(datatype: &str, field: &str, contents: &Contents) -> Option<Vec<u8>> {
    fn all<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> Option<[u8; N]>) -> Option<Vec<u8>> {
        values.iter().map(|value| bytes(*value)).collect::<Option<Vec<_>>>().map(|all| all.concat())
    }
    match (datatype, field) {
        ("BOOL", "bool") => all(&contents.bool_contents, |value| Some([value.into()])),
        ("INT8", "int") => all(&contents.int_contents, |value| i8::try_from(value).ok().map(i8::to_le_bytes)),
        ("INT16", "int") => {
            all(&contents.int_contents, |value| i16::try_from(value).ok().map(i16::to_le_bytes))
        }
        ("INT32", "int") => all(&contents.int_contents, |value| Some(value.to_le_bytes())),
        ("INT64", "int64") => all(&contents.int64_contents, |value| Some(value.to_le_bytes())),
        ("UINT8", "uint") => {
            all(&contents.uint_contents, |value| u8::try_from(value).ok().map(u8::to_le_bytes))
        }
        ("UINT16", "uint") => {
            all(&contents.uint_contents, |value| u16::try_from(value).ok().map(u16::to_le_bytes))
        }
        ("UINT32", "uint") => all(&contents.uint_contents, |value| Some(value.to_le_bytes())),
        ("UINT64", "uint64") => all(&contents.uint64_contents, |value| Some(value.to_le_bytes())),
        ("FP32", "fp32") => all(&contents.fp32_contents, |value| Some(value.to_bits().to_le_bytes())),
        ("FP64", "fp64") => all(&contents.fp64_contents, |value| Some(value.to_bits().to_le_bytes())),
        ("BYTES", "bytes") => {
            let length = |string: &Vec<u8>| (string.len() as u32).to_le_bytes();
            Some(contents.bytes_contents.iter().flat_map(|s| [&length(s)[..], s].concat()).collect())
        }
        _ => None,
    }
}

/// The elements in raw contents, if they are as many as they must be.
fn items<'a>(datatype: &str, raw: &'a [u8], number: u64) -> Option<Vec<&'a [u8]>> {
    let mut items = Vec::new();
    match element_size(datatype) {
        Some(size) => {
            if number.checked_mul(size)? != raw.len() as u64 {
                return None;
            }
            items.extend(raw.chunks(size as usize));
        }
        None => {
            let mut rest = raw;
            while !rest.is_empty() {
                let (length, after) = rest.split_first_chunk::<4>()?;
                let (item, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                items.push(item);
                rest = after;
            }
        }
    }
    (items.len() as u64 == number).then_some(items)
}

fn element(datatype: &str, bytes: &[u8], is_text: bool) -> Json {
    let mut low = [0; 8];
    let len = bytes.len().min(8);
    low[..len].copy_from_slice(&bytes[..len]);
    let bits = u64::from_le_bytes(low);
    match datatype {
        "BYTES" if is_text => text(&String::from_utf8_lossy(bytes)),
        "BYTES" => text(&STANDARD.encode(bytes)),
        "BOOL" => Json::Bool(bits != 0),
        "INT8" => Json::Number((bits as i8).to_string()),
        "INT16" => Json::Number((bits as i16).to_string()),
        "INT32" => Json::Number((bits as i32).to_string()),
        "INT64" => Json::Number((bits as i64).to_string()),
        "FP16" => fp32(value_of_fp16(bits as u16)),
        "BF16" => fp32(value_of_bf16(bits as u16)),
        "FP32" => fp32(f32::from_bits(bits as u32)),
        "FP64" => fp64(f64::from_bits(bits)),
        _ => Json::Number(bits.to_string()),
    }
}

fn fp32(value: f32) -> Json {
    if !value.is_finite() {
        return special(value.into());
    }
    let nearest = |decimals| format!("{value:.decimals$e}");
    Json::Number(shortest(&format!("{value:e}"), nearest, |text| text.parse() == Ok(value)))
}

fn fp64(value: f64) -> Json {
    if !value.is_finite() {
        return special(value);
    }
    let nearest = |decimals| format!("{value:.decimals$e}");
    Json::Number(shortest(&format!("{value:e}"), nearest, |text| text.parse() == Ok(value)))
}

/// The fewest digits that read back as the value and, of those, the nearest to it; of two that are as near, the even.
///
/// The standard library's exponent form `fewest` is any of the shortest ones; with a number of decimals it rounds the
/// exact value to even, which may not read back if the value is a power of two.
fn shortest(fewest: &str, nearest: impl Fn(usize) -> String, reads_back: impl Fn(&str) -> bool) -> String {
    let digits = fewest.split('e').next().unwrap_or_default().bytes().filter(u8::is_ascii_digit).count();
    let nearest = nearest(digits - 1);
    if reads_back(&nearest) { nearest } else { fewest.to_owned() }
}

fn special(value: f64) -> Json {
    let word = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    Json::Bare(word.to_owned())
}

fn parameters(entries: Vec<&Entry>) -> Option<Json> {
    let fields: Vec<(String, Json)> = entries
        .iter()
        .enumerate()
        // Of entries of one name the last one counts.
        .filter(|(at, entry)| entries[at + 1..].iter().all(|later| later.name != entry.name))
        .filter_map(|(_, entry)| {
            let value = match entry.choice()? {
                Choice::Bool(value) => Json::Bool(*value),
                Choice::Int64(value) => Json::Number(value.to_string()),
                Choice::Uint64(value) => Json::Number(value.to_string()),
                Choice::Double(value) => fp64(*value),
                Choice::String(value) => text(value),
            };
            Some((entry.name.clone(), value))
        })
        .collect();
    if fields.is_empty() { None } else { Some(Json::Object(fields)) }
}

fn text(text: &str) -> Json {
    Json::Text(text.to_owned(), false)
}

/// Whether two trees say the same: keys in any order (those of one name in theirs), numbers by their digits.
pub(crate) fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => digits(a) == digits(b),
        (Json::Text(a, _), Json::Text(b, _)) => a == b,
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            let sorted = |fields: &[(String, Json)]| {
                let mut fields = fields.to_vec();
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                fields
            };
            let (a, b) = (sorted(a), sorted(b));
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1))
        }
        _ => a == b,
    }
}

/// A number's sign, its digits without zeros at either end, and the power of ten of the first of them.
fn digits(number: &str) -> (bool, String, i64) {
    let (negative, size) = number.strip_prefix('-').map_or((false, number), |size| (true, size));
    let (mantissa, exponent) = size.split_once(['e', 'E']).unwrap_or((size, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let bare = all.trim_start_matches('0');
    if bare.is_empty() {
        return (negative, String::new(), 0);
    }
    let zeros = (all.len() - bare.len()) as i64;
    let first = exponent.parse().unwrap_or(i64::MAX / 2) + whole.len() as i64 - zeros;
    (negative, bare.trim_end_matches('0').to_owned(), first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_shortest_texts_the_nearer_one_is_expected_and_of_two_as_near_the_even() {
        let number = |text: &str| Json::Number(text.to_owned());
        for (bits, text) in [(0x3fc0_8000, "1.5039062e0"), (0x3fc0_8000 | 1 << 31, "-1.5039062e0")] {
            assert_eq!(fp32(f32::from_bits(bits)), number(text));
        }
        assert_eq!(fp32(0.1), number("1e-1"));
        assert_eq!(fp64(2f64.powi(-24)), number("5.960464477539063e-8"));
        assert_eq!(fp64(9_007_199_254_740_993.0), number("9.007199254740992e15"));
    }

    #[test]
    fn numbers_are_the_same_by_their_digits() {
        for (a, b) in [("1.50", "15e-1"), ("0.001", "1e-3"), ("-0", "-0.0"), ("100", "1E2"), ("0e5", "0")] {
            assert_eq!(digits(a), digits(b), "{a} {b}");
        }
        for (a, b) in [("1", "-1"), ("10", "1"), ("0.1", "0.10000000149011612")] {
            assert_ne!(digits(a), digits(b), "{a} {b}");
        }
    }
}
