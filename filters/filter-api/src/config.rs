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

/// The values that a number in a configuration may have: one statement for the check and for the JSON Schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The least one.
    pub least: u64,
    /// The greatest one; `u64::MAX` where there is none.
    pub most: u64,
}

impl Bounds {
    /// From `least` to `most`, both included.
    #[must_use]
    pub const fn new(least: u64, most: u64) -> Self {
        Self { least, most }
    }

    /// `least` or more.
    #[must_use]
    pub const fn at_least(least: u64) -> Self {
        Self::new(least, u64::MAX)
    }

    /// Checks the value of the key at a path.
    ///
    /// # Errors
    /// It is out of range.
    pub fn check(self, path: &str, value: u64) -> Result<(), ConfigError> {
        let Self { least, most } = self;
        match value {
            value if (least..=most).contains(&value) => Ok(()),
            value if most == u64::MAX => {
                Err(ConfigError::at(path, format!("{value} is too small: it must be at least {least}")))
            }
            value => {
                let reason = format!("{value} is out of range: it must be from {least} to {most}");
                Err(ConfigError::at(path, reason))
            }
        }
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
    fn a_number_out_of_range_is_refused_with_its_bounds() {
        let limits = Bounds::new(64, 128);
        assert_eq!((limits.check("a", 64), limits.check("a", 128)), (Ok(()), Ok(())));
        let reason = |bounds: Bounds, value| bounds.check("a", value).unwrap_err().to_string();
        assert_eq!(reason(limits, 63), "configuration key a: 63 is out of range: it must be from 64 to 128");
        assert_eq!(
            reason(limits, 129),
            "configuration key a: 129 is out of range: it must be from 64 to 128"
        );
        assert_eq!(
            reason(Bounds::at_least(1), 0),
            "configuration key a: 0 is too small: it must be at least 1"
        );
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
