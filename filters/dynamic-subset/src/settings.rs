//! The form of a configuration that the filter works with.

use crate::config::{Config, HELD_BYTES, ModelSource};
use crate::rules::Rules;
use crate::text::{header_problem, key_problem};
use filter_api::{Caps, ConfigError, Dir, PathPrefixes};

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

impl Settings {
    /// Reads a configuration for a host with these capabilities.
    ///
    /// # Errors
    /// A key is unknown, of the wrong type, out of range, or asks for what the host cannot do.
    pub(crate) fn read(json: &[u8], caps: Caps) -> Result<Self, ConfigError> {
        let config: Config = filter_api::parse_config(json)?;
        let must = |key: &str, problem: Option<&str>| match problem {
            Some(what) => Err(ConfigError::at(key, format!("it must be {what}"))),
            None => Ok(()),
        };
        must("emit_prefix", header_problem(config.emit_prefix.as_bytes()))?;
        // So that a prefix is a word of its own: x-subset must not take x-subsets away.
        must("emit_prefix", (!config.emit_prefix.ends_with('-')).then_some("a text that ends with -"))?;
        HELD_BYTES.check("max_held_bytes", config.max_held_bytes as u64)?;
        if let Some(name) = &config.property {
            must("property", key_problem(name.as_bytes()))?;
        }
        let can_hold = config.hold_request_headers.unwrap_or(caps.hold[Dir::Request as usize]);
        let model_from = model_from(&config, can_hold)?;
        Ok(Self {
            rules: Rules::compile(&config)?,
            property: config.property.or_else(|| (!caps.lb_metadata).then(|| "dynamic_subset".to_owned())),
            emit_prefix: config.emit_prefix,
            emit_headers: config.emit_headers,
            model_from,
            max_held_bytes: config.max_held_bytes,
            path_prefixes: PathPrefixes::parse("path_prefixes", &config.path_prefixes)?,
        })
    }
}

/// Where the name of the model is looked for.
fn model_from(config: &Config, can_hold: bool) -> Result<Vec<ModelSource>, ConfigError> {
    let mut sources = vec![ModelSource::Path, ModelSource::MmModelId];
    let Some(wanted) = &config.model_from else {
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

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const RULE: &str = r#""rules":[{"header":"x-stage","key":"stage"}]"#;

    fn read(more: &str, caps: Caps) -> Result<Settings, String> {
        Settings::read(format!("{{{RULE}{more}}}").as_bytes(), caps).map_err(|error| error.to_string())
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
