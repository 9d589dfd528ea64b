//! The filter's configuration.

use crate::compressed::COMPRESSOR_LEVELS;
use crate::generic::PrintOptions;
use crate::kserve_v1::KserveV1;
use crate::openai::{self, OpenAiConfig};
use crate::tensor::{AnswerForm, BodyModelName, NonFinite, StreamMessages, TensorEncoding};
use filter_api::{Bounds, Caps, ConfigError};
use serde::Deserialize;

/// One mebibyte, in bytes.
const MIB: usize = 1024 * 1024;

/// The values of `max_request_bytes` and `max_response_bytes`.
const BODY_BYTES: Bounds = Bounds::at_least(1);
/// The values of `memory_budget_bytes`.
const BUDGET_BYTES: Bounds = Bounds::at_least(64 * 1024);
/// The values of `binary_header_bytes`.
const HEADER_BYTES: Bounds = Bounds::at_least(256);
/// The values of `compress_answers.from_bytes`.
const FROM_BYTES: Bounds = Bounds { least: 1, most: 64 * 1024 };
/// The values of `compress_answers.level`.
const LEVEL: Bounds =
    Bounds { least: *COMPRESSOR_LEVELS.start() as u64, most: *COMPRESSOR_LEVELS.end() as u64 };
/// The values of `max_models`.
pub(crate) const MAX_MODELS: Bounds = Bounds { least: 0, most: 1000 };

/// The configuration of `kserve-transcoder`. Every key is optional; an unknown key is an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How `:path` of a request that is transcoded is changed. The client's path goes upstream with its query as
    /// `x-envoy-original-path` in both modes.
    pub path: PathMode,
    /// Whether the route is selected again once the request is a gRPC request, so that a route for
    /// `/inference.GRPCInferenceService/` can take it. `false` keeps the route that matched the client's path;
    /// only a dynamic module can do that.
    pub reselect_route: bool,
    /// The cluster that GET requests are sent to where the host cannot give a request a body (proxy-wasm), and that is asked
    /// for a model's metadata (`kserve_v1`). By default the cluster of the route that matched. It must speak HTTP/2.
    pub unary_cluster: Option<String>,
    /// Hold the answer's headers back until its message has come, or the answer to a large one begins, so that a late
    /// error gets its own HTTP status. By default `true` in a dynamic module and `false` in proxy-wasm, where it needs
    /// `allow_on_headers_stop_iteration: true` beside it: without that flag every answer would hang.
    pub hold_response_headers: Option<bool>,
    /// The largest request body, in bytes, both before and after decompression. A larger one is answered 413.
    #[cfg_attr(test, schemars(range(min = BODY_BYTES.least)))]
    pub max_request_bytes: usize,
    /// The largest gRPC message that a model server may answer with, in bytes. A larger one is answered 503.
    #[cfg_attr(test, schemars(range(min = BODY_BYTES.least)))]
    pub max_response_bytes: usize,
    /// How much the bodies of all exchanges in the VM may hold together, in bytes. A request that does not fit
    /// is answered 503. A proxy-wasm VM (one per worker) has 1 GiB in all.
    #[cfg_attr(test, schemars(range(min = BUDGET_BYTES.least)))]
    pub memory_budget_bytes: usize,
    /// How inputs are sent to the model server: `raw` as `raw_input_contents`, which every server understands,
    /// or `contents` as typed `InferTensorContents`, for servers that want them.
    pub tensor_encoding: TensorEncoding,
    /// How answers look: `kserve` as the protocol's REST interface has them, or `proto` as protobuf's JSON has
    /// them, for applications that were written for Envoy's own transcoder.
    pub answer_form: AnswerForm,
    /// With `answer_form: proto`: how answers but those to inferences are printed, as the key of this name in Envoy's own
    /// transcoder says. Where it is there, what it leaves out has Envoy's default: `{}` is lowerCamelCase without white
    /// space. Without the key, names are those of the `.proto` file.
    pub print_options: Option<PrintOptions>,
    /// With `answer_form: proto`: answer a server's error with its `google.rpc.Status` as JSON, as the key of this name in Envoy's
    /// own transcoder does: the one in `grpc-status-details-bin`, with those of its details whose types `descriptor_sets` have, or
    /// else `code` and `message` of `grpc-status` and `grpc-message`. Otherwise it is `{"error": "..."}`, as errors of the filter's
    /// own, of KServe v1 and of Triton's `generate` are in any case.
    pub convert_grpc_status: bool,
    /// How NaN and the infinities, which JSON cannot express, are written in the tensors and parameters of an answer:
    /// `bare` as the words `NaN`, `Infinity` and `-Infinity`, as Triton does (`JSON.parse` refuses them); `null` for
    /// all three, as MLServer does; or `string` as protobuf's JSON does. Requests may use any of these.
    pub non_finite: NonFinite,
    /// Compress answers to inferences, those of KServe v1 and of OpenAI's API among them, and of `descriptor_sets`, with gzip or
    /// deflate for clients that accept it (`accept-encoding`), as Triton's own HTTP port does. `{}` is enough. Without the key answers are not compressed here; Envoy's own compressor filter, in front, can do it as
    /// well.
    pub compress_answers: Option<CompressAnswers>,
    /// Tell model servers that they may compress their gRPC messages, by `grpc-accept-encoding: gzip`. A message that a server
    /// compresses with gzip or deflate is read with and without this key.
    pub accept_compressed_messages: bool,
    /// How another model's name than the one in the URL is treated, as `model_name` in an inference's body, or in one of the
    /// headers by which ModelMesh knows a model (`mm-model-id`, `mm-vmodel-id`, each also with `-bin`, and `tas-model-id`):
    /// `refuse` answers 400, `ignore` uses the name in the URL, as MLServer does, and removes the header.
    pub body_model_name: BodyModelName,
    /// The length of the JSON part of a binary answer, in bytes, where the headers have gone out before it is
    /// known (proxy-wasm without held headers): it is padded with spaces, and an answer whose JSON part is longer
    /// is reset.
    #[cfg_attr(test, schemars(range(min = HEADER_BYTES.least)))]
    pub binary_header_bytes: usize,
    /// More services: base64 of serialised `google.protobuf.FileDescriptorSet`s whose methods carry
    /// `google.api.http` rules.
    pub descriptor_sets: Vec<String>,
    /// The services of `descriptor_sets` that are meant, as `package.Service`. By default all of them.
    pub services: Vec<String>,
    /// Serve methods of `descriptor_sets` that have no `google.api.http` rule and stream nothing as a POST of their message to the
    /// gRPC path, `/package.Service/Method`. A gRPC client's request to it, by its `content-type`, passes untouched.
    pub auto_mapping: bool,
    /// Query parameters that a path of `descriptor_sets` leaves out. Any other that sets no field of the request
    /// message is a 400.
    pub ignored_query_parameters: Vec<String>,
    /// Leave out every query parameter that names no field of the request message.
    pub ignore_unknown_query_parameters: bool,
    /// Leave out every member of a body that names no field of the request message; otherwise it is a 400. In the body of an
    /// inference unknown members are always left out.
    pub ignore_unknown_fields: bool,
    /// Names of enums, in bodies, paths and queries of `descriptor_sets`, may be in any case, and have `-` for `_`.
    pub case_insensitive_enum_parsing: bool,
    /// What stands behind a colon at the end of a path is a verb to the paths of `descriptor_sets` also where none of them has it,
    /// and such a path is then none of theirs. Otherwise it is a part of the last segment: `/v1/things/a:b` is the thing `a:b`.
    pub match_unregistered_custom_verb: bool,
    /// What may stand in front of every path that the filter serves, such as `/serving/{namespace}/{service}`: whole
    /// segments, of which a name in braces stands for any one. It is taken off before the path is read; with `path:
    /// route` it stays in `:path`, for the route to see.
    pub path_prefixes: Vec<String>,
    /// Serve `GET /v2/models`: the names of the models that the server's repository index calls ready, as
    /// `{"models": [...]}`. Policies for the repository must cover this path, too.
    pub list_models: bool,
    /// Serve inferences that answer with a stream (`POST /v2/models/M/infer_stream`), from model servers whose
    /// `ModelStreamInfer` answers with these messages: `triton` for `ModelStreamInferResponse`, `mlserver` for
    /// `ModelInferResponse`. With `triton` also Triton's own `generate_stream` and, with one answer, `generate`: only a model's
    /// metadata explain their bodies, and the server is asked for them as for KServe v1, as `kserve_v1` says if it is there.
    /// With `mlserver` also under the other names that it has for them, `generate_stream` and, with one answer, `generate`. By
    /// default these paths do not exist.
    pub stream_messages: Option<StreamMessages>,
    /// Serve KServe v1: `POST /v1/models/M:predict`, `GET /v1/models/M`, both also under `/versions/V`, and `GET
    /// /v1/models`, which is what `list_models` is for v2. Without the key paths under `/v1` are not this filter's. `{}` has
    /// the defaults.
    pub kserve_v1: Option<KserveV1>,
    /// How many models have metrics of their own, and of each model up to eight versions; further versions count as its version
    /// `other`. Other models count as `other`, and so does every inference of a model or version before a model server has
    /// answered one with success, so that clients cannot make up names. `0` leaves out the metrics by model.
    #[cfg_attr(test, schemars(range(min = MAX_MODELS.least, max = MAX_MODELS.most)))]
    pub max_models: usize,
    /// Say what each inference is, for access logs and limits: its `model`, `version`, `datatype`, `shape` and `elements`
    /// (at most 1000000000, which is what Envoy's rate limits can count), and at the end its `grpc_status`. Natively as dynamic metadata in the namespace `kserve_transcoder`, and the model
    /// also as filter state `envoy.ai.model.request` if that is not set; in proxy-wasm as filter state
    /// `wasm.kserve_transcoder.model` and so on.
    pub describe_requests: bool,
    /// Hold an inference's headers back until its message is complete, so that filters behind this one know its shape
    /// (`describe_requests`) when they see its headers: a limit by elements, for example. In proxy-wasm it needs
    /// `allow_on_headers_stop_iteration: true` beside it, without which every inference would hang, and a message then
    /// has to fit Envoy's buffer limit.
    pub hold_request_headers: bool,
    /// Serve OpenAI's API in front of models that this lists: `models`, `embeddings` and `completions`.
    pub openai: Option<OpenAiConfig>,
}

/// When, and how, answers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CompressAnswers {
    /// The length from which on an answer is compressed, in bytes. In proxy-wasm without held headers the answer to a POST is
    /// always sent as gzip or deflate to a client that accepts it, because the headers go out before its length is known; a
    /// shorter one only has the form.
    #[cfg_attr(test, schemars(range(min = FROM_BYTES.least, max = FROM_BYTES.most)))]
    pub from_bytes: usize,
    /// How hard the compressor tries: from 1, the fastest, to 9, the smallest.
    #[cfg_attr(test, schemars(range(min = LEVEL.least, max = LEVEL.most)))]
    pub level: u32,
}

impl Default for CompressAnswers {
    fn default() -> Self {
        Self { from_bytes: 1024, level: 1 }
    }
}

/// How `:path` of a request that is transcoded is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PathMode {
    /// The filter rewrites it to the gRPC method's path.
    Rewrite,
    /// The filter takes the query off and leaves the rest alone, and the route rewrites it (`regex_rewrite`, or a
    /// VirtualService's `rewrite`), so that routes for single models keep working.
    Route,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathMode::Rewrite,
            reselect_route: true,
            unary_cluster: None,
            hold_response_headers: None,
            max_request_bytes: 100 * MIB,
            max_response_bytes: 100 * MIB,
            memory_budget_bytes: 512 * MIB,
            tensor_encoding: TensorEncoding::Raw,
            answer_form: AnswerForm::Kserve,
            print_options: None,
            convert_grpc_status: false,
            non_finite: NonFinite::Bare,
            compress_answers: None,
            accept_compressed_messages: false,
            body_model_name: BodyModelName::Refuse,
            binary_header_bytes: 4096,
            descriptor_sets: Vec::new(),
            services: Vec::new(),
            auto_mapping: false,
            ignored_query_parameters: Vec::new(),
            ignore_unknown_query_parameters: false,
            ignore_unknown_fields: false,
            case_insensitive_enum_parsing: false,
            match_unregistered_custom_verb: false,
            path_prefixes: Vec::new(),
            list_models: false,
            stream_messages: None,
            kserve_v1: None,
            max_models: 100,
            describe_requests: false,
            hold_request_headers: false,
            openai: None,
        }
    }
}

impl Config {
    /// Reads a configuration for a host with these capabilities.
    ///
    /// # Errors
    /// A key is unknown, of the wrong type, out of range, or asks for what the host cannot do.
    pub fn read(json: &[u8], caps: Caps) -> Result<Self, ConfigError> {
        let config: Self = filter_api::parse_config(json)?;
        BODY_BYTES.check("max_request_bytes", config.max_request_bytes as u64)?;
        BODY_BYTES.check("max_response_bytes", config.max_response_bytes as u64)?;
        BUDGET_BYTES.check("memory_budget_bytes", config.memory_budget_bytes as u64)?;
        HEADER_BYTES.check("binary_header_bytes", config.binary_header_bytes as u64)?;
        MAX_MODELS.check("max_models", config.max_models as u64)?;
        if let Some(compress) = &config.compress_answers {
            FROM_BYTES.check("compress_answers.from_bytes", compress.from_bytes as u64)?;
            LEVEL.check("compress_answers.level", u64::from(compress.level))?;
        }
        if config.unary_cluster.as_deref() == Some("") {
            return Err(ConfigError::at("unary_cluster", "a cluster's name cannot be empty"));
        }
        if !config.reselect_route && !caps.keep_route {
            let reason =
                "a proxy-wasm filter cannot keep the route: Envoy selects it again after every change";
            return Err(ConfigError::at("reselect_route", reason));
        }
        if config.print_options.is_some() && config.answer_form != AnswerForm::Proto {
            return Err(ConfigError::at("print_options", "needs answer_form: proto"));
        }
        if config.convert_grpc_status && config.answer_form != AnswerForm::Proto {
            return Err(ConfigError::at("convert_grpc_status", "needs answer_form: proto"));
        }
        if config.descriptor_sets.is_empty() && !config.services.is_empty() {
            return Err(ConfigError::at("services", "chooses from descriptor_sets, which is empty"));
        }
        if let Some(openai) = &config.openai {
            openai::check_beside_kserve_v1(openai, config.kserve_v1.is_some())?;
        }
        Ok(config)
    }
}

// Reads files, which are not there under Node.
#[cfg(all(test, not(target_family = "wasm")))]
mod docs;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn error(json: &str) -> String {
        Config::read(json.as_bytes(), Caps::PROXY_WASM).unwrap_err().to_string()
    }

    #[test]
    fn no_configuration_is_a_complete_one() {
        assert_eq!(Config::read(b"", Caps::PROXY_WASM).unwrap(), Config::default());
        assert_eq!(Config::default().max_request_bytes, 104_857_600);
    }

    #[test]
    fn a_bad_key_is_named_with_its_reason() {
        assert!(error(r#"{"pathh":"route"}"#).starts_with("configuration key pathh: unknown field `pathh`"));
        assert!(error(r#"{"path":"Route"}"#).starts_with("configuration key path: unknown variant `Route`"));
        assert!(error(r#"{"path":3}"#).starts_with("configuration key path: invalid type: integer `3`"));
        assert!(error(r#"{"max_request_bytes":"1"}"#).contains("max_request_bytes: invalid type: string"));
        assert!(
            error(r#"{"max_request_bytes":-1}"#).contains("max_request_bytes: invalid value: integer `-1`")
        );
        assert_eq!(
            error(r#"{"max_request_bytes":0}"#),
            "configuration key max_request_bytes: 0 is too small: it must be at least 1"
        );
        assert_eq!(
            error(r#"{"max_models":1001}"#),
            "configuration key max_models: 1001 is out of range: it must be from 0 to 1000"
        );
        assert_eq!(
            error(r#"{"compress_answers":{"from_bytes":65537}}"#),
            "configuration key compress_answers.from_bytes: 65537 is out of range: it must be from 1 to 65536"
        );
        assert_eq!(
            error(r#"{"compress_answers":{"level":0}}"#),
            "configuration key compress_answers.level: 0 is out of range: it must be from 1 to 9"
        );
        assert!(error(r#"{"compress_answers":true}"#).contains("compress_answers: invalid type"));
        assert!(error(r#"{"descriptor_sets":["a",3]}"#).contains("descriptor_sets[1]: invalid type"));
        assert!(error(r#"{"unary_cluster":""}"#).contains("unary_cluster: a cluster's name cannot be empty"));
        assert_eq!(
            error(r#"{"services":["user.S"]}"#),
            "configuration key services: chooses from descriptor_sets, which is empty"
        );
        assert_eq!(
            error(r#"{"print_options":{}}"#),
            "configuration key print_options: needs answer_form: proto"
        );
        assert_eq!(
            error(r#"{"convert_grpc_status":true}"#),
            "configuration key convert_grpc_status: needs answer_form: proto"
        );
        assert!(error("[]").contains("configuration key .: "));
    }

    #[test]
    fn only_a_dynamic_module_can_keep_the_route() {
        assert!(error(r#"{"reselect_route":false}"#).contains("reselect_route: a proxy-wasm filter cannot"));
        assert!(Config::read(br#"{"reselect_route":false}"#, Caps::DYNAMIC_MODULE).is_ok());
    }
}
