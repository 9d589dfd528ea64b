//! The form of a configuration that the filter works with.

use crate::config::{CompressAnswers, Config, PathMode};
use crate::generic;
use crate::kserve_v1::KserveV1;
use crate::openai::{Around, OpenAi};
use crate::rows::{self, RawAnswers, Rows};
use crate::signatures::Signatures;
use crate::tensor::{self, StreamMessages};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use filter_api::{Caps, ConfigError, Dir, PathPrefixes};
use std::sync::Arc;

/// What a configuration comes to on a host.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) path: PathMode,
    pub(crate) reselect_route: bool,
    pub(crate) unary_cluster: Option<String>,
    /// Answers' headers are held back until their message has come.
    pub(crate) holds_response_headers: bool,
    pub(crate) memory_budget_bytes: usize,
    pub(crate) binary_header_bytes: usize,
    /// A server's status is answered as a `google.rpc.Status`.
    pub(crate) convert_grpc_status: bool,
    pub(crate) compress_answers: Option<CompressAnswers>,
    pub(crate) accepts_compressed_messages: bool,
    pub(crate) max_models: usize,
    pub(crate) describes: bool,
    /// Inferences' headers are held back until their message is complete.
    pub(crate) holds_request_headers: bool,
    /// The messages of inferences that answer with a stream.
    pub(crate) stream_messages: Option<tensor::StreamMessages>,
    /// What concerns inferences, and the sizes of bodies and messages.
    pub(crate) codec: tensor::Options,
    /// What concerns all other calls.
    pub(crate) generic: generic::Options,
    pub(crate) rows: Rows,
    /// What models' inputs are, where bodies are served that only they explain.
    pub(crate) signatures: Option<Arc<Signatures>>,
    /// OpenAI's API, if it is served.
    pub(crate) openai: Option<Arc<OpenAi>>,
}

impl Settings {
    /// Reads a configuration for a host with these capabilities.
    ///
    /// # Errors
    /// As [`Config::read`], or the paths and services that it adds cannot be served.
    pub(crate) fn read(json: &[u8], caps: Caps) -> Result<Self, ConfigError> {
        let config = Config::read(json, caps)?;
        let holds = config.hold_response_headers.unwrap_or(caps.hold[Dir::Response as usize]);
        let prefixes = PathPrefixes::parse("path_prefixes", &config.path_prefixes)?;
        let around = Around {
            prefixes: prefixes.clone(),
            holds_request_headers: config.hold_request_headers,
            stream_messages: config.stream_messages,
            path: config.path,
            caps,
        };
        let openai = |openai| OpenAi::read(openai, around.clone());
        let openai = config.openai.as_ref().map(openai).transpose()?.map(Arc::new);
        let signatures = signatures(&config)?;
        let settings = Self {
            path: config.path,
            reselect_route: config.reselect_route,
            holds_response_headers: holds,
            memory_budget_bytes: config.memory_budget_bytes,
            binary_header_bytes: config.binary_header_bytes,
            convert_grpc_status: config.convert_grpc_status,
            compress_answers: config.compress_answers,
            accepts_compressed_messages: config.accept_compressed_messages,
            max_models: config.max_models,
            describes: config.describe_requests,
            holds_request_headers: config.hold_request_headers,
            stream_messages: config.stream_messages,
            codec: codec(&config),
            generic: generic::Options {
                print: generic::Print::new(config.answer_form, config.print_options),
                ignore_unknown_fields: config.ignore_unknown_fields,
                case_insensitive_enums: config.case_insensitive_enum_parsing,
                max_request_bytes: config.max_request_bytes,
            },
            rows: Rows::load(rows::Options {
                sets: descriptor_sets(&config.descriptor_sets)?,
                services: config.services,
                prefixes,
                ignored: rows::Ignored {
                    names: config.ignored_query_parameters,
                    unknown: config.ignore_unknown_query_parameters,
                },
                list_models: config.list_models,
                auto_mapping: config.auto_mapping,
                any_verb: config.match_unregistered_custom_verb,
                raw_answers: match holds {
                    true => RawAnswers::Any,
                    false if caps.body_on_header_only => RawAnswers::Never,
                    false => RawAnswers::ByCall,
                },
                stream_messages: config.stream_messages,
                kserve_v1: config.kserve_v1.is_some(),
            })?,
            signatures,
            unary_cluster: config.unary_cluster,
            openai,
        };
        settings.check_rows()?;
        Ok(settings)
    }

    /// A row of the user's under OpenAI's prefix would never be reached.
    fn check_rows(&self) -> Result<(), ConfigError> {
        let Some(openai) = &self.openai else { return Ok(()) };
        match self.rows.text_under(openai.prefix()) {
            Some(path) => {
                let reason = format!("the path {path} of a descriptor set begins with it as well");
                Err(ConfigError::at("openai.prefix", reason))
            }
            None => Ok(()),
        }
    }
}

/// What models' inputs are, if bodies are served that only they explain.
fn signatures(config: &Config) -> Result<Option<Arc<Signatures>>, ConfigError> {
    let default = KserveV1::default();
    let how = match (&config.kserve_v1, config.stream_messages) {
        (Some(given), _) => given,
        (None, Some(StreamMessages::Triton)) => &default,
        (None, _) => return Ok(None),
    };
    Ok(Some(Arc::new(Signatures::new(how)?)))
}

/// What of a configuration concerns inferences.
pub(crate) fn codec(config: &Config) -> tensor::Options {
    tensor::Options {
        encoding: config.tensor_encoding,
        answer_form: config.answer_form,
        non_finite: config.non_finite,
        body_model_name: config.body_model_name,
        max_request_bytes: config.max_request_bytes,
        max_response_bytes: config.max_response_bytes,
    }
}

/// The descriptor sets as bytes.
fn descriptor_sets(texts: &[String]) -> Result<Vec<Vec<u8>>, ConfigError> {
    let decode = |(index, text): (usize, &String)| {
        STANDARD.decode(text).map_err(|error| {
            ConfigError::at(format!("descriptor_sets[{index}]"), format!("not base64: {error}"))
        })
    };
    texts.iter().enumerate().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_prefix_that_no_path_can_begin_with_is_named() {
        let json = br#"{"path_prefixes":["/serving/{a}/{b}","serving"]}"#;
        assert_eq!(
            Settings::read(json, Caps::PROXY_WASM).unwrap_err().to_string(),
            "configuration key path_prefixes[1]: \"serving\": it must begin with a slash"
        );
    }

    #[test]
    fn what_is_wrong_with_a_model_of_kserve_v1_is_named_with_its_path() {
        let error = |v1: &str| {
            let json = format!(r#"{{"kserve_v1":{v1}}}"#);
            Settings::read(json.as_bytes(), Caps::PROXY_WASM).unwrap_err().to_string()
        };
        let model = |inputs: &str| error(&format!(r#"{{"models":[{{"name":"m","inputs":{inputs}}}]}}"#));
        let at = "configuration key kserve_v1";
        assert_eq!(
            error(r#"{"metadata_seconds":0}"#),
            format!("{at}.metadata_seconds: 0 is out of range: it must be from 1 to 86400")
        );
        assert_eq!(
            error(r#"{"max_models":1001}"#),
            format!("{at}.max_models: 1001 is out of range: it must be from 1 to 1000")
        );
        assert_eq!(model("[]"), format!("{at}.models[0].inputs: there are no inputs"));
        let input = |name: &str, datatype: &str, shape: &str| {
            format!(r#"{{"name":"{name}","datatype":"{datatype}","shape":{shape}}}"#)
        };
        assert_eq!(
            model(&format!("[{}]", input("x", "fp32", "[1]"))),
            format!("{at}.models[0].inputs[0].datatype: \"fp32\" is not a datatype")
        );
        assert_eq!(
            model(&format!("[{}]", input("x", "FP32", "[-2]"))),
            format!("{at}.models[0].inputs[0].shape: -2 is not a size, or -1 for any")
        );
        let x = input("x", "FP32", "[1]");
        assert_eq!(
            model(&format!("[{x},{x}]")),
            format!("{at}.models[0].inputs: the input \"x\" is there twice")
        );
        let m = format!(r#"{{"name":"m","inputs":[{x}]}}"#);
        assert_eq!(
            error(&format!(r#"{{"models":[{m},{m}]}}"#)),
            format!("{at}.models[1].name: the model \"m\" is given twice")
        );
        assert!(error(r#"{"seconds":1}"#).starts_with(&format!("{at}.seconds: unknown field")));
    }
}
