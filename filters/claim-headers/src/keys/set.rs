//! A set of keys, and which of them a token names.

use super::jwk::{Key, Unusable};
use crate::json::{self, Value};
use crate::token::{Algorithm, Header, MAX_DEPTH, Refusal};
use std::sync::Arc;

/// So many keys of a set are used at most; an issuer has a handful.
const MAX_KEYS: usize = 100;

/// Whether two keys go by the same name: one kind, one `kid`. Nothing is the same as a key without a name but itself.
fn is_same(one: &Value, other: &Value) -> bool {
    let named = one.get("kid").is_some();
    std::ptr::eq(one, other)
        || (named && one.get("kid") == other.get("kid") && one.get("kty") == other.get("kty"))
}

/// The usable keys of an issuer.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Arc<Key>>,
}

/// Why a text is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetError {
    #[error("not a JSON Web Key set: {0}")]
    Json(#[from] json::Error),
    #[error("not a JSON Web Key set: no list of `keys`")]
    NoKeys,
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
    #[error("secrets and public keys in one set")]
    Mixed,
    #[error("none of its keys can be used")]
    Empty,
}

impl KeySet {
    /// Reads a set. Keys that cannot be used are left out, as the specification asks (RFC 7517, section 5); so are all
    /// keys that share a kind and a `kid`, because nobody can say which of them a token means.
    pub(crate) fn read(text: &[u8]) -> Result<Self, SetError> {
        let set = json::parse(text, MAX_DEPTH)?;
        let Some(Value::Array(items)) = set.get("keys") else { return Err(SetError::NoKeys) };
        if items.len() > MAX_KEYS {
            return Err(SetError::TooMany);
        }
        let is_secret = |item: &Value| item.get("kty").and_then(Value::text) == Some("oct");
        let secrets = items.iter().filter(|item| is_secret(item)).count();
        if secrets > 0 && secrets < items.len() {
            return Err(SetError::Mixed);
        }
        let read = |item| (item, Key::read(item));
        let read: Vec<(&Value, Result<Key, Unusable>)> = items.iter().map(read).collect();
        let keys = read.iter().filter_map(|(item, key)| key.as_ref().ok().map(|key| (item, key)));
        let alone = |(item, _): &(&&Value, &Key)| {
            let rival = |(other, key): &&(&Value, Result<Key, Unusable>)| {
                !matches!(key, Err(Unusable::Use | Unusable::Unknown)) && is_same(item, other)
            };
            read.iter().filter(rival).count() == 1
        };
        let keys: Vec<Arc<Key>> = keys.filter(alone).map(|(_, key)| Arc::new(key.clone())).collect();
        if keys.is_empty() { Err(SetError::Empty) } else { Ok(Self { keys }) }
    }

    /// Whether there is a secret among the keys.
    pub(crate) fn has_secrets(&self) -> bool {
        self.keys.iter().any(|key| key.is_secret())
    }

    /// The key that a token's header names. A token that names none is checked only if there is no choice.
    pub(crate) fn select(
        &self,
        header: &Header,
        allowed: Option<&[Algorithm]>,
    ) -> Result<&Arc<Key>, Refusal> {
        let named = |key: &&Arc<Key>| header.key_id.is_none() || key.id == header.key_id;
        let mut candidates = self.keys.iter().filter(named).peekable();
        if candidates.peek().is_none() {
            return Err(Refusal::UnknownKey);
        }
        let mut suitable = candidates.filter(|key| key.may_check(header.algorithm, allowed));
        match (suitable.next(), suitable.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(Refusal::UnknownKey),
            (None, _) => Err(Refusal::Algorithm),
        }
    }
}
