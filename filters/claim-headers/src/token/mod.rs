//! Tokens: their form, their header and their claims. Whether a signature is right is not decided here.

mod algorithm;
mod claims;
mod header;
mod jws;

pub use algorithm::Algorithm;
pub(crate) use claims::{ClaimRules, issuer};
pub(crate) use header::Header;
pub(crate) use jws::Jws;

use crate::json;

/// How deep a header or a payload may be nested.
pub(crate) const MAX_DEPTH: usize = 32;

/// Why a token is not believed. The order is that in which the checks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum Refusal {
    /// There is none.
    #[error("the request has no token")]
    Missing,
    /// Two sources have different ones, or one source has two.
    #[error("the request has more than one token")]
    Ambiguous,
    /// It is larger than `max_token_bytes`.
    #[error("the token is too large")]
    TooLarge,
    /// It is not a compact JWS with a JSON header and a JSON payload.
    #[error("the token is malformed")]
    Malformed,
    /// Its header asks for something that must not be granted.
    #[error("the token's header is not acceptable")]
    Header,
    /// Its algorithm is unknown, not allowed, or not the key's.
    #[error("the token's algorithm is not allowed")]
    Algorithm,
    /// It was issued by none of the configured issuers.
    #[error("the token's issuer is unknown")]
    Issuer,
    /// It is for another audience.
    #[error("the token is for another audience")]
    Audience,
    /// A claim that the configuration requires has another value, or is missing.
    #[error("the token lacks a required claim or has another value for it")]
    Required,
    /// Its times are missing or are no times.
    #[error("the token's times are missing or malformed")]
    Times,
    /// Its time is over.
    #[error("the token is expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The keys of its issuer could not be had.
    #[error("the issuer's keys are not available")]
    NoKeys,
    /// None of the issuer's keys is the one it names.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// Too many signatures were wrong in this second.
    #[error("too many tokens to check")]
    Busy,
    /// Its signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// Another filter has verified it, and its claims are not where they should be.
    #[error("the token's claims are not available")]
    NoPayload,
}

impl Refusal {
    /// Whether the token could not be judged, for reasons of this proxy's or the issuer's: it may be right.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::NoKeys | Self::Busy)
    }
}

impl From<json::Error> for Refusal {
    fn from(_: json::Error) -> Self {
        Self::Malformed
    }
}
