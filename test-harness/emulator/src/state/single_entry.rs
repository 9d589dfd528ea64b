//! Names of which Envoy keeps one entry only, by the kind of map: a second value is appended to the first after a comma
//! (Envoy's inline headers, `envoy/http/header_map.h`, and those that its extensions register). Measured with 1.38.2
//! and 1.40.0, which do the same, by adding each name twice.

/// What a map is in Envoy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MapKind {
    /// Not yet in Envoy: a test's, or what a module hands over.
    #[default]
    Loose,
    Request,
    Response,
    RequestTrailers,
    ResponseTrailers,
}

impl MapKind {
    /// Whether maps of this kind keep one entry of this lower-case name.
    pub(crate) fn is_single(self, name: &[u8]) -> bool {
        let among = |names: &[&str]| names.iter().any(|single| single.as_bytes() == name);
        match self {
            Self::Loose => among(LOOSE),
            Self::Request => among(REQUEST) || among(BOTH),
            Self::Response => among(RESPONSE) || among(BOTH),
            Self::RequestTrailers => false,
            Self::ResponseTrailers => among(RESPONSE_TRAILERS),
        }
    }
}

/// The ones that a test meets most, whichever way its message goes.
const LOOSE: &[&str] = &[
    ":authority",
    ":method",
    ":path",
    ":protocol",
    ":scheme",
    ":status",
    "connection",
    "content-length",
    "content-type",
    "date",
    "expect",
    "grpc-message",
    "grpc-status",
    "grpc-timeout",
    "keep-alive",
    "proxy-connection",
    "server",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-envoy-original-path",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

const BOTH: &[&str] = &[
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "keep-alive",
    "proxy-connection",
    "proxy-status",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-request-id",
];

const REQUEST: &[&str] = &[
    ":authority",
    ":method",
    ":path",
    ":protocol",
    ":scheme",
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "referer",
    "te",
    "user-agent",
    "x-client-trace-id",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-is-timeout-retry",
    "x-envoy-max-retries",
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

const RESPONSE: &[&str] = &[
    ":status",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "last-modified",
    "location",
    "server",
    "vary",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-ratelimited",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-envoy-upstream-service-time",
];

const RESPONSE_TRAILERS: &[&str] = &["grpc-message", "grpc-status"];
