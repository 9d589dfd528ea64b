//! What an operator configures of the codec.

/// How inputs are sent to the model server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TensorEncoding {
    /// As `raw_input_contents`.
    #[default]
    Raw,
    /// As `InferTensorContents`; a message with an FP16 or BF16 input stays raw, since typed contents cannot hold
    /// them.
    Contents,
}

/// How answers look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AnswerForm {
    /// As the protocol's REST interface has them.
    #[default]
    Kserve,
    /// As protobuf's JSON has them.
    Proto,
}

/// How NaN and the infinities, for which JSON has no form, are written in answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NonFinite {
    /// As the bare words `NaN`, `Infinity` and `-Infinity`, as Triton writes them.
    #[default]
    Bare,
    /// As `null`, as MLServer writes all three.
    Null,
    /// As the strings `"NaN"`, `"Infinity"` and `"-Infinity"`, as protobuf's JSON has them.
    String,
}

/// How a `model_name` in a request's body is treated if it differs from the one in the URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BodyModelName {
    /// The request is answered 400.
    #[default]
    Refuse,
    /// The name in the URL is used.
    Ignore,
}

/// What an operator configures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// How inputs are sent.
    pub(crate) encoding: TensorEncoding,
    /// How answers look.
    pub(crate) answer_form: AnswerForm,
    /// How NaN and the infinities are written.
    pub(crate) non_finite: NonFinite,
    /// How another model's name in a body is treated.
    pub(crate) body_model_name: BodyModelName,
    /// The longest body of a request, in bytes.
    pub(crate) max_request_bytes: usize,
    /// The longest message of an answer, in bytes.
    pub(crate) max_response_bytes: usize,
}

/// What a model server's `ModelStreamInfer` answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StreamMessages {
    /// `ModelStreamInferResponse`: an answer or an error.
    Triton,
    /// `ModelInferResponse`.
    Mlserver,
}
