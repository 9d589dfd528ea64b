//! How messages are printed.

use crate::stream::StreamForm;
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
    /// The messages of a stream are a line each, and not the items of a JSON array, which only a dynamic module can write.
    pub stream_newline_delimited: bool,
    /// The messages of a stream are a server-sent event each; goes before `stream_newline_delimited`.
    pub stream_sse_style_delimited: bool,
}

/// How a message is printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Print {
    form: AnswerForm,
    options: PrintOptions,
    /// Streams look as Envoy's own transcoder writes them.
    stock_streams: bool,
}

impl Print {
    /// Without options, protobuf's JSON has the names of the `.proto` file.
    pub(crate) fn new(form: AnswerForm, options: Option<PrintOptions>) -> Self {
        let ours = PrintOptions { preserve_proto_field_names: true, ..PrintOptions::default() };
        Self { form, stock_streams: options.is_some(), options: options.unwrap_or(ours) }
    }

    pub(super) fn form(self) -> AnswerForm {
        self.form
    }

    /// How the messages of a stream follow one another: as the options say where there are some, as in Envoy's own
    /// transcoder; else as lines, or as events for a client that takes them.
    pub(crate) fn stream_form(self, accepts_events: impl FnOnce() -> bool) -> StreamForm {
        match self.options {
            PrintOptions { stream_sse_style_delimited: true, .. } => StreamForm::EVENTS,
            PrintOptions { stream_newline_delimited: true, .. } => StreamForm::STOCK_LINES,
            _ if self.stock_streams => StreamForm::ARRAY,
            _ if accepts_events() => StreamForm::EVENTS,
            _ => StreamForm::LINES,
        }
    }

    /// The same for the messages of a stream: one that has to be on one line has no white space.
    pub(super) fn of_stream(self) -> Self {
        let add_whitespace = self.options.add_whitespace && self.stream_form(|| false).needs_end();
        Self { options: PrintOptions { add_whitespace, ..self.options }, ..self }
    }

    /// Whether a field that has its default is there.
    pub(super) fn prints_defaults(self) -> bool {
        self.form == AnswerForm::Kserve || self.options.always_print_primitive_fields
    }

    /// How `prost_reflect` is to print a message.
    pub(super) fn serialize_options(self) -> SerializeOptions {
        match self.form {
            AnswerForm::Kserve => REST,
            AnswerForm::Proto => SerializeOptions::new()
                .stringify_64_bit_integers(true)
                .use_proto_field_name(self.options.preserve_proto_field_names)
                .use_enum_numbers(self.options.always_print_enums_as_ints)
                .skip_default_fields(!self.prints_defaults()),
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
