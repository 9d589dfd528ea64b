//! The headers of a request that is transcoded: what they say of its body, and which of them do not go on.

use crate::problem::Problem;
use crate::tensor::BodyModelName;
use filter_api::{Cx, Map, NamedModel, View, is_same_header, modelmesh_header};
use std::ops::Range;

/// The header in which the client's path goes on.
pub(super) const ORIGINAL_PATH: &str = "x-envoy-original-path";

/// A request's `:method` and `:path`, one behind the other.
#[derive(Debug, Default)]
pub(super) struct RequestLine {
    text: Vec<u8>,
    method: Range<usize>,
    path: Range<usize>,
}

impl RequestLine {
    pub(super) fn read(view: &dyn View) -> Self {
        let mut line = Self::default();
        view.each_header(Map::RequestHeaders, &mut |name, value| {
            let part = match name {
                b":method" => &mut line.method,
                b":path" => &mut line.path,
                _ => return,
            };
            // The room of most, in one allocation.
            line.text.reserve(if line.text.is_empty() { 64 + value.len() } else { 0 });
            *part = line.text.len()..line.text.len() + value.len();
            line.text.extend_from_slice(value);
        });
        line
    }

    /// The method and the path.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        (&self.text[self.method.clone()], &self.text[self.path.clone()])
    }
}

/// What a request's headers say of its body.
#[derive(Debug, Default)]
pub(crate) struct RequestHeaders {
    /// `content-encoding`; several copies as one list.
    pub(crate) encoding: Option<Vec<u8>>,
    /// `inference-header-content-length`, in the same way.
    json_length: Option<Vec<u8>>,
}

impl RequestHeaders {
    /// Reads a request's headers, and takes off those that are [only about the HTTP
    /// message](is_about_the_http_message), and the client's own spellings of [`ORIGINAL_PATH`]. Those by which ModelMesh
    /// would serve another model than `model`, which the URL names, are taken off as well, or refused.
    ///
    /// # Errors
    /// `grpc-timeout`, which the model server would take for the call's deadline, is not valid; a header names another
    /// model than the URL, and `others` are refused.
    pub(crate) fn take(model: Option<&str>, others: BodyModelName, cx: &mut Cx<'_>) -> Result<Self, Problem> {
        let mut found = Self::default();
        let (mut timeout, mut contradiction) = (None, None);
        let (view, ops) = (cx.view, &mut *cx.ops);
        view.each_header(Map::RequestHeaders, &mut |name, value| {
            match name {
                b"content-encoding" => add(&mut found.encoding, value),
                b"inference-header-content-length" => add(&mut found.json_length, value),
                b"grpc-timeout" => add(&mut timeout, value),
                _ => {}
            }
            let other = model.and_then(|model| other_model(model, name, value));
            let goes = is_about_the_http_message(name) || is_misspelt_path(name) || other.is_some();
            if goes && let Ok(name) = std::str::from_utf8(name) {
                ops.remove_header(Map::RequestHeaders, name);
            }
            contradiction = contradiction.take().or(other);
        });
        match (timeout, contradiction) {
            (Some(timeout), _) if !is_timeout(&timeout) => Err(Problem::bad_request(format!(
                "grpc-timeout: {:?} is not a timeout: up to eight digits and one of H, M, S, m, u, n",
                String::from_utf8_lossy(&timeout)
            ))),
            (_, Some(why)) if others == BodyModelName::Refuse => Err(Problem::bad_request(why)),
            _ => Ok(found),
        }
    }

    /// The length of the JSON part of a body that has binary tensor data behind it, as the client declares it.
    pub(crate) fn json_length(&self) -> Result<Option<usize>, Problem> {
        let Some(value) = &self.json_length else { return Ok(None) };
        // `str::parse` takes a sign as well.
        let digits = value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        length.map(Some).ok_or_else(|| {
            let value = String::from_utf8_lossy(value);
            Problem::bad_request(format!(
                "inference-header-content-length: {value:?} is not a length in bytes"
            ))
        })
    }
}

/// Whether a header is the original path to a reader to whom `_` is `-`, but not to Envoy, which replaces the true one.
pub(super) fn is_misspelt_path(name: &[u8]) -> bool {
    is_same_header(name, ORIGINAL_PATH.as_bytes()) && name != ORIGINAL_PATH.as_bytes()
}

/// Says of a header by which ModelMesh knows a model that it names another one than `model`. ModelMesh goes by it in all
/// calls but inference and metadata. Values that a proxy may have joined, and such as cannot be decoded, name another
/// model to some reader.
fn other_model(model: &str, name: &[u8], value: &[u8]) -> Option<String> {
    let (_, binary) = modelmesh_header(name)?;
    let other = match NamedModel::by(value, binary) {
        NamedModel::As(named) if named.is_empty() || named == model.as_bytes() => return None,
        NamedModel::As(named) => named,
        NamedModel::Unclear => value.to_vec(),
    };
    let (name, other) = (String::from_utf8_lossy(name), String::from_utf8_lossy(&other));
    Some(format!("{name} names '{other}', but the URL names '{model}'"))
}

/// Whether a header says something of the client's HTTP message or of its connection, and so nothing true of the gRPC
/// request that is made of it.
pub(crate) fn is_about_the_http_message(name: &[u8]) -> bool {
    match name {
        b"content-type" => false,
        // The body that was (RFC 9110 section 8, RFC 9530, RFC 3230).
        b"repr-digest" | b"digest" | b"inference-header-content-length" => true,
        // Which part of the answer is wanted, in which form: gRPC knows none of it (RFC 9110 section 14).
        b"range" | b"want-digest" | b"want-content-digest" | b"want-repr-digest" => true,
        // The connection (RFC 9110 sections 7.6.1, 7.8, 10.1.1).
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"trailer"
        | b"upgrade" | b"http2-settings" | b"expect" => true,
        // gRPC's own are reserved (gRPC over HTTP/2, "Requests"), and a REST client does not speak it; but a deadline
        // is one for any client, and tracing is for its readers.
        b"grpc-timeout" | b"grpc-trace-bin" | b"grpc-tags-bin" => false,
        // With `content-` begins what describes a body, by any specification (RFC 9110 section 8, MIME, CalDAV), and
        // with `if-` a condition on the state of what is asked for (RFC 9110 section 13, RFC 6638).
        name => [&b"grpc-"[..], b"content-", b"if-"].iter().any(|prefix| name.starts_with(prefix)),
    }
}

fn add(list: &mut Option<Vec<u8>>, value: &[u8]) {
    match list {
        None => *list = Some(value.to_vec()),
        Some(list) => {
            list.extend_from_slice(b", ");
            list.extend_from_slice(value);
        }
    }
}

/// Whether a value is a `Timeout` (gRPC over HTTP/2, "Requests").
fn is_timeout(value: &[u8]) -> bool {
    let Some((unit, digits)) = value.split_last() else { return false };
    (1..=8).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_digit)
        && matches!(unit, b'H' | b'M' | b'S' | b'm' | b'u' | b'n')
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn json_length(values: &[&str]) -> Result<Option<usize>, Problem> {
        let mut headers = RequestHeaders::default();
        for value in values {
            add(&mut headers.json_length, value.as_bytes());
        }
        headers.json_length()
    }

    #[test]
    fn the_length_of_the_json_part_is_digits_and_nothing_else() {
        assert_eq!(json_length(&[]), Ok(None));
        assert_eq!(json_length(&["0"]), Ok(Some(0)));
        assert_eq!(json_length(&["0166"]), Ok(Some(166)));
        for value in ["", "+5", "-5", " 5", "5 ", "5 5", "0x10", "1e3", "5.0", "5,5", "\u{665}", "five"] {
            let problem = json_length(&[value]).unwrap_err();
            assert_eq!(problem.status, 400);
            let told = format!("inference-header-content-length: {value:?} is not a length in bytes");
            assert_eq!(problem.message, told);
        }
        assert!(json_length(&["340282366920938463463374607431768211456"]).is_err());
    }

    #[test]
    fn a_length_that_is_given_twice_is_refused_whether_or_not_the_two_agree() {
        assert!(json_length(&["5", "5"]).unwrap_err().message.contains("\"5, 5\""));
        assert!(json_length(&["5", "6"]).unwrap_err().message.contains("\"5, 6\""));
        assert!(json_length(&["", "6"]).is_err());
    }

    #[test]
    fn a_timeout_is_up_to_eight_digits_and_a_unit() {
        for good in ["1H", "99999999n", "5S", "100m", "7u", "3M"] {
            assert!(is_timeout(good.as_bytes()), "{good}");
        }
        for bad in ["", "S", "5", "123456789S", "5s", "5 S", "-5S", "+5S", "1.5S", "5SS", "5S, 5S"] {
            assert!(!is_timeout(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn whatever_describes_the_body_or_is_a_condition_stays_behind_but_for_the_type() {
        for name in ["content-length", "content-transfer-encoding", "content-digest", "content-whatever"] {
            assert!(is_about_the_http_message(name.as_bytes()), "{name}");
        }
        for name in ["if-none-match", "if-range", "if-schedule-tag-match"] {
            assert!(is_about_the_http_message(name.as_bytes()), "{name}");
        }
        for name in ["content-type", "x-content-id", "contents", "iffy", "x-if-match"] {
            assert!(!is_about_the_http_message(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn of_grpcs_own_headers_only_the_deadline_and_traces_go_on() {
        for name in ["grpc-encoding", "grpc-accept-encoding", "grpc-status", "grpc-message", "grpc-whatever"]
        {
            assert!(is_about_the_http_message(name.as_bytes()), "{name}");
        }
        for name in ["grpc-timeout", "grpc-trace-bin", "authorization", "x-grpc-status", "accept", "te"] {
            assert!(!is_about_the_http_message(name.as_bytes()), "{name}");
        }
    }
}
