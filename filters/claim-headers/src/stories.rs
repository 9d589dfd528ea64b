//! What the filter does with requests, besides withstanding attacks.

use crate::attacks::metadata::verified;
use crate::attacks::mint::{Mint, RS256, good, payload, premium, premium_but};
use crate::attacks::proxy::{NOW, Outcome, Proxy};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use filter_api::Caps;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const MAP: &str = r#""map":[{"header":"x-user-class","claim":["user_type"],"type":"string"},
{"header":"x-roles","claim":["realm_access","roles"],"type":"list"},
{"header":"x-admin","claim":["is_admin"],"type":"bool"},
{"header":"x-level","claim":["level"],"type":"integer"}]"#;

/// A proxy that verifies tokens of the test's issuer, with these members in its configuration.
fn builtin(also: &str) -> Proxy {
    let keys = Mint::key_set();
    Proxy::new(&format!(
        r#"{{"source":"builtin",{MAP},"issuers":[{{"issuer":"https://idp.test","audiences":["inference"],"jwks":{keys}}}]{also}}}"#
    ))
}

/// A proxy behind `jwt_authn`.
fn behind(caps: Caps, metadata: &str) -> Proxy {
    Proxy::on(caps, &format!(r#"{{"metadata":{metadata},{MAP},"strip":["authorization"]}}"#))
}

fn set(proxy: &mut Proxy, path: &[&str], value: &[u8]) {
    let path = ["envoy.filters.http.jwt_authn", "payload"]
        .iter()
        .chain(path)
        .map(|step| (*step).to_owned())
        .collect();
    proxy.metadata.insert(path, value.to_vec());
}

fn send(proxy: &Proxy, headers: &[(&str, &str)]) -> Outcome {
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    proxy.send("/", &headers)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn claims_that_jwt_authn_left_in_metadata_become_headers() {
    let mut proxy = behind(Caps::PROXY_WASM, "{}");
    verified(
        &mut proxy,
        r#"{"user_type":"premium","realm_access":{"roles":["a","b c"]},"is_admin":false,"level":3}"#,
    );
    let outcome =
        send(&proxy, &[("x_user_class", "root"), ("x-roles", "root"), ("authorization", "Bearer x")]);
    for (name, value) in
        [("x-user-class", "premium"), ("x-roles", "a,b c"), ("x-admin", "false"), ("x-level", "3")]
    {
        assert_eq!(outcome.values_folded(name), [value], "{name}");
    }
    assert!(outcome.values_folded("authorization").is_empty());
    assert_eq!(
        (outcome.count("mapped"), outcome.count("spoof_removed"), outcome.count("verified")),
        (4, 2, 1)
    );
}

#[test]
fn claims_of_another_type_in_metadata_are_bad_values() {
    let mut proxy = behind(Caps::PROXY_WASM, "{}");
    verified(&mut proxy, r#"{"user_type":true,"is_admin":"yes","level":1.5}"#);
    let outcome = send(&proxy, &[]);
    assert_eq!(
        (outcome.count("bad_value"), outcome.count("missing_claim"), outcome.count("mapped")),
        (3, 1, 0)
    );
}

#[test]
fn a_claim_in_metadata_is_never_taken_for_one_of_another_type_whose_bytes_are_the_same() {
    let mapped = |payload: &str| {
        let mut proxy = behind(Caps::PROXY_WASM, "{}");
        verified(&mut proxy, payload);
        let outcome = send(&proxy, &[]);
        let names = ["x-user-class", "x-roles", "x-admin", "x-level"];
        let found =
            names.iter().flat_map(|name| outcome.values_folded(name)).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(found.len() as u64, outcome.count("mapped"), "{payload}");
        found.into_iter().next()
    };
    // The double that is eight letters, and the number 5 as a string.
    let letters = format!("{:?}", f64::from_le_bytes(*b"standard"));
    for (payload, value) in [
        (r#"{"realm_access":{"roles":{"admin":""}}}"#.to_owned(), None),
        (r#"{"realm_access":{"roles":{"admin":"","b":""}}}"#.to_owned(), None),
        (format!(r#"{{"realm_access":{{"roles":[{letters}]}}}}"#), None),
        (format!(r#"{{"realm_access":{{"roles":{letters}}}}}"#), None),
        (r#"{"realm_access":{"roles":[true]}}"#.to_owned(), None),
        (r#"{"realm_access":{"roles":[["a"]]}}"#.to_owned(), None),
        (r#"{"realm_access":{"roles":[{"a":""}]}}"#.to_owned(), None),
        (r#"{"realm_access":{"roles":"\u0001\u0000\u0000\u0000\u0001\u0000\u0000\u0000\u0000\u0000\u0000\u0000a\u0000\u0000"}}"#.to_owned(), None),
        (r#"{"is_admin":"\u0001"}"#.to_owned(), None),
        (r#"{"is_admin":"\u0000"}"#.to_owned(), None),
        (r#"{"is_admin":1}"#.to_owned(), None),
        (r#"{"level":"\u0000\u0000\u0000\u0000\u0000\u0000\u0014@"}"#.to_owned(), None),
        (r#"{"level":"standard"}"#.to_owned(), None),
        (r#"{"level":9007199254740993}"#.to_owned(), None),
        (format!(r#"{{"user_type":{letters}}}"#), None),
        (r#"{"user_type":true}"#.to_owned(), None),
        (r#"{"user_type":["a"]}"#.to_owned(), None),
        (r#"{"user_type":{"a":"b"}}"#.to_owned(), None),
        (r#"{"user_type":null,"other":null}"#.to_owned(), None),
        (r#"{"user_type":"standard"}"#.to_owned(), Some("standard")),
        (r#"{"user_type":"a"}"#.to_owned(), Some("a")),
        (r#"{"user_type":"1"}"#.to_owned(), Some("1")),
        (r#"{"is_admin":true}"#.to_owned(), Some("true")),
        (r#"{"is_admin":"true"}"#.to_owned(), Some("true")),
        (r#"{"level":5}"#.to_owned(), Some("5")),
        (r#"{"level":-9007199254740991}"#.to_owned(), Some("-9007199254740991")),
        (r#"{"level":0}"#.to_owned(), Some("0")),
        (r#"{"realm_access":{"roles":["admin"]}}"#.to_owned(), Some("admin")),
        (r#"{"realm_access":{"roles":["standard","x"]}}"#.to_owned(), Some("standard,x")),
        (r#"{"realm_access":{"roles":"standard"}}"#.to_owned(), Some("standard")),
        (r#"{"realm_access":{"roles":[1,20],"other":null}}"#.to_owned(), Some("1,20")),
    ] {
        assert_eq!(mapped(&payload).as_deref(), value, "{payload}");
    }
}

#[test]
fn without_verified_metadata_there_are_no_claims_and_no_header_of_the_clients() {
    let proxy = behind(Caps::PROXY_WASM, "{}");
    let outcome = send(&proxy, &[("x-user-class", "premium"), ("X_USER_CLASS", "premium")]);
    assert!(outcome.values_folded("x-user-class").is_empty() && outcome.reselected);
    assert_eq!((outcome.count("unverified_no_token"), outcome.count("spoof_removed")), (1, 2));
}

#[test]
fn a_payload_header_is_believed_only_beside_verified_metadata_and_never_goes_on() {
    let claims = payload(r#","user_type":"premium","level":9007199254740993"#);
    for text in [URL_SAFE_NO_PAD.encode(&claims), URL_SAFE.encode(&claims)] {
        for caps in [Caps::PROXY_WASM, Caps::DYNAMIC_MODULE] {
            let mut proxy = behind(caps, r#"{"payload_header":"x-jwt-payload"}"#);
            let forged = send(&proxy, &[("x-jwt-payload", &text)]);
            assert!(
                forged.values_folded("x-user-class").is_empty()
                    && forged.values_folded("x-jwt-payload").is_empty()
            );
            assert_eq!(forged.count("unverified_no_token"), 1);

            set(&mut proxy, &[], b"\0\0\0\0");
            let outcome = send(&proxy, &[("x-jwt-payload", &text)]);
            assert_eq!(outcome.values_folded("x-user-class"), ["premium"]);
            assert_eq!(outcome.values_folded("x-level"), ["9007199254740993"]);
            assert!(outcome.values_folded("x-jwt-payload").is_empty());

            let twice = send(&proxy, &[("x-jwt-payload", &text), ("x-jwt-payload", "e30")]);
            assert!(
                twice.values_folded("x-user-class").is_empty() && twice.count("unverified_ambiguous") == 1
            );
            for bad in ["", "e30x", "!!", "W10"] {
                let outcome = send(&proxy, &[("x-jwt-payload", bad)]);
                assert_eq!(outcome.count("unverified_malformed"), 1, "{bad}");
            }
        }
    }
}

#[test]
fn tokens_are_taken_off_a_request_that_was_verified() {
    let proxy = builtin(r#","strip":["authorization","x-id-token"],"strip_cookies":["__Host-id"]"#);
    let cookie = format!("a=b; __Host-id={}; __Host-id_0=x; c=d", good());
    let outcome =
        send(&proxy, &[("authorization", &bearer(&good())), ("cookie", &cookie), ("x_id-token", "forged")]);
    assert_eq!(outcome.values_folded("x-user-class"), ["premium"]);
    assert!(
        outcome.values_folded("authorization").is_empty() && outcome.values_folded("x-id-token").is_empty()
    );
    assert_eq!(outcome.values_folded("cookie"), ["a=b; c=d"]);
}

#[test]
fn on_unverified_says_what_becomes_of_a_request_and_of_its_token() {
    let bad = bearer(&Mint::stranger(RS256, premium()));
    let headers = [("authorization", bad.as_str()), ("x-user-class", "premium")];
    let sent = |on_unverified: &str| {
        send(&builtin(&format!(r#","strip":["authorization"],"on_unverified":"{on_unverified}""#)), &headers)
    };
    let passed = sent("pass");
    assert_eq!(passed.values_folded("authorization"), [bad.as_str()]);
    assert!(passed.values_folded("x-user-class").is_empty());
    let stripped = sent("strip");
    assert!(stripped.values_folded("authorization").is_empty() && stripped.reply.is_none());
    let reply = sent("deny").reply.unwrap();
    assert_eq!((reply.status, reply.body), (401, br#"{"error":"the token's signature is wrong"}"#.to_vec()));
    let challenge = reply.headers.iter().find(|(name, _)| name == "www-authenticate").unwrap();
    assert_eq!(challenge.1, "Bearer error=\"invalid_token\"");

    let none = send(&builtin(r#","on_unverified":"deny""#), &[]).reply.unwrap();
    let challenge = none.headers.iter().find(|(name, _)| name == "www-authenticate").unwrap();
    assert_eq!((none.status, challenge.1.as_ref()), (401, "Bearer"));
}

#[test]
fn a_preflight_passes_a_denial_only_if_the_configuration_says_so_and_only_as_a_preflight() {
    let preflight = [
        (":method", "OPTIONS"),
        ("origin", "https://app.test"),
        ("access-control-request-method", "POST"),
        ("x-user-class", "premium"),
    ];
    assert_eq!(send(&builtin(r#","on_unverified":"deny""#), &preflight).reply.unwrap().status, 401);
    let proxy = builtin(r#","on_unverified":"deny","allow_cors_preflight":true"#);
    let outcome = send(&proxy, &preflight);
    assert!(outcome.reply.is_none() && outcome.values_folded("x-user-class").is_empty());
    assert_eq!(send(&proxy, &preflight[..2]).reply.unwrap().status, 401);
    assert_eq!(send(&proxy, &[(":method", "POST"), preflight[1], preflight[2]]).reply.unwrap().status, 401);
}

#[test]
fn clocks_may_be_a_minute_apart_and_no_more() {
    let mut proxy = builtin("");
    let at = |proxy: &mut Proxy, now: u64, token: &str| {
        proxy.now = now;
        let outcome = send(proxy, &[("authorization", &bearer(token))]);
        outcome
            .counts()
            .keys()
            .find(|name| **name == "verified" || name.starts_with("unverified"))
            .copied()
            .unwrap()
    };
    let token = Mint::eddsa(crate::attacks::mint::EDDSA, premium_but("4102444800", &NOW.to_string()));
    assert_eq!(at(&mut proxy, NOW - 1, &token), "verified");
    assert_eq!(at(&mut proxy, NOW + 59, &token), "verified");
    assert_eq!(at(&mut proxy, NOW + 60, &token), "unverified_expired");
    for claim in ["iat", "nbf"] {
        let token = Mint::eddsa(
            crate::attacks::mint::EDDSA,
            premium_but(r#""iat":1700000000"#, &format!(r#""{claim}":{NOW}"#)),
        );
        assert_eq!(at(&mut proxy, NOW - 61, &token), "unverified_not_yet_valid");
        assert_eq!(at(&mut proxy, NOW - 60, &token), "verified");
    }
}

#[test]
fn a_token_may_be_too_old_however_long_it_is_valid() {
    let mut proxy = builtin(r#","max_age_seconds":3600"#);
    proxy.now = 1_700_000_000 + 3600;
    assert_eq!(send(&proxy, &[("authorization", &bearer(&good()))]).count("verified"), 1);
    proxy.now += 60;
    assert_eq!(send(&proxy, &[("authorization", &bearer(&good()))]).count("unverified_expired"), 1);
    let without = Mint::rs256(RS256, premium_but(r#""iat":1700000000,"#, ""));
    assert_eq!(send(&proxy, &[("authorization", &bearer(&without))]).count("unverified_times"), 1);
}

#[test]
fn a_token_is_remembered_until_it_expires_and_another_one_is_not_taken_for_it() {
    let mut proxy = builtin("");
    let token = Mint::rs256(RS256, premium_but("4102444800", &(NOW + 100).to_string()));
    let sent = |proxy: &Proxy, token: &str| send(proxy, &[("authorization", &bearer(token))]);
    assert_eq!(sent(&proxy, &token).count("cache_hits"), 0);
    let again = sent(&proxy, &token);
    assert_eq!((again.count("cache_hits"), again.values_folded("x-user-class")), (1, vec!["premium"]));
    let (text, _) = token.rsplit_once('.').unwrap();
    assert_eq!(sent(&proxy, &format!("{text}.AAAA")).count("unverified_signature"), 1);
    proxy.now = NOW + 160;
    assert_eq!(sent(&proxy, &token).count("unverified_expired"), 1);
    assert_eq!(sent(&builtin(r#","cached_tokens":0"#), &token).count("cache_hits"), 0);
}

#[test]
fn a_flood_of_forged_tokens_is_checked_only_so_often_and_remembered_users_do_not_notice() {
    let mut proxy = builtin(r#","max_checks_per_second":3"#);
    assert_eq!(send(&proxy, &[("authorization", &bearer(&good()))]).count("verified"), 1);
    let (text, _) =
        good().rsplit_once('.').map(|(text, signature)| (text.to_owned(), signature.to_owned())).unwrap();
    let forged = |number: u16| {
        bearer(&format!(
            "{text}.{}",
            URL_SAFE_NO_PAD.encode([&[1u8; 254][..], &number.to_be_bytes()].concat())
        ))
    };
    let counts: Vec<u64> = (0..4)
        .map(|number| send(&proxy, &[("authorization", &forged(number))]).count("unverified_busy"))
        .collect();
    assert_eq!(counts, [0, 0, 1, 1]);
    assert_eq!(send(&proxy, &[("authorization", &bearer(&good()))]).count("cache_hits"), 1);
    proxy.now += 1;
    assert_eq!(send(&proxy, &[("authorization", &forged(9))]).count("unverified_signature"), 1);
}

#[test]
fn each_key_that_is_tried_for_a_token_counts_as_a_check() {
    let keys: Vec<String> = (0..4).map(|number| Mint::other_rsa_key(number, "")).collect();
    let proxy = Proxy::new(&format!(
        r#"{{"source":"builtin","max_checks_per_second":4,{MAP},
"issuers":[{{"issuer":"https://idp.test","audiences":["inference"],"jwks":{{"keys":[{}]}}}}]}}"#,
        keys.join(",")
    ));
    // The first key is the right one.
    let header = r#"{"alg":"RS256","kid":"only in the token"}"#;
    assert_eq!(
        send(&proxy, &[("authorization", &bearer(&Mint::rs256(header, premium())))]).count("verified"),
        1
    );
    let forged = |byte: u8| {
        let token = Mint::rs256(header, premium());
        let (text, _) = token.rsplit_once('.').unwrap();
        bearer(&format!("{text}.{}", URL_SAFE_NO_PAD.encode([byte; 256])))
    };
    let mut proxy = proxy;
    proxy.now += 1;
    assert_eq!(send(&proxy, &[("authorization", &forged(1))]).count("unverified_signature"), 1);
    assert_eq!(send(&proxy, &[("authorization", &forged(2))]).count("unverified_busy"), 1);
}

#[test]
fn a_token_must_have_what_its_issuer_is_required_to_say() {
    let keys = Mint::key_set();
    let with = |require: &str| {
        Proxy::new(&format!(
            r#"{{"source":"builtin",{MAP},"issuers":[{{"issuer":"https://idp.test","require":[{require}],"jwks":{keys}}}]}}"#
        ))
    };
    let client = with(r#"{"claim":["client","id"],"any_of":["web","7","true"]}"#);
    let counted = |proxy: &Proxy, also: &str| {
        let outcome = send(proxy, &[("authorization", &bearer(&Mint::rs256(RS256, payload(also))))]);
        (outcome.count("verified"), outcome.count("unverified_required"))
    };
    for right in [r#""web""#, r#"["other","web"]"#, "7", r#""7""#, "true", "[7]"] {
        assert_eq!(counted(&client, &format!(r#","client":{{"id":{right}}}"#)), (1, 0), "{right}");
    }
    for wrong in
        [r#""Web""#, r#""other""#, "[]", "null", r#"{"web":"web"}"#, r#"[["web"]]"#, "7.0", "false", r#""""#]
    {
        assert_eq!(counted(&client, &format!(r#","client":{{"id":{wrong}}}"#)), (0, 1), "{wrong}");
    }
    for wrong in ["", r#","client":"web""#, r#","client.id":"web""#] {
        assert_eq!(counted(&client, wrong), (0, 1), "{wrong}");
    }
    let both =
        with(r#"{"claim":["a"],"any_of":["1"]},{"claim":["kid"],"any_of":["kid-rsa-sign"],"part":"header"}"#);
    assert_eq!(counted(&both, r#","a":1"#), (1, 0));
    assert_eq!(counted(&both, r#","b":1"#), (0, 1));
    let header = with(r#"{"claim":["signer"],"any_of":["me"],"part":"header"}"#);
    assert_eq!(counted(&header, r#","signer":"me""#), (0, 1), "it is in the other part");
}

#[test]
fn header_bytes_that_are_no_text_end_as_no_token() {
    let proxy = builtin(r#","token":{"header":"x-id-token","cookie":"id"},"strip_cookies":["id"]"#);
    let bytes: Vec<u8> = (0x80..=0xff).chain(1..=9).collect();
    for name in ["authorization", "x-id-token", "cookie", "x-user-class", "\u{e9}"] {
        let outcome = proxy.send_bytes("/", &[(name, &bytes)]);
        assert_eq!(outcome.count("verified"), 0);
    }
    let outcome = proxy.send_bytes("/", &[("authorization", &[b"Bearer ", &bytes[..]].concat())]);
    assert_eq!(outcome.count("unverified_malformed"), 1);
}

#[test]
fn no_log_line_and_no_reply_holds_a_token_or_a_claims_value() {
    let secret = "s3cr3t-value";
    let also = format!(r#","user_type":"{secret}\n","level":"{secret}","is_admin":"{secret}""#);
    let tokens = [
        Mint::rs256(RS256, payload(&also)),
        Mint::stranger(RS256, payload(&also)),
        Mint::rs256(format!(r#"{{"alg":"RS256","kid":"{secret}"}}"#), payload(&also)),
        Mint::rs256(RS256, payload(&also).replace("https://idp.test", secret)),
        Mint::rs256(RS256, payload(&also).replace("inference", secret)),
        format!("{secret}.{secret}.{secret}"),
    ];
    for token in tokens {
        let outcome = send(
            &builtin(r#","on_unverified":"deny""#),
            &[("authorization", &bearer(&token)), ("x-user-class", secret)],
        );
        let reply =
            outcome.reply.iter().map(|reply| format!("{reply:?} {}", String::from_utf8_lossy(&reply.body)));
        let told: Vec<String> = outcome.logs.iter().cloned().chain(reply).collect();
        for text in told {
            assert!(!text.contains(secret) && !token.split('.').any(|part| text.contains(part)), "{text}");
        }
    }
}
