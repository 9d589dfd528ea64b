//! What is compared.

/// One way to serve the same exchange, each by an Envoy of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// No transcoder: the same JSON, or the same binary body, to a server that speaks HTTP/1.1.
    Passthrough,
    /// `envoy.filters.http.grpc_json_transcoder`.
    Stock,
    /// `dist/kserve_transcoder.wasm`.
    Wasm,
    /// `dist/libinference_filters.so`.
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

    /// The most CPU over passthrough that is wanted, in parts of what stock takes over passthrough.
    pub(crate) fn goal(self) -> Option<f64> {
        match self {
            Self::Wasm => Some(1.0 / 6.0),
            Self::Native => Some(1.0 / 10.0),
            Self::Passthrough | Self::Stock | Self::Grpc => None,
        }
    }

    /// The fewest tiny requests per second that are wanted, in parts of what stock serves.
    pub(crate) fn goal_of_tiny(self) -> Option<f64> {
        match self {
            Self::Wasm => Some(1.0),
            Self::Native => Some(1.4),
            Self::Passthrough | Self::Stock | Self::Grpc => None,
        }
    }
}
