//! The question for a model's metadata, and what a client is told where it has no answer.

use crate::problem::Problem;
use kserve_proto::wire::Message;

/// The RPC that says what a model's inputs are.
pub(crate) const MODEL_METADATA: &str = "/inference.GRPCInferenceService/ModelMetadata";

/// The `ModelMetadataRequest` for a model.
pub(crate) fn metadata_request(model: &str, version: Option<&str>) -> Vec<u8> {
    let message = Message::new().bytes(1, model);
    match version {
        None | Some("") => message,
        Some(version) => message.bytes(2, version),
    }
    .into_bytes()
}

/// What a client is told whose request cannot be served because of its model's metadata.
#[cold]
pub(crate) fn cannot_be_had(model: &str, why: &str) -> Problem {
    let message = format!("the inputs of model {model} cannot be known: {why}");
    Problem::new(503, message, "kserve_v1_metadata")
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_request_for_metadata_names_the_model_and_a_version_if_there_is_one() {
        assert_eq!(metadata_request("m", None), b"\x0a\x01m");
        assert_eq!(metadata_request("m", Some("7")), b"\x0a\x01m\x12\x017");
    }
}
