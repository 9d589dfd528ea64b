//! What a token's registered claims must say (RFC 7519, section 4.1).

use super::Refusal;
use crate::config::{Part, Require};
use crate::json::Value;
use std::time::{Duration, SystemTime};

/// The largest number that every JSON reader takes for the same one: 2^53.
const MAX_SECONDS: u64 = 1 << 53;

/// What an issuer's tokens must say besides times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimRules {
    /// The names by which this proxy is meant; if empty, a token may be for anyone.
    pub(crate) audiences: Vec<String>,
    /// How far clocks may be apart.
    pub(crate) skew: Duration,
    /// How long ago a token may have been issued.
    pub(crate) max_age: Option<Duration>,
    /// What else a token must say.
    pub(crate) require: Vec<Require>,
}

/// Until when a token may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// The first moment at which it may not.
    pub(crate) end: SystemTime,
}

/// The claim by which the rules for a token are found; empty for a token without one, as SPIFFE's are.
pub(crate) fn issuer(claims: &Value) -> Result<&str, Refusal> {
    match claims.get("iss") {
        None => Ok(""),
        Some(Value::String(issuer)) if !issuer.is_empty() => Ok(issuer),
        Some(_) => Err(Refusal::Issuer),
    }
}

impl ClaimRules {
    /// Checks audience, required values and times. `header` is the token's.
    pub(crate) fn check(&self, header: &Value, claims: &Value, now: SystemTime) -> Result<Lifetime, Refusal> {
        self.check_audience(claims.get("aud"))?;
        if !self.require.iter().all(|require| require.is_met(header, claims)) {
            return Err(Refusal::Required);
        }
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
                // One item that is not a string spoils the claim, whatever the others are.
                texts.ok_or(Refusal::Audience)?.into_iter().any(expected)
            }
            Some(_) => return Err(Refusal::Audience),
        };
        if fits || self.audiences.is_empty() { Ok(()) } else { Err(Refusal::Audience) }
    }
}

impl Require {
    /// Whether a token has one of the values, by itself or in a list.
    fn is_met(&self, header: &Value, claims: &Value) -> bool {
        let start = match self.part {
            Part::Payload => claims,
            Part::Header => header,
        };
        let found = self.claim.iter().try_fold(start, |value, step| value.get(step));
        let is_wanted = |value: &Value| match value {
            Value::String(text) | Value::Number(text) => self.any_of.contains(text),
            Value::Bool(value) => self.any_of.iter().any(|wanted| *wanted == value.to_string()),
            _ => false,
        };
        match found {
            Some(Value::Array(items)) => items.iter().any(is_wanted),
            Some(value) => is_wanted(value),
            None => false,
        }
    }
}

/// A time in seconds since 1970, which may have a fraction or an exponent (`NumericDate`, RFC 7519, section 2).
fn time(claim: Option<&Value>) -> Result<Option<SystemTime>, Refusal> {
    let since = match claim {
        None => return Ok(None),
        Some(Value::Number(text)) => seconds(text).ok_or(Refusal::Times)?,
        Some(_) => return Err(Refusal::Times),
    };
    SystemTime::UNIX_EPOCH.checked_add(since).map(Some).ok_or(Refusal::Times)
}

/// A JSON number as a time that no other one is between: what is left of a nanosecond is rounded up, so that a moment,
/// which has whole ones, is before the time exactly if it is before the number. `None` for negative and for huge ones.
fn seconds(number: &str) -> Option<Duration> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // An exponent that does not fit is of a number that no clock shows.
    let point = i64::from(exponent.parse::<i32>().ok()?) + i64::try_from(whole.len()).ok()?;
    let (mut seconds, mut nanos, mut rest) = (0, 0, 0);
    for (place, digit) in (i64::MIN..point).rev().zip(whole.bytes().chain(fraction.bytes())) {
        let digit = u64::from(char::from(digit).to_digit(10)?);
        match u32::try_from(place) {
            _ if digit == 0 => {}
            Ok(place) => seconds += digit * 10u64.checked_pow(place).filter(|unit| *unit <= MAX_SECONDS)?,
            Err(_) if place >= -9 => nanos += digit * 10u64.pow((place + 9) as u32),
            Err(_) => rest = 1,
        }
    }
    let time = Duration::from_secs(seconds) + Duration::from_nanos(nanos + rest);
    (time <= Duration::from_secs(MAX_SECONDS)).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_time_may_have_a_fraction_or_an_exponent_and_is_compared_exactly() {
        for (number, secs, nanos) in [
            ("0", 0, 0),
            ("1700000000", 1_700_000_000, 0),
            ("1700000000.0", 1_700_000_000, 0),
            ("1700000000.5", 1_700_000_000, 500_000_000),
            ("1.7E9", 1_700_000_000, 0),
            ("1.7e+9", 1_700_000_000, 0),
            ("17000000005e-1", 1_700_000_000, 500_000_000),
            ("0.000017e14", 1_700_000_000, 0),
            ("0e5", 0, 0),
            ("1e-9", 0, 1),
            ("1e-30", 0, 1),
            ("1.0000000001", 1, 1),
            ("1.9999999999", 2, 0),
            ("1700000000.00000000000000000000000000000000000000000", 1_700_000_000, 0),
            ("9007199254740992", 1 << 53, 0),
            ("9.007199254740992e15", 1 << 53, 0),
        ] {
            assert_eq!(seconds(number), Some(Duration::new(secs, nanos)), "{number}");
        }
        for number in [
            "-1",
            "-0",
            "-0.5",
            "9007199254740993",
            "9007199254740992.1",
            "1e16",
            "1e300",
            "1e99999999999",
            "18446744073709551616",
        ] {
            assert_eq!(seconds(number), None, "{number}");
        }
    }
}
