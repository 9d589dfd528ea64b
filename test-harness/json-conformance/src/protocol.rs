//! `conformance.proto` as far as JSON is concerned.

use prost::{Message, Oneof};

/// `WireFormat.PROTOBUF`.
pub(crate) const WIRE_PROTOBUF: i32 = 1;
/// `WireFormat.JSON`.
pub(crate) const WIRE_JSON: i32 = 2;
/// `TestCategory.JSON_IGNORE_UNKNOWN_PARSING_TEST`.
pub(crate) const IGNORE_UNKNOWN: i32 = 3;

/// `ConformanceRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(oneof = "Payload", tags = "1, 2, 7, 8")]
    pub(crate) payload: Option<Payload>,
    #[prost(int32, tag = "3")]
    pub(crate) wanted: i32,
    #[prost(string, tag = "4")]
    pub(crate) message_type: String,
    #[prost(int32, tag = "5")]
    pub(crate) category: i32,
}

/// What is to be read.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Payload {
    #[prost(bytes = "vec", tag = "1")]
    Protobuf(Vec<u8>),
    #[prost(string, tag = "2")]
    Json(String),
    #[prost(string, tag = "7")]
    Jspb(String),
    #[prost(string, tag = "8")]
    Text(String),
}

/// `ConformanceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    #[prost(oneof = "Outcome", tags = "1, 3, 4, 5, 6")]
    pub(crate) outcome: Option<Outcome>,
}

/// What came of it.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Outcome {
    #[prost(string, tag = "1")]
    ParseError(String),
    #[prost(bytes = "vec", tag = "3")]
    ProtobufPayload(Vec<u8>),
    #[prost(string, tag = "4")]
    JsonPayload(String),
    #[prost(string, tag = "5")]
    Skipped(String),
    #[prost(string, tag = "6")]
    SerializeError(String),
}
