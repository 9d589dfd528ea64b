//! The filter's configuration.

use crate::rules::Rules;
use crate::text::{header_problem, key_problem};
use filter_api::{Caps, ConfigError, Dir, PathPrefixes};
use serde::Deserialize;

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
    #[cfg_attr(test, schemars(range(min = 64, max = 1_048_576)))]
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

/// What a configuration comes to on a host.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) rules: Rules,
    pub(crate) emit_prefix: String,
    pub(crate) emit_headers: bool,
    pub(crate) property: Option<String>,
    pub(crate) model_from: Vec<ModelSource>,
    pub(crate) max_held_bytes: usize,
    pub(crate) path_prefixes: PathPrefixes,
}

impl Config {
    /// Reads a configuration for a host with these capabilities.
    ///
    /// # Errors
    /// A key is unknown, of the wrong type, out of range, or asks for what the host cannot do.
    pub(crate) fn read(json: &[u8], caps: Caps) -> Result<Settings, ConfigError> {
        let config: Self = filter_api::parse_config(json)?;
        let must = |key: &str, problem: Option<&str>| match problem {
            Some(what) => Err(ConfigError::at(key, format!("it must be {what}"))),
            None => Ok(()),
        };
        must("emit_prefix", header_problem(config.emit_prefix.as_bytes()))?;
        // So that a prefix is a word of its own: x-subset must not take x-subsets away.
        must("emit_prefix", (!config.emit_prefix.ends_with('-')).then_some("a text that ends with -"))?;
        if !(64..=1 << 20).contains(&config.max_held_bytes) {
            let reason = format!("{} is out of range: it must be from 64 to 1048576", config.max_held_bytes);
            return Err(ConfigError::at("max_held_bytes", reason));
        }
        if let Some(name) = &config.property {
            must("property", key_problem(name.as_bytes()))?;
        }
        let can_hold = config.hold_request_headers.unwrap_or(caps.hold[Dir::Request as usize]);
        let model_from = config.model_from(can_hold)?;
        Ok(Settings {
            rules: Rules::compile(&config)?,
            property: config.property.or_else(|| (!caps.lb_metadata).then(|| "dynamic_subset".to_owned())),
            emit_prefix: config.emit_prefix,
            emit_headers: config.emit_headers,
            model_from,
            max_held_bytes: config.max_held_bytes,
            path_prefixes: PathPrefixes::parse("path_prefixes", &config.path_prefixes)?,
        })
    }

    fn model_from(&self, can_hold: bool) -> Result<Vec<ModelSource>, ConfigError> {
        let mut sources = vec![ModelSource::Path, ModelSource::MmModelId];
        let Some(wanted) = &self.model_from else {
            sources.extend(can_hold.then_some(ModelSource::Body));
            return Ok(sources);
        };
        if wanted.is_empty() {
            return Err(ConfigError::at("model_from", "it must name a source"));
        }
        for (index, source) in wanted.iter().enumerate() {
            if wanted[..index].contains(source) {
                return Err(ConfigError::at(format!("model_from[{index}]"), "it is there twice"));
            }
            if *source == ModelSource::Body && !can_hold {
                let reason = "the body can be read only while the request's headers are held: natively, or in \
                              proxy-wasm with allow_on_headers_stop_iteration and \"hold_request_headers\": true";
                return Err(ConfigError::at(format!("model_from[{index}]"), reason));
            }
        }
        Ok(wanted.clone())
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

    const RULE: &str = r#""rules":[{"header":"x-stage","key":"stage"}]"#;

    fn read(more: &str, caps: Caps) -> Result<Settings, String> {
        Config::read(format!("{{{RULE}{more}}}").as_bytes(), caps).map_err(|error| error.to_string())
    }

    fn error(more: &str) -> String {
        read(more, Caps::PROXY_WASM).unwrap_err()
    }

    #[test]
    fn defaults_are_what_each_host_needs() {
        let wasm = read("", Caps::PROXY_WASM).unwrap();
        assert_eq!(wasm.property.as_deref(), Some("dynamic_subset"));
        assert_eq!(wasm.model_from, [ModelSource::Path, ModelSource::MmModelId]);
        let flagged = read(r#","hold_request_headers":true"#, Caps::PROXY_WASM).unwrap();
        assert_eq!(flagged.model_from, [ModelSource::Path, ModelSource::MmModelId, ModelSource::Body]);
        let native = read("", Caps::DYNAMIC_MODULE).unwrap();
        assert_eq!((native.property, native.model_from), (None, flagged.model_from));
        assert!(native.emit_headers && wasm.emit_headers);
    }

    #[test]
    fn reading_the_body_where_headers_cannot_be_held_is_refused_with_the_reason() {
        let body = r#","model_from":["path","body"]"#;
        assert_eq!(
            error(body),
            "configuration key model_from[1]: the body can be read only while the request's headers are held: \
             natively, or in proxy-wasm with allow_on_headers_stop_iteration and \"hold_request_headers\": true"
        );
        assert!(read(body, Caps::DYNAMIC_MODULE).is_ok());
        assert!(read(&format!(r#"{body},"hold_request_headers":true"#), Caps::PROXY_WASM).is_ok());
        let off = format!(r#"{body},"hold_request_headers":false"#);
        assert!(read(&off, Caps::DYNAMIC_MODULE).unwrap_err().contains("model_from[1]"));
    }

    #[test]
    fn a_bad_key_is_named_with_its_reason() {
        assert!(error(r#","emit":true"#).starts_with("configuration key emit: unknown field `emit`"));
        assert!(
            error(r#","emit_prefix":"x-subset""#)
                .ends_with("emit_prefix: it must be a text that ends with -")
        );
        assert!(
            error(r#","emit_prefix":"X-""#)
                .contains("emit_prefix: it must be the characters of a header name")
        );
        assert!(error(r#","emit_prefix":"""#).contains("emit_prefix: it must be something"));
        assert!(error(r#","property":"a b""#).contains("property: it must be letters"));
        assert!(error(r#","max_held_bytes":5"#).contains("max_held_bytes: 5 is out of range"));
        assert!(error(r#","model_from":[]"#).contains("model_from: it must name a source"));
        assert!(error(r#","model_from":["path","path"]"#).contains("model_from[1]: it is there twice"));
        assert!(error(r#","model_from":["header"]"#).contains("model_from[0]: unknown variant `header`"));
    }
}
