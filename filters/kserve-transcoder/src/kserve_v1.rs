//! The key `kserve_v1`: KServe v1 in front of v2.
//!
//! The body of `POST /v1/models/M:predict` says nothing of datatypes, shapes or, where the model has one input, names. They
//! are the model's own: its [`Signature`] comes from here, or from the model server's `ModelMetadata`, which is asked once and
//! remembered ([`Signatures`](crate::signatures::Signatures)). The body is read by [`Predict`](crate::tensor::Predict).

use crate::tensor::{Datatype, Declared, MAX_RANK, Signature};
use filter_api::{Bounds, ConfigError};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;

/// The values of `metadata_seconds`.
const METADATA_SECONDS: Bounds = Bounds::new(1, 86_400);
/// The values of `max_models`.
const MAX_MODELS: Bounds = Bounds::new(1, 1000);

/// How KServe v1 is served.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct KserveV1 {
    /// How long what a model server says of a model's inputs holds, in seconds. Then the next request asks again.
    #[cfg_attr(test, schemars(range(min = METADATA_SECONDS.least, max = METADATA_SECONDS.most)))]
    pub metadata_seconds: u64,
    /// Of how many models and versions that is remembered. Of more, the one that was asked for the longest time ago is
    /// asked for again.
    #[cfg_attr(test, schemars(range(min = MAX_MODELS.least, max = MAX_MODELS.most)))]
    pub max_models: usize,
    /// Models whose inputs are given here. Their servers are not asked for them.
    pub models: Vec<ModelInputs>,
}

/// A model whose inputs are given.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ModelInputs {
    /// The model's name. It holds for all of its versions.
    pub name: String,
    /// Its inputs, in the order in which they are sent.
    pub inputs: Vec<ModelInput>,
}

/// An input of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ModelInput {
    /// Its name.
    pub name: String,
    /// Its datatype, by the protocol's name, such as `FP32` or `BYTES`.
    pub datatype: String,
    /// The sizes of its dimensions, the batch included; -1 for any size.
    pub shape: Vec<i64>,
}

impl Default for KserveV1 {
    fn default() -> Self {
        Self { metadata_seconds: 300, max_models: 100, models: Vec::new() }
    }
}

impl KserveV1 {
    /// Checks the values of the key at `path`, and gives the signatures of the models that are named.
    pub(crate) fn check(&self, path: &str) -> Result<HashMap<String, Arc<Signature>>, ConfigError> {
        METADATA_SECONDS.check(&format!("{path}.metadata_seconds"), self.metadata_seconds)?;
        MAX_MODELS.check(&format!("{path}.max_models"), self.max_models as u64)?;
        let mut signatures = HashMap::new();
        for (index, model) in self.models.iter().enumerate() {
            let path = format!("{path}.models[{index}]");
            if model.name.is_empty() {
                return Err(ConfigError::at(format!("{path}.name"), "a model's name cannot be empty"));
            }
            if signatures.insert(model.name.clone(), model.signature(&path)?).is_some() {
                let reason = format!("the model {:?} is given twice", model.name);
                return Err(ConfigError::at(format!("{path}.name"), reason));
            }
        }
        Ok(signatures)
    }
}

impl ModelInputs {
    fn signature(&self, path: &str) -> Result<Arc<Signature>, ConfigError> {
        let mut inputs = Vec::new();
        for (index, input) in self.inputs.iter().enumerate() {
            let path = |key: &str| format!("{path}.inputs[{index}].{key}");
            let datatype = Datatype::from_name(input.datatype.as_bytes()).ok_or_else(|| {
                ConfigError::at(path("datatype"), format!("{:?} is not a datatype", input.datatype))
            })?;
            if input.shape.len() > MAX_RANK {
                return Err(ConfigError::at(
                    path("shape"),
                    format!("it has more than {MAX_RANK} dimensions"),
                ));
            }
            if let Some(size) = input.shape.iter().find(|size| **size < -1) {
                return Err(ConfigError::at(path("shape"), format!("{size} is not a size, or -1 for any")));
            }
            let shape = input.shape.iter().map(|size| u64::try_from(*size).ok()).collect();
            inputs.push(Declared { name: input.name.clone(), datatype, shape });
        }
        Signature::new(inputs)
            .map(Arc::new)
            .map_err(|reason| ConfigError::at(format!("{path}.inputs"), reason))
    }
}
