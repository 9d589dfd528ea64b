//! The JSON of a message whose definition says that it differs from protobuf's own ([`Form`]).

use super::Printed;
use super::print::REST;
use crate::rows::{Form, Plain};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, Value};
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};
use serde::ser::{Error as _, Serializer};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::fmt;

/// A JSON object that is read as if its fields were written in protobuf's own form.
pub(super) struct Shaped<'f, D> {
    pub(super) object: D,
    pub(super) forms: &'f [(FieldDescriptor, Form)],
}

/// A map field's entries in their form.
pub(super) struct PrintedMap<'a> {
    pub(super) entries: &'a HashMap<MapKey, Value>,
    pub(super) form: &'a Form,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Shaped<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.object.deserialize_map(Object { visitor, forms: self.forms })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Object<'f, V> {
    visitor: V,
    forms: &'f [(FieldDescriptor, Form)],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Object<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Members { members, forms: self.forms, next: None })
    }
}

struct Members<'f, A> {
    members: A,
    forms: &'f [(FieldDescriptor, Form)],
    /// The field whose key has been read, if it has a form.
    next: Option<&'f (FieldDescriptor, Form)>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.members.next_key::<String>()? else { return Ok(None) };
        self.next = self.forms.iter().find(|(field, _)| key == field.name() || key == field.json_name());
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        let Some((field, form)) = self.next.take() else { return self.members.next_value_seed(seed) };
        let place = |why: &dyn fmt::Display| A::Error::custom(format_args!("{}: {why}", field.name()));
        let json = in_protobufs_form(form, self.members.next_value()?).map_err(|why| place(&why))?;
        seed.deserialize(json).map_err(|why| place(&why))
    }
}

/// Turns a field's JSON into protobuf's own form. An error says what the form does not have.
fn in_protobufs_form(form: &Form, json: Json) -> Result<Json, String> {
    match (form, json) {
        (Form::Plain(plain), Json::Object(members)) => {
            let members = members.into_iter().map(|(key, json)| {
                let message = plain.message(&key, json)?;
                Ok((key, message))
            });
            members.collect::<Result<_, String>>().map(Json::Object)
        }
        (Form::B64, Json::Object(mut members)) if members.len() == 1 => {
            members.remove("b64").ok_or_else(|| "expected an object with the member b64".to_owned())
        }
        (Form::B64, Json::Null) => Ok(Json::Null),
        (Form::B64, _) => Err("expected an object with the member b64".to_owned()),
        // No more than what it would be without its form.
        (Form::Plain(_) | Form::List, json) => Ok(json),
    }
}

impl Plain {
    /// The message that a plain value stands for; an object of its fields is one already.
    fn message(&self, key: &str, json: Json) -> Result<Json, String> {
        if json.is_null() {
            return Ok(Json::Object(serde_json::Map::new()));
        }
        // Protobuf's own form, as Java's and Python's printers write it.
        let is_field =
            |name: &String| self.fields.iter().any(|field| name == field.name() || name == field.json_name());
        if json.as_object().is_some_and(|members| !members.is_empty() && members.keys().all(is_field)) {
            return Ok(json);
        }
        let is_bytes = !self.bytes_prefix.is_empty() && key.starts_with(&self.bytes_prefix);
        let fits = |kind: Kind, json: &Json| match (json, kind) {
            (Json::Bool(_), Kind::Bool) => true,
            (Json::Number(_), Kind::Float | Kind::Double) => true,
            (Json::Number(number), kind) => !number.is_f64() && is_integer(&kind),
            (Json::String(_), Kind::String) => !is_bytes,
            (Json::String(_), Kind::Bytes) => is_bytes,
            _ => false,
        };
        let holds = |field: &&FieldDescriptor| match &json {
            Json::Array(items) => field.is_list() && items.iter().all(|item| fits(field.kind(), item)),
            single => !field.is_map() && fits(field.kind(), single),
        };
        let Some(field) = self.fields.iter().find(holds) else {
            return Err(format!("'{key}' cannot be {}", kind_name(&json)));
        };
        let json = match json {
            single if field.is_list() && !single.is_array() => Json::Array(vec![single]),
            json => json,
        };
        Ok(Json::Object(serde_json::Map::from_iter([(field.name().to_owned(), json)])))
    }

    /// The plain value that a message stands for.
    fn value(&self, key: &str, message: &DynamicMessage) -> Result<Json, serde_json::Error> {
        let value = match Printed(message, &REST).serialize(serde_json::value::Serializer)? {
            Json::Object(members) => members.into_iter().next().map_or(Json::Null, |(_, value)| value),
            other => other,
        };
        Ok(match value {
            Json::Array(mut items) if items.len() == 1 && !self.lists.iter().any(|list| list == key) => {
                items.remove(0)
            }
            value => value,
        })
    }
}

impl Serialize for PrintedMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        // Rows are read so that the values are messages.
        let messages = entries.into_iter().filter_map(|(key, value)| Some((key, value.as_message()?)));
        match self.form {
            Form::Plain(plain) => {
                let printed = messages.map(|(key, message)| {
                    let key = key.as_str().unwrap_or_default();
                    plain.value(key, message).map(|value| (key, value)).map_err(S::Error::custom)
                });
                serializer.collect_map(printed.collect::<Result<Vec<_>, _>>()?)
            }
            Form::List | Form::B64 => {
                serializer.collect_seq(messages.map(|(_, message)| Printed(message, &REST)))
            }
        }
    }
}

/// A map's key as JSON has it.
pub(super) fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn is_integer(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Int32
            | Kind::Int64
            | Kind::Uint32
            | Kind::Uint64
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Fixed32
            | Kind::Fixed64
            | Kind::Sfixed32
            | Kind::Sfixed64
    )
}

fn kind_name(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "such a list",
        Json::Object(_) => "an object",
    }
}
