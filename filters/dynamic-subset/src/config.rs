//! The filter's configuration.

use filter_api::Bounds;
use serde::Deserialize;

/// The values of [`Config::max_held_bytes`].
pub(crate) const HELD_BYTES: Bounds = Bounds::new(64, 1 << 20);

/// The configuration of `dynamic-subset`. It must have a rule; every other key is optional, and an unknown one is an
/// error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What makes pairs of a request, in order: of several rules for one key, the first that has a value for the
    /// request sets it.
    pub rules: Vec<Rule>,
    /// The vendor's list of the same name, as it stands in its VirtualService. Each item is a rule `{"header",
    /// "key"}`; they come after `rules`.
    #[serde(rename = "headerToDynamicSubsetKey")]
    pub header_to_dynamic_subset_key: Vec<HeaderToKey>,
    /// How the names of the headers begin that the filter sets, one for each pair: the key in lower case follows, with
    /// `-` for `/`. Every header of a client's that begins so is removed first, in any spelling (case, and `_` for
    /// `-`).
    pub emit_prefix: String,
    /// Whether these headers are set. Natively nothing needs them for `lb_subset_config`, but routes, the policy
    /// `runtime-group` and the next proxy can read them.
    pub emit_headers: bool,
    /// The name of a property that holds all pairs as `key=value`, separated by `;`, for stock filters and the access
    /// log to read: filter state `wasm.NAME` in proxy-wasm, and `NAME` natively. By default `dynamic_subset` in
    /// proxy-wasm, and none natively.
    pub property: Option<String>,
    /// Where the name of the model is looked for, in this order: the first place that has a name decides. By default
    /// `["path", "mm_model_id", "body"]` where request headers can be held, and without `body` elsewhere.
    pub model_from: Option<Vec<ModelSource>>,
    /// Whether the headers of a gRPC request may be held back until its message has named the model. By default `true`
    /// natively and `false` in proxy-wasm, where it needs `allow_on_headers_stop_iteration: true` beside it: without
    /// that flag every such request would hang.
    pub hold_request_headers: Option<bool>,
    /// How many bytes of a gRPC request's body are read, and held, for the name of its model. A request whose name is
    /// not among them goes on without it, however its body arrives.
    #[cfg_attr(test, schemars(range(min = HELD_BYTES.least, max = HELD_BYTES.most)))]
    pub max_held_bytes: usize,
    /// What may stand in front of a path in which a model's name is looked for, such as
    /// `/serving/{namespace}/{service}`: whole segments, of which a name in braces stands for any one. Give the
    /// transcoder's key of this name the same value.
    pub path_prefixes: Vec<String>,
}

/// A rule: one of `header`, `header_prefix` and `model`, and what it sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Applies to requests with this header.
    pub header: Option<String>,
    /// Applies to requests with headers whose names begin so.
    pub header_prefix: Option<String>,
    /// Applies to requests for a model with one of these names; `*` in a name stands for any characters.
    pub model: Option<Vec<String>>,
    /// The key that is set.
    pub key: Option<String>,
    /// With `header_prefix`: the key is this, followed by the rest of the header's name.
    pub key_prefix: Option<String>,
    /// The value that is set. Without it, the value is the header's, or the model's name; with `header_prefix` and
    /// `key`, it is the rest of the header's name.
    pub value: Option<String>,
}

/// An item of the vendor's list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HeaderToKey {
    /// The header whose value is taken.
    pub header: String,
    /// The key that gets it.
    pub key: String,
}

/// Where the name of the model may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ModelSource {
    /// In the path of a REST call: `/v2/models/NAME[/versions/VERSION]/...`. A path that a server may read otherwise
    /// names no model.
    Path,
    /// In ModelMesh's headers (or gRPC metadata), the first that is there and not empty: `mm-vmodel-id`,
    /// `mm-vmodel-id-bin`, `mm-model-id`, `mm-model-id-bin`, `tas-model-id`.
    MmModelId,
    /// In the message of a unary gRPC call: `ModelInfer`, `ModelReady` or `ModelMetadata`.
    Body,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            header_to_dynamic_subset_key: Vec::new(),
            emit_prefix: "x-subset-".to_owned(),
            emit_headers: true,
            property: None,
            model_from: None,
            hold_request_headers: None,
            max_held_bytes: 16 * 1024,
            path_prefixes: Vec::new(),
        }
    }
}

// Reads files, which are not there under Node.
#[cfg(all(test, not(target_family = "wasm")))]
mod docs;
