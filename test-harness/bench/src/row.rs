//! The exchanges that are measured.

use crate::tensor::Digits;

/// One exchange, measured in every column that can serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// A 1x4 tensor in, a 1x4 tensor out, on 16 connections at once.
    Tiny,
    /// A large tensor in, a 1x4 tensor out.
    Request(Digits),
    /// A 1x4 tensor in, a large tensor out.
    Response(Form, Digits),
    /// A large tensor in as the binary tensor extension has it, a 1x4 tensor out as JSON.
    BinaryRequest,
    /// A 1x4 tensor in as JSON, a large tensor out as the binary tensor extension has it.
    BinaryResponse,
}

/// How the model server's gRPC answer holds its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// In `raw_output_contents`.
    Raw,
    /// In `contents.fp32_contents`.
    Typed,
}

impl Row {
    /// All, in the table's order.
    pub(crate) const ALL: [Self; 10] = [
        Self::Tiny,
        Self::Request(Digits::Three),
        Self::Request(Digits::Nine),
        Self::Request(Digits::Seventeen),
        Self::Response(Form::Raw, Digits::Three),
        Self::Response(Form::Raw, Digits::Nine),
        Self::Response(Form::Typed, Digits::Three),
        Self::Response(Form::Typed, Digits::Nine),
        Self::BinaryRequest,
        Self::BinaryResponse,
    ];

    /// As the JSON and the command line call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Request(Digits::Three) => "request_3",
            Self::Request(Digits::Nine) => "request_9",
            Self::Request(Digits::Seventeen) => "request_17",
            Self::Response(Form::Raw, Digits::Three) => "response_raw_3",
            Self::Response(Form::Raw, _) => "response_raw_9",
            Self::Response(Form::Typed, Digits::Three) => "response_typed_3",
            Self::Response(Form::Typed, _) => "response_typed_9",
            Self::BinaryRequest => "request_binary",
            Self::BinaryResponse => "response_binary",
        }
    }

    /// As the table calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Tiny => "tiny: 1x4 both ways, 16 connections",
            Self::Request(Digits::Three) => "request, numbers of 3 digits",
            Self::Request(Digits::Nine) => "request, shortest FP32 numbers (7 to 9 digits)",
            Self::Request(Digits::Seventeen) => "request, numbers of 17 digits",
            Self::Response(Form::Raw, Digits::Three) => "response from raw contents, numbers of 3 digits",
            Self::Response(Form::Raw, _) => "response from raw contents, shortest FP32 numbers",
            Self::Response(Form::Typed, Digits::Three) => "response from typed contents, numbers of 3 digits",
            Self::Response(Form::Typed, _) => "response from typed contents, shortest FP32 numbers",
            Self::BinaryRequest => "request, binary tensor extension",
            Self::BinaryResponse => "response, binary tensor extension",
        }
    }
}
