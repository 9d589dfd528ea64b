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

/// Both instances of a chain around `jwt_authn`, which verifies nothing and writes no header unless it is told.
struct Chain {
    guard: Proxy,
    behind: Proxy,
}

impl Chain {
    fn on(caps: Caps) -> Self {
        let guard = Proxy::on(caps, r#"{"source":"guard","metadata":{"payload_header":"x-jwt-payload"}}"#);
        Self { guard, behind: behind(caps, r#"{"payload_header":"x-jwt-payload"}"#) }
    }

    /// Sends a request; `forwards` is what `jwt_authn` writes into the header.
    fn send(&mut self, headers: &[(&str, &str)], forwards: Option<&str>) -> Outcome {
        let cleaned = send(&self.guard, headers);
        assert!(cleaned.reply.is_none());
        self.behind.properties = cleaned.properties;
        let mut headers: Vec<(&str, &[u8])> =
            cleaned.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        if let Some(payload) = forwards {
            headers.retain(|(name, _)| *name != "x-jwt-payload");
            headers.push(("x-jwt-payload", payload.as_bytes()));
        }
        self.behind.send_bytes("/", &headers)
    }
}

#[test]
fn a_payload_header_is_believed_behind_a_guard_and_beside_verified_metadata_and_never_goes_on() {
    let claims = payload(r#","user_type":"premium","level":9007199254740993"#);
    for text in [URL_SAFE_NO_PAD.encode(&claims), URL_SAFE.encode(&claims)] {
        for caps in [Caps::PROXY_WASM, Caps::DYNAMIC_MODULE] {
            let mut chain = Chain::on(caps);
            let unverified = chain.send(&[], Some(&text));
            assert!(unverified.values_folded("x-user-class").is_empty());
            assert!(unverified.values_folded("x-jwt-payload").is_empty());
            assert_eq!(unverified.count("unverified_no_token"), 1);

            set(&mut chain.behind, &[], b"\0\0\0\0");
            let outcome = chain.send(&[], Some(&text));
            assert_eq!(outcome.values_folded("x-user-class"), ["premium"]);
            assert_eq!(outcome.values_folded("x-level"), ["9007199254740993"]);
            assert!(outcome.values_folded("x-jwt-payload").is_empty());
            assert_eq!(outcome.count("payload_header_ignored"), 0);

            let twice = [("x-jwt-payload", text.as_str()), ("x-jwt-payload", "e30")];
            let twice = send(&chain.behind, &twice);
            assert!(twice.values_folded("x-user-class").is_empty());
            assert_eq!(twice.count("unverified_ambiguous"), 1);
            for bad in ["", "e30x", "!!", "W10"] {
                let outcome = chain.send(&[], Some(bad));
                assert_eq!(outcome.count("unverified_malformed"), 1, "{bad}");
            }
        }
    }
}

#[test]
fn a_clients_payload_header_is_never_believed_where_the_provider_that_verified_writes_none() {
    let forged = URL_SAFE_NO_PAD.encode(payload(r#","user_type":"premium""#));
    let spellings = ["x-jwt-payload", "x_jwt_payload", "X-JWT_payload", "x_jwt-payload"];
    let copies: Vec<(&str, &str)> = spellings.iter().map(|name| (*name, forged.as_str())).collect();
    let mut attempts: Vec<Vec<(&str, &str)>> = copies.iter().map(|copy| vec![*copy]).collect();
    attempts.extend([vec![copies[0]; 2], copies.clone(), vec![("x-jwt-payload", "e30"), copies[0]]]);
    for caps in [Caps::PROXY_WASM, Caps::DYNAMIC_MODULE] {
        for attempt in &attempts {
            let mut chain = Chain::on(caps);
            let nobody = chain.send(attempt, None);
            assert!(nobody.values_folded("x-user-class").is_empty(), "{attempt:?}");

            // Another provider has verified a basic user's token, and left its claims in the metadata alone.
            set(&mut chain.behind, &[], b"\0\0\0\0");
            set(&mut chain.behind, &["user_type"], b"basic");
            let guarded = chain.send(attempt, None);
            chain.behind.properties.clear();
            let unguarded = send(&chain.behind, attempt);
            for (what, outcome) in [("guarded", guarded), ("unguarded", unguarded)] {
                let expected: &[&str] = if caps.nested_metadata { &["basic"] } else { &[] };
                assert_eq!(outcome.values_folded("x-user-class"), expected, "{what} {attempt:?}");
                assert!(outcome.values_folded("x-jwt-payload").is_empty(), "{what} {attempt:?}");
                let refused = u64::from(!caps.nested_metadata);
                assert_eq!(outcome.count("unverified_no_payload"), refused, "{what} {attempt:?}");
                let exact = attempt.iter().any(|(name, _)| *name == "x-jwt-payload");
                let ignored = u64::from(what == "unguarded" && exact);
                assert_eq!(outcome.count("payload_header_ignored"), ignored, "{what} {attempt:?}");
                assert_eq!(outcome.logs.len() as u64, ignored, "{:?}", outcome.logs);
            }
        }
    }
}

#[test]
fn a_guard_takes_the_header_off_in_every_spelling_and_leaves_a_mark_once() {
    let config = r#"{"source":"guard","metadata":{"payload_header":"x-jwt_payload"}}"#;
    let mut guard = Proxy::on(Caps::DYNAMIC_MODULE, config);
    let headers = [("x-jwt-payload", "a"), ("X_JWT_PAYLOAD", "b"), ("x-jwt-payload", "c"), ("x-other", "d")];
    let outcome = send(&guard, &headers);
    assert!(outcome.values_folded("x-jwt-payload").is_empty());
    assert_eq!((outcome.values_folded("x-other"), outcome.count("spoof_removed")), (vec!["d"], 3));
    assert_eq!(outcome.properties.keys().collect::<Vec<_>>(), ["claim_headers.guard.x-jwt-payload"]);
    guard.properties = outcome.properties;
    assert!(send(&guard, &[]).properties.is_empty(), "it is marked already");
}

#[test]
fn nothing_that_is_taken_off_the_headers_comes_back_in_the_trailers() {
    let config = format!(
        r#"{{"metadata":{{"payload_header":"x-jwt-payload"}},{MAP},"strip":["authorization"],"strip_cookies":["id"]ALSO}}"#
    );
    let trailers = [
        ("x-user-class", "premium"),
        ("X_User_Class", "premium"),
        ("x_jwt-payload", "e30"),
        ("authorization", "Bearer x"),
        ("cookie", "id=x"),
        ("x-checksum", "1"),
    ];
    for caps in [Caps::PROXY_WASM, Caps::DYNAMIC_MODULE] {
        let left = |also: &str| {
            let proxy = Proxy::on(caps, &config.replace("ALSO", also));
            let (outcome, left) = proxy.begin_message("/", &[], false).trailers(&trailers);
            assert_eq!(outcome.count("spoof_removed"), 2);
            left.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(left(""), ["x-checksum"]);
        assert_eq!(left(r#","on_unverified":"pass""#), ["authorization", "cookie", "x-checksum"]);
        let proxy = Proxy::on(caps, &config.replace("ALSO", ""));
        assert!(!send(&proxy, &[]).until_trailers, "it has no trailers");
    }
}

#[test]
fn a_token_in_another_spelling_of_its_header_is_a_second_token() {
    let proxy = builtin(r#","token":{"authorization":false,"header":"x-id-token"}"#);
    let (user, other) = (good(), Mint::stranger(RS256, premium()));
    for name in ["x_id_token", "x-id_token", "x_id-token"] {
        let outcome = send(&proxy, &[("x-id-token", &user), (name, &other)]);
        assert_eq!((outcome.count("unverified_ambiguous"), outcome.count("verified")), (1, 0), "{name}");
        assert_eq!(send(&proxy, &[("x-id-token", &user), (name, "")]).count("verified"), 1, "{name}");
        assert_eq!(send(&proxy, &[(name, &other)]).count("unverified_signature"), 1, "{name}");
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
fn a_preflight_whose_token_could_not_be_judged_does_not_pass() {
    let proxy = builtin(r#","on_unverified":"deny","allow_cors_preflight":true,"max_checks_per_second":1"#);
    let preflight = |token: &str| {
        let method = [(":method", "OPTIONS"), ("access-control-request-method", "POST")];
        send(&proxy, &[method[0], method[1], ("origin", "https://app.test"), ("authorization", token)])
    };
    assert!(preflight(&forged(0)).reply.is_none(), "it was judged");
    assert_not_judged(&preflight(&new_user(1)), "too many tokens to check");
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

/// A token whose signature is wrong and has the right length; another one for each number.
fn forged(number: u64) -> String {
    let token = good();
    let (text, _) = token.rsplit_once('.').unwrap();
    let signature = [&[1u8; 248][..], &number.to_be_bytes()].concat();
    bearer(&format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A new user's token.
fn new_user(number: u64) -> String {
    let payload = premium().replace("alice", &format!("user-{number}"));
    bearer(&Mint::eddsa(crate::attacks::mint::EDDSA, payload))
}

fn sent_token(proxy: &Proxy, token: &str) -> Outcome {
    send(proxy, &[("authorization", token), ("x-user-class", "root")])
}

/// What a request is told that could not be judged: to come again.
fn assert_not_judged(outcome: &Outcome, error: &str) {
    let reply = outcome.reply.as_ref().expect("a request that was not judged does not go on");
    let retry = reply.headers.iter().find(|(name, _)| name == "retry-after").map(|(_, value)| value.as_ref());
    let body = format!(r#"{{"error":"{error}"}}"#);
    assert_eq!((reply.status, retry, reply.body.as_slice()), (503, Some("1"), body.as_bytes()));
    assert_eq!(outcome.count("unjudged"), 1);
}

#[test]
fn more_forged_tokens_than_are_checked_end_as_503_and_never_as_anonymous_requests() {
    let mut proxy = builtin(r#","max_checks_per_second":3"#);
    assert_eq!(sent_token(&proxy, &bearer(&good())).count("verified"), 1);
    for number in 0..3 {
        assert_eq!(sent_token(&proxy, &forged(number)).count("unverified_signature"), 1);
    }
    for token in [forged(3), forged(4), new_user(1)] {
        let outcome = sent_token(&proxy, &token);
        assert_eq!(outcome.count("unverified_busy"), 1);
        assert_not_judged(&outcome, "too many tokens to check");
    }
    // What is remembered needs no check.
    assert_eq!(sent_token(&proxy, &bearer(&good())).count("cache_hits"), 1);
    assert_eq!(sent_token(&proxy, &forged(0)).count("unverified_signature"), 1);
    proxy.now += 1;
    assert_eq!(sent_token(&proxy, &new_user(1)).count("verified"), 1);
    assert_eq!(sent_token(&proxy, &forged(9)).count("unverified_signature"), 1);
}

#[test]
fn a_request_that_could_not_be_judged_is_refused_unless_all_requests_are_to_pass() {
    let busy = |on_unverified: &str| {
        let proxy = builtin(&format!(
            r#","max_checks_per_second":1,"strip":["authorization"],"on_unverified":"{on_unverified}""#
        ));
        sent_token(&proxy, &forged(0));
        sent_token(&proxy, &new_user(1))
    };
    for refused in ["strip", "deny"] {
        assert_not_judged(&busy(refused), "too many tokens to check");
    }
    let passed = busy("pass");
    assert!(passed.reply.is_none() && passed.values_folded("x-user-class").is_empty());
    assert_eq!(passed.values_folded("authorization"), [new_user(1)]);
    assert_eq!((passed.count("unjudged"), passed.count("unverified_busy")), (1, 1));
}

#[test]
fn tokens_that_are_right_are_never_too_many() {
    let proxy = builtin(r#","max_checks_per_second":1"#);
    for number in 0..50 {
        assert_eq!(sent_token(&proxy, &new_user(number)).count("verified"), 1, "{number}");
    }
}

#[test]
fn one_forged_token_is_checked_once_and_one_of_the_wrong_length_never() {
    let proxy = builtin(r#","max_checks_per_second":2"#);
    let token = good();
    let (text, signature) = token.rsplit_once('.').unwrap();
    for wrong in ["eA", "", &signature[..340], &format!("{signature}AAAA")] {
        for _ in 0..100 {
            let outcome = sent_token(&proxy, &bearer(&format!("{text}.{wrong}")));
            assert_eq!(outcome.count("unverified_signature"), 1);
        }
    }
    for _ in 0..1000 {
        assert_eq!(sent_token(&proxy, &forged(1)).count("unverified_signature"), 1);
    }
    assert_eq!(sent_token(&proxy, &new_user(1)).count("verified"), 1);
}

#[test]
fn a_forged_token_that_is_remembered_expires_as_any_other_does() {
    let mut proxy = builtin("");
    let soon = premium_but("4102444800", &(NOW + 100).to_string());
    let token = bearer(&Mint::stranger(crate::attacks::mint::EDDSA, soon));
    assert_eq!(sent_token(&proxy, &token).count("unverified_signature"), 1);
    assert_eq!(sent_token(&proxy, &token).count("unverified_signature"), 1);
    proxy.now += 160;
    assert_eq!(sent_token(&proxy, &token).count("unverified_expired"), 1);
}

#[test]
fn ten_thousand_replays_a_second_of_a_thousand_forged_tokens_cost_no_new_user_a_claim() {
    let mut proxy = builtin("");
    let forged: Vec<String> = (0..1000).map(forged).collect();
    let (mut replayed, mut users) = (0, 0);
    for _second in 0..2 {
        // Fifty users a second, each after two hundred replays.
        for _ in 0..50 {
            for _ in 0..200 {
                let outcome = sent_token(&proxy, &forged[replayed % forged.len()]);
                assert_eq!(outcome.count("unverified_signature"), 1);
                replayed += 1;
            }
            users += 1;
            let outcome = sent_token(&proxy, &new_user(users));
            assert_eq!(outcome.values_folded("x-user-class"), ["premium"], "user {users}");
        }
        proxy.now += 1;
    }
    assert_eq!((replayed, users), (20_000, 100));
    for user in 1..=users {
        assert_eq!(sent_token(&proxy, &new_user(user)).count("cache_hits"), 1, "no user was pushed out");
    }
}

/// A proxy whose issuer has so many keys without a `kid`, of which the last is the test's.
fn nameless_keys(strangers: u8, most_checks: u32) -> Proxy {
    let keys: Vec<String> = (0..=strangers).rev().map(|number| Mint::other_rsa_key(number, "")).collect();
    Proxy::new(&format!(
        r#"{{"source":"builtin","max_checks_per_second":{most_checks},{MAP},
"issuers":[{{"issuer":"https://idp.test","audiences":["inference"],"jwks":{{"keys":[{}]}}}}]}}"#,
        keys.join(",")
    ))
}

const NAMELESS: &str = r#"{"alg":"RS256"}"#;

/// A forged token without `kid`.
fn nameless_forged(byte: u8) -> String {
    let token = Mint::rs256(NAMELESS, premium());
    let (text, _) = token.rsplit_once('.').unwrap();
    bearer(&format!("{text}.{}", URL_SAFE_NO_PAD.encode([byte; 256])))
}

#[test]
fn each_key_that_is_tried_for_a_forged_token_counts_as_a_check() {
    let proxy = nameless_keys(3, 4);
    assert_eq!(sent_token(&proxy, &nameless_forged(1)).count("unverified_signature"), 1);
    assert_eq!(sent_token(&proxy, &nameless_forged(2)).count("unverified_busy"), 1);
    let proxy = nameless_keys(3, 5);
    for byte in [1, 2] {
        assert_eq!(sent_token(&proxy, &nameless_forged(byte)).count("unverified_signature"), 1, "{byte}");
    }
    assert_eq!(sent_token(&proxy, &nameless_forged(3)).count("unverified_busy"), 1);
}

#[test]
fn a_token_that_is_right_by_the_last_of_four_keys_costs_no_check_and_passes_under_any_limit() {
    let proxy = nameless_keys(3, 1);
    for user in 0..10 {
        let payload = premium().replace("alice", &format!("user-{user}"));
        let token = bearer(&Mint::rs256(NAMELESS, payload));
        assert_eq!(sent_token(&proxy, &token).count("verified"), 1, "{user}");
    }
    assert_eq!(sent_token(&proxy, &nameless_forged(1)).count("unverified_signature"), 1);
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
