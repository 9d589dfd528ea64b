//! What it costs that a verified claim becomes a header: tokens, and the filters that read them.

use serde_json::{Value, json};

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
    pub(crate) fn jwt_authn(self, column: Column) -> Value {
        let mut provider = json!({
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            "require_expiration": true,
            "local_jwks": {"inline_string": KEYS},
            "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        });
        match column {
            Column::Wasm => provider["payload_in_metadata"] = json!("payload"),
            Column::Native => {
                provider["payload_in_metadata"] = json!("payload");
                provider["forward_payload_header"] = json!(PAYLOAD_HEADER);
            }
            Column::Passthrough | Column::Stock | Column::Grpc => {
                provider["claim_to_headers"] = json!([{"header_name": HEADER, "claim_name": CLAIM}]);
                provider["clear_route_cache"] = json!(true);
            }
        }
        if let Self::Metadata | Self::Remembered(_) = self {
            provider["jwt_cache_config"] = json!({"jwt_cache_size": 1000});
        }
        json!({
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                "providers": {"idp": provider},
                "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "idp"}}],
            },
        })
    }

    /// The configuration of the instance in front of `jwt_authn`, where claims come in a header.
    pub(crate) fn guard() -> Value {
        json!({"source": "guard", "metadata": {"payload_header": PAYLOAD_HEADER}})
    }

    /// The configuration of `claim_headers` in `column`.
    pub(crate) fn ours(self, column: Column) -> Value {
        let mut config = json!({"map": [{"header": HEADER, "claim": [CLAIM], "type": "string"}]});
        match self {
            Self::Metadata if column == Column::Native => {
                config["metadata"] = json!({"payload_header": PAYLOAD_HEADER});
            }
            Self::Metadata => {}
            Self::Remembered(_) | Self::Checked(_) => {
                let keys = serde_json::from_str::<Value>(KEYS).unwrap_or_default();
                config["source"] = json!("builtin");
                config["issuers"] = json!([{"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": keys}]);
                config["strip"] = json!(["authorization"]);
            }
        }
        if let Self::Checked(_) = self {
            config["cached_tokens"] = json!(0);
            config["max_checks_per_second"] = json!(1_000_000);
        }
        config
    }
}
