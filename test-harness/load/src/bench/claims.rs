//! What it costs that a verified claim becomes a header: tokens, and the filters that read them.

use crate::column::Column;

/// The header that a claim becomes.
pub(crate) const HEADER: &str = "user_class";
/// Its value. Only a request that has it has a route.
pub(crate) const VALUE: &str = "premium";

const CLAIM: &str = "user_type";
const ISSUER: &str = "https://idp.example.com/realms/inference";
const AUDIENCE: &str = "inference";
/// The header in which `jwt_authn` passes claims on, natively.
const PAYLOAD_HEADER: &str = "x-verified-claims";

/// The keys of both tokens. Their private parts were thrown away: the tokens are valid until 2100.
const KEYS: &str = include_str!("../../tokens/jwks.json");

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signature {
    /// RSASSA-PKCS1-v1_5 with SHA-256 and a key of 2048 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

/// Who verifies tokens, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claims {
    /// `jwt_authn`, in each column and with its cache; our filter maps what it verified.
    Metadata,
    /// The filter itself, which remembers the token.
    Remembered(Signature),
    /// The filter itself, for each request anew.
    Checked(Signature),
}

impl Claims {
    /// The token that each request has.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Metadata | Self::Remembered(Signature::Rs256) | Self::Checked(Signature::Rs256) => {
                include_str!("../../tokens/rs256.jwt").trim_ascii()
            }
            Self::Remembered(Signature::Es256) | Self::Checked(Signature::Es256) => {
                include_str!("../../tokens/es256.jwt").trim_ascii()
            }
        }
    }

    /// `jwt_authn`, with what it does with the claims in `column`. Everywhere the token is taken off the request.
    pub(crate) fn jwt_authn(self, column: Column) -> String {
        let passed_on = match column {
            Column::Wasm => "payload_in_metadata: payload".to_owned(),
            Column::Native => {
                format!(
                    "payload_in_metadata: payload\n                  forward_payload_header: {PAYLOAD_HEADER}"
                )
            }
            Column::Passthrough | Column::Stock | Column::Grpc => format!(
                "claim_to_headers: [{{ header_name: {HEADER}, claim_name: {CLAIM} }}]\n                  clear_route_cache: true"
            ),
        };
        let cache = match self {
            Self::Metadata | Self::Remembered(_) => "jwt_cache_config: { jwt_cache_size: 1000 }",
            Self::Checked(_) => "",
        };
        format!(
            r#"
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                idp:
                  issuer: {ISSUER}
                  audiences: [{AUDIENCE}]
                  require_expiration: true
                  local_jwks: {{ inline_string: {KEYS:?} }}
                  from_headers: [{{ name: authorization, value_prefix: "Bearer " }}]
                  {passed_on}
                  {cache}
              rules: [{{ match: {{ prefix: / }}, requires: {{ provider_name: idp }} }}]"#
        )
    }

    /// The configuration of the instance in front of `jwt_authn`, where claims come in a header.
    pub(crate) fn guard() -> String {
        format!(r#"{{"source": "guard", "metadata": {{"payload_header": "{PAYLOAD_HEADER}"}}}}"#)
    }

    /// The configuration of `claim_headers` in `column`.
    pub(crate) fn ours(self, column: Column) -> String {
        let map = format!(r#""map": [{{"header": "{HEADER}", "claim": ["{CLAIM}"], "type": "string"}}]"#);
        let remember = match self {
            Self::Metadata if column == Column::Native => {
                return format!(r#"{{{map}, "metadata": {{"payload_header": "{PAYLOAD_HEADER}"}}}}"#);
            }
            Self::Metadata => return format!("{{{map}}}"),
            Self::Remembered(_) => "",
            Self::Checked(_) => r#""cached_tokens": 0, "max_checks_per_second": 1000000, "#,
        };
        format!(
            r#"{{"source": "builtin", "issuers": [{{"issuer": "{ISSUER}", "audiences": ["{AUDIENCE}"], "jwks": {KEYS}}}],
                {remember}"strip": ["authorization"], {map}}}"#
        )
    }
}
