//! A set of keys, and which of them a token names.

use super::jwk::{self, Key, Unusable, optional};
use crate::json::{self, Value};
use crate::token::{Algorithm, Header, MAX_DEPTH, Refusal};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// So many keys of a set are used at most, the first ones; an issuer has a handful.
const MAX_KEYS: usize = 100;

/// So many keys are tried for one token at most.
const MAX_CANDIDATES: usize = 4;

/// So many keys of a set are spoken of at most.
const MAX_REMARKS: usize = 20;

/// The usable keys of an issuer.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Arc<Key>>,
    remarks: Vec<String>,
}

/// Why a text is not a set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetError {
    #[error("not a JSON Web Key set: {0}")]
    Json(#[from] json::Error),
    #[error("not a JSON Web Key set: no list of `keys`")]
    NoKeys,
    #[error("secrets (`kty` oct) and public keys in one set")]
    Mixed,
    #[error("none of its keys can be used{0}")]
    Empty(String),
}

/// What an issuer's configuration says of the keys of its tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyRules<'r> {
    /// The algorithms that are allowed; `None` if the configuration names none.
    pub(crate) algorithms: Option<&'r [Algorithm]>,
    /// A token must name its key.
    pub(crate) id_required: bool,
}

impl KeySet {
    /// Reads a set. Keys that cannot be used are left out, as the specification asks (RFC 7517, section 5); so are
    /// different keys that share their `kid` and their algorithm, because nothing says which of them a token means.
    pub(crate) fn read(text: &[u8]) -> Result<Self, SetError> {
        let set = json::parse(text, MAX_DEPTH)?;
        let Some(Value::Array(items)) = set.get("keys") else { return Err(SetError::NoKeys) };
        let is_secret = |item: &Value| item.get("kty").and_then(Value::text) == Some("oct");
        let secrets = items.iter().filter(|item| is_secret(item)).count();
        if secrets > 0 && secrets < items.len() {
            return Err(SetError::Mixed);
        }
        let rivals = rivals(items);
        let mut read = Self::default();
        let mut left_out = Vec::new();
        for (index, item) in items.iter().enumerate() {
            if read.keys.len() == MAX_KEYS {
                let rest = items.len() - index;
                let why = format!("of a set the first {MAX_KEYS} that can be used are used");
                left_out.push(format!("the last {rest} keys are not looked at: {why}"));
                break;
            }
            match Key::read(item) {
                Ok(_) if name(item).is_some_and(|name| rivals.get(&name) == Some(&Namesakes::Rivals)) => {
                    let why = "another key of the set has the same `kid` and `alg`";
                    left_out.push(format!("{} is not used: {why}", shown(index, item)));
                }
                Ok(key) if read.keys.iter().any(|other| other.is_same(&key)) => {}
                Ok(key) => read.keys.push(Arc::new(key)),
                Err(why) => left_out.push(format!("{} is not used: {why}", shown(index, item))),
            }
        }
        if left_out.len() > MAX_REMARKS {
            let rest = left_out.len() - MAX_REMARKS;
            left_out.truncate(MAX_REMARKS);
            left_out.push(format!("{rest} more keys are not used"));
        }
        if read.keys.is_empty() {
            let reasons = left_out.iter().fold(String::new(), |mut text, why| {
                let _written = write!(text, "; {why}");
                text
            });
            return Err(SetError::Empty(reasons));
        }
        read.remarks = left_out;
        Ok(read)
    }

    /// Which keys of the set are not used, and why, for a log: a line for each, without anything that is secret.
    pub(crate) fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Whether there is a secret among the keys.
    pub(crate) fn has_secrets(&self) -> bool {
        self.keys.iter().any(|key| key.is_secret())
    }

    /// The keys by which a token may be signed: those that have the `kid` it names. Where none has, those without a
    /// `kid` may be meant, and where the token names none, all; of these only as many as may be tried.
    pub(crate) fn select(&self, header: &Header, rules: KeyRules<'_>) -> Result<Vec<&Arc<Key>>, Refusal> {
        if rules.id_required && header.key_id.is_none() {
            return Err(Refusal::Header);
        }
        let fits = |key: &&Arc<Key>| key.may_check(header.algorithm, rules.algorithms);
        let named = header.key_id.is_some() && self.keys.iter().any(|key| key.id == header.key_id);
        let may_be_meant = |key: &&Arc<Key>| match &header.key_id {
            Some(_) if named => key.id == header.key_id,
            Some(_) => key.id.is_none() && !rules.id_required,
            None => true,
        };
        let candidates = self.keys.iter().filter(may_be_meant).filter(fits).take(MAX_CANDIDATES);
        let candidates: Vec<&Arc<Key>> = candidates.collect();
        match candidates.is_empty() {
            false => Ok(candidates),
            true if named || header.key_id.is_none() => Err(Refusal::Algorithm),
            true => Err(Refusal::UnknownKey),
        }
    }
}

/// Keys of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namesakes<'v> {
    /// All of them are this one.
    Same(Material<'v>),
    /// They are different keys.
    Rivals,
}

/// The name by which a token means a key: kind, `kid`, algorithm and curve.
type Name<'v> = [Option<&'v str>; 4];

/// What makes a key the key it is, as text; the last says whether its owner published what only he may know.
type Material<'v> = ([Option<&'v str>; 5], bool);

/// Which names belong to different keys. Keys that are for something else than signatures have no say in that.
fn rivals(items: &[Value]) -> BTreeMap<Name<'_>, Namesakes<'_>> {
    let mut found = BTreeMap::new();
    for item in items.iter().filter(|item| jwk::check_use(item) != Err(Unusable::Use)) {
        let Some(name) = name(item) else { continue };
        let text = |member| item.get(member).and_then(Value::text);
        let material: Material<'_> = (["n", "e", "x", "y", "k"].map(text), jwk::has_private_part(item));
        let namesakes = found.entry(name).or_insert(Namesakes::Same(material));
        if *namesakes != Namesakes::Same(material) {
            *namesakes = Namesakes::Rivals;
        }
    }
    found
}

/// The name of a key; `None` for one without `kid`, which no token can name.
fn name(item: &Value) -> Option<Name<'_>> {
    optional(item, "kid")?;
    Some(["kty", "kid", "alg", "crv"].map(|member| item.get(member).and_then(Value::text)))
}

/// A key for a log: its place in the set, and its `kid`. Both are public.
fn shown(index: usize, item: &Value) -> String {
    let kid = optional(item, "kid").and_then(Value::text);
    let short = |kid: &str| kid.chars().take(64).collect::<String>();
    kid.map_or_else(|| format!("keys[{index}]"), |kid| format!("keys[{index}] (kid {:?})", short(kid)))
}

#[cfg(test)]
mod tests;
