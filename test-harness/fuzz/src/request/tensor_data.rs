//! Elements of tensors: from JSON to raw contents, and from these to typed ones.

use super::{MAX_DEPTH, Result, Stop};
use crate::json::Json;
use crate::message::Contents;
use crate::number::{Read, fp32, fp64, half, integer, value_of_bf16, value_of_fp16};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

pub(super) const TYPED: [(&str, &[&str]); 8] = [
    ("bool_contents", &["BOOL"]),
    ("int_contents", &["INT8", "INT16", "INT32"]),
    ("int64_contents", &["INT64"]),
    ("uint_contents", &["UINT8", "UINT16", "UINT32"]),
    ("uint64_contents", &["UINT64"]),
    ("fp32_contents", &["FP32"]),
    ("fp64_contents", &["FP64"]),
    ("bytes_contents", &["BYTES"]),
];

/// The field of typed contents for a datatype; empty for one that has none.
pub(super) fn typed_field(datatype: &str) -> Option<&'static str> {
    if matches!(datatype, "FP16" | "BF16") {
        return Some("");
    }
    TYPED.iter().find(|(_, datatypes)| datatypes.contains(&datatype)).map(|(field, _)| *field)
}

/// How long an element is; `None` for BYTES.
pub(crate) fn element_size(datatype: &str) -> Option<u64> {
    match datatype {
        "BOOL" | "INT8" | "UINT8" => Some(1),
        "INT16" | "UINT16" | "FP16" | "BF16" => Some(2),
        "INT32" | "UINT32" | "FP32" => Some(4),
        "INT64" | "UINT64" | "FP64" => Some(8),
        _ => None,
    }
}

/// How many elements a shape has.
pub(crate) fn elements(shape: &[i64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_u64, |product, size| product.checked_mul(u64::try_from(*size).ok()?))
}

pub(super) fn check_size(datatype: &str, elements: u64, size: u64) -> Result<()> {
    let fits = match element_size(datatype) {
        Some(each) => elements.checked_mul(each) == Some(size),
        // Whether there are as many elements as the shape says is for the server to find out.
        None => elements.checked_mul(4).is_some_and(|least| least <= size) && (elements > 0 || size == 0),
    };
    if fits { Ok(()) } else { Err(Stop::Refused) }
}

/// The leaves of an array, however they are nested.
fn leaves<'a>(items: &'a [Json], depth: usize, found: &mut Vec<&'a Json>) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Stop::Refused);
    }
    for item in items {
        match item {
            Json::Array(items) => leaves(items, depth + 1, found)?,
            Json::Object(_) => return Err(Stop::Refused),
            leaf => found.push(leaf),
        }
    }
    Ok(())
}

pub(super) fn strings(items: &[Json], base64: bool) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    leaves(items, 1, &mut found)?;
    let string = |leaf: &&Json| match leaf {
        Json::Text(text, _) if base64 => from_base64(text).ok_or(Stop::Refused),
        Json::Text(text, _) => Ok(text.clone().into_bytes()),
        _ => Err(Stop::Refused),
    };
    found.iter().map(string).collect()
}

/// Either alphabet; all of the padding or none.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    const BARE: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireNone),
    );
    let bare = text.trim_end_matches('=');
    let padding = text.len() - bare.len();
    if padding > 0 && (padding > 2 || !text.len().is_multiple_of(4)) {
        return None;
    }
    BARE.decode(bare.replace('-', "+").replace('_', "/")).ok()
}

/// The number of elements of BYTES, and their raw form.
pub(super) fn bytes(strings: &[Vec<u8>]) -> Result<(u64, Vec<u8>)> {
    let mut raw = Vec::new();
    for string in strings {
        raw.extend(u32::try_from(string.len()).map_err(|_| Stop::Refused)?.to_le_bytes());
        raw.extend(string);
    }
    Ok((strings.len() as u64, raw))
}

/// The number of elements and their raw form. `quoted` is protobuf's JSON.
pub(super) fn tensor_data(items: &[Json], datatype: &str, quoted: bool) -> Result<(u64, Vec<u8>)> {
    let mut raw = Vec::new();
    if datatype == "BYTES" {
        return bytes(&strings(items, quoted)?);
    }
    let float = matches!(datatype, "FP16" | "BF16" | "FP32" | "FP64");
    let mut found = Vec::new();
    leaves(items, 1, &mut found)?;
    for leaf in &found {
        let token = match leaf {
            Json::Number(text) | Json::Bare(text) => text.as_str(),
            Json::Text(text, false) if quoted => text.as_str(),
            Json::Text(text, false) if float && matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") => {
                text.as_str()
            }
            Json::Null if float => "NaN",
            Json::Bool(true) => "true",
            Json::Bool(false) => "false",
            _ => return Err(Stop::Refused),
        };
        match element(token, datatype) {
            Read::Value(bytes) => raw.extend(&bytes[..element_size(datatype).unwrap_or(0) as usize]),
            Read::Refused => return Err(Stop::Refused),
            Read::Unknown => return Err(Stop::Unknown),
        }
    }
    Ok((found.len() as u64, raw))
}

/// The raw form of an element, in the low bytes.
fn element(token: &str, datatype: &str) -> Read<[u8; 8]> {
    let whole =
        |low: i128, high: i128| integer(token, low, high).map(|value| (value as u64).to_le_bytes()).into();
    match datatype {
        "BOOL" => match token {
            "true" => Read::Value(1_u64.to_le_bytes()),
            "false" => Read::Value([0; 8]),
            _ => whole(0, 1),
        },
        "INT8" => whole(i8::MIN.into(), i8::MAX.into()),
        "INT16" => whole(i16::MIN.into(), i16::MAX.into()),
        "INT32" => whole(i32::MIN.into(), i32::MAX.into()),
        "INT64" => whole(i64::MIN.into(), i64::MAX.into()),
        "UINT8" => whole(0, u8::MAX.into()),
        "UINT16" => whole(0, u16::MAX.into()),
        "UINT32" => whole(0, u32::MAX.into()),
        "UINT64" => whole(0, u64::MAX.into()),
        "FP16" => half(token, value_of_fp16).map(|bits| u64::from(bits).to_le_bytes()),
        "BF16" => half(token, value_of_bf16).map(|bits| u64::from(bits).to_le_bytes()),
        "FP32" => Read::from(fp32(token)).map(|value| u64::from(value.to_bits()).to_le_bytes()),
        _ => Read::from(fp64(token)).map(|value| value.to_bits().to_le_bytes()),
    }
}

/// Raw contents as typed ones.
pub(super) fn contents(datatype: &str, elements: u64, raw: &[u8]) -> Result<Contents> {
    let mut contents = Contents::default();
    if datatype == "BYTES" {
        let mut rest = raw;
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk::<4>().ok_or(Stop::Refused)?;
            let length = u32::from_le_bytes(*length) as usize;
            let (string, after) = after.split_at_checked(length).ok_or(Stop::Refused)?;
            contents.bytes_contents.push(string.to_vec());
            rest = after;
        }
        return if contents.bytes_contents.len() as u64 == elements {
            Ok(contents)
        } else {
            Err(Stop::Refused)
        };
    }
    let size = element_size(datatype).ok_or(Stop::Refused)? as usize;
    for bytes in raw.chunks(size) {
        let mut low = [0; 8];
        low[..size].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(low);
        match datatype {
            "BOOL" => contents.bool_contents.push(bits != 0),
            "INT8" => contents.int_contents.push((bits as i8).into()),
            "INT16" => contents.int_contents.push((bits as i16).into()),
            "INT32" => contents.int_contents.push(bits as i32),
            "INT64" => contents.int64_contents.push(bits as i64),
            "UINT64" => contents.uint64_contents.push(bits),
            "FP32" => contents.fp32_contents.push(f32::from_bits(bits as u32)),
            "FP64" => contents.fp64_contents.push(f64::from_bits(bits)),
            _ => contents.uint_contents.push(bits as u32),
        }
    }
    Ok(contents)
}
