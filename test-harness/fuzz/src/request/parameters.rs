//! Parameters of requests, inputs and outputs.

use super::{Result, Stop, once, plain};
use crate::json::Json;
use crate::message::{Choice, Entry};
use crate::number::{fp64, integer};
use std::collections::BTreeSet;

/// The parameters of an object, without the one of the binary extension.
#[derive(Default)]
pub(super) struct Parameters {
    pub(super) entries: Vec<Entry>,
    /// `binary_data_size`.
    pub(super) size: Option<u64>,
}

pub(super) fn parameters(value: Option<&Json>, binary: &str, depth: usize) -> Result<Parameters> {
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
