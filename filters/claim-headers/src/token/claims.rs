//! What a token's registered claims must say (RFC 7519, section 4.1).

use super::Refusal;
use crate::json::Value;
use std::time::{Duration, SystemTime};

/// The largest number that every JSON reader takes for the same one: 2^53.
const MAX_SECONDS: u64 = 1 << 53;

/// What an issuer's tokens must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimRules {
    /// The names by which this proxy is meant; if empty, a token may be for anyone.
    pub(crate) audiences: Vec<String>,
    /// How far clocks may be apart.
    pub(crate) skew: Duration,
    /// How long ago a token may have been issued.
    pub(crate) max_age: Option<Duration>,
}

/// Until when a token may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// The first moment at which it may not.
    pub(crate) end: SystemTime,
}

/// The claim by which the rules for a token are found.
pub(crate) fn issuer(claims: &Value) -> Result<&str, Refusal> {
    claims.get("iss").and_then(Value::text).ok_or(Refusal::Issuer)
}

impl ClaimRules {
    /// Checks audience and times.
    pub(crate) fn check(&self, claims: &Value, now: SystemTime) -> Result<Lifetime, Refusal> {
        self.check_audience(claims.get("aud"))?;
        let expires = time(claims.get("exp"))?.ok_or(Refusal::Times)?;
        let not_before = time(claims.get("nbf"))?;
        let issued = time(claims.get("iat"))?;
        let mut end = expires + self.skew;
        if let Some(max_age) = self.max_age {
            end = end.min(issued.ok_or(Refusal::Times)? + max_age + self.skew);
        }
        if now >= end {
            return Err(Refusal::Expired);
        }
        if not_before.max(issued).is_some_and(|start| start > now + self.skew) {
            return Err(Refusal::NotYetValid);
        }
        Ok(Lifetime { end })
    }

    /// Audiences are compared as they are written: no scheme, slash or case is made equal.
    fn check_audience(&self, audience: Option<&Value>) -> Result<(), Refusal> {
        let expected = |text: &str| self.audiences.iter().any(|expected| expected == text);
        let fits = match audience {
            None => false,
            Some(Value::String(text)) => expected(text),
            Some(Value::Array(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(Value::text).collect();
                // One item that is no string spoils the claim, whoever else it names.
                texts.ok_or(Refusal::Audience)?.into_iter().any(expected)
            }
            Some(_) => return Err(Refusal::Audience),
        };
        if fits || self.audiences.is_empty() { Ok(()) } else { Err(Refusal::Audience) }
    }
}

/// A time in whole seconds since 1970, written as nothing but digits.
fn time(claim: Option<&Value>) -> Result<Option<SystemTime>, Refusal> {
    let seconds = match claim {
        None => return Ok(None),
        Some(Value::Number(text)) => text.parse::<u64>().map_err(|_| Refusal::Times)?,
        Some(_) => return Err(Refusal::Times),
    };
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    if seconds > MAX_SECONDS { Err(Refusal::Times) } else { time.map(Some).ok_or(Refusal::Times) }
}
