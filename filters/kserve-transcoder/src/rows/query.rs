//! Query parameters of a user's rows, as the comments of `google/api/http.proto` bind them: every field of the request
//! message that is neither in the path nor in the body can be a parameter, fields of messages in it by a dotted path.

use super::{Body, FieldPath, Row};
use crate::problem::Problem;
use filter_api::{Octet, octets};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// How deep a parameter may reach into messages. Deeper ones would have to be encoded by as deep a recursion.
const MAX_DEPTH: usize = 16;

/// What the configuration says about parameters that no field has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignored {
    /// These are left out, whatever fields there are.
    pub(crate) names: Vec<String>,
    /// All others that name no field are left out, too.
    pub(crate) unknown: bool,
}

/// A parameter of a request.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    /// Its name, as the client wrote it.
    pub(crate) name: String,
    /// The field that it sets, and those that lead to it.
    pub(crate) path: FieldPath,
    /// Its value, decoded.
    pub(crate) value: String,
}

impl Row {
    /// Finds the fields that the query of a request sets.
    ///
    /// # Errors
    /// A parameter that sets no field of this row, or is badly encoded: 400.
    pub(super) fn parameters(&self, query: &[u8], ignored: &Ignored) -> Result<Vec<Parameter>, Problem> {
        let mut parameters = Vec::new();
        for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let name = decoded(&pair[..at]).ok_or_else(|| bad(&pair[..at], "its name is badly encoded"))?;
            if ignored.names.contains(&name) {
                continue;
            }
            let path = match self.parameter(&name) {
                Err(Unbound::Unknown(_)) if ignored.unknown => continue,
                bound => bound.map_err(|why| bad(name.as_bytes(), &why.to_string()))?,
            };
            let value = pair.get(at + 1..).unwrap_or_default();
            let value = decoded(value).ok_or_else(|| bad(name.as_bytes(), "its value is badly encoded"))?;
            parameters.push(Parameter { name, path, value });
        }
        Ok(parameters)
    }

    fn parameter(&self, name: &str) -> Result<FieldPath, Unbound> {
        let path = resolve(&self.input, name)?;
        // A message that stands in the path or in the body takes all of its fields with it.
        let begins = |with: &[FieldDescriptor]| path.starts_with(with) || with.starts_with(&path);
        if self.variables.iter().any(|(_, variable)| begins(variable)) {
            return Err(Unbound::InPath);
        }
        match &self.body {
            Body::Whole | Body::Raw(None) => Err(Unbound::InBody),
            Body::Field(field) | Body::Raw(Some(field)) if path.first() == Some(field) => {
                Err(Unbound::InBody)
            }
            Body::None | Body::Field(_) | Body::Raw(_) => Ok(path),
        }
    }
}

/// Why a parameter sets no field.
#[derive(Debug, thiserror::Error)]
enum Unbound {
    #[error("{0} has no such field")]
    Unknown(String),
    #[error("the path says what this field is")]
    InPath,
    #[error("this field belongs in the body")]
    InBody,
    #[error("it leads through a field that holds no single message")]
    Through,
    #[error("it reaches more than {MAX_DEPTH} messages deep")]
    TooDeep,
    #[error("a {0} cannot be given in a query; name one of its fields")]
    Message(String),
    #[error("a map cannot be given in a query")]
    Map,
}

/// Finds the field by a dotted path of names, each in either of protobuf's spellings.
fn resolve(message: &MessageDescriptor, dotted: &str) -> Result<FieldPath, Unbound> {
    let mut fields = FieldPath::new();
    let mut within = Some(message.clone());
    for name in dotted.split('.') {
        if fields.last().is_some_and(|field| field.is_list() || field.is_map()) {
            return Err(Unbound::Through);
        }
        let message = within.take().ok_or(Unbound::Through)?;
        let field = message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name));
        let field = field.ok_or_else(|| Unbound::Unknown(message.full_name().to_owned()))?;
        within = field.kind().as_message().cloned();
        fields.push(field);
        if fields.len() > MAX_DEPTH {
            return Err(Unbound::TooDeep);
        }
    }
    match fields.last() {
        Some(field) if field.is_map() => Err(Unbound::Map),
        Some(field) => match field.kind() {
            Kind::Message(message) if !is_written_as_text(message.full_name()) => {
                Err(Unbound::Message(message.full_name().to_owned()))
            }
            _ => Ok(fields),
        },
        None => Err(Unbound::Unknown(message.full_name().to_owned())),
    }
}

/// Whether protobuf's JSON has a message of this type as one value, which a query can have, too.
fn is_written_as_text(full_name: &str) -> bool {
    matches!(
        full_name.strip_prefix("google.protobuf."),
        Some(
            "Timestamp"
                | "Duration"
                | "FieldMask"
                | "BoolValue"
                | "BytesValue"
                | "DoubleValue"
                | "FloatValue"
                | "Int32Value"
                | "Int64Value"
                | "StringValue"
                | "UInt32Value"
                | "UInt64Value"
        )
    )
}

/// Decodes a name or a value of `application/x-www-form-urlencoded` (URL standard, section 5.1), strictly: `None` for a
/// percent sign without two hexadecimal digits, and for what is not UTF-8.
fn decoded(text: &[u8]) -> Option<String> {
    let bytes = octets(text).map(|octet| match octet {
        Octet::Plain(b'+') => Some(b' '),
        Octet::Plain(b'%') => None,
        other => Some(other.byte()),
    });
    String::from_utf8(bytes.collect::<Option<_>>()?).ok()
}

fn bad(name: &[u8], why: &str) -> Problem {
    /// So much of a client's text comes back in an error, in bytes.
    const QUOTED_BYTES: usize = 100;
    let name = String::from_utf8_lossy(&name[..name.len().min(QUOTED_BYTES)]).into_owned();
    Problem::bad_request(format!("query parameter '{name}': {why}"))
}
