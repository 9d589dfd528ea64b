//! Finds what the reader of protobuf's JSON takes although it is not valid: a thing that is given twice, of which it
//! lets the last one count, whichever of its two names a field has; and numbers in quotes as only Rust reads them
//! (`+5`, `inf`).

use super::assign::{read_float, read_single};
use super::normal::must_be_rewritten;
use crate::problem::Problem;
use prost_reflect::{Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

/// Refuses a document in which a field, or a key of a map, comes twice in one object, or a quoted number is not one.
/// What is wrong with it otherwise is for its reader to say. Gives whether the document [must be
/// rewritten](super::normal) for its reader.
pub(super) fn check(message: &MessageDescriptor, any_case: bool, json: &[u8]) -> Result<bool, Problem> {
    let found = Found { any_case, ..Found::default() };
    let seed = Seed { of: Some(Kind::Message(message.clone())), found: &found };
    let _ends_at_what_is_wrong = seed.deserialize(&mut serde_json::Deserializer::from_slice(json));
    match found.wrong.into_inner() {
        Some(what) => Err(Problem::bad_request(format!("body: {}", super::quoted(&what)))),
        None => Ok(found.rewritten.get()),
    }
}

/// What has been found in a document.
#[derive(Default)]
struct Found {
    /// Names of enums may be in any case.
    any_case: bool,
    /// What is wrong, once it has been found.
    wrong: Cell<Option<String>>,
    /// There is something that its reader would not take as it is.
    rewritten: Cell<bool>,
}

/// Reads a value, or the items of a list.
#[derive(Clone)]
struct Seed<'f> {
    /// What kind of value it is, where that matters. An object's keys are the fields of its message.
    of: Option<Kind>,
    found: &'f Found,
}

impl Seed<'_> {
    /// The name by which a key is known, and the kind of its value.
    fn member<'k>(&self, key: Cow<'k, str>) -> (Cow<'k, str>, Option<Kind>) {
        let Some(Kind::Message(message)) = &self.of else { return (key, None) };
        self::member(message, key)
    }
}

/// The name by which a key of a message's object is known, and the kind of its value.
fn member<'k>(message: &MessageDescriptor, key: Cow<'k, str>) -> (Cow<'k, str>, Option<Kind>) {
    if message.is_map_entry() {
        let key = match (message.map_entry_key_field().kind(), key.parse::<i128>()) {
            // `1` and `01` are one key.
            (kind, Ok(number)) if kind != Kind::String => number.to_string().into(),
            _ => key,
        };
        return (key, Some(message.map_entry_value_field().kind()));
    }
    // The keys of any JSON at all are not the fields of the message that holds it.
    if matches!(message.full_name(), "google.protobuf.Struct" | "google.protobuf.Value") {
        return (key, None);
    }
    match message.get_field_by_json_name(&key).or_else(|| message.get_field_by_name(&key)) {
        Some(field) => (field.name().to_owned().into(), Some(field.kind())),
        None => (key, None),
    }
}

impl Seed<'_> {
    /// Whether it is a message of any type, which its member `@type` names.
    fn is_any(&self) -> bool {
        matches!(&self.of, Some(Kind::Message(message)) if message.full_name() == "google.protobuf.Any")
    }

    /// The type that `@type` names, if it is known.
    fn held(&self, url: &str) -> Option<MessageDescriptor> {
        let Some(Kind::Message(any)) = &self.of else { return None };
        any.parent_pool().get_message_by_name(url.rsplit('/').next()?)
    }

    /// Notes what is wrong, and ends the search.
    fn ends<E: serde::de::Error>(&self, what: String) -> Result<(), E> {
        self.found.wrong.set(Some(what));
        Err(E::custom("it is wrong"))
    }
}

/// Whether a text in quotes is a number to Rust that it is not to protobuf's JSON: one with a plus, `inf`, or one that
/// is too large for its float.
fn is_rusts_number(kind: &Kind, text: &str) -> bool {
    match kind {
        Kind::Float => text.parse::<f32>().is_ok() && read_single(text).is_none(),
        Kind::Double => text.parse::<f64>().is_ok() && read_float(text).is_none(),
        // A wrapper is written as its value is.
        Kind::Message(message) if message.full_name().starts_with("google.protobuf.") => {
            let value = message.get_field_by_name("value").filter(|_| message.fields().len() == 1);
            value.is_some_and(|value| is_rusts_number(&value.kind(), text))
        }
        Kind::Message(_) | Kind::String | Kind::Bytes | Kind::Bool | Kind::Enum(_) => false,
        _ => text.starts_with('+'),
    }
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
        let mut held = None;
        while let Some(key) = members.next_key::<String>()? {
            let is_type = key == "@type";
            let (name, of) = match &held {
                Some(held) => member(held, key.into()),
                None => self.member(key.into()),
            };
            if names.contains(&name) {
                return self.ends(format!("{name} is given twice"));
            }
            names.insert(name);
            if !(is_type && self.is_any()) {
                members.next_value_seed(Seed { of, found: self.found })?;
                continue;
            }
            held = self.held(&members.next_value::<String>()?);
            if let Some(held) = &held {
                // Those that came before the type are known by their names only now.
                let mut known = HashSet::new();
                for name in names {
                    let (name, _) = member(held, name);
                    if !known.insert(name.clone()) {
                        return self.ends(format!("{name} is given twice"));
                    }
                }
                names = known;
            }
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

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let Some(kind) = &self.of else { return Ok(()) };
        if is_rusts_number(kind, text) {
            return self.ends(format!("{text:?} is not a number, or is out of range"));
        }
        if must_be_rewritten(kind, text, self.found.any_case) {
            self.found.rewritten.set(true);
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
