//! Finds what a JSON document gives twice. The reader of protobuf's JSON lets the last one count, whichever of its two
//! names a field has.

use crate::problem::Problem;
use prost_reflect::{Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

/// Refuses a document in which a field, or a key of a map, comes twice in one object. What is wrong with it otherwise
/// is for its reader to say.
pub(super) fn check(message: &MessageDescriptor, json: &[u8]) -> Result<(), Problem> {
    let found = Cell::new(None);
    let seed = Seed { message: Some(message.clone()), found: &found };
    let _ends_at_what_is_found = seed.deserialize(&mut serde_json::Deserializer::from_slice(json));
    match found.into_inner() {
        Some(key) => Err(Problem::bad_request(format!("body: {} is given twice", super::quoted(&key)))),
        None => Ok(()),
    }
}

/// Reads a value, or the items of a list.
#[derive(Clone)]
struct Seed<'f> {
    /// Whose fields an object's keys are; `None` for the keys of a map and for anything else.
    message: Option<MessageDescriptor>,
    found: &'f Cell<Option<String>>,
}

impl Seed<'_> {
    /// The name by which a key is known, and the message that its value is.
    fn member<'k>(&self, key: Cow<'k, str>) -> (Cow<'k, str>, Option<MessageDescriptor>) {
        let Some(message) = &self.message else { return (key, None) };
        if message.is_map_entry() {
            let key = match (message.map_entry_key_field().kind(), key.parse::<i128>()) {
                // `1` and `01` are one key.
                (kind, Ok(number)) if kind != Kind::String => number.to_string().into(),
                _ => key,
            };
            return (key, message_of(&message.map_entry_value_field().kind()));
        }
        match message.get_field_by_json_name(&key).or_else(|| message.get_field_by_name(&key)) {
            Some(field) => (field.name().to_owned().into(), message_of(&field.kind())),
            None => (key, None),
        }
    }
}

/// The message whose fields are the keys of an object. Of any JSON at all they are not.
fn message_of(kind: &Kind) -> Option<MessageDescriptor> {
    let is_any_json = |message: &&MessageDescriptor| {
        matches!(message.full_name(), "google.protobuf.Struct" | "google.protobuf.Value")
    };
    kind.as_message().filter(|message| !is_any_json(message)).cloned()
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            let (name, message) = self.member(key.into());
            if names.contains(&name) {
                self.found.set(Some(name.into_owned()));
                return Err(A::Error::custom("it is given twice"));
            }
            names.insert(name);
            members.next_value_seed(Seed { message, found: self.found })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.clone())?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
