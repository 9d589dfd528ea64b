//! Configurations, read strictly.

use serde::de::DeserializeOwned;

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("configuration key {path}: {reason}")]
pub struct ConfigError {
    /// The path of the offending key, such as `map[0].claim`; `.` is the whole configuration.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

impl ConfigError {
    /// An error at a path.
    pub fn at(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

/// Reads a configuration from JSON; an empty one stands for `{}`. Types should carry
/// `#[serde(deny_unknown_fields)]`, so that a misspelt key is an error and not a default.
///
/// # Errors
/// The text is not JSON, or a key is unknown, missing or of the wrong type: with the path of that key.
pub fn parse_config<T: DeserializeOwned>(json: &[u8]) -> Result<T, ConfigError> {
    let json = if json.trim_ascii().is_empty() { b"{}" } else { json.trim_ascii() };
    if !json.starts_with(b"{") {
        return Err(ConfigError::at(".", "a configuration is a JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        // The reader of text calls some values of a wrong type "expected value", as if they were no JSON; the same
        // value as a tree says what it is.
        let tree = serde_json::from_slice::<serde_json::Value>(json).ok();
        let error =
            tree.and_then(|tree| serde_path_to_error::deserialize::<_, T>(tree).err()).unwrap_or(error);
        ConfigError::at(error.path().to_string(), error.inner().to_string())
    })?;
    reader.end().map_err(|error| ConfigError::at(".", error.to_string()))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[serde(default)]
        rules: Vec<Rule>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        limit: u8,
    }

    #[test]
    fn no_configuration_is_the_default_one() {
        assert!(parse_config::<Config>(b" ").unwrap().rules.is_empty());
    }

    #[test]
    fn an_error_names_the_path_of_its_key() {
        let path = |json: &str| parse_config::<Config>(json.as_bytes()).unwrap_err().path;
        assert_eq!(path(r#"{"rules":[{"limit":1},{"limit":300}]}"#), "rules[1].limit");
        assert_eq!(path(r#"{"rulez":[]}"#), "rulez");
        assert_eq!(path(r#"{"rules":[]} x"#), ".");
        assert_eq!(path("[]"), ".");
        assert_eq!(path(r#"{"rules":[],"rules":[]}"#), ".");
        assert_eq!(parse_config::<Config>(br#"{"rules":[{"limit":1}]}"#).unwrap().rules[0].limit, 1);
    }
}
