//! Public test vectors: Project Wycheproof and RFC 7515, appendix A. Where they come from: `tests/vectors/README.md`.

use crate::json::{self, Value};
use crate::keys::{Key, KeyRules, KeySet};
use crate::signature;
use crate::token::{Header, Jws, MAX_DEPTH};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::BTreeMap;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

macro_rules! vectors {
    ($name:literal) => {
        include_str!(concat!("../tests/vectors/", $name, ".json"))
    };
}

/// Valid by the file, but not for this filter. All of its invalid ones are refused.
const EXCEPTIONS_OF_SIGNATURES: &[(&str, &[u64])] = &[
    ("the token says PS384, its key PS256", &[346, 350]),
    ("ES521 is not the name of ES512", &[347, 351]),
    ("the text has a `?`, which base64url does not have", &[372, 373]),
];

/// Invalid by the file, but byte for byte the same as its valid token 357.
const SAME_AS_A_VALID_ONE: &[u64] = &[367, 370];

/// Valid by the file, but not for this filter.
const EXCEPTIONS_OF_KEYS: &[(&str, &[u64])] = &[("HS384 and HS512 are not offered", &[14, 15])];

#[test]
fn wycheproof_signatures_are_judged_as_their_file_says() {
    let run = run(vectors!("wycheproof_json_web_signature_test"), |group| {
        let mut key = group.get("public").or_else(|| group.get("private")).unwrap().clone();
        // The file gives secrets to both sides, and no public key that is there has a private part.
        if let (Value::Object(key), false) = (&mut key, group.get("public").is_some()) {
            key.remove("d");
        }
        Value::Array(vec![key])
    });
    assert_eq!(run.cases, 401);
    run.differ_only(EXCEPTIONS_OF_SIGNATURES, SAME_AS_A_VALID_ONE);
}

#[test]
fn wycheproof_key_sets_are_judged_as_their_file_says() {
    let run = run(vectors!("wycheproof_json_web_key_test"), |group| {
        let set = group.get("public").or_else(|| group.get("private")).unwrap();
        set.get("keys").unwrap().clone()
    });
    assert_eq!(run.cases, 26);
    run.differ_only(EXCEPTIONS_OF_KEYS, &[]);
}

#[test]
fn the_signatures_of_rfc_7515_appendix_a_are_right_but_for_the_one_that_is_not_there() {
    let Value::Array(cases) = parse(vectors!("rfc7515_appendix_a")) else { panic!("a list") };
    let judged: Vec<(&str, bool)> = cases
        .iter()
        .map(|case| {
            let keys = case.get("jwk").cloned().into_iter().collect();
            (case.get("name").unwrap().text().unwrap(), accepts(Value::Array(keys), case.get("jws").unwrap()))
        })
        .collect();
    // A.5 has no signature at all.
    let expected = [("A.1", true), ("A.2", true), ("A.3", true), ("A.4", true), ("A.5", false)];
    assert_eq!(judged.len(), expected.len());
    for ((name, accepted), (suffix, expected)) in judged.iter().zip(expected) {
        assert!(name.ends_with(suffix) && *accepted == expected, "{name}: {accepted}");
    }
}

#[test]
fn wycheproof_ecdsa_signatures_are_judged_as_their_file_says() {
    let cases = primitives(vectors!("wycheproof_ecdsa_secp256r1_sha256_p1363_test"), "ES256", |group| {
        let key = group.get("publicKey").unwrap();
        let number = |name: &str| {
            let bytes = unhex(key.get(name).unwrap().text().unwrap());
            let start = bytes.len().saturating_sub(32);
            [vec![0; 32 - (bytes.len() - start)], bytes[start..].to_vec()].concat()
        };
        [
            ("kty", "EC".to_owned()),
            ("crv", "P-256".to_owned()),
            ("x", encode(&number("wx"))),
            ("y", encode(&number("wy"))),
        ]
        .into()
    });
    assert_eq!(cases, 262);
}

#[test]
fn wycheproof_ed25519_signatures_are_judged_as_their_file_says() {
    let cases = primitives(vectors!("wycheproof_ed25519_test"), "EdDSA", |group| {
        let point = unhex(group.get("publicKey").unwrap().get("pk").unwrap().text().unwrap());
        [("kty", "OKP".to_owned()), ("crv", "Ed25519".to_owned()), ("x", encode(&point))].into()
    });
    assert_eq!(cases, 151);
}

#[test]
fn wycheproof_rsa_signatures_are_judged_as_their_files_say() {
    let key = |group: &Value| {
        let key = group.get("publicKey").unwrap_or(group);
        let number = |long: &str, short: &str| {
            let bytes = unhex(key.get(long).or_else(|| key.get(short)).unwrap().text().unwrap());
            encode(&bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(0)..])
        };
        [("kty", "RSA".to_owned()), ("n", number("modulus", "n")), ("e", number("publicExponent", "e"))]
            .into()
    };
    assert_eq!(primitives(vectors!("wycheproof_rsa_signature_2048_sha256_test"), "RS256", key), 259);
    assert_eq!(primitives(vectors!("wycheproof_rsa_pss_2048_sha256_mgf1_32_test"), "PS256", key), 108);
}

/// A file's tokens, judged.
#[derive(Default)]
struct Run {
    cases: usize,
    /// Valid by the file, and refused.
    refused: Vec<u64>,
    /// Invalid by the file, and accepted.
    accepted: Vec<u64>,
}

impl Run {
    fn differ_only(&self, refused: &[(&str, &[u64])], accepted: &[u64]) {
        let mut expected: Vec<u64> = refused.iter().flat_map(|(_, cases)| cases.iter().copied()).collect();
        expected.sort_unstable();
        assert_eq!(self.refused, expected, "valid ones that were refused");
        assert_eq!(self.accepted, accepted, "invalid ones that were accepted");
    }
}

/// Judges all tokens of a file whose groups have keys.
fn run(file: &str, keys: impl Fn(&Value) -> Value) -> Run {
    let mut run = Run::default();
    for group in groups(&parse(file)) {
        for test in items(group, "tests") {
            let accepted = accepts(keys(group), test.get("jws").unwrap());
            let valid = test.get("result").unwrap().text() == Some("valid");
            run.cases += 1;
            match (valid, accepted) {
                (true, false) => run.refused.push(number(test)),
                (false, true) => run.accepted.push(number(test)),
                _ => {}
            }
        }
    }
    run
}

/// Judges a file of signatures without tokens, all of which must be judged as the file says, but that keys too weak to
/// be used are refused; and says how many there are.
fn primitives(file: &str, algorithm: &str, jwk: impl Fn(&Value) -> BTreeMap<&'static str, String>) -> usize {
    let mut cases = 0;
    for group in groups(&parse(file)) {
        let mut key: BTreeMap<String, Value> =
            jwk(group).into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
        key.insert("alg".to_owned(), Value::String(algorithm.to_owned()));
        let keys = keys(Value::Array(vec![Value::Object(key)])).expect("a usable key");
        let header = Header { algorithm: crate::token::Algorithm::named(algorithm).unwrap(), key_id: None };
        let candidates = keys.select(&header, KeyRules::default()).unwrap();
        let [key] = candidates[..] else { panic!("one key") };
        for test in items(group, "tests") {
            cases += 1;
            let bytes = |name: &str| unhex(test.get(name).unwrap().text().unwrap());
            let right = is_right(header.algorithm, key, &bytes("msg"), &bytes("sig"));
            // "acceptable" is a legacy form: the NULL of the hash's algorithm identifier left out.
            let valid = test.get("result").unwrap().text() == Some("valid");
            assert_eq!(right, valid, "{}", number(test));
        }
    }
    cases
}

fn accepts(keys_of_group: Value, token: &Value) -> bool {
    // The JSON serialisation is an object: no token that a request carries.
    let Some(token) = token.text() else { return false };
    let Ok(keys) = keys(keys_of_group) else { return false };
    let Ok(jws) = Jws::parse(token.as_bytes(), 100_000) else { return false };
    let Ok(header) = Header::read(&jws.header, &["JWT".to_owned()]) else { return false };
    let Ok(candidates) = keys.select(&header, KeyRules::default()) else { return false };
    !jws.padded && candidates.iter().any(|key| is_right(header.algorithm, key, jws.signed, &jws.signature))
}

/// Plain Rust, which decides in wasm where the host cannot, never says otherwise than what decides natively.
fn is_right(algorithm: crate::token::Algorithm, key: &Key, signed: &[u8], sig: &[u8]) -> bool {
    let right = signature::is_right(algorithm, key, signed, sig, &|_| None);
    assert_eq!(signature::is_right_in_rust(algorithm, key, signed, sig), right);
    right
}

fn keys(keys: Value) -> Result<KeySet, crate::keys::SetError> {
    let set = Value::Object([("keys".to_owned(), keys)].into());
    KeySet::read(write(&set).as_bytes())
}

/// A value as text again.
fn write(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(text) => text.clone(),
        Value::String(text) => serde_json::to_string(text).unwrap(),
        Value::Array(items) => format!("[{}]", items.iter().map(write).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("{}:{}", serde_json::to_string(name).unwrap(), write(value))
            };
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
        }
    }
}

fn parse(file: &str) -> Value {
    json::parse(file.as_bytes(), MAX_DEPTH).unwrap()
}

fn groups(file: &Value) -> &[Value] {
    items(file, "testGroups")
}

fn items<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    let Some(Value::Array(items)) = value.get(name) else { panic!("no list of {name}") };
    items
}

fn number(test: &Value) -> u64 {
    let Some(Value::Number(text)) = test.get("tcId") else { panic!("no tcId") };
    text.parse().unwrap()
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}
