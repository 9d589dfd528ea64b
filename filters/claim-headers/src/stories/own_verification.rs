//! Tokens that the filter verifies itself, and what is done with their requests.

use super::{MAP, assert_not_judged, bearer, builtin, forged, new_user, send};
use crate::attacks::mint::{Mint, RS256, good, payload, premium, premium_but};
use crate::attacks::proxy::{NOW, Proxy};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

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
