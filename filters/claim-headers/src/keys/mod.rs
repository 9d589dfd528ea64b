//! The keys of issuers: JSON Web Key sets (RFC 7517), read with the same strictness as tokens.

mod jwk;
mod roca;
mod set;

pub(crate) use jwk::{Key, Material};
pub(crate) use set::KeySet;
#[cfg(test)]
pub(crate) use set::SetError;
