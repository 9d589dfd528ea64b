use super::*;
use crate::attacks::mint::Mint;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The public RSA key of the tests, with these members instead of the usual ones.
fn rsa(members: &str) -> String {
    let set = json::parse(Mint::key_set().as_bytes(), 4).unwrap();
    let Some(Value::Array(keys)) = set.get("keys") else { panic!("a list") };
    let text = |name: &str| keys[0].get(name).and_then(Value::text).unwrap().to_owned();
    format!(r#"{{"kty":"RSA","n":"{}","e":"{}"{members}}}"#, text("n"), text("e"))
}

/// Another one's key on Ed25519.
fn ed(members: &str) -> String {
    Mint::stranger_key().replace(r#""kid":"kid-ed-sign","alg":"EdDSA","#, "").replacen(
        '}',
        &format!("{members}}}"),
        1,
    )
}

fn set(keys: &[String]) -> Result<KeySet, SetError> {
    KeySet::read(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
}

/// How many keys are tried for a token, or why none is.
fn tried(set: &KeySet, algorithm: Algorithm, kid: Option<&str>) -> Result<usize, Refusal> {
    tried_with(set, algorithm, kid, KeyRules::default())
}

fn tried_with(
    set: &KeySet,
    algorithm: Algorithm,
    kid: Option<&str>,
    rules: KeyRules<'_>,
) -> Result<usize, Refusal> {
    let header = Header { algorithm, key_id: kid.map(str::to_owned) };
    set.select(&header, rules).map(|keys| keys.len())
}

fn other_rsa(number: u8, members: &str) -> String {
    Mint::other_rsa_key(number, members)
}

#[test]
fn one_key_under_several_algorithms_and_one_that_is_there_twice_are_used() {
    let algs = ["RS256", "RS384", "RS512"].map(|alg| rsa(&format!(r#","kid":"a","alg":"{alg}""#)));
    let set = self::set(&algs).unwrap();
    for algorithm in [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512] {
        assert_eq!(tried(&set, algorithm, Some("a")), Ok(1), "{algorithm:?}");
    }
    assert_eq!(tried(&set, Algorithm::PS256, Some("a")), Err(Refusal::Algorithm));

    let twice = rsa(r#","kid":"a","alg":"RS256""#);
    let set = self::set(&[twice.clone(), twice]).unwrap();
    assert_eq!((tried(&set, Algorithm::RS256, Some("a")), set.remarks().len()), (Ok(1), 0));
    let nameless = self::set(&[rsa(""), rsa("")]).unwrap();
    assert_eq!(tried(&nameless, Algorithm::RS256, None), Ok(1));

    let of_two_algorithms = self::set(&[
        rsa(r#","kid":"a","alg":"RS256""#),
        other_rsa(1, r#","kid":"a","alg":"PS256""#),
        ed(r#","kid":"a""#),
    ]);
    let set = of_two_algorithms.unwrap();
    for algorithm in [Algorithm::RS256, Algorithm::PS256, Algorithm::EdDsa] {
        assert_eq!(tried(&set, algorithm, Some("a")), Ok(1), "{algorithm:?}");
    }
}

#[test]
fn different_keys_of_one_name_and_algorithm_are_not_used_and_the_log_says_so() {
    let named = r#","kid":"a","alg":"RS256""#;
    let set = self::set(&[rsa(named), other_rsa(1, named), ed(r#","kid":"b""#)]).unwrap();
    assert_eq!(tried(&set, Algorithm::RS256, Some("a")), Err(Refusal::UnknownKey));
    assert_eq!(
        set.remarks(),
        [0, 1].map(|at| format!(
            "keys[{at}] (kid \"a\") is not used: another key of the set has the same `kid` and `alg`"
        ))
    );
    // One of which the owner has published the private part is two keys: his, and everyone's.
    let private = rsa(r#","kid":"a","alg":"RS256","d":"AQ""#);
    let set = self::set(&[rsa(named), private, ed(r#","kid":"b""#)]).unwrap();
    assert_eq!(tried(&set, Algorithm::RS256, Some("a")), Err(Refusal::UnknownKey));
    // What is for something else has no say in it.
    let set = self::set(&[rsa(named), other_rsa(1, r#","kid":"a","alg":"RS256","use":"enc""#)]).unwrap();
    assert_eq!(tried(&set, Algorithm::RS256, Some("a")), Ok(1));
}

#[test]
fn where_names_are_missing_up_to_four_keys_that_fit_are_tried() {
    let nameless: Vec<String> = (1..=6).map(|number| other_rsa(number, "")).collect();
    let set = self::set(&[&nameless[..], &[ed("")]].concat()).unwrap();
    assert_eq!(tried(&set, Algorithm::RS256, None), Ok(4));
    assert_eq!(tried(&set, Algorithm::EdDsa, None), Ok(1));
    assert_eq!(tried(&set, Algorithm::RS256, Some("only in the token")), Ok(4));
    assert_eq!(tried(&set, Algorithm::ES256, None), Err(Refusal::Algorithm));
    assert_eq!(tried(&set, Algorithm::ES256, Some("a")), Err(Refusal::UnknownKey), "it may come");

    let named: Vec<String> =
        (1..=3).map(|number| other_rsa(number, &format!(r#","kid":"{number}""#))).collect();
    let set = self::set(&[&named[..], &[rsa("")]].concat()).unwrap();
    assert_eq!(tried(&set, Algorithm::RS256, None), Ok(4));
    assert_eq!(tried(&set, Algorithm::RS256, Some("2")), Ok(1));
    assert_eq!(tried(&set, Algorithm::RS256, Some("9")), Ok(1), "the one without a name");
}

#[test]
fn who_is_strict_uses_a_key_only_for_tokens_that_name_it() {
    let strict = KeyRules { id_required: true, ..KeyRules::default() };
    let set = self::set(&[rsa(""), other_rsa(1, r#","kid":"a""#)]).unwrap();
    assert_eq!(tried_with(&set, Algorithm::RS256, None, strict), Err(Refusal::Header));
    assert_eq!(tried_with(&set, Algorithm::RS256, Some("b"), strict), Err(Refusal::UnknownKey));
    assert_eq!(tried_with(&set, Algorithm::RS256, Some("a"), strict), Ok(1));
}

#[test]
fn of_a_large_set_the_first_hundred_usable_keys_are_used() {
    let key = |number: usize| ed(&format!(r#","kid":"{number}""#));
    let keys: Vec<String> = [rsa(r#","use":"enc""#)].into_iter().chain((0..130).map(key)).collect();
    let set = self::set(&keys).unwrap();
    assert_eq!(tried(&set, Algorithm::EdDsa, Some("99")), Ok(1));
    assert_eq!(tried(&set, Algorithm::EdDsa, Some("100")), Err(Refusal::UnknownKey));
    let remarks = set.remarks();
    assert_eq!(remarks[0], "keys[0] is not used: its `use` or `key_ops` is not for checking signatures");
    assert!(remarks[1].starts_with("the last 30 keys are not looked at"), "{remarks:?}");
}

#[test]
fn a_member_that_is_null_is_not_there() {
    let key = rsa(r#","kid":null,"alg":null,"use":null,"key_ops":null,"d":null,"x5c":null"#);
    let set = self::set(&[key]).unwrap();
    assert_eq!(tried(&set, Algorithm::RS256, None), Ok(1));
    assert_eq!(tried(&set, Algorithm::RS256, Some("a")), Ok(1), "its `kid` is not there either");
}

#[test]
fn the_log_says_which_key_is_not_used_and_why_and_nothing_secret() {
    let small = rsa(r#","kid":"small""#).replace(r#""n":""#, r#""n":"AQ","x":""#);
    for (key, why) in [
        (small, "keys[0] (kid \"small\") is not used: its modulus has 1 bits"),
        (rsa(r#","alg":"RSA-OAEP""#), "keys[0] is not used: its `alg` is not supported"),
        (rsa(r#","alg":"ES256""#), "its `alg` does not go with its `kty` or `crv`"),
        (rsa(r#","alg":7"#), "its `alg` is missing or malformed"),
        (rsa(r#","d":"c2VjcmV0""#), "it has a private part"),
        (ed("").replace("Ed25519", "Ed448"), "its `crv` is not supported"),
        (r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#.to_owned(), "its `x` is missing or malformed"),
        (r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(), "it is too weak: its secret has fewer than 32 bytes"),
        (r#"{"kty":"AKP"}"#.to_owned(), "its `kty` is not supported"),
        (r#"{"kid":"x"}"#.to_owned(), "its `kty` is missing or malformed"),
        ("7".to_owned(), "its `kty` is missing or malformed"),
    ] {
        let error = set(std::slice::from_ref(&key)).unwrap_err().to_string();
        assert!(error.starts_with("none of its keys can be used; ") && error.contains(why), "{error}");
        assert!(!error.contains("c2VjcmV0"), "{error}");
    }
}
