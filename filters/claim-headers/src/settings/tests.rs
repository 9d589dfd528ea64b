use super::*;
use crate::config::OnUnverified;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const KEY: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"fU0Of2FTpptiQrUiq77mhf2kQg-INLEIw72uNp71Sfo"}]}"#;

fn error(json: &str) -> String {
    Settings::read(json.as_bytes(), Caps::PROXY_WASM).unwrap_err().to_string()
}

/// A configuration whose only rule has these members besides the usual ones.
fn rule(members: &str) -> String {
    format!(r#"{{"map":[{{"header":"x-user","claim":["sub"],"type":"string"{members}}}]}}"#)
}

fn builtin(issuer: &str) -> String {
    format!(
        r#"{{"source":"builtin","map":[{{"header":"x-user","claim":["sub"],"type":"string"}}],"issuers":[{issuer}]}}"#
    )
}

#[test]
fn a_rule_is_enough_and_none_is_too_little() {
    let config = Settings::read(rule("").as_bytes(), Caps::PROXY_WASM).unwrap().config;
    assert_eq!((config.source, config.on_unverified), (Source::Metadata, OnUnverified::Strip));
    assert_eq!(config.metadata.filter, "envoy.filters.http.jwt_authn");
    assert!(error("{}").contains("map: no claim becomes a header"));
}

#[test]
fn a_key_that_can_never_work_is_named_with_its_reason() {
    assert!(error(r#"{"mapp":[]}"#).contains("mapp: unknown field"));
    assert!(error(&rule(r#","table":{"a":"b\n"}"#)).contains("map[0].table: \"b\\n\" cannot be the value"));
    assert!(error(&rule(r#","default":" basic""#)).contains("map[0].default"));
    assert!(error(&rule(r#","join":";""#)).contains("map[0].join: only a list"));
    assert!(
        error(r#"{"map":[{"header":"X-User","claim":["sub"],"type":"string"}]}"#)
            .contains("must be in lower case")
    );
    assert!(
        error(r#"{"map":[{"header":":path","claim":["sub"],"type":"string"}]}"#).contains("map[0].header")
    );
    assert!(error(r#"{"map":[{"header":"x","claim":[],"type":"string"}]}"#).contains("map[0].claim"));
    assert!(
        error(r#"{"map":[{"header":"x","claim":["a"],"type":"number"}]}"#)
            .contains("map[0].type: unknown variant")
    );
    let twice = r#"{"map":[{"header":"x-a","claim":["a"],"type":"string"},{"header":"x_a","claim":["b"],"type":"string"}]}"#;
    assert!(error(twice).contains("map[1].header: \"x_a\" is mapped twice"));
    let stripped = rule("").replacen('{', r#"{"strip":["x_user"],"#, 1);
    assert!(error(&stripped).contains("strip[0]: \"x_user\" is also a header that a claim is mapped to"));
    let skewed = rule("").replacen('{', r#"{"clock_skew_seconds":61,"#, 1);
    assert!(error(&skewed).contains("clock_skew_seconds: 61 is out of range: it must be from 0 to 60"));
    let cookie = rule("").replacen('{', r#"{"strip_cookies":["a b"],"#, 1);
    assert!(error(&cookie).contains("strip_cookies[0]"));
}

#[test]
fn issuers_must_have_keys_that_can_be_used() {
    let issuer =
        |members: &str| builtin(&format!(r#"{{"issuer":"https://idp.test","audiences":["a"],{members}}}"#));
    assert!(Settings::read(issuer(&format!(r#""jwks":{KEY}"#)).as_bytes(), Caps::PROXY_WASM).is_ok());
    assert!(error(&builtin("")).contains("issuers: must name at least one issuer"));
    assert!(
        error(&issuer(r#""jwks":{"keys":[]}"#)).contains("issuers[0].jwks: none of its keys can be used")
    );
    assert!(error(&issuer(r#""jwks":[]"#)).contains("issuers[0].jwks: not a JSON Web Key set"));
    assert!(
        error(&issuer(&format!(r#""jwks":{KEY},"algorithms":["none"]"#)))
            .contains("algorithms[0]: unknown variant `none`")
    );
    let secret = r#""jwks":{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}"#;
    assert!(error(&issuer(secret)).contains("only if `algorithms` names HS256"));
    assert!(
        Settings::read(issuer(&format!(r#"{secret},"algorithms":["HS256"]"#)).as_bytes(), Caps::PROXY_WASM)
            .is_ok()
    );
    let one = format!(r#"{{"issuer":"a","audiences":["b"],"jwks":{KEY}}}"#);
    assert!(error(&builtin(&format!("{one},{one}"))).contains("issuers[1].issuer: \"a\" is there twice"));
}

#[test]
fn a_dynamic_module_needs_the_payload_in_a_header() {
    let error = Settings::read(rule("").as_bytes(), Caps::DYNAMIC_MODULE).unwrap_err();
    assert_eq!(error.path, "metadata.payload_header");
    let config = rule("").replacen('{', r#"{"metadata":{"payload_header":"x-jwt-payload"},"#, 1);
    assert!(Settings::read(config.as_bytes(), Caps::DYNAMIC_MODULE).is_ok());
}

#[test]
fn underscores_and_keys_that_are_not_used_are_warned_of() {
    let config = rule("").replace("x-user", "user_class");
    let warnings = |json: &str| Settings::read(json.as_bytes(), Caps::PROXY_WASM).unwrap().warnings();
    assert!(
        warnings(&config)[0].contains("\"user_class\" has an underscore")
            && warnings(&config)[0].contains("\"user-class\"")
    );
    let keys = builtin(&format!(r#"{{"issuer":"a","audiences":["b"],"jwks":{KEY}}}"#));
    assert!(warnings(&keys).is_empty());
    let weak = keys.replace(r#""keys":["#, r#""keys":[{"kty":"RSA","kid":"old","n":"AQ","e":"AQAB"},"#);
    let expected = "issuers[0].jwks: keys[0] (kid \"old\") is not used: its modulus has 1 bits; 2048 to 8192 are accepted";
    assert_eq!(warnings(&weak), [expected]);
}

#[test]
fn a_token_for_anyone_is_believed_only_where_another_claim_says_whom_it_is_for() {
    let issuer = |members: &str| builtin(&format!(r#"{{"issuer":"a","jwks":{KEY}{members}}}"#));
    assert!(error(&issuer("")).contains("issuers[0].audiences: tokens that the issuer made for others"));
    let require = |require: &str| issuer(&format!(r#","require":[{require}]"#));
    for right in [
        r#"{"claim":["client_id"],"any_of":["a","b"]}"#,
        r#"{"claim":["signer"],"any_of":["a"],"part":"header"}"#,
    ] {
        assert!(Settings::read(require(right).as_bytes(), Caps::PROXY_WASM).is_ok(), "{right}");
    }
    assert!(error(&require("")).contains("issuers[0].audiences"));
    assert!(error(&require(r#"{"claim":["a"],"any_of":[]}"#)).contains("issuers[0].require[0].any_of"));
    assert!(error(&require(r#"{"claim":[],"any_of":["a"]}"#)).contains("issuers[0].require[0].claim"));
    assert!(error(&require(r#"{"claim":["a"],"any_of":["a"],"in":"header"}"#)).contains("unknown field"));
    assert!(error(&require(r#"{"claim":["a"]}"#)).contains("any_of"));
}

#[test]
fn a_value_of_the_rules_own_must_fit_as_it_is_written() {
    assert!(error(&rule(r#","default":"Zoë""#)).contains("map[0].default"));
    let read = |members: &str| Settings::read(rule(members).as_bytes(), Caps::PROXY_WASM);
    assert!(read(r#","default":"Zoë","encode":"percent""#).is_ok());
    assert!(
        error(&rule(r#","default":"Zoë","encode":"percent","max_bytes":7"#))
            .contains("takes 8 bytes, more than max_bytes")
    );
    assert!(error(&rule(r#","table":{"a":"b\n"},"encode":"base64url""#)).contains("map[0].table"));
    assert!(
        error(&rule(r#","max_bytes":0"#))
            .contains("map[0].max_bytes: 0 is out of range: it must be from 1 to 32768")
    );
    assert!(error(&rule(r#","encode":"hex""#)).contains("map[0].encode: unknown variant"));
}

#[test]
fn a_guard_names_its_header_and_nothing_else() {
    let guard = r#"{"source":"guard","metadata":{"payload_header":"x-jwt-payload"}}"#;
    for caps in [Caps::PROXY_WASM, Caps::DYNAMIC_MODULE] {
        assert_eq!(Settings::read(guard.as_bytes(), caps).unwrap().config.source, Source::Guard);
    }
    assert!(
        error(r#"{"source":"guard"}"#).contains("metadata.payload_header: must name the header to guard")
    );
    assert!(error(&guard.replace("x-jwt", "X-JWT")).contains("metadata.payload_header: "));
    for (path, more) in [
        ("map", r#"{"map":[],"#),
        ("on_unverified", r#"{"on_unverified":"strip","#),
        ("cached_tokens", r#"{"cached_tokens":1024,"#),
        ("strip", r#"{"strip":["authorization"],"#),
    ] {
        let error = error(&guard.replacen('{', more, 1));
        assert!(error.contains(&format!("key {path}: is for the instance behind")), "{error}");
    }
    let error = error(&guard.replace(r#"{"payload_header"#, r#"{"key":"payload","payload_header"#));
    assert!(error.contains("key metadata.key: is for the instance behind"), "{error}");
}

#[test]
fn keys_are_fetched_again_before_they_are_too_old() {
    let issuer = format!(r#"{{"issuer":"https://idp.test","audiences":["inference"],"jwks":{KEY}}}"#);
    let with = |more: &str| builtin(&issuer).replacen('{', &format!("{{{more},"), 1);
    let config = Settings::read(builtin(&issuer).as_bytes(), Caps::PROXY_WASM).unwrap().config;
    assert_eq!(config.jwks_max_stale_seconds, 86_400);
    let wrong = error(&with(r#""jwks_max_stale_seconds":300"#));
    assert!(wrong.contains("jwks_max_stale_seconds: must be more than jwks_refresh_seconds"), "{wrong}");
    assert!(
        error(&with(r#""jwks_max_stale_seconds":30"#)).contains("30 is out of range: it must be from 31 to")
    );
    let both = with(r#""jwks_refresh_seconds":30,"jwks_max_stale_seconds":31"#);
    assert!(Settings::read(both.as_bytes(), Caps::PROXY_WASM).is_ok());
}
