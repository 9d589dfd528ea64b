//! The policy's configuration.

use filter_api::ConfigError;
use serde::Deserialize;

/// How many keys a group may have. Every endpoint is in a group for each choice among them, so this bounds what is
/// remembered per endpoint.
const MOST_KEYS: usize = 8;
/// What stands in front of a key in the header by which the filter `dynamic-subset` tells it.
const SUBSET_HEADER_PREFIX: &str = "x-subset-";
/// Where subset load balancing looks for an endpoint's keys.
const SUBSET_NAMESPACE: &str = "envoy.lb";

/// The configuration of `runtime-group`. An unknown key is an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What makes a group: 1 to 8 pairs of a request's header and a value of an endpoint. A request names a group by
    /// those of the headers that it has, and an endpoint is in that group if its value for each of them is the
    /// header's, byte by byte. An empty header counts as none.
    pub keys: Vec<Key>,
    /// Which endpoints serve a request that names no group, because it has none of the headers: `any` of the cluster's,
    /// or `none`.
    #[serde(default = "Fallback::any")]
    pub no_group: Fallback,
    /// Which endpoints serve a request that names a group in which no endpoint of the cluster is, healthy or not. A
    /// request with two different values of one header is such a request.
    #[serde(default = "Fallback::none")]
    pub unknown_group: Fallback,
    /// Which endpoints serve a request whose group has endpoints, but none that is healthy.
    #[serde(default = "Fallback::none")]
    pub unhealthy_group: Fallback,
}

/// A header of requests, and the value of endpoints that it is compared with. An entry has either `key` or
/// `istio_workload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Key {
    /// The header, whose value names the group. By default `x-subset-` and `key`, in lower case and with `-` for `/`:
    /// the header that the filter `dynamic-subset` sets. Needed with `istio_workload`.
    pub header: Option<String>,
    /// The key in the endpoint's metadata. A string is compared as it is, a boolean as `true` or `false`, a whole
    /// number as its digits.
    pub key: Option<String>,
    /// The metadata namespace that `key` is in. By default `envoy.lb`, as for Envoy's own subset load balancing.
    pub namespace: Option<String>,
    /// Instead of `key`: the part of what Istio says of every endpoint, `workload` in the namespace `istio`.
    pub istio_workload: Option<IstioWorkload>,
}

/// A part of Istio's `WORKLOAD;NAMESPACE;CANONICAL-NAME;CANONICAL-REVISION;CLUSTER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum IstioWorkload {
    /// The workload's name: that of the Deployment, such as `modelmesh-serving-triton-2.x`.
    Workload,
    /// Its Kubernetes namespace.
    Namespace,
    /// The label `service.istio.io/canonical-name`, else `app.kubernetes.io/name`, else `app`. All runtimes of
    /// ModelMesh have the same.
    CanonicalName,
    /// The label `service.istio.io/canonical-revision`, else `app.kubernetes.io/version`, else `version`.
    CanonicalRevision,
    /// The cluster of the mesh.
    Cluster,
}

/// Which endpoints serve a request that its own group cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// Any healthy endpoint of the cluster, in a group or not.
    Any,
    /// None: the request fails with a 503.
    None,
}

impl Fallback {
    fn any() -> Self {
        Self::Any
    }

    fn none() -> Self {
        Self::None
    }
}

/// A [`Key`] that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The header, in lower case.
    pub(crate) header: String,
    /// Where the endpoint's value is.
    pub(crate) source: Source,
}

/// Where an endpoint's value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In its metadata.
    Metadata { namespace: String, key: String },
    /// In a part of what Istio says of it.
    IstioWorkload(IstioWorkload),
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// A key is unknown, missing, of the wrong type or out of range, or goes ill with another one.
    pub fn read(json: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = filter_api::parse_config(json)?;
        config.readings()?;
        Ok(config)
    }

    /// The keys, checked.
    pub(crate) fn readings(&self) -> Result<Vec<Reading>, ConfigError> {
        if self.keys.is_empty() || self.keys.len() > MOST_KEYS {
            let reason = format!("there must be 1 to {MOST_KEYS} keys, and here are {}", self.keys.len());
            return Err(ConfigError::at("keys", reason));
        }
        let mut readings: Vec<Reading> = Vec::with_capacity(self.keys.len());
        for (index, key) in self.keys.iter().enumerate() {
            let reading = key.reading().map_err(|(field, reason)| {
                let dot = if field.is_empty() { "" } else { "." };
                ConfigError::at(format!("keys[{index}]{dot}{field}"), reason)
            })?;
            if let Some(other) = readings.iter().position(|other| other.header == reading.header) {
                let reason = format!("keys[{other}] reads the header {:?} already", reading.header);
                return Err(ConfigError::at(format!("keys[{index}].header"), reason));
            }
            readings.push(reading);
        }
        Ok(readings)
    }
}

impl Key {
    /// The key, checked; or the offending field (none where it is the whole) and the reason.
    fn reading(&self) -> Result<Reading, (&'static str, String)> {
        let source = match (&self.key, self.istio_workload) {
            (Some(key), None) if key.is_empty() => {
                return Err(("key", "a metadata key cannot be empty".into()));
            }
            (Some(key), None) => {
                let namespace = self.namespace.clone().unwrap_or_else(|| SUBSET_NAMESPACE.to_owned());
                if namespace.is_empty() {
                    return Err(("namespace", "a metadata namespace cannot be empty".into()));
                }
                Source::Metadata { namespace, key: key.clone() }
            }
            (None, Some(part)) if self.namespace.is_none() => Source::IstioWorkload(part),
            (None, Some(_)) => {
                return Err(("namespace", "istio_workload has a namespace of its own, istio".into()));
            }
            _ => return Err(("", "must have either key or istio_workload".into())),
        };
        let header = match (&self.header, &self.key) {
            (Some(header), _) => header.clone(),
            (None, Some(key)) => format!("{SUBSET_HEADER_PREFIX}{}", key.replace('/', "-")),
            (None, None) => return Err(("header", "is needed with istio_workload".into())),
        };
        match is_header_name(&header) {
            true => Ok(Reading { header: header.to_ascii_lowercase(), source }),
            false if self.header.is_none() => {
                Err(("header", format!("is needed, because {header:?} is not a valid header name")))
            }
            false => Err(("header", format!("{header:?} is not a valid header name"))),
        }
    }
}

/// Whether a text is a field name (RFC 9110, section 5.1): a token.
fn is_header_name(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
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
        Config::read(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_key_alone_is_the_header_of_dynamic_subset_and_envoys_own_metadata() {
        let config = Config::read(br#"{"keys": [{"key": "example.com/Model.Format"}]}"#).unwrap();
        let source =
            Source::Metadata { namespace: "envoy.lb".into(), key: "example.com/Model.Format".into() };
        let reading = Reading { header: "x-subset-example.com-model.format".into(), source };
        assert_eq!(config.readings().unwrap(), [reading]);
        assert_eq!(
            (config.no_group, config.unknown_group, config.unhealthy_group),
            (Fallback::Any, Fallback::None, Fallback::None)
        );
    }

    #[test]
    fn a_bad_key_is_named_with_its_reason() {
        for (json, expected) in [
            ("", ".: missing field `keys`"),
            (r#"{"keys": []}"#, "keys: there must be 1 to 8 keys, and here are 0"),
            (r#"{"keys": [{"key": ""}]}"#, "keys[0].key: a metadata key cannot be empty"),
            (
                r#"{"keys": [{"key": "a", "namespace": ""}]}"#,
                "keys[0].namespace: a metadata namespace cannot",
            ),
            (r#"{"keys": [{"header": "x"}]}"#, "keys[0]: must have either key or istio_workload"),
            (
                r#"{"keys": [{"key": "a", "istio_workload": "workload"}]}"#,
                "keys[0]: must have either key or istio_workload",
            ),
            (
                r#"{"keys": [{"istio_workload": "workload"}]}"#,
                "keys[0].header: is needed with istio_workload",
            ),
            (
                r#"{"keys": [{"istio_workload": "workload", "header": "x", "namespace": "n"}]}"#,
                "keys[0].namespace: istio_workload has a namespace of its own, istio",
            ),
            (
                r#"{"keys": [{"key": "a b"}]}"#,
                r#"keys[0].header: is needed, because "x-subset-a b" is not a valid header"#,
            ),
            (
                r#"{"keys": [{"key": "a", "header": ":path"}]}"#,
                r#"keys[0].header: ":path" is not a valid header name"#,
            ),
            (
                r#"{"keys": [{"key": "a", "header": "X-G"}, {"key": "b", "header": "x-g"}]}"#,
                r#"keys[1].header: keys[0] reads the header "x-g" already"#,
            ),
            (
                r#"{"keys": [{"istio_workload": "name", "header": "x"}]}"#,
                "keys[0].istio_workload: unknown variant",
            ),
            (r#"{"keys": [{"key": "a"}], "no_group": "all"}"#, "no_group: unknown variant `all`"),
            (r#"{"keys": [{"key": "a"}], "fallback": "any"}"#, "fallback: unknown field `fallback`"),
        ] {
            let expected = format!("configuration key {expected}");
            assert!(error(json).starts_with(&expected), "{json}: {}", error(json));
        }
        let many = format!(r#"{{"keys": [{}]}}"#, [r#"{"key": "a"}"#; 9].join(","));
        assert_eq!(error(&many), "configuration key keys: there must be 1 to 8 keys, and here are 9");
    }
}
