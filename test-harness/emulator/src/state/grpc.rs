//! gRPC calls and streams that the module makes to clusters; the test answers them.

use super::headers::HeaderMap;
use super::protobuf;

/// A call made with `proxy_grpc_call`, or a stream opened with `proxy_grpc_stream`, that has not ended.
#[derive(Clone, Debug)]
pub struct GrpcCall {
    /// The number the module knows it by.
    pub token: u32,
    /// The root context that gets what comes back.
    pub root: u32,
    /// The context in which the call was made: a stream's id or the root's own.
    pub context: u32,
    /// Cluster called.
    pub cluster: String,
    /// The gRPC service, `package.Service`.
    pub service: String,
    /// The method's name.
    pub method: String,
    /// Initial metadata that the module gave. Envoy adds its own headers to them.
    pub metadata: HeaderMap,
    /// Whether this is a stream.
    pub stream: bool,
    /// The messages sent so far, without the five bytes in front: exactly one for a call.
    pub messages: Vec<Vec<u8>>,
    /// The module has sent its last message.
    pub half_closed: bool,
    /// The module has closed its side of the stream.
    pub(crate) given_up: bool,
    /// When the call times out, on the emulator's clock in nanoseconds since 1970. `None`: never.
    pub deadline: Option<u64>,
}

impl GrpcCall {
    /// The path of the request, `/package.Service/Method`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}/{}", self.service, self.method)
    }
}

/// Kinds of tokens, by their two lowest bits (`WasmBase::CalloutType`).
pub(crate) const CALL: u32 = 1;
pub(crate) const STREAM: u32 = 2;
/// Calls over HTTP have neither bit; the tokens of each kind are this far apart, and begin with it.
pub(crate) const TOKEN_STEP: u32 = 4;

/// Something that comes back on a call or a stream, which the module learns of by a callback.
pub(crate) enum Event {
    InitialMetadata(HeaderMap),
    Message(Vec<u8>),
    TrailingMetadata(HeaderMap),
    Close(u32, String),
}

/// What the first argument of a gRPC function names.
pub(crate) enum Target {
    /// Not a message: Envoy takes it for a cluster's name, and refuses one that does not exist.
    Name(String),
    /// `envoy.config.core.v3.GrpcService` with a cluster or, by Google's library, an address.
    Service(String),
    /// Such a message without either.
    Nothing,
}

impl Target {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let Some(fields) = protobuf::fields(bytes) else {
            return Self::Name(String::from_utf8_lossy(bytes).into_owned());
        };
        // `envoy_grpc.cluster_name` and `google_grpc.target_uri` have the same numbers in their messages.
        let inner = protobuf::bytes_of(&fields, 1).or_else(|| protobuf::bytes_of(&fields, 2));
        match inner.and_then(protobuf::fields).as_deref().and_then(|fields| protobuf::bytes_of(fields, 1)) {
            Some(name) => Self::Service(String::from_utf8_lossy(name).into_owned()),
            None => Self::Nothing,
        }
    }
}

/// The gRPC status for an HTTP one (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
pub(crate) fn status_of_http(http: i64) -> i64 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}
