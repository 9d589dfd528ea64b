//! What is compared.

/// One way to serve the same exchange, each by an Envoy of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// No filter: the same JSON, or the same binary body, to a server that speaks HTTP/1.1.
    Passthrough,
    /// What stock Envoy has for the job: `envoy.filters.http.grpc_json_transcoder`, `header_to_metadata` or `jwt_authn`.
    Stock,
    /// Our filter in wasm, `dist/*.wasm`; for a subset with `header_to_metadata` behind it.
    Wasm,
    /// Our filter natively, `dist/libinference_filters.so`.
    Native,
    /// No transcoder and no JSON: a gRPC client's own message to a gRPC server.
    Grpc,
}

impl Column {
    /// All, in the table's order.
    pub(crate) const ALL: [Self; 5] = [Self::Passthrough, Self::Stock, Self::Wasm, Self::Native, Self::Grpc];

    /// As the table and the JSON call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::Stock => "stock",
            Self::Wasm => "wasm",
            Self::Native => "native",
            Self::Grpc => "grpc",
        }
    }
}
