//! The keys of issuers: JSON Web Key sets (RFC 7517), read with the same strictness as tokens.

mod jwk;
mod remote;
mod roca;
mod set;
mod url;

pub(crate) use jwk::{Key, Material};
pub(crate) use remote::{KeysAt, Remote, Times, Want};
#[cfg(test)]
pub(crate) use set::SetError;
pub(crate) use set::{KeyRules, KeySet};
pub(crate) use url::Url;
