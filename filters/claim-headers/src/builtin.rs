//! Verifying tokens here.
//!
//! The checks come in the order of their cost: size, form, header, issuer, audience, times and key first, the signature
//! last, and of signatures only so many in a second. So a flood of forged tokens costs little.

use crate::cache::{Cache, Entry};
use crate::config::{Config, Rule, TokenPlaces};
use crate::keys::KeySet;
use crate::mapping::{Claim, Mapped};
use crate::place;
use crate::signature;
use crate::token::{Algorithm, ClaimRules, Header, Jws, Refusal, issuer};
use filter_api::View;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The source `builtin`.
#[derive(Debug)]
pub(crate) struct Builtin {
    places: TokenPlaces,
    types: Vec<String>,
    max_token_bytes: usize,
    issuers: Vec<Issuer>,
    meter: Mutex<Meter>,
    cache: Mutex<Cache<Vec<Mapped>>>,
}

/// An issuer whose tokens are believed.
#[derive(Debug)]
struct Issuer {
    name: String,
    rules: ClaimRules,
    algorithms: Option<Vec<Algorithm>>,
    keys: Option<KeySet>,
    /// Changes with the keys; no two issuers have the same.
    keys_number: u64,
}

/// What became of a request's token.
#[derive(Debug)]
pub(crate) struct Verified {
    /// One value for each rule.
    pub(crate) mapped: Arc<Vec<Mapped>>,
    /// It was remembered.
    pub(crate) remembered: bool,
}

impl Builtin {
    /// The source that a configuration describes, which has been checked.
    pub(crate) fn new(config: &Config) -> Self {
        let rules = |issuer: &crate::config::Issuer| ClaimRules {
            audiences: issuer.audiences.clone(),
            skew: Duration::from_secs(config.clock_skew_seconds),
            max_age: config.max_age_seconds.map(Duration::from_secs),
        };
        let issuer = |(number, issuer): (usize, &crate::config::Issuer)| Issuer {
            name: issuer.issuer.clone(),
            rules: rules(issuer),
            algorithms: issuer.algorithms.clone(),
            keys: KeySet::read(issuer.jwks.to_string().as_bytes()).ok(),
            keys_number: number as u64,
        };
        Self {
            places: config.token.clone(),
            types: config.token_types.clone(),
            max_token_bytes: config.max_token_bytes,
            issuers: config.issuers.iter().enumerate().map(issuer).collect(),
            meter: Mutex::new(Meter { most: config.max_checks_per_second, second: 0, checks: 0 }),
            cache: Mutex::new(Cache::new(config.cached_tokens)),
        }
    }

    /// Finds a request's token, verifies it and maps its claims.
    pub(crate) fn verify(&self, view: &dyn View, map: &[Rule]) -> Result<Verified, Refusal> {
        let token = place::token(&self.places, view)?;
        if token.len() > self.max_token_bytes {
            return Err(Refusal::TooLarge);
        }
        let now = view.now();
        if let Some(mapped) = self.remembered(&token, now) {
            return Ok(Verified { mapped, remembered: true });
        }
        let jws = Jws::parse(&token, self.max_token_bytes)?;
        let header = Header::read(&jws.header, &self.types)?;
        let claims = jws.claims()?;
        let name = issuer(&claims)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.name == name).ok_or(Refusal::Issuer)?;
        issuer.allows(header.algorithm)?;
        let lifetime = issuer.rules.check(&claims, now)?;
        let key =
            issuer.keys.as_ref().ok_or(Refusal::NoKeys)?.select(&header, issuer.algorithms.as_deref())?;
        if !lock(&self.meter).allows(now) {
            return Err(Refusal::Busy);
        }
        let host = |check: &filter_api::SignatureCheck<'_>| view.verify(check);
        if !signature::is_right(header.algorithm, key, jws.signed, &jws.signature, &host) {
            return Err(Refusal::Signature);
        }
        let mapped = map.iter().map(|rule| rule.apply(Claim::in_payload(&claims, rule)));
        let mapped = Arc::new(mapped.collect::<Vec<_>>());
        let entry = Entry { value: mapped.clone(), end: lifetime.end, keys: issuer.keys_number };
        lock(&self.cache).insert(&token, entry);
        Ok(Verified { mapped, remembered: false })
    }

    fn remembered(&self, token: &[u8], now: SystemTime) -> Option<Arc<Vec<Mapped>>> {
        let mut cache = lock(&self.cache);
        let entry = cache.get(token)?;
        if now < entry.end && self.issuers.iter().any(|issuer| issuer.keys_number == entry.keys) {
            return Some(entry.value);
        }
        cache.remove(token);
        None
    }
}

impl Issuer {
    fn allows(&self, algorithm: Algorithm) -> Result<(), Refusal> {
        let allowed = match &self.algorithms {
            Some(allowed) => allowed.contains(&algorithm),
            None => algorithm != Algorithm::HS256,
        };
        if allowed { Ok(()) } else { Err(Refusal::Algorithm) }
    }
}

/// Counts signatures second by second.
#[derive(Debug)]
struct Meter {
    most: u32,
    second: u64,
    checks: u32,
}

impl Meter {
    fn allows(&mut self, now: SystemTime) -> bool {
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if second != self.second {
            (self.second, self.checks) = (second, 0);
        }
        self.checks = self.checks.saturating_add(1);
        self.checks <= self.most
    }
}

/// What is locked is whole between any two statements, so that a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
