//! Forged tokens, which may cost neither the processor nor other users.

use super::{MAP, assert_not_judged, bearer, builtin, forged, new_user, sent_token};
use crate::attacks::mint::{Mint, good, premium, premium_but};
use crate::attacks::proxy::{NOW, Proxy};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

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

/// A proxy whose issuer has this many keys without a `kid`; the last is the test's.
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
