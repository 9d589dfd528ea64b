//! An inference request, read a second time: JSON by `serde_json`, numbers by the standard library, the message by
//! `prost`. It follows the filter's documentation and shares no code with it.
//!
//! What the filter reads otherwise than `serde_json` on purpose: bare `NaN` and infinities in tensor data, numbers of
//! any size by their text, keys that come twice (refused where they matter), at most 64 levels of nesting and 2,048
//! bytes for a number, and quoted numbers, whose quotes may hold no escape.

use crate::json::{Json, NoTree};
use crate::message::{Choice, Contents, Entry, ModelInferRequest, Requested, Tensor};
use crate::number::{Read, fp32, fp64, half, integer, is_number, value_of_bf16, value_of_fp16};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::collections::BTreeSet;

/// What should come of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expected {
    Message(Box<ModelInferRequest>),
    Refused,
    /// This reader cannot tell.
    Unknown,
}

/// What ends the reading of a request.
enum Stop {
    Refused,
    Unknown,
}

type Result<T> = std::result::Result<T, Stop>;

const MAX_DEPTH: usize = 64;
const MAX_RANK: usize = 64;

/// What should come of a body that was posted to the model `m`, of which `json_length` bytes are JSON if it says so.
/// Inputs are sent as raw contents, or as typed ones.
pub(crate) fn expected(body: &[u8], json_length: Option<usize>, typed: bool) -> Expected {
    let json = json_length.unwrap_or(body.len());
    let Some((json, tails)) = body.split_at_checked(json) else { return Expected::Refused };
    let mut document = match Json::read(json) {
        Ok(document) => document,
        Err(NoTree::Invalid) => return Expected::Refused,
        Err(NoTree::Unknown) => return Expected::Unknown,
    };
    in_proto_names(&mut document);
    match message(&document, json_length.map(|_| tails), typed) {
        Ok(message) => Expected::Message(Box::new(message)),
        Err(Stop::Refused) => Expected::Refused,
        Err(Stop::Unknown) => Expected::Unknown,
    }
}

/// Gives fields that have protobuf's JSON names the names of the proto definition.
fn in_proto_names(document: &mut Json) {
    let rename = |fields: &mut Vec<(String, Json)>, names: &[&str]| {
        for (key, _) in fields {
            if let Some(name) = names.iter().find(|name| camel_case(name) == *key) {
                *key = (*name).to_owned();
            }
        }
    };
    let Json::Object(fields) = document else { return };
    rename(fields, &["model_name", "model_version", "raw_input_contents"]);
    for (_, inputs) in fields.iter_mut().filter(|(key, _)| key == "inputs") {
        let Json::Array(inputs) = inputs else { continue };
        for input in inputs {
            let Json::Object(fields) = input else { continue };
            for (_, contents) in fields.iter_mut().filter(|(key, _)| key == "contents") {
                if let Json::Object(fields) = contents {
                    rename(fields, &TYPED.map(|(field, _)| field));
                }
            }
        }
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

/// Where an input's elements are.
enum Data {
    Raw(Vec<u8>),
    Tail(u64),
    Shared,
    Missing,
}

struct Input {
    tensor: Tensor,
    elements: u64,
    data: Data,
}

fn message(document: &Json, mut tails: Option<&[u8]>, typed: bool) -> Result<ModelInferRequest> {
    let fields = once(
        object(document)?,
        &["model_name", "model_version", "id", "parameters", "inputs", "outputs", "raw_input_contents"],
    )?;
    for (key, value) in fields {
        if !matches!(key.as_str(), "inputs" | "outputs" | "raw_input_contents" | "parameters") {
            plain(value, 1)?;
        }
    }
    let mut message = ModelInferRequest { model_name: "m".to_owned(), ..Default::default() };
    let own_name = optional_text(document.get("model_name"))?;
    if own_name.is_some_and(|name| !name.is_empty() && name != "m") {
        return Err(Stop::Refused);
    }
    message.model_version = optional_text(document.get("model_version"))?.unwrap_or_default();
    message.id = optional_text(document.get("id"))?.unwrap_or_default();
    message.parameters = parameters(document.get("parameters"), "binary_data_output", 1)?.entries;
    let Some(Json::Array(inputs)) = document.get("inputs") else { return Err(Stop::Refused) };
    let mut inputs = inputs.iter().map(input).collect::<Result<Vec<_>>>()?;
    message.outputs = match document.get("outputs") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(outputs)) => outputs.iter().map(requested).collect::<Result<_>>()?,
        Some(_) => return Err(Stop::Refused),
    };
    for input in &mut inputs {
        if let Data::Tail(size) = input.data {
            let left = tails.ok_or(Stop::Refused)?;
            let size = usize::try_from(size).map_err(|_| Stop::Refused)?;
            let (own, rest) = left.split_at_checked(size).ok_or(Stop::Refused)?;
            input.data = Data::Raw(own.to_vec());
            tails = Some(rest);
        }
    }
    if tails.is_some_and(|rest| !rest.is_empty()) {
        return Err(Stop::Refused);
    }
    place(&mut inputs, document.get("raw_input_contents"))?;

    let half = |input: &Input| matches!(input.tensor.datatype.as_str(), "FP16" | "BF16");
    let raw = !typed || inputs.iter().any(half);
    for Input { mut tensor, elements, data } in inputs {
        match data {
            Data::Raw(bytes) if raw => message.raw_input_contents.push(bytes),
            Data::Raw(bytes) => tensor.contents = Some(contents(&tensor.datatype, elements, &bytes)?),
            _ => {}
        }
        message.inputs.push(tensor);
    }
    Ok(message)
}

fn input(value: &Json) -> Result<Input> {
    let known = ["name", "datatype", "shape", "parameters", "data", "contents"];
    for (key, value) in once(object(value)?, &known)? {
        if !matches!(key.as_str(), "data" | "contents" | "parameters") {
            plain(value, 3)?;
        }
    }
    let text = |key| match value.get(key) {
        Some(Json::Text(text, _)) => Ok(text.clone()),
        _ => Err(Stop::Refused),
    };
    let (name, datatype) = (text("name")?, text("datatype")?);
    let typed = typed_field(&datatype).ok_or(Stop::Refused)?;
    let Some(Json::Array(shape)) = value.get("shape") else { return Err(Stop::Refused) };
    if shape.len() > MAX_RANK {
        return Err(Stop::Refused);
    }
    let shape = shape.iter().map(dimension).collect::<Result<Vec<i64>>>()?;
    let elements = elements(&shape).ok_or(Stop::Refused)?;
    let mut parameters = parameters(value.get("parameters"), "binary_data_size", 3)?;
    let base64 = Entry::new("content_type", Choice::String("base64".to_owned()));
    let is_base64 = datatype == "BYTES"
        && matches!(value.get("data"), Some(Json::Array(_)))
        && parameters.entries.contains(&base64);
    if is_base64 {
        parameters.entries.retain(|entry| *entry != base64);
    }

    let mut data = match value.get("data") {
        None | Some(Json::Null) => None,
        Some(Json::Array(items)) if is_base64 => Some(bytes(&strings(items, true)?)?),
        Some(Json::Array(items)) => Some(tensor_data(items, &datatype, false)?),
        Some(_) => return Err(Stop::Refused),
    };
    let mut contents_seen = false;
    match value.get("contents") {
        None | Some(Json::Null) => {}
        Some(Json::Object(fields)) => {
            contents_seen = true;
            once(fields, &TYPED.map(|(field, _)| field))?;
            for (key, value) in fields {
                if !TYPED.iter().any(|(field, _)| field == key) {
                    plain(value, 4)?;
                    continue;
                }
                match value {
                    Json::Null => {}
                    Json::Array(items) if items.is_empty() => {}
                    Json::Array(items) if typed == key => {
                        let found = tensor_data(items, &datatype, true)?;
                        if found.0 == 0 {
                            // Arrays without elements: nothing, or a tensor given twice, by the order of the keys.
                            return Err(Stop::Unknown);
                        }
                        if data.replace(found).is_some() {
                            return Err(Stop::Refused);
                        }
                    }
                    _ => return Err(Stop::Refused),
                }
            }
        }
        Some(_) => return Err(Stop::Refused),
    }
    let data = match (data, parameters.size) {
        (Some(_), Some(_)) => return Err(Stop::Refused),
        (Some((count, bytes)), None) if count == elements => Data::Raw(bytes),
        (Some(_), None) => return Err(Stop::Refused),
        (None, Some(size)) => {
            check_size(&datatype, elements, size)?;
            Data::Tail(size)
        }
        (None, None) if parameters.entries.iter().any(|entry| entry.name == "shared_memory_region") => {
            Data::Shared
        }
        (None, None) if contents_seen && elements == 0 => Data::Raw(Vec::new()),
        (None, None) => Data::Missing,
    };
    let tensor = Tensor { name, datatype, shape, parameters: parameters.entries, contents: None };
    Ok(Input { tensor, elements, data })
}

fn requested(value: &Json) -> Result<Requested> {
    for (key, value) in once(object(value)?, &["name", "parameters"])? {
        if key != "parameters" {
            plain(value, 3)?;
        }
    }
    let Some(Json::Text(name, _)) = value.get("name") else { return Err(Stop::Refused) };
    let parameters = parameters(value.get("parameters"), "binary_data", 3)?.entries;
    Ok(Requested { name: name.clone(), parameters })
}

/// Gives inputs without data the entries of `raw_input_contents`.
fn place(inputs: &mut [Input], raw: Option<&Json>) -> Result<()> {
    let mut parts = match raw {
        None | Some(Json::Null) => None,
        Some(Json::Array(items)) => Some(strings(items, true)?.into_iter()),
        Some(_) => return Err(Stop::Refused),
    };
    for input in inputs {
        match (&input.data, &mut parts) {
            (Data::Missing, Some(parts)) => {
                let part = parts.next().ok_or(Stop::Refused)?;
                check_size(&input.tensor.datatype, input.elements, part.len() as u64)?;
                input.data = Data::Raw(part);
            }
            (Data::Missing, None) | (Data::Raw(_) | Data::Tail(_), Some(_)) => return Err(Stop::Refused),
            _ => {}
        }
    }
    if parts.is_some_and(|mut parts| parts.next().is_some()) { Err(Stop::Refused) } else { Ok(()) }
}

/// The parameters of an object, without the one of the binary extension.
#[derive(Default)]
struct Parameters {
    entries: Vec<Entry>,
    /// `binary_data_size`.
    size: Option<u64>,
}

fn parameters(value: Option<&Json>, binary: &str, depth: usize) -> Result<Parameters> {
    let fields = match value {
        None | Some(Json::Null) => return Ok(Parameters::default()),
        Some(Json::Object(fields)) => fields,
        Some(_) => return Err(Stop::Refused),
    };
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    once(fields, &names)?;
    let mut found = Parameters::default();
    for (name, value) in fields {
        // NaN and the infinities may be bare words here, also in protobuf's form.
        match value {
            Json::Bare(_) => {}
            Json::Object(members) => members
                .iter()
                .filter(|(_, value)| !matches!(value, Json::Bare(_)))
                .try_for_each(|(_, value)| plain(value, depth + 2))?,
            other => plain(other, depth + 1)?,
        }
        if let Some(choice) = choice(value)? {
            if name != binary {
                found.entries.push(Entry::new(name, choice));
                continue;
            }
            match (binary, choice) {
                ("binary_data_size", Choice::Int64(size)) => {
                    found.size = Some(u64::try_from(size).map_err(|_| Stop::Refused)?);
                }
                ("binary_data_size", _) => return Err(Stop::Refused),
                (_, Choice::Bool(_)) => {}
                _ => return Err(Stop::Refused),
            }
        }
    }
    Ok(found)
}

/// What a parameter's value sets, if it is not null. Protobuf's form may name each field once and set one.
fn choice(value: &Json) -> Result<Option<Choice>> {
    Ok(Some(match value {
        Json::Null => return Ok(None),
        Json::Bool(value) => Choice::Bool(*value),
        Json::Text(text, _) => Choice::String(text.clone()),
        Json::Number(text) => number(text).ok_or(Stop::Refused)?,
        Json::Object(fields) => {
            let own = |(name, _): &(String, Json)| name.replace("Param", "_param");
            let names: BTreeSet<String> = fields.iter().map(own).collect();
            if names.len() < fields.len() {
                return Err(Stop::Refused);
            }
            let set = |(field, value): &(String, Json)| proto_choice(field, value).transpose();
            let set = fields.iter().filter_map(set).collect::<Result<Vec<Choice>>>()?;
            return if set.len() > 1 { Err(Stop::Refused) } else { Ok(set.into_iter().next()) };
        }
        Json::Bare(text) => text.parse().map(Choice::Double).map_err(|_| Stop::Refused)?,
        Json::Array(_) => return Err(Stop::Refused),
    }))
}

fn number(text: &str) -> Option<Choice> {
    if !text.contains(['.', 'e', 'E']) {
        if let Some(value) = integer(text, i64::MIN.into(), i64::MAX.into()) {
            return i64::try_from(value).ok().map(Choice::Int64);
        }
        if let Some(value) = integer(text, 0, u64::MAX.into()) {
            return u64::try_from(value).ok().map(Choice::Uint64);
        }
    }
    fp64(text).map(Choice::Double)
}

fn proto_choice(field: &str, value: &Json) -> Result<Option<Choice>> {
    let fields = [
        ["bool_param", "boolParam"],
        ["int64_param", "int64Param"],
        ["string_param", "stringParam"],
        ["double_param", "doubleParam"],
        ["uint64_param", "uint64Param"],
    ];
    let field = fields.iter().position(|names| names.contains(&field)).ok_or(Stop::Refused)?;
    let choice = match (field, value) {
        (_, Json::Null) => return Ok(None),
        (0, Json::Bool(value)) => Some(Choice::Bool(*value)),
        (2, Json::Text(text, _)) => Some(Choice::String(text.clone())),
        (1, Json::Text(text, _) | Json::Number(text)) => {
            integer(text, i64::MIN.into(), i64::MAX.into()).map(|value| Choice::Int64(value as i64))
        }
        (4, Json::Text(text, _) | Json::Number(text)) => {
            integer(text, 0, u64::MAX.into()).map(|value| Choice::Uint64(value as u64))
        }
        (3, Json::Text(text, _) | Json::Number(text) | Json::Bare(text)) => fp64(text).map(Choice::Double),
        _ => None,
    };
    choice.map(Some).ok_or(Stop::Refused)
}

const TYPED: [(&str, &[&str]); 8] = [
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
fn typed_field(datatype: &str) -> Option<&'static str> {
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

fn check_size(datatype: &str, elements: u64, size: u64) -> Result<()> {
    let fits = match element_size(datatype) {
        Some(each) => elements.checked_mul(each) == Some(size),
        // Whether there are as many elements as the shape says is for the server to find out.
        None => elements.checked_mul(4).is_some_and(|least| least <= size) && (elements > 0 || size == 0),
    };
    if fits { Ok(()) } else { Err(Stop::Refused) }
}

fn dimension(value: &Json) -> Result<i64> {
    let (Json::Number(text) | Json::Text(text, _)) = value else { return Err(Stop::Refused) };
    integer(text, 0, i64::MAX.into()).map(|size| size as i64).ok_or(Stop::Refused)
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

fn strings(items: &[Json], base64: bool) -> Result<Vec<Vec<u8>>> {
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
fn bytes(strings: &[Vec<u8>]) -> Result<(u64, Vec<u8>)> {
    let mut raw = Vec::new();
    for string in strings {
        raw.extend(u32::try_from(string.len()).map_err(|_| Stop::Refused)?.to_le_bytes());
        raw.extend(string);
    }
    Ok((strings.len() as u64, raw))
}

/// The number of elements and their raw form. `quoted` is protobuf's JSON.
fn tensor_data(items: &[Json], datatype: &str, quoted: bool) -> Result<(u64, Vec<u8>)> {
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
fn contents(datatype: &str, elements: u64, raw: &[u8]) -> Result<Contents> {
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

fn object(value: &Json) -> Result<&[(String, Json)]> {
    match value {
        Json::Object(fields) => Ok(fields),
        _ => Err(Stop::Refused),
    }
}

/// Fields of which none of the known ones comes twice.
fn once<'a>(fields: &'a [(String, Json)], known: &[&str]) -> Result<&'a [(String, Json)]> {
    let twice = known.iter().any(|known| fields.iter().filter(|(key, _)| key == known).count() > 1);
    if twice { Err(Stop::Refused) } else { Ok(fields) }
}

fn optional_text(value: Option<&Json>) -> Result<Option<String>> {
    match value {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text, _)) => Ok(Some(text.clone())),
        Some(_) => Err(Stop::Refused),
    }
}

/// Checks a value that is not tensor data, in so many arrays and objects: no bare words, no more nesting or longer
/// numbers than there may be.
fn plain(value: &Json, depth: usize) -> Result<()> {
    match value {
        Json::Bare(_) => Err(Stop::Refused),
        Json::Number(text) if !is_number(text) => Err(Stop::Refused),
        Json::Array(_) | Json::Object(_) if depth >= MAX_DEPTH => Err(Stop::Refused),
        Json::Array(items) => items.iter().try_for_each(|item| plain(item, depth + 1)),
        Json::Object(fields) => fields.iter().try_for_each(|(_, value)| plain(value, depth + 1)),
        _ => Ok(()),
    }
}
