//! Tokens and key sets as providers issue them, and what the filter makes of them. The same are in
//! `tests/providers.json`, for tests of the filter in its hosts.
//!
//! The forms are those of the providers' documentation: which members header, payload and keys have, how `iss` and
//! `aud` are written, what is a list and what is text. The keys are throw-away keys of the tests.

use crate::attacks::mint::Mint;
use crate::attacks::proxy::Proxy;
use crate::settings::Settings;
use crate::token::Algorithm;
use filter_api::Caps;
use serde_json::{Value, json};
use std::collections::BTreeMap;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A provider: its entries of `issuers`, and requests with its tokens.
struct Provider {
    name: &'static str,
    issuers: Vec<Value>,
    attempts: Vec<Attempt>,
}

struct Attempt {
    what: &'static str,
    /// The header that the token is in, and its value.
    header: (&'static str, String),
    counter: &'static str,
    /// The mapped headers that go upstream.
    headers: BTreeMap<&'static str, &'static str>,
}

const TENANT: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
const CLIENT: &str = "1example23456789";
const SIGNER: &str =
    "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/ml/50dc6c495c0c9188";

/// The filter's configuration for all providers.
fn config() -> Value {
    let issuers: Vec<Value> = all().into_iter().flat_map(|provider| provider.issuers).collect();
    json!({
        "source": "builtin",
        "issuers": issuers,
        "token": {"header": "x-amzn-oidc-data"},
        "token_types": ["JWT", "at+jwt", "JOSE"],
        "map": [
            {"header": "x-user", "claim": ["sub"], "type": "string"},
            {"header": "x-name", "claim": ["name"], "type": "string", "encode": "percent"},
            {"header": "x-groups", "claim": ["groups"], "type": "list", "encode": "percent", "max_bytes": 16384},
            {"header": "x-realm-roles", "claim": ["realm_access", "roles"], "type": "list"},
            {"header": "x-roles", "claim": ["roles"], "type": "list"},
            {"header": "x-tenant", "claim": ["tid"], "type": "string"},
            {"header": "x-tier", "claim": ["https://example.com/claims/tier"], "type": "string"},
            {"header": "x-pool-groups", "claim": ["cognito:groups"], "type": "list"},
            {"header": "x-email-verified", "claim": ["email_verified"], "type": "bool"},
            {"header": "x-namespace", "claim": ["kubernetes.io", "namespace"], "type": "string"},
            {"header": "x-account", "claim": ["kubernetes.io", "serviceaccount", "name"], "type": "string"},
        ],
    })
}

fn all() -> Vec<Provider> {
    vec![
        keycloak(),
        auth0(),
        azure(),
        okta(),
        cognito(),
        google(),
        load_balancer(),
        kubernetes(),
        spiffe(),
        strict_profiles(),
    ]
}

fn keycloak() -> Provider {
    let keys = json!([
        key(
            Algorithm::RS256,
            json!({"kid": "DZnO", "alg": "RS256", "use": "sig", "x5c": ["MIICmzCC"], "x5t": "k3", "x5t#S256": "Zz"})
        ),
        key(Algorithm::RS256, json!({"kid": "enc1", "alg": "RSA-OAEP", "use": "enc", "x5c": ["MIICmzCC"]})),
    ]);
    let token = sign(
        Algorithm::RS256,
        json!({"alg": "RS256", "typ": "JWT", "kid": "DZnO"}),
        json!({
            "exp": 4102444800u64, "iat": 1700000000, "auth_time": 1700000000, "jti": "onrtac:1", "iss": "https://keycloak.example.com/realms/ml",
            "aud": ["inference", "account"], "sub": "f2d1", "typ": "Bearer", "azp": "web", "sid": "a1", "acr": "1", "allowed-origins": ["*"],
            "realm_access": {"roles": ["offline_access", "premium"]}, "resource_access": {"account": {"roles": ["view-profile"]}},
            "scope": "openid email profile", "email_verified": true, "name": "Zoë Doe, Jr.", "groups": ["/ml/premium", "/ml/Köln"],
        }),
    );
    Provider {
        name: "Keycloak",
        issuers: vec![
            json!({"issuer": "https://keycloak.example.com/realms/ml", "audiences": ["inference"], "jwks": {"keys": keys}}),
        ],
        attempts: vec![bearer("an access token", token).accepted(&[
            ("x-user", "f2d1"),
            ("x-name", "Zo%C3%AB%20Doe%2C%20Jr."),
            ("x-groups", "%2Fml%2Fpremium,%2Fml%2FK%C3%B6ln"),
            ("x-realm-roles", "offline_access,premium"),
            ("x-email-verified", "true"),
        ])],
    }
}

fn auth0() -> Provider {
    let keys = json!([key(
        Algorithm::RS256,
        json!({"kid": "NjVBRjY5", "alg": "RS256", "use": "sig", "x5c": ["MIIC+DCC"], "x5t": "NjVB"})
    )]);
    let header = |typ: &str| json!({"alg": "RS256", "typ": typ, "kid": "NjVBRjY5"});
    let payload = json!({
        "iss": "https://tenant.eu.auth0.com/", "sub": "auth0|507f", "aud": ["https://inference.example.com", "https://tenant.eu.auth0.com/userinfo"],
        "iat": 1700000000, "exp": 4102444800u64, "azp": "my_client", "scope": "openid profile", "permissions": ["infer"],
        "https://example.com/claims/tier": "gold",
    });
    let headers = [("x-user", "auth0|507f"), ("x-tier", "gold")];
    Provider {
        name: "Auth0",
        issuers: vec![
            json!({"issuer": "https://tenant.eu.auth0.com/", "audiences": ["https://inference.example.com"], "jwks": {"keys": keys}}),
        ],
        attempts: vec![
            bearer("an access token", sign(Algorithm::RS256, header("JWT"), payload.clone()))
                .accepted(&headers),
            bearer("one of the profile of RFC 9068", sign(Algorithm::RS256, header("at+jwt"), payload))
                .accepted(&headers),
        ],
    }
}

fn azure() -> Provider {
    let v2 = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let v1 = format!("https://sts.windows.net/{TENANT}/");
    // The keys name no algorithm, and the last one is there once for each version.
    let key = |kid: &str| {
        key(
            Algorithm::RS256,
            json!({"use": "sig", "kid": kid, "x5t": kid, "x5c": ["MIIC/TCC"], "cloud_instance_name": "microsoftonline.com"}),
        )
    };
    let keys = json!({"keys": [key("a1"), key("b2"), key("b2")]});
    let issuer = |issuer: &str, audience: &str| json!({"issuer": issuer, "audiences": [audience], "jwks": keys, "require": [{"claim": ["tid"], "any_of": [TENANT]}]});
    let payload = |issuer: &str, audience: &str, tenant: &str, version: &str| {
        json!({
            "aud": audience, "iss": issuer, "iat": 1700000000, "nbf": 1700000000, "exp": 4102444800u64, "aio": "E2Zg", "name": "Jane Doe",
            "oid": "690222be", "rh": "0.AS0A", "roles": ["Inference.Premium"], "groups": ["8d0c", "77ab"], "sub": "HKZp", "tid": tenant,
            "uti": "x", "ver": version, "xms_ftd": "b",
        })
    };
    let (app, api) = ("6e74172b-be56-4843-9ff4-e66a39bb12e3", "api://inference");
    let token = |header: Value, payload: Value| sign(Algorithm::RS256, header, payload);
    let headers = [
        ("x-user", "HKZp"),
        ("x-name", "Jane%20Doe"),
        ("x-groups", "8d0c,77ab"),
        ("x-roles", "Inference.Premium"),
        ("x-tenant", TENANT),
    ];
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": "b2"});
    let old_header = json!({"typ": "JWT", "alg": "RS256", "x5t": "a1", "kid": "a1"});
    Provider {
        name: "Azure AD",
        issuers: vec![issuer(&v2, app), issuer(&v1, api)],
        attempts: vec![
            bearer("version 2", token(header.clone(), payload(&v2, app, TENANT, "2.0"))).accepted(&headers),
            bearer("version 1", token(old_header, payload(&v1, api, TENANT, "1.0"))).accepted(&headers),
            bearer("of another tenant", token(header, payload(&v2, app, "f8cdef31", "2.0")))
                .refused("unverified_required"),
        ],
    }
}

fn okta() -> Provider {
    let keys = json!([key(Algorithm::RS256, json!({"alg": "RS256", "kid": "U5R8", "use": "sig"}))]);
    let payload = json!({
        "ver": 1, "jti": "AT.0mP4", "iss": "https://dev-1.okta.com/oauth2/default", "aud": "api://default", "iat": 1700000000, "exp": 4102444800u64,
        "cid": "nmdP", "uid": "00uid", "scp": ["openid", "email"], "sub": "jane@example.com", "groups": ["Everyone", "Premium"],
    });
    Provider {
        name: "Okta",
        issuers: vec![
            json!({"issuer": "https://dev-1.okta.com/oauth2/default", "audiences": ["api://default"], "jwks": {"keys": keys}}),
        ],
        attempts: vec![
            bearer(
                "an access token",
                sign(Algorithm::RS256, json!({"kid": "U5R8", "alg": "RS256"}), payload),
            )
            .accepted(&[("x-user", "jane@example.com"), ("x-groups", "Everyone,Premium")]),
        ],
    }
}

fn cognito() -> Provider {
    let issuer = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example";
    let keys = json!([key(Algorithm::RS256, json!({"alg": "RS256", "kid": "1234example=", "use": "sig"})), {"kid": "5678example=", "kty": "RSA", "alg": null, "e": "AQAB", "n": "AQ", "use": null}]);
    let require =
        json!([{"claim": ["client_id"], "any_of": [CLIENT]}, {"claim": ["token_use"], "any_of": ["access"]}]);
    let token = |client: &str, token_use: &str| {
        let payload = json!({
            "sub": "aaaaaaaa-bbbb", "cognito:groups": ["premium", "eu"], "iss": issuer, "version": 2, "client_id": client,
            "origin_jti": "o", "event_id": "e", "token_use": token_use, "scope": "openid", "auth_time": 1700000000, "exp": 4102444800u64,
            "iat": 1700000000, "jti": "j", "username": "jane",
        });
        sign(Algorithm::RS256, json!({"kid": "1234example=", "alg": "RS256"}), payload)
    };
    Provider {
        name: "Amazon Cognito",
        issuers: vec![json!({"issuer": issuer, "require": require, "jwks": {"keys": keys}})],
        attempts: vec![
            bearer("an access token, which has no `aud`", token(CLIENT, "access"))
                .accepted(&[("x-user", "aaaaaaaa-bbbb"), ("x-pool-groups", "premium,eu")]),
            bearer("of another client", token("2other", "access")).refused("unverified_required"),
            bearer("for another use", token(CLIENT, "id")).refused("unverified_required"),
        ],
    }
}

fn google() -> Provider {
    let keys = json!({"keys": [
        key(Algorithm::RS256, json!({"kid": "c8a1", "use": "sig", "alg": "RS256"})),
        key(Algorithm::ES384, json!({"kid": "other", "use": "sig", "alg": "ES384"})),
    ]});
    let audience = "1234987819200.apps.googleusercontent.com";
    let spellings = ["https://accounts.google.com", "accounts.google.com"];
    let token = |issuer: &str| {
        let payload = json!({
            "iss": issuer, "azp": audience, "aud": audience, "sub": "10769150350006150715113082367", "at_hash": "HK6E", "hd": "example.com",
            "email": "jsmith@example.com", "email_verified": true, "iat": 1700000000, "exp": 4102444800u64, "nonce": "0394852-3190485-2490358",
        });
        sign(Algorithm::RS256, json!({"alg": "RS256", "kid": "c8a1", "typ": "JWT"}), payload)
    };
    let headers = [("x-user", "10769150350006150715113082367"), ("x-email-verified", "true")];
    Provider {
        name: "Google",
        issuers: spellings
            .map(|issuer| json!({"issuer": issuer, "audiences": [audience], "jwks": keys}))
            .into(),
        attempts: vec![
            bearer("an ID token", token(spellings[0])).accepted(&headers),
            bearer("one with the other spelling", token(spellings[1])).accepted(&headers),
            bearer("with a third spelling", token("https://accounts.google.com/"))
                .refused("unverified_issuer"),
        ],
    }
}

fn load_balancer() -> Provider {
    let issuer = "https://idp.example.com/pool";
    let keys = json!([key(Algorithm::ES256, json!({"kid": "9ad0"}))]);
    let require = json!([{"claim": ["signer"], "any_of": [SIGNER], "part": "header"}, {"claim": ["client"], "any_of": [CLIENT], "part": "header"}]);
    let token = |signer: &str, issuer: &str| {
        let header = json!({"typ": "JWT", "kid": "9ad0", "alg": "ES256", "iss": issuer, "client": CLIENT, "signer": signer, "exp": 4102444800u64});
        let payload = json!({"sub": "1234567890", "name": "Jane", "email": "jane@example.com", "email_verified": "true", "exp": 4102444800u64, "iss": issuer});
        Mint::padded_es256(header.to_string(), payload.to_string())
    };
    let data = |what, token| Attempt { header: ("x-amzn-oidc-data", token), ..bearer(what, String::new()) };
    Provider {
        name: "AWS application load balancer",
        issuers: vec![
            json!({"issuer": issuer, "padded_tokens": true, "require": require, "jwks": {"keys": keys}}),
        ],
        attempts: vec![
            data("a padded token", token(SIGNER, issuer)).accepted(&[
                ("x-user", "1234567890"),
                ("x-name", "Jane"),
                ("x-email-verified", "true"),
            ]),
            data("another balancer's", token("arn:aws:other", issuer)).refused("unverified_required"),
            data("a padded token of one who must not pad", token(SIGNER, "https://accounts.google.com"))
                .refused("unverified_malformed"),
        ],
    }
}

fn kubernetes() -> Provider {
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let keys = json!([key(Algorithm::RS256, json!({"use": "sig", "kid": "JHNn", "alg": "RS256"}))]);
    let payload = json!({
        "aud": ["inference", issuer], "exp": 4102444800u64, "iat": 1700000000, "nbf": 1700000000, "iss": issuer, "jti": "ea28",
        "kubernetes.io": {
            "namespace": "ml", "node": {"name": "n1", "uid": "1"}, "pod": {"name": "client-0", "uid": "2"},
            "serviceaccount": {"name": "client", "uid": "3"}, "warnafter": 1700003607,
        },
        "sub": "system:serviceaccount:ml:client",
    });
    Provider {
        name: "Kubernetes service accounts",
        issuers: vec![json!({"issuer": issuer, "audiences": ["inference"], "jwks": {"keys": keys}})],
        attempts: vec![
            bearer(
                "a projected token",
                sign(Algorithm::RS256, json!({"alg": "RS256", "kid": "JHNn"}), payload),
            )
            .accepted(&[
                ("x-user", "system:serviceaccount:ml:client"),
                ("x-namespace", "ml"),
                ("x-account", "client"),
            ]),
        ],
    }
}

fn spiffe() -> Provider {
    let keys = json!([
        key(Algorithm::ES384, json!({"use": "x509-svid", "x5c": ["MIIB"]})),
        key(Algorithm::ES256, json!({"use": "jwt-svid", "kid": "C6vs25welZOx6WksNYfbMfiw9l96pMnD"})),
    ]);
    let token = |also: Value| {
        let mut payload = json!({"aud": ["spiffe://example.org/inference"], "exp": 4102444800u64, "iat": 1700000000, "sub": "spiffe://example.org/ns/ml/sa/client"});
        payload.as_object_mut().unwrap().extend(also.as_object().unwrap().clone());
        sign(
            Algorithm::ES256,
            json!({"alg": "ES256", "kid": "C6vs25welZOx6WksNYfbMfiw9l96pMnD", "typ": "JOSE"}),
            payload,
        )
    };
    Provider {
        name: "SPIFFE JWT-SVID",
        issuers: vec![
            json!({"issuer": "", "audiences": ["spiffe://example.org/inference"], "jwks": {"keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 300}}),
        ],
        attempts: vec![
            bearer("without `iss`", token(json!({})))
                .accepted(&[("x-user", "spiffe://example.org/ns/ml/sa/client")]),
            bearer("with an empty one", token(json!({"iss": ""}))).refused("unverified_issuer"),
            bearer("with another issuer", token(json!({"iss": "https://spire.example.org"})))
                .refused("unverified_issuer"),
        ],
    }
}

/// The algorithms that stricter profiles ask for (FAPI, CNSA), and the name of RFC 9864.
fn strict_profiles() -> Provider {
    let issuer = "https://fapi.example.com";
    let rsa = |alg: &str| key(Algorithm::RS256, json!({"kid": "rsa", "alg": alg}));
    let keys = json!([
        rsa("PS256"),
        rsa("PS384"),
        rsa("PS512"),
        rsa("RS384"),
        rsa("RS512"),
        key(Algorithm::ES384, json!({"alg": "ES384"})),
        key(Algorithm::ES512, json!({"kid": "521", "alg": "ES512"})),
        key(Algorithm::EdDsa, json!({"kid": "ed", "alg": "Ed25519"})),
    ]);
    let payload =
        json!({"iss": issuer, "aud": "inference", "exp": 4102444800.5, "iat": 1.7e9, "sub": "jane"});
    let of = |algorithm: Algorithm, alg: &'static str, kid: Option<&str>| {
        let mut header = json!({"alg": alg});
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        bearer(alg, sign(algorithm, header, payload.clone())).accepted(&[("x-user", "jane")])
    };
    let mut attempts = vec![
        of(Algorithm::PS256, "PS256", Some("rsa")),
        of(Algorithm::PS384, "PS384", Some("rsa")),
        of(Algorithm::PS512, "PS512", Some("rsa")),
        of(Algorithm::RS384, "RS384", Some("rsa")),
        of(Algorithm::RS512, "RS512", None),
        of(Algorithm::ES384, "ES384", Some("only in the token")),
        of(Algorithm::ES512, "ES512", Some("521")),
        of(Algorithm::EdDsa, "Ed25519", Some("ed")),
        of(Algorithm::EdDsa, "EdDSA", None),
    ];
    let wrong = attempts[6].header.1.replacen('.', ".e", 1);
    attempts.push(bearer("ES512 of another payload", wrong).refused("unverified_malformed"));
    Provider {
        name: "stricter profiles",
        issuers: vec![json!({"issuer": issuer, "audiences": ["inference"], "jwks": {"keys": keys}})],
        attempts,
    }
}

/// A public key with these members.
fn key(algorithm: Algorithm, members: Value) -> Value {
    let mut key = Mint::public(algorithm);
    key.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    key
}

fn sign(algorithm: Algorithm, header: Value, payload: Value) -> String {
    let (header, payload) = (header.to_string(), payload.to_string());
    match algorithm {
        Algorithm::ES256 => Mint::es256(header, payload),
        Algorithm::ES384 => Mint::es384(header, payload),
        Algorithm::ES512 => Mint::es512(header, payload),
        Algorithm::EdDsa => Mint::eddsa(header, payload),
        rsa => Mint::rsa(rsa, header, payload),
    }
}

fn bearer(what: &'static str, token: String) -> Attempt {
    let header = ("authorization", format!("Bearer {token}"));
    Attempt { what, header, counter: "verified", headers: BTreeMap::new() }
}

impl Attempt {
    fn accepted(mut self, headers: &[(&'static str, &'static str)]) -> Self {
        self.headers = headers.iter().copied().collect();
        self
    }

    fn refused(mut self, counter: &'static str) -> Self {
        self.counter = counter;
        self
    }
}

#[test]
fn tokens_of_every_provider_become_the_headers_that_are_expected() {
    let config = config();
    let proxy = Proxy::new(&config.to_string());
    for provider in all() {
        for attempt in provider.attempts {
            let what = format!("{}: {}", provider.name, attempt.what);
            let (name, value) = &attempt.header;
            let outcome = proxy.send("/", &[((*name).to_owned(), value.clone())]);
            assert_eq!(outcome.count(attempt.counter), 1, "{what}: {:?}", outcome.counts());
            for rule in config["map"].as_array().unwrap() {
                let name = rule["header"].as_str().unwrap();
                let expected: Vec<&str> = attempt.headers.get(name).copied().into_iter().collect();
                assert_eq!(outcome.values_folded(name), expected, "{what}: {name}");
            }
        }
    }
}

#[test]
fn of_the_providers_keys_only_those_for_something_else_are_left_out() {
    let json = config().to_string();
    let warnings = Settings::read(json.as_bytes(), Caps::PROXY_WASM).unwrap().warnings();
    assert_eq!(
        warnings
            .iter()
            .filter(|warning| !warning.contains("is not for checking signatures"))
            .collect::<Vec<_>>(),
        [
            "issuers[5].jwks: keys[1] (kid \"5678example=\") is not used: its modulus has 1 bits; 2048 to 8192 are accepted"
        ]
    );
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn the_providers_in_the_repository_are_these() {
    let attempt = |attempt: Attempt| {
        let expect =
            json!({"counter": attempt.counter, "class": null, "level": null, "headers": attempt.headers});
        json!({"what": attempt.what, "path": "/", "headers": [[attempt.header.0, attempt.header.1]], "expect": expect})
    };
    let row = |provider: Provider| json!({"name": provider.name, "attempts": provider.attempts.into_iter().map(attempt).collect::<Vec<_>>()});
    let rows: Vec<Value> = all().into_iter().map(row).collect();
    let mut text = serde_json::to_string_pretty(&json!({"config": config(), "rows": rows})).unwrap();
    text.push('\n');
    crate::config::PACKAGE.assert_current("tests/providers.json", &text);
}
