//! A configuration that has been checked, in the form that the filter works with.

use crate::config::{Config, Issuer, Kind, Rule, Source, bounds};
use crate::header;
use crate::keys::{KeySet, KeysAt, Url};
use crate::token::Algorithm;
use filter_api::{Caps, ConfigError, is_same_header};
use std::sync::Arc;

/// What a configuration says, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// What there was nothing to make of.
    pub(crate) config: Config,
    /// Who verifies tokens.
    pub(crate) verifier: Verifier,
}

/// Who verifies tokens.
#[derive(Debug)]
pub(crate) enum Verifier {
    /// This filter, with the keys of each of [`Config::issuers`].
    Builtin(Vec<KeysFrom>),
    /// Another filter, which leaves the claims in metadata.
    Metadata,
    /// Another filter, behind this instance, which guards this header for it.
    Guard(String),
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub(crate) enum KeysFrom {
    /// The configuration.
    Given(Arc<KeySet>),
    /// The issuer, through a cluster.
    Fetched { cluster: String, at: KeysAt },
}

impl Settings {
    /// Reads a configuration for a host with these capabilities.
    ///
    /// # Errors
    /// A key is unknown, of the wrong type, out of range, contradicts another, or asks for what the host cannot do.
    pub(crate) fn read(json: &[u8], caps: Caps) -> Result<Self, ConfigError> {
        let config: Config = filter_api::parse_config(json)?;
        let verifier = match config.source {
            Source::Guard => Verifier::Guard(guarded(&config, json)?),
            Source::Metadata | Source::Builtin => check(&config, caps)?,
        };
        Ok(Self { config, verifier })
    }

    /// What works, and may not be meant.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let underscores = self.config.map.iter().filter(|rule| rule.header.contains('_')).map(|rule| {
            format!(
                "the header {:?} has an underscore: a proxy with headers_with_underscores_action drops it or \
                 refuses the request; prefer {:?}",
                rule.header,
                rule.header.replace('_', "-")
            )
        });
        let keys = self.issuers().iter().enumerate().flat_map(|(index, keys)| {
            let remarks = match keys {
                KeysFrom::Given(keys) => keys.remarks(),
                KeysFrom::Fetched { .. } => &[],
            };
            remarks.iter().map(move |remark| format!("issuers[{index}].jwks: {remark}"))
        });
        underscores.chain(keys).collect()
    }

    fn issuers(&self) -> &[KeysFrom] {
        match &self.verifier {
            Verifier::Builtin(issuers) => issuers,
            Verifier::Metadata | Verifier::Guard(_) => &[],
        }
    }
}

fn check(config: &Config, caps: Caps) -> Result<Verifier, ConfigError> {
    check_numbers(config)?;
    if config.map.is_empty() {
        return Err(ConfigError::at("map", "no claim becomes a header"));
    }
    for (index, rule) in config.map.iter().enumerate() {
        check_rule(&format!("map[{index}]"), rule)?;
        if config.map[..index]
            .iter()
            .any(|other| is_same_header(other.header.as_bytes(), rule.header.as_bytes()))
        {
            let reason = format!("{:?} is mapped twice (`-` and `_` are the same here)", rule.header);
            return Err(ConfigError::at(format!("map[{index}].header"), reason));
        }
    }
    for (index, name) in config.strip.iter().enumerate() {
        check_name(&format!("strip[{index}]"), name)?;
    }
    for (index, name) in config.strip_cookies.iter().enumerate() {
        check_cookie(&format!("strip_cookies[{index}]"), name)?;
    }
    let strip = config.strip.iter().enumerate().map(|(index, name)| (format!("strip[{index}]"), name));
    let payload =
        config.metadata.payload_header.iter().map(|name| ("metadata.payload_header".to_owned(), name));
    let token = config.token.header.iter().map(|name| ("token.header".to_owned(), name));
    for (path, name) in strip.chain(payload).chain(token) {
        if config.map.iter().any(|rule| is_same_header(rule.header.as_bytes(), name.as_bytes())) {
            return Err(ConfigError::at(
                path,
                format!("{name:?} is also a header that a claim is mapped to"),
            ));
        }
    }
    match config.source {
        Source::Builtin => Ok(Verifier::Builtin(check_builtin(config)?)),
        Source::Metadata | Source::Guard => {
            check_metadata(config, caps)?;
            Ok(Verifier::Metadata)
        }
    }
}

/// The header that an instance guards. It does nothing else, so a configuration that says more means something else.
fn guarded(config: &Config, json: &[u8]) -> Result<String, ConfigError> {
    // It has been read before, so this cannot fail.
    let written = serde_json::from_slice::<serde_json::Value>(json).unwrap_or_default();
    let keys = |pointer: &str, known: &[&str]| {
        let members = written.pointer(pointer).and_then(serde_json::Value::as_object);
        members.into_iter().flatten().map(|(key, _)| key.clone()).find(|key| !known.contains(&key.as_str()))
    };
    let other = keys("", &["source", "metadata"]);
    let other = other.or_else(|| keys("/metadata", &["payload_header"]).map(|key| format!("metadata.{key}")));
    if let Some(key) = other {
        let reason = "is for the instance behind the filter that verifies tokens: \"source\": \"guard\" takes \
                      `metadata.payload_header` and nothing else";
        return Err(ConfigError::at(key, reason));
    }
    match &config.metadata.payload_header {
        Some(name) => {
            check_name("metadata.payload_header", name)?;
            Ok(name.clone())
        }
        None => Err(ConfigError::at("metadata.payload_header", "must name the header to guard")),
    }
}

fn check_numbers(config: &Config) -> Result<(), ConfigError> {
    bounds::TOKEN_BYTES.check("max_token_bytes", config.max_token_bytes as u64)?;
    bounds::SKEW_SECONDS.check("clock_skew_seconds", config.clock_skew_seconds)?;
    if let Some(age) = config.max_age_seconds {
        bounds::AGE_SECONDS.check("max_age_seconds", age)?;
    }
    bounds::CACHED_TOKENS.check("cached_tokens", config.cached_tokens as u64)?;
    bounds::REFRESH_SECONDS.check("jwks_refresh_seconds", config.jwks_refresh_seconds)?;
    bounds::STALE_SECONDS.check("jwks_max_stale_seconds", config.jwks_max_stale_seconds)?;
    if config.jwks_max_stale_seconds <= config.jwks_refresh_seconds {
        let reason = "must be more than jwks_refresh_seconds: keys would not be believed any more before they are \
                      fetched again";
        return Err(ConfigError::at("jwks_max_stale_seconds", reason));
    }
    bounds::WAIT_MILLISECONDS.check("jwks_wait_milliseconds", config.jwks_wait_milliseconds)?;
    bounds::CHECKS_PER_SECOND.check("max_checks_per_second", config.max_checks_per_second.into())
}

fn check_rule(path: &str, rule: &Rule) -> Result<(), ConfigError> {
    let error = |key: &str, reason: String| Err(ConfigError::at(format!("{path}.{key}"), reason));
    check_name(&format!("{path}.header"), &rule.header)?;
    if rule.claim.is_empty() || rule.claim.iter().any(|step| step.is_empty() || step.contains('\0')) {
        return error("claim", "must be a path of one or more names".to_owned());
    }
    let join = rule.join.as_deref();
    if join.is_some_and(|join| join.is_empty() || !join.bytes().all(|byte| matches!(byte, b' '..=b'~'))) {
        return error("join", "must be visible ASCII or spaces".to_owned());
    }
    if join.is_some() && rule.kind != Kind::List {
        return error("join", "only a list has items to put something between".to_owned());
    }
    bounds::VALUE_BYTES.check(&format!("{path}.max_bytes"), rule.max_bytes as u64)?;
    let values = rule.table.iter().flatten().map(|(_, value)| ("table", value));
    for (key, value) in values.chain(rule.default.iter().map(|value| ("default", value))) {
        let written = rule.written(value).filter(|written| header::is_value(written));
        match written {
            None => return error(key, format!("{value:?} cannot be the value of a header")),
            Some(written) if written.len() > rule.max_bytes => {
                return error(key, format!("{value:?} takes {} bytes, more than max_bytes", written.len()));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn check_name(path: &str, name: &str) -> Result<(), ConfigError> {
    match header::name_problem(name) {
        Some(problem) => Err(ConfigError::at(path, format!("{name:?} {problem}"))),
        None => Ok(()),
    }
}

fn check_cookie(path: &str, name: &str) -> Result<(), ConfigError> {
    if header::is_token(name) {
        Ok(())
    } else {
        Err(ConfigError::at(path, format!("{name:?} is not a valid cookie name")))
    }
}

fn check_metadata(config: &Config, caps: Caps) -> Result<(), ConfigError> {
    if !config.issuers.is_empty() {
        return Err(ConfigError::at("issuers", "is for \"source\": \"builtin\""));
    }
    for (key, value) in [("metadata.filter", &config.metadata.filter), ("metadata.key", &config.metadata.key)]
    {
        if value.is_empty() || value.contains('\0') {
            return Err(ConfigError::at(key, "must name something"));
        }
    }
    match &config.metadata.payload_header {
        Some(name) => check_name("metadata.payload_header", name),
        None if caps.nested_metadata => Ok(()),
        None => {
            let reason = "is needed in a dynamic module, which cannot read claims from metadata: \
                          set `forward_payload_header` in `jwt_authn` to the same name";
            Err(ConfigError::at("metadata.payload_header", reason))
        }
    }
}

fn check_builtin(config: &Config) -> Result<Vec<KeysFrom>, ConfigError> {
    if config.issuers.is_empty() {
        return Err(ConfigError::at("issuers", "must name at least one issuer"));
    }
    let mut issuers = Vec::with_capacity(config.issuers.len());
    for (index, issuer) in config.issuers.iter().enumerate() {
        let path = format!("issuers[{index}]");
        issuers.push(check_issuer(&path, issuer)?);
        if config.issuers[..index].iter().any(|other| other.issuer == issuer.issuer) {
            return Err(ConfigError::at(
                format!("{path}.issuer"),
                format!("{:?} is there twice", issuer.issuer),
            ));
        }
    }
    let places = &config.token;
    if let Some(name) = &places.header {
        check_name("token.header", name)?;
    }
    if let Some(name) = &places.cookie {
        check_cookie("token.cookie", name)?;
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if places.query.as_ref().is_some_and(|name| name.is_empty() || !name.bytes().all(is_plain)) {
        return Err(ConfigError::at("token.query", "must have letters, digits, `-`, `_` and `.` only"));
    }
    if !places.authorization && places.header.is_none() && places.cookie.is_none() && places.query.is_none() {
        return Err(ConfigError::at("token", "must name at least one place where a token is looked for"));
    }
    Ok(issuers)
}

fn check_issuer(path: &str, issuer: &Issuer) -> Result<KeysFrom, ConfigError> {
    let error = |key: &str, reason: &str| Err(ConfigError::at(format!("{path}.{key}"), reason));
    if issuer.audiences.iter().any(String::is_empty) {
        return error("audiences", "an audience cannot be empty");
    }
    if issuer.audiences.is_empty() && issuer.require.is_empty() {
        let reason = "tokens that the issuer made for others would be believed: name the values of `aud` that mean \
                      this proxy, or, if its tokens have no `aud`, the claim that says whom they are for in `require`";
        return error("audiences", reason);
    }
    for (index, require) in issuer.require.iter().enumerate() {
        if require.claim.is_empty() || require.claim.iter().any(String::is_empty) {
            return error(&format!("require[{index}].claim"), "must be a path of one or more names");
        }
        if require.any_of.is_empty() {
            return error(&format!("require[{index}].any_of"), "no token could have one of no values");
        }
    }
    if issuer.algorithms.as_ref().is_some_and(Vec::is_empty) {
        return error("algorithms", "no algorithm is allowed");
    }
    let secrets_allowed =
        issuer.algorithms.as_ref().is_some_and(|allowed| allowed.contains(&Algorithm::HS256));
    let keys = match (&issuer.jwks, &issuer.cluster) {
        (Some(_), Some(_)) => return error("cluster", "the keys are already in `jwks`"),
        (None, None) => return error("jwks", "there are no keys, and no `cluster` to fetch them through"),
        (None, Some(cluster)) if cluster.is_empty() => {
            return error("cluster", "a cluster's name cannot be empty");
        }
        (None, Some(cluster)) => {
            return Ok(KeysFrom::Fetched { cluster: cluster.clone(), at: keys_at(path, issuer)? });
        }
        (Some(_), None) if issuer.jwks_uri.is_some() => {
            return error("jwks_uri", "the keys are already in `jwks`");
        }
        (Some(keys), None) => keys,
    };
    match KeySet::read(keys.to_string().as_bytes()) {
        Err(problem) => error("jwks", &problem.to_string()),
        Ok(keys) if keys.has_secrets() && !secrets_allowed => {
            error("jwks", "has a secret, which is used only if `algorithms` names HS256")
        }
        Ok(keys) => Ok(KeysFrom::Given(Arc::new(keys))),
    }
}

fn keys_at(path: &str, issuer: &Issuer) -> Result<KeysAt, ConfigError> {
    let problem = "is not an http or https URL of visible ASCII without a fragment";
    match &issuer.jwks_uri {
        Some(uri) => {
            let url = Url::parse(uri);
            url.map(KeysAt::Url).ok_or_else(|| ConfigError::at(format!("{path}.jwks_uri"), problem))
        }
        None => {
            let document = Url::parse(&issuer.issuer).and_then(|_| Url::discovery(&issuer.issuer));
            document.map(KeysAt::Discovery).ok_or_else(|| {
                let reason = format!("{problem}, so that its keys cannot be discovered: set `jwks_uri`");
                ConfigError::at(format!("{path}.issuer"), reason)
            })
        }
    }
}

#[cfg(test)]
mod tests;
