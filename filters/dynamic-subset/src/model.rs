//! The model that a request is for, by its path, and whether its message names one.

use filter_api::{BadSegment, EscapedSlash, Octet, PathPrefixes, decode_segment, octets};

/// The model's name in the path of a REST call, `/v2/models/NAME[/versions/VERSION][/...]`, behind one of the prefixes
/// or none, with percent escapes decoded. `None` where the path has none.
///
/// # Errors
/// A part of the path that the server may read otherwise, so that it could serve another model than the one which is
/// named here.
pub(crate) fn in_path(path: &[u8], prefixes: &PathPrefixes) -> Result<Option<Vec<u8>>, BadSegment> {
    let path = path.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    let Some(path) = prefixes.forms(path).find_map(|form| form.strip_prefix(b"/v2/models/")) else {
        return match unclear_part(path) {
            Some(why) if may_name_a_model(path) => Err(why),
            _ => Ok(None),
        };
    };
    let mut segments = path.split(|byte| *byte == b'/').peekable();
    let name = segments.next().unwrap_or_default();
    if name.is_empty() {
        // A server may take `//` for one slash.
        return match segments.peek() {
            Some(_) => Err(BadSegment::NotAName(String::new())),
            None => Ok(None),
        };
    }
    let name = decode_segment(name, EscapedSlash::Decode)?;
    for segment in segments {
        decode_segment(segment, EscapedSlash::Keep)?;
    }
    Ok(Some(name))
}

/// What of a path some reader may take for something else, if anything: what a name cannot have, an escaped slash, or
/// two slashes in a row.
fn unclear_part(path: &[u8]) -> Option<BadSegment> {
    let mut segments = path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        match decode_segment(segment, EscapedSlash::Decode) {
            Err(why) => return Some(why),
            Ok(name) if name.contains(&b'/') || (name.is_empty() && segments.peek().is_some()) => {
                return Some(BadSegment::NotAName(String::from_utf8_lossy(&name).into_owned()));
            }
            Ok(_) => {}
        }
    }
    None
}

/// Whether a reader that decodes escapes, splits at backslashes, drops parameters, and takes segments out, in whatever
/// order it does so, could find a model's name in a path: whatever is taken out, `v2`, `models` and a name stay in
/// order.
fn may_name_a_model(path: &[u8]) -> bool {
    // Escaped three times is more than any reader undoes.
    let path = decoded(&decoded(&decoded(path)));
    let segments = path.split(|byte| matches!(byte, b'/' | b'\\'));
    let mut names = segments.map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or_default());
    names.any(|name| name == b"v2")
        && names.any(|name| name == b"models")
        && names.any(|name| !name.is_empty())
}

/// Every escape decoded, without a check of the result.
fn decoded(path: &[u8]) -> Vec<u8> {
    octets(path).map(Octet::byte).collect()
}

/// Whether a request is a unary gRPC call whose message names the model in its field 1: `ModelInferRequest`,
/// `ModelReadyRequest` and `ModelMetadataRequest`.
pub(crate) fn is_in_message(method: &[u8], path: &[u8], content_type: &[u8]) -> bool {
    const CALLS: [&[u8]; 3] = [b"ModelInfer", b"ModelReady", b"ModelMetadata"];
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    let call = path.strip_prefix(b"/inference.GRPCInferenceService/");
    let grpc = content_type.strip_prefix(b"application/grpc");
    method == b"POST"
        && call.is_some_and(|call| CALLS.contains(&call))
        // gRPC-Web is another framing of the body.
        && matches!(grpc, Some([] | [b'+' | b';', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_rest_path_names_its_model_whatever_follows() {
        let prefixes = PathPrefixes::parse("path_prefixes", &["/serving/{ns}/{isvc}".into()]).unwrap();
        let name = |path: &str| {
            in_path(path.as_bytes(), &prefixes).unwrap().map(|name| String::from_utf8(name).unwrap())
        };
        for path in [
            "/v2/models/tf-1/infer",
            "/v2/models/tf-1/versions/3/infer?trace=1",
            "/v2/models/tf-1",
            "/v2/models/tf-1?x=/v2/models/b;c/../%41",
            "/serving/ns/isvc/v2/models/tf-1/infer",
        ] {
            assert_eq!(name(path).as_deref(), Some("tf-1"), "{path}");
        }
        assert_eq!(name("/v2/models/a%2Fb/infer").as_deref(), Some("a/b"));
        assert_eq!(name("/v2/models/caf%C3%A9/infer").as_deref(), Some("caf\u{e9}"));
        for path in [
            "/v2/models",
            "/v2/models/",
            "/v3/models/a;b",
            "/serving/ns/v2/models/a",
            "/v2/mode%6cs",
            "/v1/models/../v2/health/ready",
            "/serving//models/a",
            "*",
            "",
        ] {
            assert_eq!(name(path), None, "{path}");
        }
    }

    #[test]
    fn a_path_that_a_server_may_read_otherwise_names_no_model() {
        for path in [
            "/v2/models/a%2/infer",
            "/v2/models/t%66-1/infer",
            "/v2/models/public;x=/../secret/infer",
            "/v2/models/public;v=1/infer",
            "/v2/models/public/infer;v=1",
            "/v2/models/public/../secret/infer",
            "/v2/models/public/%2e%2e/secret/infer",
            "/v2/models/public/%252e%252e/secret/infer",
            "/v2/models/public/..%2Fsecret/infer",
            "/v2/models/public/..%5csecret/infer",
            "/v2/models/public\\..\\secret/infer",
            "/v2/models/./secret/infer",
            "/v2/models/../models/secret/infer",
            "/v2/models//secret/infer",
            "/v2/models/secret%00/infer",
            // In front of the name, too.
            "//v2/models/secret/infer",
            "/v2//models/secret/infer",
            "/v2//../models/secret/infer",
            "/./v2/models/secret/infer",
            "/v2/./models/secret/infer",
            "/x/../v2/models/secret/infer",
            "/%762/models/secret/infer",
            "/v2/mode%6cs/secret/infer",
            "/v2/%256dodels/secret/infer",
            "/v2%2Fmodels/secret/infer",
            "/v2%2fmodels%2fsecret%2finfer",
            "/v2/models%2Fsecret/infer",
            "/v2\\models\\secret\\infer",
            "/v2%5Cmodels/secret/infer",
            "/v2;x=1/models/secret/infer",
            "/v2/models;x/secret/infer",
            "/serving/n;s/i/v2/models/secret",
            "/serving/ns%2Fi/v2/models/secret",
            "/serving/%6es/i/v2/models/secret",
            "/serving//i/v2/models/secret",
        ] {
            for prefixes in [&[][..], &["/serving/{ns}/{isvc}".into()]] {
                let prefixes = PathPrefixes::parse("path_prefixes", prefixes).unwrap();
                assert!(in_path(path.as_bytes(), &prefixes).is_err(), "{path}");
            }
        }
    }

    #[test]
    fn only_unary_grpc_calls_with_a_model_are_read() {
        let grpc = b"application/grpc".as_slice();
        let path = b"/inference.GRPCInferenceService/ModelInfer".as_slice();
        assert!(is_in_message(b"POST", path, grpc));
        assert!(is_in_message(b"POST", path, b"application/grpc+proto"));
        assert!(is_in_message(b"POST", b"/inference.GRPCInferenceService/ModelReady", grpc));
        assert!(!is_in_message(b"POST", b"/inference.GRPCInferenceService/ServerLive", grpc));
        assert!(!is_in_message(b"POST", b"/inference.GRPCInferenceService/ModelStreamInfer", grpc));
        assert!(!is_in_message(b"POST", path, b"application/grpc-web"));
        assert!(!is_in_message(b"POST", path, b"application/json"));
        assert!(!is_in_message(b"PUT", path, grpc));
    }
}
