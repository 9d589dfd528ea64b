//! Attacks by what a token says, rightly signed.

use super::mint::{Mint, RS256, payload, premium_but};
use super::{Attempt, attacks};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A right token in which something is written otherwise.
fn but(from: &str, to: &str) -> Attempt {
    Attempt::with(to, Mint::rs256(RS256, premium_but(from, to)))
}

attacks! {
    an_expiry_that_is_no_time_is_refused {
        let with = |value: &str| but(r#""exp":4102444800"#, &format!(r#""exp":{value}"#)).refused("unverified_times");
        let bad = ["null", r#""4102444800""#, "true", "-1", "1e300", "18446744073709551616", "9007199254740993", "9007199254740992.1", "1e16", "1e99999999999", "-4102444800.5", "-4.1e9", r#""4102444800.5""#, "[4102444800]", "{}"];
        let mut all: Vec<Attempt> = bad.map(with).into();
        all.push(but(r#""exp":4102444800,"#, "").refused("unverified_times"));
        all.push(but(r#""exp":4102444800"#, r#""exp":NaN"#).refused("unverified_malformed"));
        all
    }

    a_time_may_have_a_fraction_or_an_exponent {
        let with = |claim: &str, from: &str, to: &str| but(&format!(r#""{claim}":{from}"#), &format!(r#""{claim}":{to}"#));
        let mut all: Vec<Attempt> = ["4102444800.5", "4102444800.0", "4.1e9", "4.1E+9", "41024448005e-1"]
            .into_iter()
            .map(|value| with("exp", "4102444800", value).accepted("premium"))
            .collect();
        all.extend(["1700000000.25", "1.7E9", "1700000000.000", "1.5"].map(|value| with("iat", "1700000000", value).accepted("premium")));
        all.push(with("exp", "4102444800", "1.7e9").refused("unverified_expired"));
        all.push(with("exp", "4102444800", "1700000001.9").refused("unverified_expired"));
        all.push(with("iat", "1700000000", "4.1024447e9").refused("unverified_not_yet_valid"));
        all
    }

    a_token_is_believed_in_its_time_only {
        vec![
            but(r#""exp":4102444800"#, r#""exp":1700000001"#).refused("unverified_expired"),
            but(r#""exp":4102444800"#, r#""exp":0"#).refused("unverified_expired"),
            but(r#""iat":1700000000"#, r#""nbf":4102444700"#).refused("unverified_not_yet_valid"),
            but(r#""iat":1700000000"#, r#""iat":4102444700"#).refused("unverified_not_yet_valid"),
            but(r#""iat":1700000000"#, r#""iat":"1700000000""#).refused("unverified_times"),
            but(r#""iat":1700000000"#, r#""nbf":null"#).refused("unverified_times"),
            but(r#""iat":1700000000"#, r#""nbf":-1"#).refused("unverified_times"),
            but(r#""iat":1700000000"#, r#""nbf":1700000000"#).accepted("premium"),
        ]
    }

    a_token_for_somebody_else_is_refused {
        let with = |value: &str| but(r#""aud":"inference""#, &format!(r#""aud":{value}"#));
        let bad = [r#""other""#, r#""inference/""#, r#""Inference""#, r#""inference ""#, r#""https://inference""#, "1", "true", "null", "[]", "{}", r#"["other"]"#, r#"["inference",1]"#, r#"[["inference"]]"#, r#"{"inference":1}"#];
        let mut all: Vec<Attempt> = bad.map(|value| with(value).refused("unverified_audience")).into();
        all.push(but(r#""aud":"inference","#, "").refused("unverified_audience"));
        all.push(with(r#"["other","inference"]"#).accepted("premium"));
        all
    }

    an_issuer_is_compared_exactly {
        let with = |value: &str| but(r#""iss":"https://idp.test""#, &format!(r#""iss":{value}"#)).refused("unverified_issuer");
        let mut all: Vec<Attempt> = [r#""https://idp.test/""#, r#""http://idp.test""#, r#""HTTPS://idp.test""#, r#""idp.test""#, r#""https://idp.test.evil.test""#, r#"["https://idp.test"]"#, "null", "1", r#""""#].map(with).into();
        all.push(but(r#""iss":"https://idp.test","#, "").refused("unverified_issuer"));
        all
    }

    a_claim_that_would_be_two_headers_or_another_value_is_never_passed_on {
        [r"premium\r\nx-admin: yes", r"premium\n", r"premium\u0000", r"premium\u007f", " premium", "premium ", r"\tpremium", "premium,basic", "prémium", "PREMIUM", r"premium\u200b"]
            .into_iter()
            .map(|text| {
                let also = format!(r#","user_type":"{text}","name":"{text}""#);
                Attempt::with(format!("{text:?}"), Mint::rs256(RS256, payload(&also))).accepted("basic")
            })
            .collect()
    }

    a_claim_that_is_not_a_string_is_no_user_class {
        ["null", r#""""#, "{}", r#"{"premium":"premium"}"#, "[]", r#"["premium"]"#, "true", "1"]
            .into_iter()
            .map(|value| {
                let also = format!(r#","user_type":{value}"#);
                Attempt::with(value, Mint::rs256(RS256, payload(&also))).accepted("basic")
            })
            .chain([Attempt::with("absent", Mint::rs256(RS256, payload(""))).accepted("basic")])
            .collect()
    }

    numbers_keep_their_digits {
        let with = |value: &str| {
            let also = format!(r#","user_type":"premium","level":{value}"#);
            Attempt::with(value, Mint::rs256(RS256, payload(&also))).accepted("premium")
        };
        vec![
            with("9007199254740993").level("9007199254740993"),
            with("-3").level("-3"),
            with("0").level("0"),
            with("1.5"),
            with("1e21"),
            with("-0"),
            with(r#""3""#),
        ]
    }
}
