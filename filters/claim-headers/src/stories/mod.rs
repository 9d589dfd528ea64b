//! What the filter does with requests, besides withstanding attacks.

mod behind_another_filter;
mod forged_tokens;
mod own_verification;

use crate::attacks::mint::{Mint, good, premium};
use crate::attacks::proxy::{Outcome, Proxy};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use filter_api::Caps;

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

fn send(proxy: &Proxy, headers: &[(&str, &str)]) -> Outcome {
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    proxy.send("/", &headers)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
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
