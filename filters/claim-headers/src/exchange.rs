//! The filter.

use crate::builtin::{Builtin, NotVerified};
use crate::config::{Config, OnUnverified, Source};
use crate::mapping::Mapped;
use crate::token::Refusal;
use crate::{cookies, header, metadata, metrics, place};
use filter_api::{
    Caps, ConfigError, Cx, Dir, Event, EventCx, Map, Memory, Metric, OnHeaders, Ops, Plugin, Reply, Route,
    Stream, View,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The filter, configured.
#[derive(Debug)]
pub struct ClaimHeaders {
    config: Config,
    builtin: Option<Builtin>,
}

/// One exchange.
#[derive(Debug)]
pub struct Exchange {
    filter: Arc<ClaimHeaders>,
    waiting: Option<Waiting>,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Whose keys.
    issuer: usize,
    /// How many fetches of these had ended.
    ended: u64,
    /// When it stops waiting.
    deadline: SystemTime,
}

/// How often it is looked whether keys must be fetched.
const TICK: Duration = Duration::from_millis(200);

impl Plugin for ClaimHeaders {
    type Stream = Exchange;
    const NAME: &'static str = "claim_headers";
    const METRICS: &'static [Metric] = metrics::ALL;

    fn configure(json: &[u8], caps: Caps, _memory: Arc<Memory>) -> Result<Self, ConfigError> {
        let config = Config::read(json, caps)?;
        let builtin = (config.source == Source::Builtin).then(|| Builtin::new(&config, hash(json)));
        Ok(Self { config, builtin })
    }

    fn warnings(&self) -> Vec<String> {
        self.config.warnings()
    }

    fn tick(&self) -> Option<Duration> {
        self.builtin.as_ref().filter(|builtin| builtin.fetches()).map(|_| TICK)
    }

    fn event(&self, event: Event, cx: &mut EventCx<'_>) {
        if let Some(builtin) = &self.builtin {
            builtin.event(&event, cx);
        }
    }

    fn open(self: &Arc<Self>) -> Exchange {
        Exchange { filter: self.clone(), waiting: None }
    }
}

impl Stream for Exchange {
    fn headers(&mut self, dir: Dir, _end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        match dir {
            Dir::Request => self.request(cx),
            Dir::Response => OnHeaders::Continue,
        }
    }

    fn woken(&mut self, cx: &mut Cx<'_>) -> OnHeaders {
        let Some(waiting) = self.waiting else { return OnHeaders::Continue };
        let builtin = self.filter.builtin.as_ref();
        let news = builtin.is_some_and(|builtin| builtin.ended(waiting.issuer) != waiting.ended);
        if !news && cx.view.now() < waiting.deadline { OnHeaders::Wait } else { self.request(cx) }
    }
}

impl Exchange {
    /// Whatever else happens: what a client says of itself is taken off the request, and the route is selected again.
    /// The second also where nothing was taken off, because a filter in front may have done that after the route was
    /// selected by it.
    ///
    /// Once that is done the rest of the exchange is none of the filter's business, and it is not asked again.
    fn request(&mut self, cx: &mut Cx<'_>) -> OnHeaders {
        let filter = self.filter.clone();
        let mapped = match filter.verify(cx.view, cx.ops) {
            Err(NotVerified::Wait { issuer, ended, .. }) if self.waiting.is_none() => {
                // Nothing goes on yet, so nothing is changed yet.
                let deadline = cx.view.now() + Duration::from_millis(filter.config.jwks_wait_milliseconds);
                self.waiting = Some(Waiting { issuer, ended, deadline });
                return OnHeaders::Wait;
            }
            // It has waited once.
            Err(NotVerified::Wait { refusal, .. } | NotVerified::Refused(refusal)) => Err(refusal),
            Ok(mapped) => Ok(mapped),
        };
        filter.remove_clients(cx.view, cx.ops);
        cx.ops.route(Route::Reselect);
        match mapped {
            Ok(mapped) => {
                cx.ops.count(metrics::VERIFIED, 1);
                filter.set(&mapped, cx.ops);
                filter.strip(cx.view, cx.ops);
                OnHeaders::Detach
            }
            Err(refusal) => {
                cx.ops.count(metrics::refusal(refusal), 1);
                filter.unverified(refusal, cx)
            }
        }
    }
}

impl ClaimHeaders {
    /// Removes every header that has the name of a mapped one, however it is spelt.
    fn remove_clients(&self, view: &dyn View, ops: &mut Ops) {
        let count = remove(view, ops, self.config.map.iter().map(|rule| rule.header.as_str()));
        if count > 0 {
            ops.count(metrics::SPOOF_REMOVED, count);
        }
    }

    /// The values of the mapped headers, if the request has verified claims.
    fn verify(&self, view: &dyn View, ops: &mut Ops) -> Result<Arc<Vec<Mapped>>, NotVerified> {
        match &self.builtin {
            Some(builtin) => {
                let verified = builtin.verify(view, &self.config.map)?;
                if verified.remembered {
                    ops.count(metrics::CACHE_HITS, 1);
                } else if let Some(age) = builtin.keys_age(view.now()) {
                    ops.record(metrics::JWKS_AGE, age.as_secs());
                }
                Ok(verified.mapped)
            }
            None => {
                let from = &self.config.metadata;
                let mapped = metadata::verified(from, view, &self.config.map);
                remove(view, ops, from.payload_header.iter().map(String::as_str));
                Ok(Arc::new(mapped?))
            }
        }
    }

    fn set(&self, mapped: &[Mapped], ops: &mut Ops) {
        // A counter is a call of the host's: one each, however many rules there are.
        let mut counts = [(metrics::MAPPED, 0), (metrics::MISSING_CLAIM, 0), (metrics::BAD_VALUE, 0)];
        for (rule, mapped) in self.config.map.iter().zip(mapped) {
            let (counter, value) = match mapped {
                Mapped::Value(value) => (0, Some(value)),
                Mapped::Missing(default) => (1, default.as_ref()),
                Mapped::Bad(default) => (2, default.as_ref()),
            };
            counts[counter].1 += 1;
            if let Some(value) = value {
                ops.set_header(Map::RequestHeaders, &rule.header, value.as_bytes());
            }
        }
        for (counter, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            ops.count(counter, count);
        }
    }

    fn unverified(&self, refusal: Refusal, cx: &mut Cx<'_>) -> OnHeaders {
        match self.config.on_unverified {
            OnUnverified::Pass => OnHeaders::Detach,
            OnUnverified::Deny if !(self.config.allow_cors_preflight && is_preflight(cx.view)) => {
                OnHeaders::Reply(denial(refusal))
            }
            OnUnverified::Deny | OnUnverified::Strip => {
                self.strip(cx.view, cx.ops);
                OnHeaders::Detach
            }
        }
    }

    /// Takes tokens off the request.
    fn strip(&self, view: &dyn View, ops: &mut Ops) {
        remove(view, ops, self.config.strip.iter().map(String::as_str));
        if self.config.strip_cookies.is_empty() {
            return;
        }
        match cookies::without(&place::values(view, "cookie"), &self.config.strip_cookies) {
            None => {}
            Some(kept) if kept.is_empty() => ops.remove_header(Map::RequestHeaders, "cookie"),
            Some(kept) => ops.set_header(Map::RequestHeaders, "cookie", &kept),
        }
    }
}

/// Removes every header that has one of these names, however it is spelt, and says how many there were.
fn remove<'n>(view: &dyn View, ops: &mut Ops, names: impl Iterator<Item = &'n str> + Clone) -> u64 {
    let mut found: Vec<String> = Vec::new();
    let mut count = 0;
    view.each_header(Map::RequestHeaders, &mut |name, _| {
        if names.clone().any(|wanted| header::fold(wanted.as_bytes()).eq(header::fold(name))) {
            count += 1;
            // A name that equals an ASCII one but for its case and its dashes is ASCII.
            let name = String::from_utf8_lossy(name).into_owned();
            if !found.contains(&name) {
                found.push(name);
            }
        }
    });
    for name in found {
        ops.remove_header(Map::RequestHeaders, &name);
    }
    count
}

/// FNV-1a: a name for a configuration, by which its instances in other VMs know it.
fn hash(json: &[u8]) -> u64 {
    json.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A CORS preflight request, as browsers send it (Fetch standard, section 3.3.2).
fn is_preflight(view: &dyn View) -> bool {
    let header = |name: &str| view.header(Map::RequestHeaders, name);
    header(":method").as_deref() == Some(b"OPTIONS")
        && header("origin").is_some()
        && header("access-control-request-method").is_some()
}

/// The answer to a request that is not let through. It says why, and nothing of the token (RFC 6750, section 3).
fn denial(refusal: Refusal) -> Reply {
    let (status, challenge) = match refusal {
        Refusal::NoKeys | Refusal::Busy => (503, None),
        Refusal::Missing => (401, Some("Bearer")),
        _ => (401, Some("Bearer error=\"invalid_token\"")),
    };
    let reply = Reply::new(status, "claims_not_verified")
        .header("content-type", "application/json")
        .body(format!(r#"{{"error":"{refusal}"}}"#).into_bytes());
    match challenge {
        Some(challenge) => reply.header("www-authenticate", challenge),
        None => reply,
    }
}
