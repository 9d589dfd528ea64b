//! The model that a request is for, by its path.

/// The model's name in the path of a REST call, `/v2/models/NAME[/versions/VERSION][/...]`, with percent escapes
/// decoded. `None` where the path has none, or a broken escape.
pub(crate) fn in_path(path: &[u8]) -> Option<Vec<u8>> {
    let path = path.split(|byte| matches!(byte, b'?' | b'#')).next()?;
    let name = path.strip_prefix(b"/v2/models/")?.split(|byte| *byte == b'/').next()?;
    decoded(name).filter(|name| !name.is_empty())
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

fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(*rest.next()?)? << 4 | digit(*rest.next()?)?,
            byte => byte,
        });
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_rest_path_names_its_model_whatever_follows() {
        let name = |path: &str| in_path(path.as_bytes()).map(|name| String::from_utf8(name).unwrap());
        for path in [
            "/v2/models/tf-1/infer",
            "/v2/models/tf-1/versions/3/infer?trace=1",
            "/v2/models/tf-1",
            "/v2/models/tf-1?x=/v2/models/b",
            "/v2/models/t%66-1/ready",
        ] {
            assert_eq!(name(path).as_deref(), Some("tf-1"), "{path}");
        }
        assert_eq!(name("/v2/models/a%2Fb/infer").as_deref(), Some("a/b"));
        for path in [
            "/v2/models",
            "/v2/models/",
            "/v2/models//infer",
            "/v2/models/a%2/infer",
            "/v3/models/a",
            "*",
            "",
        ] {
            assert_eq!(name(path), None, "{path}");
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
