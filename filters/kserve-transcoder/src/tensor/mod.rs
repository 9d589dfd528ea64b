//! The tensor codec: inference, `POST /v2/models/M[/versions/V]/infer`, as JSON and as gRPC.
//!
//! [`request`] reads the JSON body, cut anywhere, and makes the `ModelInferRequest`; [`response`] reads the
//! `ModelInferResponse`, cut anywhere, and makes the answer. Neither builds a tree of what it reads:
//! tensor data goes straight from its text to little-endian bytes and back. Memory is about the size of the
//! message if `datatype` comes before `data` (real clients send it so), else of the text as well; an answer may be
//! written while its message comes, and then takes a piece of it at a time.
//!
//! # Requests
//! - The document is read strictly by RFC 8259, but for bare `NaN`, `Infinity` and `-Infinity` in tensor
//!   data, which real clients send. Floating-point data may also have them as strings, and `null` for NaN. Unknown
//!   keys are skipped; a key that matters may not come twice, nor may a parameter. Arrays and objects may be nested 64
//!   deep, a tensor may have 64 dimensions, a number 2,048 bytes.
//! - Tensor data may be flat or nested in any way; the number of elements must be what the shape says, as in
//!   Triton. Floats are rounded correctly, and what would round to infinity is refused. Integers are checked
//!   against their range, and may be written as floats (`1.0`, `1e3`) if they are whole.
//! - A BYTES element is the UTF-8 of its string. If the input's parameter `content_type` says base64, it is the bytes
//!   in it, and the parameter is not passed on: the same as in answers, the other way round.
//! - The binary tensor data extension: inputs with `binary_data_size` take their bytes from behind the
//!   document, in order. `binary_data`, `binary_data_output` and `binary_data_size` are not passed on.
//! - Protobuf's JSON is accepted for the same message, with the names of its fields in either spelling:
//!   `contents.fp32_contents` or `contents.fp32Contents` and the like with quoted numbers, base64 in `bytes_contents`
//!   and `raw_input_contents`, `{"int64_param": "7"}`.
//! - Messages carry `raw_input_contents`. With [`TensorEncoding::Contents`] they carry typed contents instead;
//!   but one FP16 or BF16 input, which typed contents cannot hold, makes the whole message raw, since servers
//!   refuse a mixture.
//!
//! # Answers
//! - Raw or typed contents, packed or not, fields in any order. Everything is checked before the first byte
//!   of the body is written, or, of an answer that is written while its message comes, everything that is known by then
//!   and the rest before it is written.
//! - Floats are written with the fewest digits that read back as the same value of their datatype (`0.1` and
//!   not `0.10000000149011612` for an FP32; FP16 and BF16 as the FP32 of the same value); NaN and infinities
//!   as [`NonFinite`] says.
//! - Of parameters of the same name the last one counts.
//! - BYTES elements are strings. If one of a tensor is not UTF-8, all of that tensor are base64 and it gets
//!   the parameter `"content_type": "base64"`, by which MLServer's codecs know it.
//! - With [`AnswerForm::Proto`] an answer is protobuf's JSON as Envoy's own transcoder writes it: `contents` or base64
//!   `raw_output_contents`, as the server sent it. Requests for binary outputs are ignored then.
//! - A `binary_data_size` that a server left among an output's parameters is dropped: clients would take it
//!   for their own.

mod charged;
mod datatype;
mod lengths;
pub(crate) mod number;
mod options;
mod request;
mod response;
mod signature;
pub(crate) mod text;

#[cfg(test)]
mod tests;

pub(crate) use charged::ChargedList;
pub(crate) use datatype::{Datatype, MAX_RANK, elements};
pub(crate) use options::Options;
pub(crate) use options::{AnswerForm, BodyModelName, NonFinite, StreamMessages, TensorEncoding};
pub(crate) use request::lexer::{Event, Lexer};
pub(crate) use request::ready::{ReadyInput, message_of};
pub(crate) use request::{Answers, Generate, Predict, Request, goes_on, raw_element};
pub(crate) use response::{OutputTensor, Outputs, Response, StreamResponse, Wanted, escape};
pub(crate) use signature::{Declared, Signature};

/// What the URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The model's name, percent-decoded.
    pub(crate) model: String,
    /// Its version, if the URL has one.
    pub(crate) version: Option<String>,
}
