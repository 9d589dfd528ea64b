//! Errors as OpenAI's clients know them: `{"error": {"message", "type", "param", "code"}}`.

use crate::problem::Problem;
use std::borrow::Cow;

/// A parameter of OpenAI's that an error can be about.
struct Parameter {
    name: &'static str,
    invalid: &'static str,
    unsupported: &'static str,
}

macro_rules! parameters {
    ($($name:literal)*) => {
        &[$(Parameter {
            name: $name,
            invalid: concat!("openai_invalid_", $name),
            unsupported: concat!("openai_unsupported_", $name),
        }),*]
    };
}

/// Envoy's response code details of an error name its parameter, and the error's `param` is read from there. So these are all
/// that can be named; an error about another one names it in its message alone.
const PARAMETERS: &[Parameter] = parameters! {
    "model" "input" "prompt" "encoding_format" "dimensions" "max_tokens" "temperature" "top_p" "n" "stream" "stream_options"
    "stop" "echo" "suffix" "logprobs" "best_of" "seed" "presence_penalty" "frequency_penalty" "logit_bias"
};

const INVALID: &str = "openai_invalid_parameter";
const UNSUPPORTED: &str = "openai_unsupported_parameter";
const UNKNOWN_MODEL: &str = "openai_unknown_model";
const UNKNOWN_PATH: &str = "openai_unknown_path";

/// A parameter has a value that it cannot have.
#[cold]
pub(super) fn invalid(parameter: &str, message: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(400, message, details(parameter, INVALID, |known| known.invalid))
}

/// A parameter asks for what the model is not set up for.
#[cold]
pub(super) fn unsupported(parameter: &str, message: impl Into<Cow<'static, str>>) -> Problem {
    let details = details(parameter, UNSUPPORTED, |known| known.unsupported);
    Problem::new(400, message, details)
}

/// There is no model of this name.
#[cold]
pub(super) fn unknown_model(id: &[u8]) -> Problem {
    /// So much of a client's text comes back in an error, in bytes.
    const QUOTED_BYTES: usize = 100;
    let id = String::from_utf8_lossy(&id[..id.len().min(QUOTED_BYTES)]);
    let message = format!("the model '{id}' does not exist: GET models lists those that do");
    Problem::new(404, message, UNKNOWN_MODEL)
}

/// There is nothing at this path.
#[cold]
pub(super) fn unknown_path(message: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(404, message, UNKNOWN_PATH)
}

/// A request's tensors would be larger than its body may be.
#[cold]
pub(super) fn too_large(most: usize) -> Problem {
    Problem::too_large(format!("the request's inputs take more than {most} bytes as tensors"))
}

fn details(name: &str, other: &'static str, of: fn(&'static Parameter) -> &'static str) -> &'static str {
    PARAMETERS.iter().find(|known| known.name == name).map_or(other, of)
}

/// The error object of a problem.
pub(crate) fn body(problem: &Problem) -> Vec<u8> {
    let kind = match problem.status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        ..500 => "invalid_request_error",
        _ => "server_error",
    };
    let about = |of: fn(&'static Parameter) -> &'static str| {
        PARAMETERS.iter().find(|known| of(known) == problem.details).map(|known| known.name)
    };
    let (param, code) = match problem.details {
        UNKNOWN_MODEL => (Some("model"), Some("model_not_found")),
        UNKNOWN_PATH => (None, Some("unknown_url")),
        INVALID => (None, Some("invalid_value")),
        UNSUPPORTED => (None, Some("unsupported_parameter")),
        _ => match (about(|known| known.invalid), about(|known| known.unsupported)) {
            (Some(name), _) => (Some(name), Some("invalid_value")),
            (None, Some(name)) => (Some(name), Some("unsupported_parameter")),
            (None, None) => (None, None),
        },
    };
    let message = serde_json::Value::from(&*problem.message);
    let or_null = |text: Option<&str>| text.map_or("null".to_owned(), |text| format!("\"{text}\""));
    let (param, code) = (or_null(param), or_null(code));
    // In the order in which OpenAI writes them.
    format!(r#"{{"error":{{"message":{message},"type":"{kind}","param":{param},"code":{code}}}}}"#)
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn shown(problem: &Problem) -> Value {
        serde_json::from_slice(&body(problem)).unwrap()
    }

    #[test]
    fn an_error_names_the_parameter_that_it_is_about() {
        let error = |message: &str, param: Option<&str>, code: Option<&str>| json!({ "error": { "message": message, "type": "invalid_request_error", "param": param, "code": code } });
        let problem = invalid("input", "input: wrong");
        assert_eq!(shown(&problem), error("input: wrong", Some("input"), Some("invalid_value")));
        assert_eq!(problem.details, "openai_invalid_input");
        let problem = unsupported("n", "n: 2");
        assert_eq!(shown(&problem), error("n: 2", Some("n"), Some("unsupported_parameter")));
        let problem = unsupported("top_k", "top_k");
        assert_eq!(shown(&problem), error("top_k", None, Some("unsupported_parameter")));
        let problem = unknown_model(b"x");
        assert_eq!(shown(&problem)["error"]["code"], "model_not_found");
        assert_eq!((problem.status, problem.details), (404, UNKNOWN_MODEL));
        let problem = Problem::bad_request("not JSON");
        assert_eq!(shown(&problem), error("not JSON", None, None));
    }

    #[test]
    fn the_type_of_an_error_follows_its_status() {
        for (status, kind) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (403, "permission_error"),
            (404, "invalid_request_error"),
            (413, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "server_error"),
            (503, "server_error"),
        ] {
            let problem = Problem::new(status, "x", "kserve_grpc_error");
            assert_eq!(shown(&problem)["error"]["type"], kind, "{status}");
        }
    }

    #[test]
    fn a_long_name_of_a_model_does_not_come_back_whole() {
        assert!(unknown_model(&[b'x'; 5000]).message.len() < 200);
    }
}
