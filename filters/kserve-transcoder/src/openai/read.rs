//! Reading the key `openai`: what its form does not say is checked here.

use super::config::{MAX_INPUTS, OpenAiInput, OpenAiOperation};
use super::streams::{Around, Methods};
use super::tensors::Tensor;
use super::{Model, OpenAi, OpenAiConfig, OpenAiModel, Operation, Parameter, Setup};
use crate::tensor::{Datatype, Target};
use filter_api::{Charge, ConfigError, Memory};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;

/// How many models there may be.
const MAX_MODELS: usize = 1000;

/// How long a model's `id` may be, in bytes.
const ID_BYTES: usize = 200;

/// How large a value of a configuration may be as an element of a tensor, in bytes.
const VALUE_BYTES: usize = 64 * 1024;

/// Parameters of OpenAI's that are not the model's.
const OURS: [&str; 9] =
    ["model", "input", "prompt", "encoding_format", "stream", "stream_options", "n", "best_of", "echo"];

/// OpenAI's paths under `/v1` are also those of KServe v1 (`GET /v1/models`).
///
/// # Errors
/// Both are to be served.
pub(crate) fn check_beside_kserve_v1(
    config: &OpenAiConfig,
    serves_kserve_v1: bool,
) -> Result<(), ConfigError> {
    if serves_kserve_v1 && config.prefix == "/v1" {
        let reason = "KServe v1 is served under /v1: choose another prefix, such as /openai/v1";
        return Err(ConfigError::at("openai.prefix", reason));
    }
    Ok(())
}

impl OpenAi {
    /// Reads a configuration.
    ///
    /// # Errors
    /// A value that can never work.
    pub(crate) fn read(config: &OpenAiConfig, around: Around) -> Result<Self, ConfigError> {
        check_prefix(&config.prefix)?;
        check_header(config.model_header.as_deref(), around.holds_request_headers)?;
        if config.models.is_empty() {
            return Err(ConfigError::at("openai.models", "it lists no model"));
        }
        if config.models.len() > MAX_MODELS {
            let reason = format!("{} are too many: at most {MAX_MODELS} can be given", config.models.len());
            return Err(ConfigError::at("openai.models", reason));
        }
        let charge = Memory::new(VALUE_BYTES).account(usize::MAX).charge();
        let mut ids = HashSet::new();
        let mut models = Vec::new();
        let mut entries = Vec::new();
        for (index, model) in config.models.iter().enumerate() {
            let path = format!("openai.models[{index}]");
            if !ids.insert(model.id.as_str()) {
                let reason = format!("another model has the id {:?}", model.id);
                return Err(ConfigError::at(format!("{path}.id"), reason));
            }
            let entry = entry(model);
            models.push(Arc::new(Model::read(model, &path, entry.clone().into_bytes(), &charge)?));
            entries.push(entry);
        }
        let list = format!(r#"{{"object":"list","data":[{}]}}"#, entries.join(",")).into_bytes();
        let model_header = config.model_header.as_ref().map(|name| name.to_ascii_lowercase());
        let methods = Methods::read(config, &around)?;
        let Around { prefixes, stream_messages: messages, .. } = around;
        Ok(Self { prefix: config.prefix.clone(), prefixes, models, list, model_header, methods, messages })
    }
}

/// What the list of models says of one, in OpenAI's order.
fn entry(OpenAiModel { id, created, owned_by, .. }: &OpenAiModel) -> String {
    let (id, owned_by) = (Value::from(id.as_str()), Value::from(owned_by.as_str()));
    format!(r#"{{"id":{id},"object":"model","created":{created},"owned_by":{owned_by}}}"#)
}

/// The prefix is compared with the path as it is.
fn check_prefix(prefix: &str) -> Result<(), ConfigError> {
    let refused = |why: &str| Err(ConfigError::at("openai.prefix", format!("{prefix:?}: {why}")));
    let Some(inside) = prefix.strip_prefix('/') else { return refused("it must begin with a slash") };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    for segment in inside.split('/') {
        match segment {
            "" => return refused("a segment is empty"),
            "." | ".." => return refused("a path cannot have the segments '.' and '..'"),
            _ if !segment.bytes().all(plain) => {
                return refused("a segment may have letters, digits, '-', '.', '_' and '~'");
            }
            _ => {}
        }
    }
    if inside == "v2" || inside.starts_with("v2/") {
        return refused("what is under /v2 belongs to KServe v2");
    }
    Ok(())
}

fn check_header(name: Option<&str>, holds_request_headers: bool) -> Result<(), ConfigError> {
    let at = |reason: &str| ConfigError::at("openai.model_header", reason);
    let Some(name) = name else { return Ok(()) };
    // RFC 9110, section 5.6.2.
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(at("it is not the name of a header"));
    }
    let known = ["host", "content-type", "content-length", "te", "connection", "transfer-encoding"];
    if known.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return Err(at("this header has a meaning of its own"));
    }
    if !holds_request_headers {
        return Err(at("needs hold_request_headers: true, because the model's name is in the body"));
    }
    Ok(())
}

impl Model {
    fn read(model: &OpenAiModel, path: &str, entry: Vec<u8>, charge: &Charge) -> Result<Self, ConfigError> {
        let at = |key: &str, reason: &str| Err(ConfigError::at(format!("{path}.{key}"), reason));
        if model.id.is_empty() || model.id.len() > ID_BYTES || model.id.chars().any(char::is_control) {
            return at("id", "it must have 1 to 200 bytes, and no control characters");
        }
        if model.model.is_empty() {
            return at("model", "a model's name cannot be empty");
        }
        if model.version.as_deref() == Some("") {
            return at("version", "a version cannot be empty: leave it out to let the server choose");
        }
        if model.embeddings.is_none() && model.completions.is_none() {
            return Err(ConfigError::at(path, "it has neither embeddings nor completions"));
        }
        let setup = |operation: Operation, config: &Option<OpenAiOperation>| {
            let path = format!("{path}.{}", operation.name());
            config.as_ref().map(|config| Setup::read(operation, config, &path, charge)).transpose()
        };
        Ok(Self {
            id: model.id.clone(),
            target: Target { model: model.model.clone(), version: model.version.clone() },
            entry,
            embeddings: setup(Operation::Embeddings, &model.embeddings)?,
            completions: setup(Operation::Completions, &model.completions)?,
        })
    }
}

impl Setup {
    fn read(
        operation: Operation,
        config: &OpenAiOperation,
        path: &str,
        charge: &Charge,
    ) -> Result<Self, ConfigError> {
        let at = |key: &str, reason: &str| Err(ConfigError::at(format!("{path}.{key}"), reason));
        MAX_INPUTS.check(&format!("{path}.max_inputs"), config.max_inputs as u64)?;
        if config.text.is_none() && config.tokens.is_none() {
            return Err(ConfigError::at(path, "it takes neither text nor tokens"));
        }
        for (key, is_given) in [("pad", config.pad.is_some()), ("mask", config.mask.is_some())] {
            if is_given && config.tokens.is_none() {
                return at(key, "needs tokens");
            }
        }
        for (key, is_given) in [
            ("stream", config.stream.is_some()),
            ("finish_reason", config.finish_reason.is_some()),
            ("completion_tokens", config.completion_tokens.is_some()),
        ] {
            if is_given && operation != Operation::Completions {
                return at(key, "only completions have it");
            }
        }
        let outputs = [
            ("output", Some(&config.output)),
            ("finish_reason", config.finish_reason.as_ref()),
            ("prompt_tokens", config.prompt_tokens.as_ref()),
            ("completion_tokens", config.completion_tokens.as_ref()),
        ];
        let mut names = HashSet::new();
        for (key, name) in outputs.into_iter().filter_map(|(key, name)| Some((key, name?))) {
            if name.is_empty() {
                return at(key, "an output's name cannot be empty");
            }
            if !names.insert(name) {
                return at(key, "another key names this output");
            }
        }
        let text =
            input(config.text.as_ref(), &format!("{path}.text"), "BYTES", &[-1, 1], &[Datatype::Bytes])?;
        let tokens = |config: Option<&OpenAiInput>, key: &str| {
            input(config, &format!("{path}.{key}"), "INT64", &[-1, -1], &INTEGERS)
        };
        let setup = Self {
            text,
            tokens: tokens(config.tokens.as_ref(), "tokens")?,
            pad: config.pad,
            mask: tokens(config.mask.as_ref(), "mask")?,
            output: config.output.clone(),
            finish_reason: config.finish_reason.clone(),
            prompt_tokens: config.prompt_tokens.clone(),
            completion_tokens: config.completion_tokens.clone(),
            parameters: parameters(config, path, charge)?,
            constants: constants(config, path, charge)?,
            max_inputs: config.max_inputs as u64,
            stream: config.stream,
        };
        setup.check_names(path)?;
        Ok(setup)
    }

    /// No two inputs of a message may have one name; a request has either texts or tokens.
    fn check_names(&self, path: &str) -> Result<(), ConfigError> {
        let inputs = [("text", &self.text), ("tokens", &self.tokens), ("mask", &self.mask)];
        let inputs = inputs.into_iter().filter_map(|(key, tensor)| Some((key.to_owned(), tensor.as_ref()?)));
        let parameters = self.parameters.iter().enumerate();
        let parameters = parameters.map(|(index, one)| (format!("parameters[{index}]"), &one.tensor));
        let constants = self.constants.iter().enumerate();
        let constants = constants.map(|(index, (tensor, _))| (format!("constants[{index}]"), tensor));
        let mut names = HashSet::new();
        let mut text = None;
        for (key, tensor) in inputs.chain(parameters).chain(constants) {
            let may_be_texts = key == "tokens" && text == Some(tensor.name.as_str());
            if !names.insert(tensor.name.as_str()) && !may_be_texts {
                let reason = format!("another input is called {:?}", tensor.name);
                return Err(ConfigError::at(format!("{path}.{key}.name"), reason));
            }
            if key == "text" {
                text = Some(tensor.name.as_str());
            }
        }
        Ok(())
    }
}

/// The datatypes of tokens, none of which is below 0 or above those that INT32 has.
const INTEGERS: [Datatype; 4] = [Datatype::Int32, Datatype::Int64, Datatype::Uint32, Datatype::Uint64];

fn input(
    config: Option<&OpenAiInput>,
    path: &str,
    datatype: &str,
    shape: &[i64],
    possible: &[Datatype],
) -> Result<Option<Tensor>, ConfigError> {
    let Some(config) = config else { return Ok(None) };
    let (datatype, shape) =
        (config.datatype.as_deref().unwrap_or(datatype), config.shape.as_deref().unwrap_or(shape));
    let tensor = Tensor::read(path, &config.name, datatype, shape)?;
    if !possible.contains(&tensor.datatype) {
        let names: Vec<_> = possible.iter().map(|datatype| datatype.name()).collect();
        let reason = format!("{datatype} is not possible here: it must be {}", names.join(" or "));
        return Err(ConfigError::at(format!("{path}.datatype"), reason));
    }
    Ok(Some(tensor))
}

fn parameters(config: &OpenAiOperation, path: &str, charge: &Charge) -> Result<Vec<Parameter>, ConfigError> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for (index, one) in config.parameters.iter().enumerate() {
        let path = format!("{path}.parameters[{index}]");
        let name = one.parameter.clone();
        let refused = |why: &str| Err(ConfigError::at(format!("{path}.parameter"), why));
        if name.is_empty() {
            return refused("a parameter's name cannot be empty");
        }
        if OURS.contains(&name.as_str()) {
            return refused("this one is not passed on to models");
        }
        if parameters.iter().any(|other| other.name == name) {
            return refused("this parameter is there twice");
        }
        let tensor = Tensor::read(&path, &one.name, &one.datatype, &one.shape)?;
        let default = one.default.as_ref();
        let default =
            default.map(|value| tensor.fixed(&format!("{path}.default"), value, charge)).transpose()?;
        parameters.push(Parameter { name, tensor, default });
    }
    Ok(parameters)
}

fn constants(
    config: &OpenAiOperation,
    path: &str,
    charge: &Charge,
) -> Result<Vec<(Tensor, super::Fixed)>, ConfigError> {
    let read = |(index, one): (usize, &super::OpenAiConstant)| {
        let path = format!("{path}.constants[{index}]");
        let tensor = Tensor::read(&path, &one.name, &one.datatype, &one.shape)?;
        let value = tensor.fixed(&format!("{path}.value"), &one.value, charge)?;
        Ok((tensor, value))
    };
    config.constants.iter().enumerate().map(read).collect()
}
