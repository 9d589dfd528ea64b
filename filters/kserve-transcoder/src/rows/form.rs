//! How the JSON of a row differs from protobuf's own: the options of `kserve/rest.proto`, read from a descriptor
//! pool.

use super::rule::{list, text};
use prost_reflect::{DescriptorPool, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value};

/// How one field is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A map of messages, as plain values.
    Plain(Plain),
    /// A map of messages, as the list of its messages, in the order of their keys.
    List,
    /// Bytes, as `{"b64": "<base64>"}`.
    B64,
}

/// A map of messages, each written as the plain value of the one field that is set in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    /// The fields that can hold a value, in the order in which they are tried.
    pub(crate) fields: Vec<FieldDescriptor>,
    /// Text under a key that begins so is base64 of a field of bytes. Empty: no key.
    pub(crate) bytes_prefix: String,
    /// The keys whose lists are written as lists even with one value in them.
    pub(crate) lists: Vec<String>,
}

// Numbers of the fields of `kserve.rest.Form`, and of its `Plain`.
const PLAIN: u32 = 1;
const LIST: u32 = 2;
const B64: u32 = 3;
const PLAIN_BYTES_PREFIX: u32 = 1;
const PLAIN_LISTS: u32 = 2;

/// The options, as far as a pool defines them.
pub(super) struct Options {
    form: Option<ExtensionDescriptor>,
    no_body: Option<ExtensionDescriptor>,
}

impl Options {
    /// Looks for the options by name: their numbers may mean something else in a user's set.
    pub(super) fn of(pool: &DescriptorPool) -> Self {
        let find = |wanted: &str| pool.all_extensions().find(|option| option.full_name() == wanted);
        Self { form: find(kserve_proto::FORM_OPTION), no_body: find(kserve_proto::NO_BODY_OPTION) }
    }

    /// The fields of a message that have a form, with it.
    ///
    /// # Errors
    /// A form that the field's type cannot have, in words.
    pub(super) fn forms(&self, message: &MessageDescriptor) -> Result<Vec<(FieldDescriptor, Form)>, String> {
        let with_form =
            |field: FieldDescriptor| Some(self.form(&field).transpose()?.map(|form| (field, form)));
        message.fields().filter_map(with_form).collect()
    }

    /// How a field is written; `None` for protobuf's own form.
    ///
    /// # Errors
    /// As for [`forms`](Self::forms).
    pub(super) fn form(&self, field: &FieldDescriptor) -> Result<Option<Form>, String> {
        let options = field.options();
        let Some(option) = self.form.as_ref().filter(|option| options.has_extension(option)) else {
            return Ok(None);
        };
        let form = options.get_extension(option);
        let refused = || format!("{} cannot have the form that its options say", field.full_name());
        let form = form.as_message().ok_or_else(refused)?;
        let entry = field.is_map().then(|| field.kind()).and_then(|kind| kind.as_message().cloned());
        let value = entry.and_then(|entry| entry.map_entry_value_field().kind().as_message().cloned());
        let says = |number| form.has_field_by_number(number);
        match value {
            Some(value) if says(PLAIN) => {
                let plain = form.get_field_by_number(PLAIN);
                let plain = plain.as_deref().and_then(Value::as_message).ok_or_else(refused)?;
                let lists = list(plain, PLAIN_LISTS);
                Ok(Some(Form::Plain(Plain {
                    fields: value.fields().collect(),
                    bytes_prefix: text(plain, PLAIN_BYTES_PREFIX),
                    lists: lists.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                })))
            }
            Some(_) if says(LIST) => Ok(Some(Form::List)),
            None if says(B64) && !field.is_list() && field.kind() == Kind::Bytes => Ok(Some(Form::B64)),
            _ => Err(refused()),
        }
    }

    /// Whether an answer of this type is an empty body.
    pub(super) fn no_body(&self, message: &MessageDescriptor) -> bool {
        let says = |option| message.options().get_extension(option).as_bool() == Some(true);
        self.no_body.as_ref().is_some_and(says)
    }
}
