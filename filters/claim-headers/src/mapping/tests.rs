use super::{Claim, Mapped};
use crate::config::Rule;
use crate::json;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// What a rule makes of a payload: the value, or why there is none.
fn map(rule: &str, payload: &str) -> Result<String, &'static str> {
    let rule: Rule = serde_json::from_str(rule).unwrap();
    let payload = json::parse(payload.as_bytes(), 32).unwrap();
    match rule.apply(Claim::in_payload(&payload, &rule)) {
        Mapped::Value(value) => Ok(value),
        Mapped::Missing(None) => Err("missing"),
        Mapped::Bad(None) => Err("bad"),
        Mapped::Missing(Some(_)) => Err("missing, with a default"),
        Mapped::Bad(Some(_)) => Err("bad, with a default"),
    }
}

const STRING: &str = r#"{"header":"h","claim":["c"],"type":"string"}"#;

#[test]
fn a_path_is_followed_member_by_member_and_never_split_at_dots() {
    let rule = r#"{"header":"h","claim":["https://example.com/claims/tier"],"type":"string"}"#;
    assert_eq!(map(rule, r#"{"https://example.com/claims/tier":"gold"}"#).unwrap(), "gold");
    assert_eq!(map(rule, r#"{"https://example":{"com/claims/tier":"gold"}}"#), Err("missing"));
    let rule = r#"{"header":"h","claim":["a","b.c"],"type":"string"}"#;
    assert_eq!(map(rule, r#"{"a":{"b.c":"x"}}"#).unwrap(), "x");
    assert_eq!(map(rule, r#"{"a":{"b":{"c":"x"}}}"#), Err("missing"));
    assert_eq!(map(rule, r#"{"a":"x"}"#), Err("missing"));
    assert_eq!(map(rule, r#"{"a":[{"b.c":"x"}]}"#), Err("missing"));
}

#[test]
fn a_claim_of_another_type_than_the_rules_is_a_bad_value() {
    for payload in [r#"{"c":1}"#, r#"{"c":true}"#, r#"{"c":["a"]}"#, r#"{"c":{}}"#] {
        assert_eq!(map(STRING, payload), Err("bad"), "{payload}");
    }
    let bool = r#"{"header":"h","claim":["c"],"type":"bool"}"#;
    assert_eq!(map(bool, r#"{"c":true}"#).unwrap(), "true");
    for text in ["true", "false"] {
        assert_eq!(map(bool, &format!(r#"{{"c":"{text}"}}"#)).unwrap(), text);
    }
    for value in [r#""True""#, r#""1""#, "1", r#"" true""#, r#"["true"]"#] {
        assert_eq!(map(bool, &format!(r#"{{"c":{value}}}"#)), Err("bad"), "{value}");
    }
}

#[test]
fn absent_null_and_empty_claims_are_missing() {
    for payload in ["{}", r#"{"c":null}"#, r#"{"c":""}"#] {
        assert_eq!(map(STRING, payload), Err("missing"), "{payload}");
    }
    let list = r#"{"header":"h","claim":["c"],"type":"list","default":"none"}"#;
    assert_eq!(map(list, r#"{"c":[]}"#), Err("missing, with a default"));
}

#[test]
fn a_text_that_could_be_read_in_another_way_is_never_passed_on() {
    for text in [
        r"a\r\nx-admin: yes",
        r"a\nb",
        r"a\u0000b",
        r"a\u007f",
        r"a\tb",
        " premium ",
        "premium ",
        " premium",
        "prämium",
        "a,b",
    ] {
        assert_eq!(map(STRING, &format!(r#"{{"c":"{text}"}}"#)), Err("bad"), "{text}");
    }
    assert_eq!(map(STRING, r#"{"c":"premium plus"}"#).unwrap(), "premium plus");
}

#[test]
fn integers_keep_their_digits_and_no_other_number_is_one() {
    let rule = r#"{"header":"h","claim":["c"],"type":"integer"}"#;
    for number in ["9007199254740993", "-3", "0", "123456789012345678901234567890"] {
        assert_eq!(map(rule, &format!(r#"{{"c":{number}}}"#)).unwrap(), number);
    }
    for number in ["1.5", "1e21", "1.0", "-0", "\"3\""] {
        assert_eq!(map(rule, &format!(r#"{{"c":{number}}}"#)), Err("bad"), "{number}");
    }
}

#[test]
fn a_list_is_joined_and_an_item_that_would_be_two_spoils_it() {
    let rule = r#"{"header":"h","claim":["realm_access","roles"],"type":"list"}"#;
    let roles = |roles: &str| map(rule, &format!(r#"{{"realm_access":{{"roles":{roles}}}}}"#));
    assert_eq!(roles(r#"["a","b c"]"#).unwrap(), "a,b c");
    assert_eq!(roles(r#""a""#).unwrap(), "a");
    assert_eq!(roles(r#"["a","b,admin"]"#), Err("bad"));
    assert_eq!(roles(r#"["a",1]"#), Err("bad"));
    assert_eq!(roles(r#"["a",["b"]]"#), Err("bad"));
    assert_eq!(roles("[3,-1,9007199254740993]").unwrap(), "3,-1,9007199254740993");
    for list in ["[1.5]", "[1,-0]", "[1e3]", "[true]", "[1,null]", "3"] {
        assert_eq!(roles(list), Err("bad"), "{list}");
    }
    assert_eq!(roles(r#"["a","b\n"]"#), Err("bad"));
    let spaced = r#"{"header":"h","claim":["c"],"type":"list","join":" "}"#;
    assert_eq!(map(spaced, r#"{"c":["a","b"]}"#).unwrap(), "a b");
    assert_eq!(map(spaced, r#"{"c":["a","b admin"]}"#), Err("bad"));
}

#[test]
fn only_what_allow_and_table_name_is_passed_on() {
    let allow =
        r#"{"header":"h","claim":["c"],"type":"string","allow":["premium","basic"],"default":"basic"}"#;
    assert_eq!(map(allow, r#"{"c":"premium"}"#).unwrap(), "premium");
    assert_eq!(map(allow, r#"{"c":"Premium"}"#), Err("bad, with a default"));
    let table = r#"{"header":"h","claim":["c"],"type":"string","table":{"gold, star":"1"}}"#;
    assert_eq!(map(table, r#"{"c":"gold, star"}"#).unwrap(), "1");
    assert_eq!(map(table, r#"{"c":"1"}"#), Err("bad"));
    let roles = r#"{"header":"h","claim":["c"],"type":"list","allow":["a","b"]}"#;
    assert_eq!(map(roles, r#"{"c":["b","x,admin","a"]}"#).unwrap(), "b,a");
    assert_eq!(map(roles, r#"{"c":["x"]}"#), Err("bad"));
}

#[test]
fn with_an_encoding_names_of_people_and_directories_pass() {
    let with = |encode: &str, value: &str| {
        map(
            &format!(r#"{{"header":"h","claim":["c"],"type":"string","encode":"{encode}"}}"#),
            &format!(r#"{{"c":"{value}"}}"#),
        )
    };
    for (value, percent, base64url) in [
        ("Zoë", "Zo%C3%AB", "Wm_Dqw"),
        ("Doe, Jane", "Doe%2C%20Jane", "RG9lLCBKYW5l"),
        (
            "CN=Jane,OU=ML,DC=example",
            "CN%3DJane%2COU%3DML%2CDC%3Dexample",
            "Q049SmFuZSxPVT1NTCxEQz1leGFtcGxl",
        ),
        (" a%b+", "%20a%25b%2B", "IGElYis"),
        ("premium-1._~", "premium-1._~", "cHJlbWl1bS0xLl9-"),
    ] {
        assert_eq!(with("percent", value).unwrap(), percent);
        assert_eq!(with("base64url", value).unwrap(), base64url);
    }
    for value in [r"a\r\nb", r"\u0000", r"a\u007f", r"a\u0085"] {
        assert_eq!(with("percent", value), Err("bad"), "{value}");
        assert_eq!(with("base64url", value), Err("bad"), "{value}");
    }
    assert_eq!(with("percent", ""), Err("missing"));
}

#[test]
fn an_encoding_is_that_of_each_item_of_a_list_and_of_what_the_rule_says_instead() {
    let list = r#"{"header":"h","claim":["c"],"type":"list","encode":"percent","join":", ","default":"é"}"#;
    assert_eq!(map(list, r#"{"c":["Doe, Jane","ü"]}"#).unwrap(), "Doe%2C%20Jane, %C3%BC");
    let rule: Rule = serde_json::from_str(list).unwrap();
    assert_eq!(rule.apply(Claim::Absent), Mapped::Missing(Some("%C3%A9".to_owned())));
    let table = r#"{"header":"h","claim":["c"],"type":"string","encode":"base64url","allow":["ü"],"table":{"ü":"ue, u"}}"#;
    assert_eq!(map(table, r#"{"c":"ü"}"#).unwrap(), "dWUsIHU");
}

#[test]
fn a_value_may_be_as_long_as_its_rule_says() {
    let of = |also: &str, length: usize| {
        let rule = format!(r#"{{"header":"h","claim":["c"],"type":"list"{also}}}"#);
        map(&rule, &format!(r#"{{"c":["{}","b"]}}"#, "x".repeat(length - 2))).map(|value| value.len())
    };
    assert_eq!((of("", 4096), of("", 4097)), (Ok(4096), Err("bad")));
    let longer = r#","max_bytes":16384"#;
    assert_eq!((of(longer, 16384), of(longer, 16385)), (Ok(16384), Err("bad")));
    let encoded = r#"{"header":"h","claim":["c"],"type":"string","encode":"percent","max_bytes":5}"#;
    assert_eq!(map(encoded, r#"{"c":"é"}"#), Err("bad"), "it is the header's bytes that count");
}
