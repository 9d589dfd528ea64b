//! How messages are printed.

use crate::tensor::AnswerForm;
use prost_reflect::SerializeOptions;
use serde::{Deserialize, Serialize};
use serde_json::ser::PrettyFormatter;
use std::io;

/// How answers are printed where they look as the protocol's REST interface has them.
pub(super) const REST: SerializeOptions = SerializeOptions::new()
    .stringify_64_bit_integers(false)
    .use_proto_field_name(true)
    .skip_default_fields(false);

/// `print_options` of Envoy's `grpc_json_transcoder`, with its names and its defaults
/// (`envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder.PrintOptions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PrintOptions {
    /// A line for each member and element, indented by one space for each level.
    pub add_whitespace: bool,
    /// Numbers, booleans, enums, texts, lists and maps are there also if they have their default.
    pub always_print_primitive_fields: bool,
    /// Enums are numbers, and not names.
    pub always_print_enums_as_ints: bool,
    /// Names are those of the `.proto` file, and not in lowerCamelCase.
    pub preserve_proto_field_names: bool,
}

/// How a message is printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Print {
    form: AnswerForm,
    options: PrintOptions,
}

impl Print {
    /// Without options, protobuf's JSON has the names of the `.proto` file.
    pub(crate) fn new(form: AnswerForm, options: Option<PrintOptions>) -> Self {
        let ours = PrintOptions { preserve_proto_field_names: true, ..PrintOptions::default() };
        Self { form, options: options.unwrap_or(ours) }
    }

    pub(super) fn form(self) -> AnswerForm {
        self.form
    }

    /// How `prost_reflect` is to print a message.
    pub(super) fn serialize_options(self) -> SerializeOptions {
        match self.form {
            AnswerForm::Kserve => REST,
            AnswerForm::Proto => SerializeOptions::new()
                .stringify_64_bit_integers(true)
                .use_proto_field_name(self.options.preserve_proto_field_names)
                .use_enum_numbers(self.options.always_print_enums_as_ints)
                .skip_default_fields(!self.options.always_print_primitive_fields),
        }
    }

    /// Writes a value as JSON.
    pub(super) fn write(self, mut out: impl io::Write, value: &impl Serialize) -> serde_json::Result<()> {
        if !self.options.add_whitespace {
            return serde_json::to_writer(out, value);
        }
        let indent = PrettyFormatter::with_indent(b" ");
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, indent))?;
        out.write_all(b"\n").map_err(serde_json::Error::io)
    }
}
