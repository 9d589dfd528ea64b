//! gRPC statuses as HTTP statuses.

use crate::problem::Problem;
use filter_api::{Map, Octet, View, octets};

/// The `grpc-status` of a call that succeeded.
pub(crate) const OK: u16 = 0;
/// The one of an answer that is not valid.
pub(crate) const INTERNAL: u16 = 13;

/// The `grpc-status` of a call of which nothing better is known.
pub(crate) const UNKNOWN: u16 = 2;

/// Where servers send a `google.rpc.Status` (gRPC's "Richer error model").
const DETAILS: &str = "grpc-status-details-bin";

/// gRPC statuses by number, and the HTTP status that each becomes: the mapping that `google.rpc.Code`
/// documents for its codes.
const TABLE: [(&str, u16); 17] = [
    ("OK", 200),
    ("CANCELLED", 499),
    ("UNKNOWN", 500),
    ("INVALID_ARGUMENT", 400),
    ("DEADLINE_EXCEEDED", 504),
    ("NOT_FOUND", 404),
    ("ALREADY_EXISTS", 409),
    ("PERMISSION_DENIED", 403),
    ("RESOURCE_EXHAUSTED", 429),
    ("FAILED_PRECONDITION", 400),
    ("ABORTED", 409),
    ("OUT_OF_RANGE", 400),
    ("UNIMPLEMENTED", 501),
    ("INTERNAL", 500),
    ("UNAVAILABLE", 503),
    ("DATA_LOSS", 500),
    ("UNAUTHENTICATED", 401),
];

/// What an answer that is not gRPC's stands for (gRPC's "HTTP to gRPC Status Code Mapping").
pub(crate) fn of_http(status: u16) -> u16 {
    match status {
        200 => OK,
        400 => INTERNAL,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// How a gRPC call ended: `grpc-status`, `grpc-message` and `grpc-status-details-bin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    code: u16,
    message: String,
    /// `grpc-status-details-bin` as it came.
    details: Vec<u8>,
}

impl Status {
    /// Reads the status from a header or trailer map; `None` where it is missing.
    pub(crate) fn read(view: &dyn View, map: Map) -> Option<Self> {
        let mut code = None;
        view.each_header(map, &mut |name, value| {
            if name == b"grpc-status" && code.is_none() {
                code = Some(code_of(value));
            }
        });
        match code? {
            OK => Some(Self { code: OK, message: String::new(), details: Vec::new() }),
            code => {
                let message = view.header(map, "grpc-message").unwrap_or_default();
                let details = view.header(map, DETAILS).unwrap_or_default();
                Some(Self { code, message: percent_decoded(&message), details })
            }
        }
    }

    /// Reads the status from a list of headers; `None` where it is missing.
    pub(crate) fn find(headers: &[(Vec<u8>, Vec<u8>)]) -> Option<Self> {
        let value = |wanted: &[u8]| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let message = value(b"grpc-message").map_or(&b""[..], Vec::as_slice);
        let details = value(DETAILS.as_bytes()).cloned().unwrap_or_default();
        Some(Self { details, ..Self::parse(value(b"grpc-status")?, message) })
    }

    /// The status of a call of which a server only says in words that it has failed.
    pub(crate) fn unknown(message: String) -> Self {
        Self { code: UNKNOWN, message, details: Vec::new() }
    }

    fn parse(code: &[u8], message: &[u8]) -> Self {
        Self { code: code_of(code), message: percent_decoded(message), details: Vec::new() }
    }

    /// The status as a number; of those that gRPC does not know, whatever the server sent.
    pub(crate) fn code(&self) -> u16 {
        self.code
    }

    /// What the server says of it, in its own words.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// A `google.rpc.Status` in base64, as it came; empty if there is none.
    pub(crate) fn details(&self) -> &[u8] {
        &self.details
    }

    /// Takes so many bytes off the message, or the details if there are any.
    pub(crate) fn shorten(&mut self, bytes: usize) {
        match self.details.is_empty() {
            true => cut(&mut self.message, bytes),
            false => self.details = Vec::new(),
        }
    }

    /// Whether the call succeeded.
    pub(crate) fn is_ok(&self) -> bool {
        self.code == OK
    }

    /// What the client is told about a call that ended without a status, which counts as UNKNOWN (gRPC's "HTTP to gRPC Status
    /// Code Mapping", for the HTTP status 200): whether the answer is good cannot be known.
    pub(crate) fn missing() -> Problem {
        let message = "the model server ended its answer without a grpc-status (it should send one in trailers): the call \
                       counts as failed, with UNKNOWN (gRPC status 2)";
        // The server has given none itself.
        Problem { grpc: None, ..Self::unknown(message.to_owned()).problem() }
    }

    /// What the client is told about a call that failed: the server's own words, or the status's name where
    /// it found none.
    pub(crate) fn problem(self) -> Problem {
        let (name, status) = TABLE.get(usize::from(self.code)).copied().unwrap_or(("UNKNOWN", 500));
        let message = match self.message.trim_end() {
            "" => format!("the model server answered {name} (gRPC status {}) without a message", self.code),
            message => message.to_owned(),
        };
        Problem { grpc: Some(Box::new(self)), ..Problem::new(status, message, "kserve_grpc_error") }
    }
}

/// Takes so many bytes, or a few more, off the end of a text, which stays one.
pub(crate) fn cut(text: &mut String, bytes: usize) {
    let mut end = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

/// A status that is not a number is UNKNOWN, as the gRPC protocol says.
fn code_of(text: &[u8]) -> u16 {
    // `str::parse` takes a sign as well.
    let digits = text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).unwrap_or(UNKNOWN)
}

/// Decodes the percent-encoding of `grpc-message` (gRPC over HTTP/2, "Responses"). A `%` that starts no escape
/// stands for itself, and bytes that are not UTF-8 are replaced: an error message must not cause another error.
fn percent_decoded(text: &[u8]) -> String {
    let bytes: Vec<u8> = octets(text).map(Octet::byte).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn problem(code: &str, message: &str) -> Problem {
        Status::parse(code.as_bytes(), message.as_bytes()).problem()
    }

    #[test]
    fn a_servers_message_reaches_the_client_in_its_own_words() {
        let found = problem("5", "Request for unknown model: 'm' \u{2014}%20100%25 sure.%0A");
        assert_eq!(found.status, 404);
        assert_eq!(found.message, "Request for unknown model: 'm' \u{2014} 100% sure.");
        assert_eq!(problem("3", "50% of %zz").message, "50% of %zz");
        assert_eq!(problem("3", "%E2%80%94").message, "\u{2014}");
    }

    #[test]
    fn a_status_without_a_message_or_without_a_meaning_is_still_an_error_with_a_text() {
        assert_eq!(
            problem("14", "").message,
            "the model server answered UNAVAILABLE (gRPC status 14) without a message"
        );
        assert_eq!(problem("14", "").status, 503);
        assert_eq!(problem("99", "odd").status, 500);
        for code in ["x", "", "+0", "-0", " 0", "0.0", "65536"] {
            assert_eq!(problem(code, "odd").status, 500, "{code:?}");
            assert!(!Status::parse(code.as_bytes(), b"").is_ok(), "{code:?}");
        }
    }
}
