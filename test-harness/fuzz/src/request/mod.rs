//! An inference request, read a second time: JSON by `serde_json`, numbers by the standard library, the message by
//! `prost`. It follows the filter's documentation and shares no code with it.
//!
//! What the filter reads otherwise than `serde_json` on purpose: bare `NaN` and infinities in tensor data, numbers of
//! any size by their text, keys that come twice (refused where they matter), at most 64 levels of nesting and 2,048
//! bytes for a number, and quoted numbers, whose quotes may hold no escape.

mod parameters;
mod tensor_data;

use crate::json::{Json, NoTree};
use crate::message::{Choice, Entry, ModelInferRequest, Requested, Tensor};
use crate::number::{integer, is_number};
use parameters::parameters;
use tensor_data::{TYPED, bytes, check_size, contents, strings, tensor_data, typed_field};
pub(crate) use tensor_data::{element_size, elements};

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

fn dimension(value: &Json) -> Result<i64> {
    let (Json::Number(text) | Json::Text(text, _)) = value else { return Err(Stop::Refused) };
    integer(text, 0, i64::MAX.into()).map(|size| size as i64).ok_or(Stop::Refused)
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
