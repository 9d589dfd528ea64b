//! Claims that `jwt_authn` verified, in metadata or in a header behind a guard.

use super::{MAP, behind, send};
use crate::attacks::metadata::verified;
use crate::attacks::mint::payload;
use crate::attacks::proxy::{Outcome, Proxy};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use filter_api::Caps;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn set(proxy: &mut Proxy, path: &[&str], value: &[u8]) {
    let path = ["envoy.filters.http.jwt_authn", "payload"]
        .iter()
        .chain(path)
        .map(|step| (*step).to_owned())
        .collect();
    proxy.metadata.insert(path, value.to_vec());
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
            let unverified = chain.send(attempt, None);
            assert!(unverified.values_folded("x-user-class").is_empty(), "{attempt:?}");

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
