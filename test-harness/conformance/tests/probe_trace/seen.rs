//! What is seen of an exchange, and what both runners need to be comparable.

use crate::cases::Case;

/// The buffer limit of both hosts, in bytes: the smallest HTTP/2 window Envoy allows.
pub(crate) const LIMIT: usize = 65_535;

/// What was seen of an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The probe's lines, without what names the exchange.
    pub(crate) trace: Vec<String>,
    /// What the client got, if the exchange came to an end by itself.
    pub(crate) client: Option<Got>,
    /// What the upstream got, if it got all of a request.
    pub(crate) upstream: Option<Got>,
}

/// A message as far as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) reset: bool,
}

/// The exchange, and how many lines the trace had before the client gave up, where it had to.
pub(crate) struct Run {
    pub(crate) seen: Seen,
    pub(crate) stuck_after: Option<usize>,
    pub(crate) hazards: Vec<String>,
}

/// Request headers as Envoy's filters see them.
pub(crate) fn request_headers(case: &Case, id: &str) -> Vec<(String, String)> {
    let mut headers = vec![
        ("x-probe-id".to_owned(), id.to_owned()),
        ("x-probe".to_owned(), case.script.clone()),
        ("x-case".to_owned(), id.to_owned()),
    ];
    headers.extend(case.headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
    headers
}

/// Names and values.
type Pairs = Vec<(&'static str, &'static str)>;

/// What the upstream answers to `proxy_http_call`: headers, body, trailers.
pub(crate) fn call_answer() -> (Pairs, &'static str, Pairs) {
    (vec![("x-from", "call")], "answer", vec![("grpc-status", "0")])
}

/// The part of a log line that tells what the probe saw in this exchange.
pub(crate) fn trace_line(line: &str, id: &str) -> Option<String> {
    let text = &line[line.find("PROBE ")? + 6..];
    text.strip_prefix(id)?.strip_prefix(' ').map(|rest| rest.replace(id, "ID"))
}

/// The headers that a filter decides about: no pseudo-headers, which are compared elsewhere, none that Envoy's
/// connection manager and router add, none that steer the test.
pub(crate) fn comparable(mut headers: Vec<(String, String)>) -> Vec<(String, String)> {
    const NOT_THE_FILTERS: [&str; 8] = [
        "date",
        "server",
        "x-forwarded-proto",
        "x-request-id",
        "x-probe",
        "x-probe-id",
        "x-case",
        "grpc-message",
    ];
    headers.retain(|(name, _)| {
        !name.starts_with(':') && !name.starts_with("x-envoy-") && !NOT_THE_FILTERS.contains(&name.as_str())
    });
    headers.sort();
    headers
}
