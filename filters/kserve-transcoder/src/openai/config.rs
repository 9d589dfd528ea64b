//! The key `openai`.

use filter_api::Bounds;
use serde::Deserialize;
use serde_json::Value;

/// KServe's own prefix for OpenAI's paths.
const PREFIX: &str = "/openai/v1";

/// The values of `max_inputs`: OpenAI's own servers take 2048.
pub(super) const MAX_INPUTS: Bounds = Bounds { least: 1, most: 2048 };

/// OpenAI's API in front of models that speak KServe v2.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct OpenAi {
    /// What OpenAI's paths begin with. Clients have it at the end of their `base_url`. `/v1` is possible where nothing else
    /// serves it.
    pub prefix: String,
    /// The models that clients may name. A request for any other is a 404, and reaches no model server.
    pub models: Vec<OpenAiModel>,
    /// A request header that says the name of the model on its server to whatever comes behind this filter: routes and
    /// subsets. A client's own header of this name is removed. The name stands in the body, so this needs
    /// `hold_request_headers: true`.
    pub model_header: Option<String>,
}

/// A model, and what it can do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenAiModel {
    /// The name by which clients know it.
    pub id: String,
    /// Its name on the model server.
    pub model: String,
    /// Its version there. By default the server chooses.
    #[serde(default)]
    pub version: Option<String>,
    /// Who owns it, for the list of models.
    #[serde(default = "owner")]
    pub owned_by: String,
    /// When it was made, in seconds since 1970, for the list of models.
    #[serde(default)]
    pub created: u64,
    /// How it makes embeddings. Without it, it makes none.
    #[serde(default)]
    pub embeddings: Option<OpenAiOperation>,
    /// How it completes texts. Without it, it completes none.
    #[serde(default)]
    pub completions: Option<OpenAiOperation>,
}

/// Which tensors a model has for an operation of OpenAI's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenAiOperation {
    /// The input for texts; its datatype is BYTES, its shape by default `[-1, 1]`. Without it only tokens are taken.
    #[serde(default)]
    pub text: Option<OpenAiInput>,
    /// The input for lists of tokens; its datatype is by default INT64, its shape `[-1, -1]`. Without it only texts are taken.
    #[serde(default)]
    pub tokens: Option<OpenAiInput>,
    /// The token that makes lists of tokens as long as the longest of them. Without it they must have one length.
    #[serde(default)]
    pub pad: Option<u32>,
    /// With `tokens`: an input with 1 for every token, and 0 for every one that was added. Datatype and shape as there.
    #[serde(default)]
    pub mask: Option<OpenAiInput>,
    /// The output: of embeddings, FP32, FP16, BF16 or FP64, a vector for each input; of completions, BYTES, a text for each.
    pub output: String,
    /// Whether a client may have its texts in pieces (`"stream": true`), by `ModelStreamInfer`: `optional` for a model that has
    /// both methods, which needs `hold_request_headers` in proxy-wasm; `required` for one that has no other. Each message has the
    /// next piece of each text. Needs `stream_messages`. Without this key answers come in one piece. Completions only.
    #[serde(default)]
    pub stream: Option<OpenAiStream>,
    /// The output that says why each text has ended (BYTES: `stop`, `length` or `content_filter`); in a stream empty, `None` or
    /// absent until it has. Without it the answer says `stop`; but a stream in proxy-wasm needs it. Completions only.
    #[serde(default)]
    pub finish_reason: Option<String>,
    /// The output with the number of tokens of each input, as integers, for `usage`. Of a stream's messages the last one counts
    /// that has it.
    #[serde(default)]
    pub prompt_tokens: Option<String>,
    /// The output with the number of tokens of each text, as integers, for `usage`; in a stream, those of the message's own pieces.
    /// Completions only.
    #[serde(default)]
    pub completion_tokens: Option<String>,
    /// The inputs for the parameters of a request, such as `max_tokens`. A parameter that is not among them is a 400, unless it
    /// asks for nothing.
    #[serde(default)]
    pub parameters: Vec<OpenAiParameter>,
    /// Inputs that are the same in every request.
    #[serde(default)]
    pub constants: Vec<OpenAiConstant>,
    /// How many inputs a request may have.
    #[serde(default = "max_inputs")]
    #[cfg_attr(test, schemars(range(min = MAX_INPUTS.least, max = MAX_INPUTS.most)))]
    pub max_inputs: usize,
}

/// Whether texts come in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OpenAiStream {
    /// If the client wants it.
    Optional,
    /// Always: a request for an answer in one piece is a 400.
    Required,
}

/// An input of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenAiInput {
    /// Its name.
    pub name: String,
    /// Its datatype.
    #[serde(default)]
    pub datatype: Option<String>,
    /// Its shape. The first `-1` stands for the number of inputs of a request, a second one for the number of tokens.
    #[serde(default)]
    pub shape: Option<Vec<i64>>,
}

/// An input for a parameter of a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenAiParameter {
    /// The parameter, as the client's body has it: `max_tokens`, `temperature`, `dimensions`, or one of your own.
    pub parameter: String,
    /// The input's name.
    pub name: String,
    /// Its datatype.
    pub datatype: String,
    /// Its shape. The first `-1` stands for the number of inputs of a request, for each of which the value is repeated; a second
    /// one for the number of values, of a parameter that can be a list.
    #[serde(default = "shape")]
    pub shape: Vec<i64>,
    /// The value where a request has none. Without it the input is left out then.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("type" = ["number", "string", "boolean"])))]
    pub default: Option<Value>,
}

/// An input that is always the same.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenAiConstant {
    /// The input's name.
    pub name: String,
    /// Its datatype.
    pub datatype: String,
    /// Its shape, as of a parameter.
    #[serde(default = "shape")]
    pub shape: Vec<i64>,
    /// Its value.
    #[cfg_attr(test, schemars(extend("type" = ["number", "string", "boolean"])))]
    pub value: Value,
}

impl Default for OpenAi {
    fn default() -> Self {
        Self { prefix: PREFIX.to_owned(), models: Vec::new(), model_header: None }
    }
}

fn owner() -> String {
    "kserve".to_owned()
}

fn max_inputs() -> usize {
    MAX_INPUTS.most as usize
}

fn shape() -> Vec<i64> {
    vec![-1, 1]
}
