//! Verifying tokens here.
//!
//! The checks come in the order of their cost: size, form, header, issuer, audience, times and key first, the signature
//! last. Only a limited number of signatures may be wrong in a second, and a token whose signature was wrong is
//! remembered. So a flood of forged tokens costs little, and takes nothing from the users whose tokens are right.

use crate::cache::{Entry, Shared};
use crate::config::{self, Config, KeyId, Rule, TokenPlaces};
use crate::failed::{Failed, Failure};
use crate::keys::{Key, KeyRules, KeySet, Remote, Times, Want};
use crate::mapping::{Claim, Mapped};
use crate::meter::Meter;
use crate::metrics;
use crate::place;
use crate::settings::KeysFrom;
use crate::signature;
use crate::token::{Algorithm, ClaimRules, Header, Jws, Refusal, issuer};
use filter_api::{Event, EventCx, View};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The source `builtin`.
#[derive(Debug)]
pub(crate) struct Builtin {
    places: TokenPlaces,
    types: Vec<String>,
    max_token_bytes: usize,
    issuers: Vec<Issuer>,
    meter: Meter,
    cache: Shared<Vec<Mapped>>,
    failed: Failed,
}

/// An issuer whose tokens are believed.
#[derive(Debug)]
struct Issuer {
    name: String,
    rules: ClaimRules,
    algorithms: Option<Vec<Algorithm>>,
    /// A token must name its key.
    id_required: bool,
    /// Its tokens may be padded.
    padded: bool,
    keys: Keys,
}

/// Where an issuer's keys come from.
#[derive(Debug)]
enum Keys {
    /// The configuration. The number is the issuer's.
    Given(Arc<KeySet>, u64),
    /// The issuer.
    Fetched(Box<Remote>),
}

/// Why a request is not verified, at least not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotVerified {
    /// It is not.
    Refused(Refusal),
    /// Keys are coming that may change that; this is how many fetches of the issuer's had ended.
    Wait { refusal: Refusal, issuer: usize, ended: u64 },
}

impl From<Refusal> for NotVerified {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A request's token, verified.
#[derive(Debug)]
pub(crate) struct Verified {
    /// One value for each rule.
    pub(crate) mapped: Arc<Vec<Mapped>>,
    /// It was remembered.
    pub(crate) remembered: bool,
}

impl Builtin {
    /// The source that a configuration describes, with the keys of each of its issuers.
    ///
    /// `hash` is one of the whole configuration, by which instances of it know each other.
    pub(crate) fn new(config: &Config, keys_from: &[KeysFrom], hash: u64) -> Self {
        let rules = |issuer: &config::Issuer| ClaimRules {
            audiences: issuer.audiences.clone(),
            skew: Duration::from_secs(config.clock_skew_seconds),
            max_age: config.max_age_seconds.map(Duration::from_secs),
            require: issuer.require.clone(),
        };
        let times = Times {
            refresh: Duration::from_secs(config.jwks_refresh_seconds),
            max_stale: Duration::from_secs(config.jwks_max_stale_seconds),
        };
        let keys = |number: usize, issuer: &config::Issuer, keys: &KeysFrom| match keys {
            KeysFrom::Given(keys) => Keys::Given(keys.clone(), number as u64),
            KeysFrom::Fetched { cluster, at } => {
                let numbers = (hash.wrapping_add(number as u64), number as u32 + 1);
                Keys::Fetched(Box::new(Remote::new(
                    &issuer.issuer,
                    cluster.clone(),
                    at.clone(),
                    times,
                    numbers,
                )))
            }
        };
        let issuer = |(number, (issuer, from)): (usize, (&config::Issuer, &KeysFrom))| Issuer {
            name: issuer.issuer.clone(),
            rules: rules(issuer),
            algorithms: issuer.algorithms.clone(),
            id_required: issuer.kid == KeyId::Required,
            padded: issuer.padded_tokens,
            keys: keys(number, issuer, from),
        };
        Self {
            places: config.token.clone(),
            types: config.token_types.clone(),
            max_token_bytes: config.max_token_bytes,
            issuers: config.issuers.iter().zip(keys_from).enumerate().map(issuer).collect(),
            meter: Meter::new(config.max_checks_per_second),
            cache: Shared::new(config.cached_tokens),
            failed: Failed::new(),
        }
    }

    /// Finds a request's token, verifies it and maps its claims.
    pub(crate) fn verify(&self, view: &dyn View, map: &[Rule]) -> Result<Verified, NotVerified> {
        let token = place::token(&self.places, view)?;
        if token.len() > self.max_token_bytes {
            return Err(Refusal::TooLarge.into());
        }
        let now = view.now();
        if let Some(mapped) = self.remembered(&token, now) {
            return Ok(Verified { mapped, remembered: true });
        }
        let known = |failure: Failure| self.has_keys(failure.issuer, failure.keys, now);
        // A longer one is refused below, and is not hashed for that.
        if token.len() <= self.max_token_bytes && self.failed.knows(&token, now, known) {
            return Err(Refusal::Signature.into());
        }
        let jws = Jws::parse(&token, self.max_token_bytes)?;
        let header = Header::read(&jws.header, &self.types)?;
        let claims = jws.claims()?;
        let name = issuer(&claims)?;
        let number = self.issuers.iter().position(|issuer| issuer.name == name).ok_or(Refusal::Issuer)?;
        let issuer = &self.issuers[number];
        if jws.padded && !issuer.padded {
            return Err(Refusal::Malformed.into());
        }
        issuer.allows(header.algorithm)?;
        let lifetime = issuer.rules.check(&jws.header, &claims, now)?;
        let (keys, keys_number) = issuer.keys(now).map_err(|ended| without_keys(number, ended))?;
        let rules = KeyRules { algorithms: issuer.algorithms.as_deref(), id_required: issuer.id_required };
        let candidates = match keys.select(&header, rules) {
            Err(Refusal::UnknownKey) => return Err(issuer.without_key(number, now)),
            selected => selected?,
        };
        if !self.is_right(header.algorithm, &candidates, &jws, view, now)? {
            let failure = Failure { end: lifetime.end, issuer: number, keys: keys_number };
            self.failed.insert(&token, now, failure);
            return Err(Refusal::Signature.into());
        }
        let mapped = map.iter().map(|rule| rule.apply(Claim::in_payload(&claims, rule)));
        let mapped = Arc::new(mapped.collect::<Vec<_>>());
        let entry = Entry { value: mapped.clone(), end: lifetime.end, issuer: number, keys: keys_number };
        self.cache.insert(&token, entry);
        Ok(Verified { mapped, remembered: false })
    }

    /// Whether a token's signature is right by one of these keys. By its length it cannot be by some: they cost nothing
    /// and are not metered.
    ///
    /// # Errors
    /// Too many were wrong in this second, so this one was not checked.
    fn is_right(
        &self,
        algorithm: Algorithm,
        candidates: &[&Arc<Key>],
        jws: &Jws<'_>,
        view: &dyn View,
        now: SystemTime,
    ) -> Result<bool, Refusal> {
        let possible =
            || candidates.iter().filter(|key| signature::has_right_length(&key.material, &jws.signature));
        let checks = possible().count() as u32;
        if checks == 0 {
            return Ok(false);
        }
        // All of them at once: a token is judged by every key or not at all.
        let taken = self.meter.take(now, checks).ok_or(Refusal::Busy)?;
        let host = |check: &filter_api::SignatureCheck<'_>| view.verify(check);
        let right =
            possible().any(|key| signature::is_right(algorithm, key, jws.signed, &jws.signature, &host));
        if right {
            self.meter.give_back(taken);
        }
        Ok(right)
    }

    /// Whether any keys are fetched.
    pub(crate) fn fetches(&self) -> bool {
        self.remotes().next().is_some()
    }

    /// How many fetches of an issuer's keys have ended.
    pub(crate) fn ended(&self, issuer: usize) -> u64 {
        match self.issuers.get(issuer).map(|issuer| &issuer.keys) {
            Some(Keys::Fetched(remote)) => remote.ended(),
            _ => 0,
        }
    }

    /// The age of the oldest keys that were fetched.
    pub(crate) fn keys_age(&self, now: SystemTime) -> Option<Duration> {
        self.remotes().filter_map(|remote| remote.age(now)).max()
    }

    /// Something happened that may have keys fetched.
    pub(crate) fn event(&self, event: &Event, cx: &mut EventCx<'_>) {
        match event {
            Event::Tick => {
                self.remotes().for_each(|remote| remote.tick(cx));
                if let Some(age) = self.keys_age(cx.now) {
                    cx.ops.record(metrics::JWKS_AGE, age.as_secs());
                }
            }
            Event::CallEnded(id, end) => {
                let _known = self.remotes().any(|remote| remote.call_ended(*id, end, cx));
            }
        }
    }

    fn remotes(&self) -> impl Iterator<Item = &Remote> {
        self.issuers.iter().filter_map(|issuer| match &issuer.keys {
            Keys::Fetched(remote) => Some(&**remote),
            Keys::Given(..) => None,
        })
    }

    fn remembered(&self, token: &[u8], now: SystemTime) -> Option<Arc<Vec<Mapped>>> {
        let entry = self.cache.get(token)?;
        if now < entry.end && self.has_keys(entry.issuer, entry.keys, now) {
            return Some(entry.value);
        }
        self.cache.remove(token);
        None
    }

    /// Whether an issuer's keys are these, and can be believed.
    fn has_keys(&self, issuer: usize, number: u64, now: SystemTime) -> bool {
        match self.issuers.get(issuer).map(|issuer| &issuer.keys) {
            Some(Keys::Given(_, given)) => *given == number,
            Some(Keys::Fetched(remote)) => remote.number(now) == Some(number),
            None => false,
        }
    }
}

impl Issuer {
    /// The keys, and a number that changes with them and that no other issuer's keys have.
    ///
    /// # Errors
    /// As [`Remote::keys`].
    fn keys(&self, now: SystemTime) -> Result<(Arc<KeySet>, u64), Option<u64>> {
        match &self.keys {
            Keys::Given(keys, number) => Ok((keys.clone(), *number)),
            Keys::Fetched(remote) => remote.keys(now),
        }
    }

    fn without_key(&self, issuer: usize, now: SystemTime) -> NotVerified {
        let refusal = Refusal::UnknownKey;
        match &self.keys {
            Keys::Fetched(remote) => match remote.want(now) {
                Want::Coming(ended) => NotVerified::Wait { refusal, issuer, ended },
                Want::TooSoon => refusal.into(),
                // Newer keys might have it: that they cannot be fetched is not the token's fault.
                Want::Down => Refusal::NoKeys.into(),
            },
            Keys::Given(..) => refusal.into(),
        }
    }

    fn allows(&self, algorithm: Algorithm) -> Result<(), Refusal> {
        let allowed = match &self.algorithms {
            Some(allowed) => allowed.contains(&algorithm),
            None => algorithm != Algorithm::HS256,
        };
        if allowed { Ok(()) } else { Err(Refusal::Algorithm) }
    }
}

fn without_keys(issuer: usize, ended: Option<u64>) -> NotVerified {
    let refusal = Refusal::NoKeys;
    ended.map_or(refusal.into(), |ended| NotVerified::Wait { refusal, issuer, ended })
}
