//! Tokens, key sets and requests for `claim-headers`, and what a second reader makes of them.
//!
//! The tokens are rightly signed, by a secret that the configuration has, so that everything behind a signature is
//! reached. The second reader is `serde_json` under [`Json`], and rules that are written down once more.

mod host;
mod seeds;

pub(crate) use seeds::seeds;

use crate::json::{Json, NoTree};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac as _;
use host::{Outcome, Proxy};
use std::sync::LazyLock;

/// What the rest of an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The value of the claim `c`, and what may follow it.
    Claim,
    /// A token's header.
    Header,
    /// The value of `authorization`, in which [`TOKEN`] and [`OTHER`] stand for tokens; the same in the next two.
    Authorization,
    /// The value of `cookie`.
    Cookie,
    /// The path.
    Path,
    /// A set of keys that is fetched.
    Keys,
}

impl Part {
    pub(crate) const ALL: [Self; 6] =
        [Self::Claim, Self::Header, Self::Authorization, Self::Cookie, Self::Path, Self::Keys];
}

/// Stand for two good tokens.
pub(crate) const TOKEN: u8 = 1;
pub(crate) const OTHER: u8 = 2;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const SECRET: [u8; 32] = [7; 32];

/// Checks an input: the number of its part, and that part.
pub(crate) fn check(input: &[u8]) {
    let Some((part, rest)) = input.split_first() else { return };
    match Part::ALL[usize::from(*part) % Part::ALL.len()] {
        Part::Claim => check_claim(rest),
        Part::Header => check_header(rest),
        Part::Authorization => check_authorization(rest),
        Part::Cookie => check_cookie(rest),
        Part::Path => check_path(rest),
        Part::Keys => check_keys(rest),
    }
}

fn config() -> String {
    let secret = URL_SAFE_NO_PAD.encode(SECRET);
    format!(
        r#"{{"source":"builtin","max_token_bytes":65536,"max_checks_per_second":1000000,
"issuers":[{{"issuer":"i","audiences":["a"],"algorithms":["HS256"],"jwks":{{"keys":[{{"kty":"oct","k":"{secret}"}}]}}}}],
"token":{{"cookie":"id","query":"id_token"}},
"map":[
{{"header":"x-text","claim":["c"],"type":"string"}},
{{"header":"x-percent","claim":["c"],"type":"string","encode":"percent","max_bytes":32768}},
{{"header":"x-bool","claim":["c"],"type":"bool"}},
{{"header":"x-integer","claim":["c"],"type":"integer"}},
{{"header":"x-list","claim":["c"],"type":"list"}},
{{"header":"x-inner","claim":["c","d"],"type":"string"}}]}}"#
    )
}

fn proxy() -> Proxy {
    Proxy::new(&config())
}

fn signed(header: &[u8], payload: &[u8]) -> Vec<u8> {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&SECRET).expect("any length will do");
    let mac = mac.chain_update(&text).finalize().into_bytes();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac)).into_bytes()
}

fn payload(claim: &[u8]) -> Vec<u8> {
    [br#"{"iss":"i","aud":"a","exp":4102444800,"c":"#, claim, b"}"].concat()
}

fn send(proxy: &Proxy, token: &[u8]) -> Outcome {
    proxy.send(b"/", &[("authorization", &[b"Bearer ", token].concat())])
}

fn check_claim(claim: &[u8]) {
    let payload = payload(claim);
    let proxy = proxy();
    let token = signed(HEADER.as_bytes(), &payload);
    let outcome = send(&proxy, &token);
    assert_eq!(send(&proxy, &token), outcome, "the token is remembered as something else");
    let tree = match strict(&payload) {
        Ok(tree) => tree,
        Err(NoTree::Unknown) => return,
        Err(NoTree::Invalid) => return assert!(!outcome.verified, "{}", String::from_utf8_lossy(&payload)),
    };
    // Whether they are times is not judged here.
    if tree.get("nbf").is_some() || tree.get("iat").is_some() {
        return;
    }
    assert!(outcome.verified, "{}: {outcome:?}", String::from_utf8_lossy(&payload));
    let claim = tree.get("c").expect("it is in every payload");
    let plain = |text: &String| is_value(text).then(|| text.clone());
    let text = match claim {
        Json::Text(text, _) => Some(text),
        _ => None,
    };
    let whole = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        (text != "-0" && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.to_owned())
    };
    assert_eq!(outcome.value("x-text"), text.and_then(plain), "{claim:?}");
    let boolean = match claim {
        Json::Bool(value) => Some(value.to_string()),
        Json::Text(text, _) if text == "true" || text == "false" => Some(text.clone()),
        _ => None,
    };
    assert_eq!(outcome.value("x-bool"), boolean, "{claim:?}");
    let integer = match claim {
        Json::Number(text) => whole(text).filter(|text| text.len() <= 4096),
        _ => None,
    };
    assert_eq!(outcome.value("x-integer"), integer, "{claim:?}");
    let items: Option<Vec<String>> = match claim {
        Json::Text(text, _) => Some(vec![text.clone()]),
        Json::Array(items) => {
            let texts = || {
                items.iter().map(|item| match item {
                    Json::Text(text, _) => Some(text.clone()),
                    _ => None,
                })
            };
            let numbers = || {
                items.iter().map(|item| match item {
                    Json::Number(text) => whole(text),
                    _ => None,
                })
            };
            texts().collect::<Option<_>>().or_else(|| numbers().collect())
        }
        _ => None,
    };
    let list = items.filter(|items| !items.is_empty() && items.iter().all(|item| is_value(item)));
    let list = list.map(|items| items.join(",")).filter(|list| list.len() <= 4096);
    assert_eq!(outcome.value("x-list"), list, "{claim:?}");
    let percent = outcome.value("x-percent");
    match text.filter(|text| !text.is_empty() && !text.chars().any(char::is_control)) {
        Some(text) if text.len() * 3 <= 32_768 => {
            let value = percent.expect("every text without control characters can be written");
            assert_eq!(decoded(value.as_bytes()), text.as_bytes());
        }
        Some(_) => {}
        None => assert_eq!(percent, None, "{claim:?}"),
    }
    let inner = match claim.get("d") {
        Some(Json::Text(text, _)) => plain(text),
        _ => None,
    };
    assert_eq!(outcome.value("x-inner"), inner, "{claim:?}");
}

/// A text that is passed on as it stands.
fn is_value(text: &str) -> bool {
    let visible = |byte: u8| byte == b' ' || (byte.is_ascii_graphic() && byte != b',');
    !text.is_empty() && text.len() <= 4096 && text.trim_matches(' ') == text && text.bytes().all(visible)
}

/// A text with escapes, `%` and two digits each.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| text[at] == b'%');
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        // `u8::from_str_radix` takes a sign.
        let byte = byte.filter(|_| text[at + 1] != b'+');
        out.push(byte.unwrap_or(text[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    out
}

fn check_header(header: &[u8]) {
    let outcome = send(&proxy(), &signed(header, &payload(b"\"x\"")));
    let tree = match strict(header) {
        Ok(tree) => tree,
        Err(NoTree::Unknown) => return,
        Err(NoTree::Invalid) => return assert!(!outcome.verified, "{}", String::from_utf8_lossy(header)),
    };
    let text = |name| match tree.get(name) {
        Some(Json::Text(text, _)) => Some(text.as_str()),
        _ => None,
    };
    let is_absent = |name| tree.get(name).is_none();
    let kind = text("typ").map(str::to_ascii_lowercase);
    let kind = kind.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind));
    let acceptable = matches!(tree, Json::Object(_))
        && text("alg") == Some("HS256")
        && is_absent("crit")
        && is_absent("b64")
        && (is_absent("kid") || text("kid").is_some())
        && (is_absent("typ") || matches!(kind, Some("jwt" | "at+jwt")));
    assert_eq!(outcome.verified, acceptable, "{}", String::from_utf8_lossy(header));
}

/// A document that every reader reads in the same way.
fn strict(text: &[u8]) -> Result<Json, NoTree> {
    fn is_strict(tree: &Json, room: usize) -> bool {
        match tree {
            Json::Bare(_) => false,
            Json::Array(items) => room > 0 && items.iter().all(|item| is_strict(item, room - 1)),
            Json::Object(fields) => {
                let once = |name: &String| fields.iter().filter(|(other, _)| other == name).count() == 1;
                room > 0 && fields.iter().all(|(name, value)| once(name) && is_strict(value, room - 1))
            }
            _ => true,
        }
    }
    Json::read(text).and_then(|tree| if is_strict(&tree, 32) { Ok(tree) } else { Err(NoTree::Invalid) })
}

/// Two good tokens of different people.
static TOKENS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    ["one", "two"].map(|name| signed(HEADER.as_bytes(), &payload(format!("\"{name}\"").as_bytes())))
});

/// Puts the tokens where they stand for, and leaves out what a proxy lets into no header.
fn with_tokens(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in text {
        match *byte {
            TOKEN => out.extend_from_slice(&TOKENS[0]),
            OTHER => out.extend_from_slice(&TOKENS[1]),
            0 | b'\r' | b'\n' => {}
            byte => out.push(byte),
        }
    }
    out
}

/// A user who is accepted is one of the two.
fn assert_somebody(outcome: &Outcome) {
    let name = outcome.value("x-text");
    assert_eq!(outcome.verified, matches!(name.as_deref(), Some("one" | "two")), "{outcome:?}");
}

/// What must happen to the values in a place: `None` where it is not judged.
fn of_values(outcome: &Outcome, mut values: Vec<Vec<u8>>) {
    values.retain(|value| !value.trim_ascii().is_empty());
    values.sort();
    values.dedup();
    match values.as_slice() {
        [value] if TOKENS.contains(value) => assert!(outcome.verified, "{outcome:?}"),
        [_] => assert!(!outcome.verified, "{outcome:?}"),
        _ => assert!(!outcome.verified, "{} tokens: {outcome:?}", values.len()),
    }
}

fn check_authorization(text: &[u8]) {
    let value = with_tokens(text);
    let outcome = proxy().send(b"/", &[("authorization", &value)]);
    assert_somebody(&outcome);
    // With commas it may be several headers in one.
    if value.contains(&b',') {
        return;
    }
    let lower = value.to_ascii_lowercase();
    let values = match lower.strip_prefix(b"bearer") {
        Some([b' ', ..]) => {
            vec![value[6..].iter().copied().skip_while(|byte| *byte == b' ').collect::<Vec<u8>>()]
        }
        _ => Vec::new(),
    };
    // A proxy takes off what is around a value.
    if value.trim_ascii() == value {
        of_values(&outcome, values);
    }
}

fn check_cookie(text: &[u8]) {
    let value = with_tokens(text);
    let outcome = proxy().send(b"/", &[("cookie", &value)]);
    assert_somebody(&outcome);
    let mut values = Vec::new();
    for crumb in value.split(|byte| *byte == b';') {
        let Some(at) = crumb.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (crumb[..at].trim_ascii(), crumb[at + 1..].trim_ascii());
        match name.strip_prefix(b"id") {
            Some(b"") => {}
            // It may be a piece.
            Some(_) => return,
            None => continue,
        }
        let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        values.push(inner.unwrap_or(value).to_vec());
    }
    of_values(&outcome, values);
}

fn check_path(text: &[u8]) {
    let path = [b"/", with_tokens(text).as_slice()].concat();
    let outcome = proxy().send(&path, &[]);
    assert_somebody(&outcome);
    let path = path.split(|byte| *byte == b'#').next().unwrap_or_default();
    let query = path.iter().position(|byte| *byte == b'?').map_or(&[][..], |at| &path[at + 1..]);
    let mut values = Vec::new();
    for pair in query.split(|byte| *byte == b'&') {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else { continue };
        let read = |text: &[u8]| {
            let spaces: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
            decoded(&spaces)
        };
        if read(name) == b"id_token" && !read(value).trim_ascii().is_empty() {
            values.push(value.to_vec());
        }
    }
    of_values(&outcome, values);
}

/// The attacks' own keys, and a good token of theirs.
static ISSUED: LazyLock<(String, String)> = LazyLock::new(|| {
    let text = include_str!("../../../filters/claim-headers/tests/attacks.json");
    let attacks: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
    let headers = attacks["rows"][0]["attempts"][0]["headers"].as_array().expect("a list");
    let bearer = headers.last().and_then(|header| header[1].as_str()).expect("a token");
    (attacks["config"]["issuers"][0]["jwks"].to_string(), bearer.to_owned())
});

fn check_keys(body: &[u8]) {
    let config = r#"{"source":"builtin","issuers":[{"issuer":"https://idp.test","audiences":["inference"],
"cluster":"idp","jwks_uri":"https://idp.test/keys"}],"map":[{"header":"x-text","claim":["user_type"],"type":"string"}]}"#;
    let proxy = Proxy::new(config);
    let call = proxy.tick().pop().expect("keys are fetched when the filter is loaded");
    proxy.answer(call.id, body);
    let outcome = proxy.send(b"/", &[("authorization", ISSUED.1.as_bytes())]);
    if !outcome.verified {
        return;
    }
    assert_eq!(outcome.value("x-text").as_deref(), Some("premium"));
    let tree = match strict(body) {
        Ok(tree) => tree,
        Err(NoTree::Unknown) => return,
        Err(NoTree::Invalid) => panic!("keys of {}", String::from_utf8_lossy(body)),
    };
    let Some(Json::Array(keys)) = tree.get("keys") else { panic!("keys of {tree:?}") };
    let known: serde_json::Value = serde_json::from_str(&ISSUED.0).expect("it is JSON");
    let modulus = known["keys"][0]["n"].as_str().expect("an RSA key");
    let is_it = |key: &Json| matches!(key.get("n"), Some(Json::Text(text, _)) if text == modulus);
    assert!(keys.iter().any(is_it), "the key is not in {tree:?}");
}
