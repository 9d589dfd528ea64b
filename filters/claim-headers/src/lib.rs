//! Verified claims of OIDC tokens become request headers that no client can forge: the pure core.
//!
//! A route, or the application, can then trust a header such as `x-user-class`. Whether the token was verified
//! by another filter in front or by this one, the rest is the same: a client's own headers of that name are removed in
//! every spelling, at most one value is set, and the route is selected again. See the README beside this crate for the
//! configuration.
//!
//! [`config`] is what an operator writes, `settings` what is made of it. `token`, `keys`, `signature` and `json` are
//! the strict layer under `builtin`; `metadata` is the other source; `mapping` makes values of claims, and
//! [`ClaimHeaders`] is the filter. What it makes of one request, written as a golden case and run by the host of the
//! tests:
//!
//! ```
//! use claim_headers::ClaimHeaders;
//! use testkit::{Case, Chunking, Column, run_on_core};
//!
//! // Signed by the key below; it says {"user_type": "premium"}.
//! let token = concat!(
//!     "eyJhbGciOiJFZERTQSIsImtpZCI6ImtpZC1lZC1zaWduIiwidHlwIjoiYXQrand0In0.",
//!     "eyJpc3MiOiJodHRwczovL2lkcC50ZXN0IiwiYXVkIjoiaW5mZXJlbmNlIiwiZXhwIjo0MTAyNDQ0ODAwLCJpYXQiOjE3MDAwMDAwMDAs",
//!     "InN1YiI6ImFsaWNlIiwidXNlcl90eXBlIjoicHJlbWl1bSJ9.",
//!     "rIPtDlfbgx4xH2I6Lt5cZB_t_bVmjRL3Eu6FTd1ahH5p8lmJHuv2fUdCCHKYL-rmlzxlEdhNcOmTZl1tGBy9BQ",
//! );
//! let text = r#"
//!     story = "a claim of a verified token becomes a header, in place of the client's own"
//!     filter = "claim_headers"
//!     config = """{
//!       "source": "builtin",
//!       "issuers": [{
//!         "issuer": "https://idp.test",
//!         "audiences": ["inference"],
//!         "jwks": {"keys": [{
//!           "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "kid-ed-sign",
//!           "x": "6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw"
//!         }]}
//!       }],
//!       "map": [{"header": "x-user-class", "claim": ["user_type"], "type": "string"}],
//!       "strip": ["authorization"]
//!     }"""
//!
//!     [request]
//!     method = "GET"
//!     path = "/hello"
//!     headers = [["authorization", "Bearer TOKEN"], ["x_user_class", "root"]]
//!
//!     [upstream]
//!     rpc = "/hello"
//!     headers = [["x-user-class", "premium"]]
//!     absent = ["authorization", "x_user_class"]
//!
//!     [answer]
//!     body = "hello, premium user"
//!
//!     [expect]
//!     status = 200
//!     body = "hello, premium user"
//! "#;
//!
//! let case = Case::parse("a claim", &text.replace("TOKEN", token))?;
//! let outcome = run_on_core::<ClaimHeaders>(&case, Column::Native, Chunking::Whole)?;
//! case.check(Column::Native, &outcome)?;
//! # Ok::<(), String>(())
//! ```

#[cfg(test)]
mod attacks;
mod builtin;
mod cache;
pub mod config;
mod cookies;
mod exchange;
mod failed;
#[cfg(test)]
mod fetching_stories;
mod guard;
mod header;
mod json;
mod keys;
mod mapping;
mod metadata;
mod meter;
mod metrics;
mod place;
#[cfg(test)]
mod providers;
mod remove;
mod settings;
mod signature;
#[cfg(test)]
mod stories;
mod token;
#[cfg(test)]
mod vectors;

pub use config::Config;
pub use exchange::{ClaimHeaders, Exchange};
pub use token::Algorithm;
