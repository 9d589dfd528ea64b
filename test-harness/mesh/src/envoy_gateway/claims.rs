//! `native-claims`, `native-jwt` and `wasm-jwt`: a verified claim becomes a header that no client can write, and chooses the route.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use e2e::classes::badly_signed;
use e2e::groups::who;
use e2e::{Answer, Protocol, Request, TokenKey, base64url, send};
use odd_server::Recorded;
use odd_server::wire;

use super::{Gateway, Server};
use crate::report::Report;

/// Who verifies tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The filter.
    Builtin,
    /// Envoy's `jwt_authn`, by a SecurityPolicy, which passes the claims on in a header.
    Jwt,
    /// The same, in whose metadata a filter in wasm reads the claims.
    JwtInWasm,
}

/// The header that claims are passed on in.
const CLASS: &str = "x-user-class";
/// Of premium users, and of everyone else.
const GROUPS: [&str; 2] = ["tensorflow-", "pytorch-"];

/// What clients send to be taken for others.
fn forgeries() -> Vec<Vec<(&'static str, String)>> {
    let claims = base64url(r#"{"iss":"https://idp.example.com","user_type":"premium"}"#);
    vec![
        Vec::new(),
        vec![(CLASS, "premium".to_owned())],
        vec![("X-User-Class", "basic".to_owned()), (CLASS, "premium".to_owned())],
        vec![("x-verified-claims", claims.clone()), (CLASS, "premium".to_owned())],
        vec![("X-Verified-Claims", claims)],
    ]
}

pub(super) fn tried(gateway: &Gateway<'_>, form: Form, report: &mut Report) {
    gateway.inference(report);
    report.check(
        "each user's claim on the request and on its route, forged headers or not",
        users(gateway, form),
    );
    report.check("without a token, never a class", anyone(gateway, form));
    report.check("a bad token", bad_tokens(gateway, form));
}

fn users(gateway: &Gateway<'_>, form: Form) -> Result<()> {
    for forged in forgeries() {
        for (user_type, group, class) in
            [("premium", GROUPS[0], "premium"), ("basic", GROUPS[1], "basic"), ("root", GROUPS[1], "basic")]
        {
            let token = gateway.token("inference", user_type);
            arrives(gateway, form, Some(&token), &forged, group, &[class])
                .with_context(|| user_type.to_owned())?;
        }
    }
    Ok(())
}

fn anyone(gateway: &Gateway<'_>, form: Form) -> Result<()> {
    forgeries().iter().try_for_each(|forged| arrives(gateway, form, None, forged, GROUPS[1], &[]))
}

fn bad_tokens(gateway: &Gateway<'_>, form: Form) -> Result<()> {
    let forged = badly_signed(&gateway.token("inference", "premium"));
    let of_another = gateway.token("another-application", "premium");
    for token in [&forged, &of_another] {
        match form {
            // The filter takes the token off, and the request goes on as one without.
            Form::Builtin => arrives(gateway, form, Some(token), &[], GROUPS[1], &[])?,
            Form::Jwt | Form::JwtInWasm => {
                let (answer, _) = gateway.ask(&infer(), Some(token), &[])?;
                ensure!([401, 403].contains(&answer.status()), "{} {}", answer.status(), answer.text());
            }
        }
    }
    Ok(())
}

/// That a request, as JSON and as gRPC, reaches a server of the group with these classes and without its token.
fn arrives(
    gateway: &Gateway<'_>,
    form: Form,
    token: Option<&str>,
    forged: &[(&'static str, String)],
    group: &str,
    classes: &[&str],
) -> Result<()> {
    for request in [infer(), grpc()] {
        let (answer, seen) = gateway.ask(&request, token, forged)?;
        let (name, said) = (who(&answer), format!("{} {forged:?}", request.path));
        ensure!(name.starts_with(group), "{said}: {name}, not {group}: {}", answer.text());
        let seen = seen.with_context(|| format!("{said}: no server was asked"))?;
        let values = |name: &'static str| {
            seen.header_values(name)
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .collect::<Vec<_>>()
        };
        ensure!(values(CLASS) == classes, "{said}: the server saw {CLASS}: {:?}", values(CLASS));
        ensure!(values("authorization").is_empty(), "{said}: the server saw the token");
        // In wasm it is a header like any other, which the filter does not read.
        let payload = form == Form::Jwt && !values("x-verified-claims").is_empty();
        ensure!(!payload, "{said}: the server saw x-verified-claims");
    }
    Ok(())
}

fn infer() -> Request {
    crate::requests::infer("any")
}

fn grpc() -> Request {
    let message = wire::Message::new().bytes(1, "any");
    Request::grpc("/inference.GRPCInferenceService/ModelInfer", message.as_bytes())
}

impl Gateway<'_> {
    /// A token of the issuer, valid until 2100.
    fn token(&self, audience: &str, user_type: &str) -> String {
        let payload = format!(
            r#"{{"iss":"https://idp.example.com","aud":"{audience}","exp":4102444800,"user_type":"{user_type}"}}"#
        );
        self.issuer.sign(TokenKey::HEADER, &payload)
    }

    /// Sends a request with a token and further headers; the answer, and what a server got, if one was asked.
    pub(super) fn ask(
        &self,
        request: &Request,
        token: Option<&str>,
        headers: &[(&'static str, String)],
    ) -> Result<(Answer, Option<Recorded>)> {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let mark = format!("request-{}", ASKED.fetch_add(1, Ordering::Relaxed));
        let mut request = request.clone().header("x-mark", &mark);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        // Only over HTTP/1.1 names may have capitals.
        let protocol = if request.path.starts_with("/v2") { Protocol::Http1 } else { Protocol::Http2 };
        for (name, value) in headers {
            let lower = name.to_ascii_lowercase();
            request = request.header(if protocol == Protocol::Http1 { name } else { &lower }, value);
        }
        let answer = send(protocol, Server::address(), &request)?.complete()?;
        Ok((answer, self.seen(&mark).ok()))
    }

    /// What a server got of the request with this mark.
    fn seen(&self, mark: &str) -> Result<Recorded> {
        let mut seen = self
            .servers
            .requests()
            .into_iter()
            .filter(|(_, seen)| seen.header("x-mark") == Some(mark.as_bytes()));
        let (_, first) = seen.next().with_context(|| format!("no server got the request {mark}"))?;
        ensure!(seen.next().is_none(), "more than one server got the request {mark}");
        Ok(first)
    }
}
