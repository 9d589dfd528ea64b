//! An issuer of tokens, as much of it as those see who verify them: its configuration and its keys, over TLS (OpenID
//! Connect Discovery 1.0).

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use e2e::TokenKey;
use http::{Response, StatusCode, Uri};
use http_body_util::Full;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::https::{Answers, Https, answer};

/// When tokens were issued that do not say it themselves, in seconds since 1970: 2023.
const ISSUED: u64 = 1_700_000_000;
/// When they expire: 2100.
const EXPIRES: u64 = 4_102_444_800;

/// An issuer. It ends when dropped, and its port is free then.
///
/// `GET` and `HEAD` of the issuer's path with `/.well-known/openid-configuration`, and of the keys' path.
pub struct Issuer {
    issuer: String,
    key: TokenKey,
    server: Https,
}

impl Issuer {
    /// Serves on an address, port 0 for any free one, as `issuer`, an `https` URL such as `https://idp.example.com` or
    /// `https://idp.example.com/realms/one`, with the keys at `jwks_path` of the same host, such as `/jwks`. A gateway may
    /// have the same port on all addresses.
    ///
    /// # Errors
    /// If the URL is no such URL, the path does not begin with a slash, or the address cannot be had.
    pub fn start(
        runtime: &Handle,
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        issuer: &str,
        jwks_path: &str,
    ) -> Result<Self> {
        ensure!(jwks_path.starts_with('/'), "the path of the keys, {jwks_path}, must begin with a slash");
        let key = TokenKey::new(1).context("make the key of the issuer")?;
        let documents = Documents::new(issuer, jwks_path, &key)?;
        let server = Https::start(runtime, address, tls, Arc::new(documents))
            .with_context(|| format!("serve as the issuer {issuer}"))?;
        Ok(Self { issuer: issuer.to_owned(), key, server })
    }

    /// A signed token of these claims, an object. `iss`, `iat` and `exp` that it lacks are right ones; `aud` is up to the
    /// caller.
    pub fn token(&self, claims: Value) -> String {
        let mut all = json!({ "iss": self.issuer, "iat": ISSUED, "exp": EXPIRES });
        match (&mut all, claims) {
            (Value::Object(all), Value::Object(claims)) => all.extend(claims),
            (all, other) => *all = other,
        }
        self.key.sign(TokenKey::HEADER, &all.to_string())
    }

    /// What signs its tokens, for those that are wrong in some way.
    pub fn key(&self) -> &TokenKey {
        &self.key
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// `METHOD /path` of each request so far, in the order they came. A request is here before it is answered.
    pub fn requests(&self) -> Vec<String> {
        self.server.requests()
    }

    /// While it is down, open connections are closed, and new ones as soon as they are there.
    pub fn set_down(&self, down: bool) {
        self.server.set_down(down);
    }
}

/// By path.
struct Documents([(String, String); 2]);

impl Documents {
    fn new(issuer: &str, jwks_path: &str, key: &TokenKey) -> Result<Self> {
        let url: Uri = issuer.parse().with_context(|| format!("the issuer {issuer} is not a URL"))?;
        let host = url.authority().filter(|_| url.scheme_str() == Some("https") && url.query().is_none());
        let host =
            host.with_context(|| format!("the issuer {issuer} is not an https URL without a query"))?;
        let configuration = json!({
            "issuer": issuer,
            "jwks_uri": format!("https://{host}{jwks_path}"),
            // Required of every provider; nobody logs in here.
            "authorization_endpoint": format!("https://{host}/authorize"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        let well_known = format!("{}/.well-known/openid-configuration", url.path().trim_end_matches('/'));
        Ok(Self([(well_known, configuration.to_string()), (jwks_path.to_owned(), key.key_set())]))
    }
}

impl Answers for Documents {
    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let document = self.0.iter().find(|(of, _)| of == path);
        document.map_or_else(
            || answer(StatusCode::NOT_FOUND, "text/plain", format!("{path} is not served here\n")),
            |(_, document)| answer(StatusCode::OK, "application/json", document.clone()),
        )
    }

    fn not_allowed(&self) -> Response<Full<Bytes>> {
        answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "this issuer only publishes\n")
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Runtime;

    use super::*;
    use crate::authority::Authority;
    use crate::https::client;

    const HOST: &str = "idp.example.com";

    struct Site {
        issuer: Issuer,
        authority: Authority,
        _runtime: Runtime,
    }

    impl Site {
        fn start(issuer: &str) -> Result<Self> {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let authority = Authority::new().unwrap();
            let tls = authority.server(&[HOST]).unwrap();
            let issuer = Issuer::start(runtime.handle(), ([127, 0, 0, 1], 0).into(), tls, issuer, "/jwks")?;
            Ok(Self { issuer, authority, _runtime: runtime })
        }

        fn ask(&self, target: &str) -> Result<client::Answer> {
            let mut connection = client::connect(self.issuer.address(), HOST, self.authority.pem())?;
            client::send(&mut connection, HOST, target)
        }
    }

    #[test]
    fn the_keys_are_found_by_the_configuration_and_are_those_that_sign() {
        for (issuer, path) in
            [("https://idp.example.com", ""), ("https://idp.example.com/realms/one", "/realms/one")]
        {
            let site = Site::start(issuer).unwrap();
            let found = site.ask(&format!("GET {path}/.well-known/openid-configuration")).unwrap();
            assert_eq!((found.status, found.header("content-type")), (200, Some("application/json")));
            assert_eq!(found.json()["issuer"], issuer);
            assert_eq!(found.json()["jwks_uri"], "https://idp.example.com/jwks");
            let keys = site.ask("GET /jwks").unwrap();
            assert_eq!(keys.body, site.issuer.key().key_set().into_bytes());
            assert_eq!(site.ask("GET /other").unwrap().status, 404);
            let paths = ["/.well-known/openid-configuration", "/jwks", "/other"];
            let expected =
                [format!("GET {path}{}", paths[0]), format!("GET {}", paths[1]), format!("GET {}", paths[2])];
            assert_eq!(site.issuer.requests(), expected);
        }
    }

    #[test]
    fn a_token_has_the_claims_it_is_given_and_those_of_any_right_one() {
        let site = Site::start("https://idp.example.com").unwrap();
        let signed = |claims: &str| site.issuer.key().sign(TokenKey::HEADER, claims);
        assert_eq!(
            site.issuer.token(json!({"aud": "ai-app", "user_type": "premium"})),
            signed(
                r#"{"aud":"ai-app","exp":4102444800,"iat":1700000000,"iss":"https://idp.example.com","user_type":"premium"}"#
            )
        );
        assert_eq!(
            site.issuer.token(json!({"iss": "https://other.example", "exp": 1})),
            signed(r#"{"exp":1,"iat":1700000000,"iss":"https://other.example"}"#)
        );
        assert_eq!(site.issuer.token(json!("no object")), signed(r#""no object""#));
    }

    #[test]
    fn an_issuer_that_was_down_publishes_again() {
        let site = Site::start("https://idp.example.com").unwrap();
        site.issuer.set_down(true);
        assert!(site.ask("GET /jwks").is_err());
        site.issuer.set_down(false);
        assert_eq!(site.ask("GET /jwks").unwrap().status, 200);
        assert_eq!(site.ask("POST /jwks").unwrap().status, 405);
        assert_eq!(site.issuer.requests(), ["GET /jwks", "POST /jwks"]);
    }

    #[test]
    fn an_issuer_that_is_not_an_https_url_is_refused() {
        for issuer in ["http://idp.example.com", "idp.example.com", "https://idp.example.com?a", "/", ""] {
            assert!(Site::start(issuer).is_err(), "{issuer}");
        }
    }
}
