//! How keys are fetched, and what requests notice of it.

use crate::attacks::mint::{Mint, RS256, good, premium};
use crate::attacks::proxy::{Free, NOW, Outcome, Pending, Proxy};
use filter_api::{Call, Caps, Leases};
use std::time::Duration;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const KEYS_URI: &str = r#","jwks_uri":"https://keys.test/jwks?v=1""#;

/// A proxy that fetches the test's issuer's keys.
fn proxy(of_issuer: &str) -> Proxy {
    Proxy::on(
        Caps::PROXY_WASM,
        &format!(
            r#"{{"source":"builtin","on_unverified":"deny",
"issuers":[{{"issuer":"https://idp.test","audiences":["inference"],"cluster":"idp"{of_issuer}}}],
"map":[{{"header":"x-user-class","claim":["user_type"],"type":"string"}}]}}"#
        ),
    )
}

/// A proxy that has fetched keys.
fn with_keys(keys: &str) -> Proxy {
    let proxy = proxy(KEYS_URI);
    let calls = proxy.tick(&Free);
    assert!(proxy.answer(&calls[0], 200, keys).is_empty());
    proxy
}

/// A set without the RSA key.
fn keys_before_rotation() -> String {
    Mint::key_set().replace("kid-rsa-sign", "kid-rsa-old")
}

fn begin<'p>(proxy: &'p Proxy, token: &str) -> Pending<'p> {
    let bearer = format!("Bearer {token}");
    proxy.begin("/", &[("authorization", bearer.as_bytes()), ("x-user-class", b"premium")])
}

fn send(proxy: &Proxy, token: &str) -> Outcome {
    let pending = begin(proxy, token);
    assert!(!pending.waits);
    pending.outcome
}

fn header<'c>(call: &'c Call, name: &str) -> &'c str {
    let (_, value) = call.headers.iter().find(|(found, _)| found == name).unwrap();
    std::str::from_utf8(value).unwrap()
}

/// What is answered: the status, and 0 for a request that goes on.
fn status(outcome: &Outcome) -> u16 {
    outcome.reply.as_ref().map_or(0, |reply| reply.status)
}

#[test]
fn keys_are_fetched_before_anybody_asks_and_used() {
    let proxy = proxy(KEYS_URI);
    let calls = proxy.tick(&Free);
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].cluster.as_str(), header(&calls[0], ":authority")), ("idp", "keys.test"));
    assert_eq!((header(&calls[0], ":method"), header(&calls[0], ":path")), ("GET", "/jwks?v=1"));
    assert!(proxy.tick(&Free).is_empty(), "one fetch at a time");
    assert!(proxy.answer(&calls[0], 200, &Mint::key_set()).is_empty());
    assert_eq!(send(&proxy, &good()).values_folded("x-user-class"), ["premium"]);
    assert!(proxy.tick(&Free).is_empty(), "they are new");
}

#[test]
fn keys_are_found_by_discovery_of_this_issuer_only() {
    let proxy = proxy("");
    let calls = proxy.tick(&Free);
    assert_eq!(header(&calls[0], ":authority"), "idp.test");
    assert_eq!(header(&calls[0], ":path"), "/.well-known/openid-configuration");
    let document = r#"{"issuer":"https://idp.test","jwks_uri":"https://idp.test/keys"}"#;
    let calls = proxy.answer(&calls[0], 200, document);
    assert_eq!(header(&calls[0], ":path"), "/keys");
    proxy.answer(&calls[0], 200, &Mint::key_set());
    assert_eq!(status(&send(&proxy, &good())), 0);

    for document in [
        r#"{"issuer":"https://idp.test/","jwks_uri":"https://evil.test/keys"}"#,
        r#"{"jwks_uri":"https://evil.test/keys"}"#,
        r#"{"issuer":"https://idp.test"}"#,
        r#"{"issuer":"https://idp.test","jwks_uri":"file:///etc/passwd"}"#,
        r#"{"issuer":"https://evil.test","issuer":"https://idp.test","jwks_uri":"https://evil.test/keys"}"#,
        "<html>",
    ] {
        let proxy = self::proxy("");
        let calls = proxy.tick(&Free);
        assert!(proxy.answer(&calls[0], 200, document).is_empty(), "{document}");
        assert_eq!(status(&send(&proxy, &good())), 503);
    }
}

#[test]
fn a_request_waits_for_the_first_keys_and_goes_on_with_them() {
    let proxy = proxy(KEYS_URI);
    let mut request = begin(&proxy, &good());
    assert!(request.waits && !request.outcome.reselected, "nothing is changed yet");
    let calls = proxy.tick(&Free);
    request.wake(NOW);
    assert!(request.waits);
    proxy.answer(&calls[0], 200, &Mint::key_set());
    request.wake(NOW + 1);
    assert!(!request.waits);
    assert_eq!(request.outcome.values_folded("x-user-class"), ["premium"]);
    assert!(request.outcome.reselected);
}

#[test]
fn a_request_waits_only_until_its_deadline_and_not_at_all_for_an_issuer_that_is_down() {
    let mut proxy = proxy(KEYS_URI);
    let mut request = begin(&proxy, &good());
    request.wake(NOW + 4);
    assert!(request.waits);
    request.wake(NOW + 5);
    assert!(!request.waits);
    assert_eq!((status(&request.outcome), request.outcome.count("unverified_no_keys")), (503, 1));

    let calls = proxy.tick(&Free);
    let mut request = begin(&proxy, &good());
    proxy.answer(&calls[0], 0, "");
    request.wake(NOW);
    assert_eq!(status(&request.outcome), 503);
    assert_eq!(status(&send(&proxy, &good())), 503, "no fetch is under way");
    // It is tried again after 1, 2, 4, ... and at most 30 seconds.
    for wait in [1, 2, 4, 8, 16, 30, 30] {
        proxy.now += wait - 1;
        assert!(proxy.tick(&Free).is_empty(), "{wait}");
        proxy.now += 1;
        let calls = proxy.tick(&Free);
        assert_eq!(calls.len(), 1, "{wait}");
        proxy.answer(&calls[0], 500, "");
    }
}

#[test]
fn old_keys_stay_in_use_while_new_ones_cannot_be_had() {
    let mut proxy = with_keys(&Mint::key_set());
    proxy.now += 299;
    assert!(proxy.tick(&Free).is_empty());
    proxy.now += 1;
    for bad in [
        (0, String::new()),
        (503, String::new()),
        (200, "<html>".to_owned()),
        (200, r#"{"keys":[]}"#.to_owned()),
    ] {
        let calls = proxy.tick(&Free);
        proxy.answer(&calls[0], bad.0, &bad.1);
        let outcome =
            send(&proxy, &Mint::rs256(RS256, premium().replace("alice", &format!("a{}", proxy.now))));
        assert_eq!(status(&outcome), 0);
        assert_eq!(outcome.count("jwks_age"), proxy.now - NOW);
        proxy.now += 30;
    }
}

#[test]
fn a_set_of_many_large_keys_is_read_up_to_a_mebibyte() {
    for (bytes, expected) in [(1024 * 1024, 0), (1024 * 1024 + 1, 503)] {
        let keys = Mint::key_set();
        let proxy = with_keys(&format!("{keys}{}", " ".repeat(bytes - keys.len())));
        assert_eq!(status(&send(&proxy, &good())), expected, "{bytes}");
    }
}

#[test]
fn a_secret_is_never_taken_from_an_issuer() {
    let proxy = proxy(&format!(r#"{KEYS_URI},"algorithms":["HS256"]"#));
    let calls = proxy.tick(&Free);
    proxy.answer(&calls[0], 200, r#"{"keys":[{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0-P0A"}]}"#);
    let secret: Vec<u8> = (0..65).collect();
    assert_eq!(status(&send(&proxy, &Mint::hs256(&secret, r#"{"alg":"HS256"}"#, premium()))), 503);
}

#[test]
fn a_token_of_a_new_key_has_the_keys_fetched_and_waits_for_them() {
    let mut proxy = with_keys(&keys_before_rotation());
    proxy.now += 30;
    let mut request = begin(&proxy, &good());
    let mut other = begin(&proxy, &good());
    assert!(request.waits && other.waits);
    let calls = proxy.tick(&Free);
    assert_eq!(calls.len(), 1, "one fetch for both");
    proxy.answer(&calls[0], 200, &Mint::key_set());
    request.wake(proxy.now);
    other.wake(proxy.now);
    for request in [request, other] {
        assert_eq!(request.outcome.values_folded("x-user-class"), ["premium"]);
    }
}

#[test]
fn a_flood_of_unknown_keys_has_keys_fetched_every_half_minute_at_most() {
    let mut proxy = with_keys(&keys_before_rotation());
    let mut fetches = 0;
    for second in 0..120 {
        proxy.now = NOW + second;
        let mut requests: Vec<Pending<'_>> = (0..5).map(|_| begin(&proxy, &good())).collect();
        for call in proxy.tick(&Free) {
            fetches += 1;
            proxy.answer(&call, 200, &keys_before_rotation());
        }
        for request in requests.iter_mut().filter(|request| request.waits) {
            request.wake(proxy.now);
        }
        for request in requests {
            assert_eq!((status(&request.outcome), request.outcome.count("kid_unknown")), (401, 1));
        }
    }
    assert_eq!(fetches, 3);
}

#[test]
fn tokens_of_unknown_keys_that_come_during_a_fetch_have_no_other_one_follow_it() {
    let mut proxy = with_keys(&keys_before_rotation());
    proxy.now += 30;
    let mut before = begin(&proxy, &good());
    let calls = proxy.tick(&Free);
    let mut during = begin(&proxy, &good());
    assert!(before.waits && during.waits);
    proxy.answer(&calls[0], 200, &keys_before_rotation());
    for request in [&mut before, &mut during] {
        request.wake(NOW + 30);
        assert_eq!((status(&request.outcome), request.outcome.count("kid_unknown")), (401, 1));
    }
    assert!(proxy.tick(&Free).is_empty(), "the last fetch began a moment ago");
}

#[test]
fn a_remembered_token_is_forgotten_with_its_key() {
    let mut proxy = with_keys(&Mint::key_set());
    assert_eq!(send(&proxy, &good()).count("cache_hits"), 0);
    assert_eq!(send(&proxy, &good()).count("cache_hits"), 1);
    proxy.now += 300;
    let calls = proxy.tick(&Free);
    proxy.answer(&calls[0], 200, &Mint::key_set());
    assert_eq!(send(&proxy, &good()).count("cache_hits"), 1, "the same keys again");
    proxy.now += 300;
    let calls = proxy.tick(&Free);
    proxy.answer(&calls[0], 200, &keys_before_rotation());
    assert_eq!(send(&proxy, &good()).count("kid_unknown"), 1);
}

/// Another instance has every lease.
struct Taken;

impl Leases for Taken {
    fn take(&self, _name: u64, _time: Duration) -> bool {
        false
    }

    fn give_back(&self, _name: u64) {
        panic!("it is not ours");
    }
}

#[test]
fn keys_are_refreshed_in_turn_and_fetched_at_once_where_requests_wait_for_them() {
    let mut proxy = proxy(KEYS_URI);
    let calls = proxy.tick(&Taken);
    assert_eq!(calls.len(), 1, "the first keys are fetched even while another VM fetches them");
    proxy.answer_with(&calls[0], 200, &keys_before_rotation(), &Taken);
    proxy.now += 300;
    assert!(proxy.tick(&Taken).is_empty(), "another instance is refreshing its own");
    let calls = proxy.tick(&Free);
    assert_eq!(calls.len(), 1);
    proxy.answer(&calls[0], 200, &keys_before_rotation());
    proxy.now += 30;
    assert!(begin(&proxy, &good()).waits);
    let calls = proxy.tick(&Taken);
    assert_eq!(calls.len(), 1, "a token waits for them");
    proxy.answer_with(&calls[0], 200, &Mint::key_set(), &Taken);
    assert_eq!(status(&send(&proxy, &good())), 0);
}

#[test]
fn an_unknown_key_of_an_issuer_that_is_down_is_refused_at_once_and_not_judged() {
    let mut proxy = with_keys(&keys_before_rotation());
    let known = Mint::rs256(RS256.replace("kid-rsa-sign", "kid-rsa-old"), premium());
    proxy.now += 300;
    let calls = proxy.tick(&Free);
    proxy.answer(&calls[0], 0, "");
    // Whether it is being asked, which may take five seconds, or will be asked again after 1, 2, 4, ... 30.
    let (mut under_way, mut attempts) = (None, 0);
    for second in 1..200 {
        proxy.now += 1;
        let outcome = send(&proxy, &good());
        assert_eq!((status(&outcome), outcome.count("unverified_no_keys")), (503, 1), "second {second}");
        assert_eq!(outcome.count("kid_unknown"), 0);
        assert_eq!(status(&send(&proxy, &known)), 0, "the old keys stay in use");
        if let Some((since, call)) = under_way.take_if(|(since, _)| proxy.now - *since == 5) {
            let _: u64 = since;
            proxy.answer(&call, 0, "");
        }
        for call in proxy.tick(&Free) {
            attempts += 1;
            under_way = Some((proxy.now, call));
        }
    }
    assert!((6..12).contains(&attempts), "{attempts}");
}

#[test]
fn a_request_whose_keys_did_not_come_in_time_is_not_judged() {
    for on_unverified in ["strip", "deny", "pass"] {
        let config = format!(
            r#"{{"source":"builtin","on_unverified":"{on_unverified}","strip":["authorization"],
"issuers":[{{"issuer":"https://idp.test","audiences":["inference"],"cluster":"idp"{KEYS_URI}}}],
"map":[{{"header":"x-user-class","claim":["user_type"],"type":"string"}}]}}"#
        );
        let outcome_of = |proxy: &Proxy, until: u64| {
            let mut request = begin(proxy, &good());
            assert!(request.waits);
            request.wake(until);
            assert!(!request.waits);
            request.outcome
        };
        // The first keys, and those that have a new key.
        let first = outcome_of(&Proxy::new(&config), NOW + 5);
        let mut proxy = Proxy::new(&config);
        let calls = proxy.tick(&Free);
        proxy.answer(&calls[0], 200, &keys_before_rotation());
        proxy.now += 30;
        let newer = outcome_of(&proxy, proxy.now + 5);
        for outcome in [first, newer] {
            let passes = on_unverified == "pass";
            assert_eq!(status(&outcome), if passes { 0 } else { 503 }, "{on_unverified}");
            assert!(outcome.values_folded("x-user-class").is_empty());
            assert_eq!(outcome.values_folded("authorization").len(), 1);
            assert_eq!((outcome.count("unverified_no_keys"), outcome.count("unjudged")), (1, 1));
            assert_eq!(outcome.count("kid_unknown"), 0);
        }
    }
}

#[test]
fn keys_that_are_too_old_are_not_believed_and_neither_is_a_token_that_is_remembered() {
    let config = format!(
        r#"{{"source":"builtin","jwks_max_stale_seconds":1000,
"issuers":[{{"issuer":"https://idp.test","audiences":["inference"],"cluster":"idp"{KEYS_URI}}}],
"map":[{{"header":"x-user-class","claim":["user_type"],"type":"string"}}]}}"#
    );
    let mut proxy = Proxy::new(&config);
    let calls = proxy.tick(&Free);
    proxy.answer(&calls[0], 200, &Mint::key_set());
    assert_eq!(send(&proxy, &good()).count("verified"), 1);
    for second in 1..1000 {
        proxy.now = NOW + second;
        for call in proxy.tick(&Free) {
            proxy.answer(&call, 500, "");
        }
        assert_eq!(proxy.gauge.get(), Some(second), "the age moves without traffic");
    }
    assert_eq!(send(&proxy, &good()).count("cache_hits"), 1);
    let before = proxy.log.borrow().len();
    proxy.now = NOW + 1000;
    for _ in 0..3 {
        for call in proxy.tick(&Free) {
            proxy.answer(&call, 500, "");
        }
        let outcome = send(&proxy, &good());
        assert_eq!((status(&outcome), outcome.count("unverified_no_keys")), (503, 1));
    }
    let stale: Vec<String> = proxy.log.borrow()[before..].to_vec();
    let stale: Vec<&String> = stale.iter().filter(|line| line.contains("not believed any more")).collect();
    assert_eq!(stale.len(), 1, "{stale:?}");
    assert!(stale[0].contains("https://idp.test") && stale[0].contains("1000 seconds"), "{stale:?}");
    // They come back.
    proxy.now += 30;
    let calls = proxy.tick(&Taken);
    proxy.answer_with(&calls[0], 200, &Mint::key_set(), &Taken);
    assert_eq!(send(&proxy, &good()).count("verified"), 1);
}

#[test]
fn keys_are_fetched_again_and_grow_old_after_the_clock_was_set_back() {
    const YEARS: u64 = 100_000_000;
    for is_up in [true, false] {
        let mut proxy = with_keys(&Mint::key_set());
        proxy.now = NOW - YEARS;
        let calls = proxy.tick(&Free);
        assert_eq!(calls.len(), 1, "they are fetched at once");
        proxy.answer(&calls[0], if is_up { 200 } else { 500 }, &keys_before_rotation());
        assert_eq!(proxy.gauge.get(), Some(0));
        if is_up {
            proxy.now += 30;
            let request = begin(&proxy, &good());
            assert!(request.waits, "an unknown key has them fetched");
            assert_eq!(proxy.tick(&Free).len(), 1);
        } else {
            proxy.now += 86_399;
            assert_eq!(proxy.tick(&Free).len(), 1);
            assert_eq!(send(&proxy, &good()).count("verified"), 1);
            proxy.now += 1;
            assert_eq!(send(&proxy, &good()).count("unverified_no_keys"), 1);
        }
    }
}

#[test]
fn a_forged_token_is_judged_anew_when_its_issuers_keys_have_changed() {
    let token = Mint::stranger(crate::attacks::mint::EDDSA, premium());
    let mut proxy = with_keys(&Mint::key_set());
    for _ in 0..2 {
        let outcome = send(&proxy, &token);
        assert_eq!((status(&outcome), outcome.count("unverified_signature")), (401, 1));
    }
    proxy.now += 300;
    let calls = proxy.tick(&Free);
    proxy.answer(&calls[0], 200, &format!(r#"{{"keys":[{}]}}"#, Mint::stranger_key()));
    assert_eq!(send(&proxy, &token).count("verified"), 1);
}

#[test]
fn the_log_says_which_fetched_key_is_not_used_or_why_a_set_is_not_taken() {
    let weak = r#"{"kty":"RSA","kid":"old","n":"AQ","e":"AQAB"}"#;
    let set = Mint::key_set().replacen(r#""keys":["#, &format!(r#""keys":[{weak},"#), 1);
    let proxy = with_keys(&set);
    let remark = r#"the keys of the issuer "https://idp.test": keys[0] (kid "old") is not used: its modulus has 1 bits; 2048 to 8192 are accepted"#;
    assert_eq!(*proxy.log.borrow(), [remark]);
    assert_eq!(status(&send(&proxy, &good())), 0);

    for (set, why) in [
        (
            format!(r#"{{"keys":[{weak}]}}"#),
            "none of its keys can be used; keys[0] (kid \"old\") is not used",
        ),
        ("<html>".to_owned(), "not a JSON Web Key set: not JSON"),
        ("{}".to_owned(), "no list of `keys`"),
        (r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"RSA"}]}"#.to_owned(), "secrets"),
    ] {
        let proxy = self::proxy(KEYS_URI);
        let calls = proxy.tick(&Free);
        proxy.answer(&calls[0], 200, &set);
        let log = proxy.log.borrow();
        assert!(log.iter().any(|line| line.contains("https://idp.test") && line.contains(why)), "{log:?}");
        assert!(!log.iter().any(|line| line.contains("c2VjcmV0")), "{log:?}");
    }
}
