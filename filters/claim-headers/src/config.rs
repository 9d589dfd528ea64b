//! The filter's configuration.

use crate::token::Algorithm;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The configuration of `claim-headers`. It must map a claim; every other key is optional, and an unknown one is an
/// error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who verifies tokens: with `metadata` Envoy's `jwt_authn` filter in front of this one (also as Istio's
    /// `RequestAuthentication` configures it), with `builtin` this filter. With `guard` this instance is in front of
    /// `jwt_authn` and takes clients' copies of `metadata.payload_header` off, its only other key; then the instance
    /// behind `jwt_authn` believes that header.
    pub source: Source,
    /// With `metadata`: where the verified claims are. With `guard`: which header is guarded.
    pub metadata: Metadata,
    /// With `builtin`: whose tokens are believed. At least one.
    pub issuers: Vec<Issuer>,
    /// With `builtin`: where a request's token is looked for. All of these places are looked at; if two
    /// different tokens are found, neither is used.
    pub token: TokenPlaces,
    /// Which claims become which headers.
    pub map: Vec<Rule>,
    /// What is done with a request without verified claims. The mapped headers are removed in any case. One that
    /// could not be judged (too many forged tokens, or the issuer's keys cannot be fetched) is answered 503 with
    /// `retry-after`, except with `pass`.
    pub on_unverified: OnUnverified,
    /// With `deny`: let CORS preflight requests pass, which browsers send without a token.
    pub allow_cors_preflight: bool,
    /// Headers that carry tokens and do not go upstream, such as `x-id-token`.
    pub strip: Vec<String>,
    /// Cookies that carry tokens and do not go upstream, with the numbered pieces that they may be in (`NAME_0`,
    /// `NAME.1`, `NAME-2`).
    pub strip_cookies: Vec<String>,
    /// The media types that a token's `typ` may name; a token without `typ` is accepted. `application/` may be left
    /// out.
    pub token_types: Vec<String>,
    /// The largest token, in bytes.
    #[cfg_attr(test, schemars(range(min = bounds::TOKEN_BYTES.least, max = bounds::TOKEN_BYTES.most)))]
    pub max_token_bytes: usize,
    /// How far the issuer's clock and this one may be apart, in seconds.
    #[cfg_attr(test, schemars(range(min = bounds::SKEW_SECONDS.least, max = bounds::SKEW_SECONDS.most)))]
    pub clock_skew_seconds: u64,
    /// How long ago a token may have been issued (`iat`), in seconds, however long it is valid.
    #[cfg_attr(test, schemars(range(min = bounds::AGE_SECONDS.least, max = bounds::AGE_SECONDS.most)))]
    pub max_age_seconds: Option<u64>,
    /// How many verified tokens are remembered, by each worker in proxy-wasm and by the process natively. They are
    /// forgotten when they expire and when their issuer's keys change. `0` remembers none.
    #[cfg_attr(test, schemars(range(min = bounds::CACHED_TOKENS.least, max = bounds::CACHED_TOKENS.most)))]
    pub cached_tokens: usize,
    /// How often keys that are fetched are fetched again, in seconds. Old keys are used while new ones cannot be
    /// fetched, for `jwks_max_stale_seconds`. A token with an unknown `kid` has them fetched sooner, but never twice in 30
    /// seconds.
    #[cfg_attr(test, schemars(range(min = bounds::REFRESH_SECONDS.least, max = bounds::REFRESH_SECONDS.most)))]
    pub jwks_refresh_seconds: u64,
    /// How long keys are believed that cannot be fetched again, in seconds. Then requests with tokens of their issuer
    /// are answered 503, also those whose token is remembered. More than `jwks_refresh_seconds`.
    #[cfg_attr(test, schemars(range(min = bounds::STALE_SECONDS.least, max = bounds::STALE_SECONDS.most)))]
    pub jwks_max_stale_seconds: u64,
    /// How long a request waits at most for keys that are being fetched, in milliseconds. If they do not come it is
    /// answered 503.
    #[cfg_attr(test, schemars(range(min = bounds::WAIT_MILLISECONDS.least, max = bounds::WAIT_MILLISECONDS.most)))]
    pub jwks_wait_milliseconds: u64,
    /// How many signatures may turn out wrong in a second, by each worker in proxy-wasm and by the process natively: a
    /// flood of forged tokens must not take the processor. Above it a token that is not remembered cannot be judged.
    /// What does not count: a signature that is right, one of a length that cannot be right, and a token that was found
    /// to be forged in the last ten minutes.
    #[cfg_attr(test, schemars(range(min = bounds::CHECKS_PER_SECOND.least, max = bounds::CHECKS_PER_SECOND.most)))]
    pub max_checks_per_second: u32,
}

/// The values that numbers may have, for the check and for the JSON Schema.
pub(crate) mod bounds {
    use filter_api::Bounds;

    pub(crate) const TOKEN_BYTES: Bounds = Bounds::new(256, 65_536);
    pub(crate) const SKEW_SECONDS: Bounds = Bounds::new(0, 60);
    pub(crate) const AGE_SECONDS: Bounds = Bounds::new(1, 31_536_000);
    pub(crate) const CACHED_TOKENS: Bounds = Bounds::new(0, 100_000);
    pub(crate) const REFRESH_SECONDS: Bounds = Bounds::new(30, 86_400);
    pub(crate) const STALE_SECONDS: Bounds = Bounds::new(31, 31_536_000);
    pub(crate) const WAIT_MILLISECONDS: Bounds = Bounds::new(0, 30_000);
    pub(crate) const CHECKS_PER_SECOND: Bounds = Bounds::new(1, 1_000_000);
    pub(crate) const VALUE_BYTES: Bounds = Bounds::new(1, 32_768);
}

/// Who verifies tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Another filter, which leaves the claims in dynamic metadata.
    #[default]
    Metadata,
    /// This filter.
    Builtin,
    /// Another filter, and another instance of this one maps what it verified. This instance is in front of it.
    Guard,
}

/// Where verified claims are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Metadata {
    /// The namespace of the dynamic metadata.
    pub filter: String,
    /// The key in it: `payload_in_metadata` of the provider. Istio sets `payload`.
    pub key: String,
    /// The header in which the verifying filter passes the claims on (`forward_payload_header` of the provider). It is
    /// believed only behind an instance with `source: guard`, and if the metadata is there, too; it never goes
    /// upstream. With it the exact digits of numbers are kept, and claims that are lists are lists of strings for
    /// certain. Natively it is needed. In wasm, claims are read in the metadata where the header is missing or not
    /// believed.
    pub payload_header: Option<String>,
}

/// An issuer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The exact value of `iss`. Empty: tokens that have no `iss`, as SPIFFE's JWT-SVIDs have none.
    pub issuer: String,
    /// The values of `aud` that mean this proxy: a token must have one of them, exactly. It may be left out only where
    /// `require` names a claim that says so instead.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// What else a token must say, all of it: `client_id` of an access token of Cognito, which has no `aud`, or the
    /// tenant (`tid`) where an issuer has many.
    #[serde(default)]
    pub require: Vec<Require>,
    /// The algorithms that are allowed. By default all but `HS256`, each with keys that are for it; an RSA key whose
    /// issuer names no `alg` is for `RS256` then. `EdDSA` is also what is called `Ed25519`.
    #[serde(default)]
    pub algorithms: Option<Vec<Algorithm>>,
    /// Whether a token must name its key. With `optional`, up to four keys that fit its `alg` are tried for a token
    /// without `kid`, and for one whose `kid` no key has while some keys have none. With `required`, a key is used only
    /// for tokens that name it.
    #[serde(default)]
    pub kid: KeyId,
    /// Tokens may be in padded base64url, as AWS's application load balancer makes them.
    #[serde(default)]
    pub padded_tokens: bool,
    /// The issuer's keys: a JSON Web Key set. Without it they are fetched through `cluster`.
    #[serde(default)]
    pub jwks: Option<serde_json::Value>,
    /// The cluster through which the keys are fetched.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The URL of the keys. Without it, it is taken from the issuer's discovery document, which is at `issuer` with
    /// `/.well-known/openid-configuration` after it. Both are fetched from `cluster`, whatever host the URL names.
    #[serde(default)]
    pub jwks_uri: Option<String>,
}

/// A value that a token must have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Require {
    /// The path to the claim, each step a member's name. Names are never split at dots.
    pub claim: Vec<String>,
    /// The values of which it must have one, exactly; a list must have one of them among its items. Numbers and
    /// booleans are compared as they are written: `"3"`, `"true"`.
    pub any_of: Vec<String>,
    /// The part of the token that the claim is in. AWS's application load balancer says in the `header` who `signer`
    /// and `client` are.
    #[serde(default)]
    pub part: Part,
}

/// A part of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The claims.
    #[default]
    Payload,
    /// The header, which is signed like the claims.
    Header,
}

/// Whether a token must name its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyId {
    /// Where names are missing, keys that fit are tried.
    #[default]
    Optional,
    /// A key is used only for tokens that name it.
    Required,
}

/// Where a token may be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TokenPlaces {
    /// In `authorization: Bearer TOKEN`.
    pub authorization: bool,
    /// In this header, by itself.
    pub header: Option<String>,
    /// In this cookie, or in its numbered pieces.
    pub cookie: Option<String>,
    /// In this parameter of the query, where it stays: the token goes upstream, and into logs of paths.
    pub query: Option<String>,
}

/// A claim that becomes a header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The header's name in lower case. Of a client's headers, all that have this name are removed, also with `_` for
    /// `-` or the other way round.
    pub header: String,
    /// The path to the claim, each step a member's name: `["realm_access", "roles"]`. Names are never split at dots.
    pub claim: Vec<String>,
    /// What the claim must be.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The texts that are passed on; other ones are bad values. Of a list, those items are passed on.
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    /// What is passed on for which text; a text that is not in it is a bad value. Looked up after `allow`.
    #[serde(default)]
    pub table: Option<BTreeMap<String, String>>,
    /// The header's value if a *verified* token lacks the claim or has a bad value for it. Without claims that are
    /// verified there is never a header.
    #[serde(default)]
    pub default: Option<String>,
    /// With `list`: what is put between items. By default `,`.
    #[serde(default)]
    pub join: Option<String>,
    /// How the value is written, so that text of any language, commas and spaces can pass: the claim's (each item's of
    /// a list), and also that of `table` and `default`.
    #[serde(default)]
    pub encode: Option<Encoding>,
    /// The longest value, in bytes, as it is in the header. A longer one is a bad value.
    #[serde(default = "max_bytes")]
    #[cfg_attr(test, schemars(range(min = bounds::VALUE_BYTES.least, max = bounds::VALUE_BYTES.most)))]
    pub max_bytes: usize,
}

fn max_bytes() -> usize {
    4096
}

/// How a header's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Every byte of its UTF-8 but letters, digits and `-._~` as `%` and two digits (RFC 3986, section 2.1):
    /// `Zo%C3%AB`.
    Percent,
    /// Its UTF-8 in base64url without padding (RFC 4648, section 5).
    Base64url,
}

/// What a claim must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A string.
    String,
    /// `true` or `false`, also as text.
    Bool,
    /// A whole number, which keeps its digits.
    Integer,
    /// A list of strings or of whole numbers; a single string is a list of one.
    List,
}

/// What is done with a request without verified claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize, schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnUnverified {
    /// It goes on, and so does its token, for the application to say what is wrong with it. So does a request that
    /// could not be judged.
    Pass,
    /// It goes on without the headers and cookies of `strip` and `strip_cookies`.
    #[default]
    Strip,
    /// It is answered 401 with `www-authenticate`, or 503 if the issuer's keys cannot be fetched.
    Deny,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source: Source::Metadata,
            metadata: Metadata::default(),
            issuers: Vec::new(),
            token: TokenPlaces::default(),
            map: Vec::new(),
            on_unverified: OnUnverified::Strip,
            allow_cors_preflight: false,
            strip: Vec::new(),
            strip_cookies: Vec::new(),
            token_types: ["JWT", "at+jwt"].map(str::to_owned).into(),
            max_token_bytes: 16 * 1024,
            clock_skew_seconds: 60,
            max_age_seconds: None,
            cached_tokens: 1024,
            jwks_refresh_seconds: 300,
            jwks_max_stale_seconds: 86_400,
            jwks_wait_milliseconds: 5000,
            max_checks_per_second: 2000,
        }
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            filter: "envoy.filters.http.jwt_authn".to_owned(),
            key: "payload".to_owned(),
            payload_header: None,
        }
    }
}

impl Default for TokenPlaces {
    fn default() -> Self {
        Self { authorization: true, header: None, cookie: None, query: None }
    }
}

// Reads files, which are not there under Node.
#[cfg(all(test, not(target_family = "wasm")))]
mod docs;
#[cfg(all(test, not(target_family = "wasm")))]
pub(crate) use docs::PACKAGE;
