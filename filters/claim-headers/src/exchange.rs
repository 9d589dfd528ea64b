//! The filter.

use crate::builtin::{Builtin, NotVerified};
use crate::config::{Config, OnUnverified};
use crate::guard::Guard;
use crate::mapping::Mapped;
use crate::metadata::Behind;
use crate::settings::{Settings, Verifier};
use crate::token::Refusal;
use crate::{cookies, metrics, place, remove};
use filter_api::{
    Caps, ConfigError, Cx, Dir, Event, EventCx, Level, Map, Memory, Metric, OnHeaders, OnTrailers, Ops,
    Plugin, Reply, Route, Stream, View,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

/// The filter, configured.
#[derive(Debug)]
pub struct ClaimHeaders {
    config: Config,
    claims: Claims,
    warnings: Vec<String>,
}

/// Where verified claims come from.
#[derive(Debug)]
enum Claims {
    /// This filter verifies tokens.
    Builtin(Box<Builtin>),
    /// Another one does. Whether the log has said that its payload header is not believed.
    Behind(Behind, AtomicBool),
    /// Another instance maps them. This one only takes a header off for it.
    Guard(Guard),
}

/// One exchange.
#[derive(Debug)]
pub struct Exchange {
    filter: Arc<ClaimHeaders>,
    waiting: Option<Waiting>,
    /// The request has headers only.
    end: bool,
    /// Tokens are taken off the request.
    strips: bool,
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
        let settings = Settings::read(json, caps)?;
        let config = &settings.config;
        let claims = match &settings.verifier {
            Verifier::Builtin(keys) => Claims::Builtin(Box::new(Builtin::new(config, keys, hash(json)))),
            Verifier::Metadata => Claims::Behind(Behind::new(&config.metadata, caps), AtomicBool::new(false)),
            Verifier::Guard(header) => Claims::Guard(Guard::new(header)),
        };
        let warnings = settings.warnings();
        Ok(Self { config: settings.config, claims, warnings })
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn tick(&self) -> Option<Duration> {
        self.builtin().filter(|builtin| builtin.fetches()).map(|_| TICK)
    }

    fn event(&self, event: Event, cx: &mut EventCx<'_>) {
        if let Some(builtin) = self.builtin() {
            builtin.event(&event, cx);
        }
    }

    fn open(self: &Arc<Self>) -> Exchange {
        Exchange { filter: self.clone(), waiting: None, end: false, strips: false }
    }
}

impl Stream for Exchange {
    fn headers(&mut self, dir: Dir, end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        match dir {
            Dir::Request => {
                self.end = end;
                self.request(cx)
            }
            Dir::Response => OnHeaders::Continue,
        }
    }

    /// Servers may merge a request's trailers with its headers.
    fn trailers(&mut self, dir: Dir, cx: &mut Cx<'_>) -> OnTrailers {
        if dir == Dir::Request {
            self.filter.clean_trailers(self.strips, cx.view, cx.ops);
        }
        OnTrailers::Continue
    }

    fn woken(&mut self, cx: &mut Cx<'_>) -> OnHeaders {
        let Some(waiting) = self.waiting else { return OnHeaders::Continue };
        let builtin = self.filter.builtin();
        let news = builtin.is_some_and(|builtin| builtin.ended(waiting.issuer) != waiting.ended);
        if !news && cx.view.now() < waiting.deadline { OnHeaders::Wait } else { self.request(cx) }
    }
}

impl Exchange {
    /// Whatever else happens: what a client says of itself is taken off the request, and the route is selected again.
    /// The second also where nothing was taken off, because a filter in front may have done that after the route was
    /// selected by it.
    ///
    /// Once that is done nothing of the exchange is the filter's business but the request's trailers.
    fn request(&mut self, cx: &mut Cx<'_>) -> OnHeaders {
        let filter = self.filter.clone();
        if let Claims::Guard(guard) = &filter.claims {
            count_spoofs(guard.request(cx), cx.ops);
            return OnHeaders::Detach;
        }
        let mapped = match filter.verify(cx.view, cx.ops) {
            Err(NotVerified::Wait { issuer, ended, .. }) if self.waiting.is_none() => {
                // Nothing goes on yet, so nothing is changed yet.
                let deadline = cx.view.now() + Duration::from_millis(filter.config.jwks_wait_milliseconds);
                self.waiting = Some(Waiting { issuer, ended, deadline });
                return OnHeaders::Wait;
            }
            // It has waited once, and its token still cannot be judged.
            Err(NotVerified::Wait { .. }) => Err(Refusal::NoKeys),
            Err(NotVerified::Refused(refusal)) => Err(refusal),
            Ok(mapped) => Ok(mapped),
        };
        filter.remove_clients(cx.view, cx.ops);
        cx.ops.route(Route::Reselect);
        match mapped {
            Ok(mapped) => {
                cx.ops.count(metrics::VERIFIED, 1);
                filter.set(&mapped, cx.ops);
                self.strips = true;
            }
            Err(refusal) => {
                cx.ops.count(metrics::refusal(refusal), 1);
                if let Some(reply) = filter.refuse(refusal, cx) {
                    return OnHeaders::Reply(reply);
                }
                self.strips = filter.config.on_unverified != OnUnverified::Pass;
            }
        }
        if self.strips {
            filter.strip(cx.view, cx.ops);
        }
        if self.end { OnHeaders::Detach } else { OnHeaders::UntilTrailers }
    }
}

impl ClaimHeaders {
    fn builtin(&self) -> Option<&Builtin> {
        match &self.claims {
            Claims::Builtin(builtin) => Some(builtin),
            Claims::Behind(..) | Claims::Guard(_) => None,
        }
    }

    /// Removes every header that has the name of a mapped one, however it is spelt.
    fn remove_clients(&self, view: &dyn View, ops: &mut Ops) {
        let mapped = self.config.map.iter().map(|rule| rule.header.as_str());
        count_spoofs(remove::all(Map::RequestHeaders, view, ops, mapped), ops);
    }

    /// Removes from a request's trailers what is removed from its headers.
    fn clean_trailers(&self, strips: bool, view: &dyn View, ops: &mut Ops) {
        let mapped = self.config.map.iter().map(|rule| rule.header.as_str());
        count_spoofs(remove::all(Map::RequestTrailers, view, ops, mapped), ops);
        let payload = self.config.metadata.payload_header.as_deref();
        let tokens = self.config.strip.iter().map(String::as_str);
        // A trailer of this name means nothing: a cookie is sent with the headers (RFC 9110, section 6.5.1).
        let cookies = (!self.config.strip_cookies.is_empty()).then_some("cookie");
        let tokens = tokens.chain(cookies).filter(|_| strips);
        remove::all(Map::RequestTrailers, view, ops, payload.into_iter().chain(tokens));
    }

    /// The values of the mapped headers, if the request has verified claims.
    fn verify(&self, view: &dyn View, ops: &mut Ops) -> Result<Arc<Vec<Mapped>>, NotVerified> {
        match &self.claims {
            Claims::Builtin(builtin) => {
                let verified = builtin.verify(view, &self.config.map)?;
                if verified.remembered {
                    ops.count(metrics::CACHE_HITS, 1);
                } else if let Some(age) = builtin.keys_age(view.now()) {
                    ops.record(metrics::JWKS_AGE, age.as_secs());
                }
                Ok(verified.mapped)
            }
            Claims::Behind(behind, said) => {
                let found = behind.verified(view, &self.config.map);
                let header = self.config.metadata.payload_header.as_deref();
                if header.is_some() {
                    remove::all(Map::RequestHeaders, view, ops, header.into_iter());
                }
                if found.ignored {
                    ops.count(metrics::PAYLOAD_HEADER_IGNORED, 1);
                    if !said.swap(true, Relaxed) {
                        let text = format!(
                            "the header {:?} is ignored, because it may be the client's: put an instance with \
                             \"source\": \"guard\" in front of the filter that verifies tokens",
                            header.unwrap_or_default()
                        );
                        ops.log(Level::Warn, &text);
                    }
                }
                Ok(Arc::new(found.mapped?))
            }
            // It maps nothing.
            Claims::Guard(_) => Err(Refusal::Missing.into()),
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

    /// The answer to a request without verified claims; `None` if it goes on.
    ///
    /// One that could not be judged does not go on as if it had no token: it may be a user's with more rights than the
    /// server would then see.
    fn refuse(&self, refusal: Refusal, cx: &mut Cx<'_>) -> Option<Reply> {
        if refusal.is_ours() {
            cx.ops.count(metrics::UNJUDGED, 1);
        }
        match self.config.on_unverified {
            OnUnverified::Pass => None,
            OnUnverified::Strip if !refusal.is_ours() => None,
            OnUnverified::Strip => Some(denial(refusal)),
            OnUnverified::Deny => {
                // Browsers send a preflight without a token: one whose token could not be judged does not come from
                // them.
                let may_pass = self.config.allow_cors_preflight && !refusal.is_ours();
                let passes = may_pass && is_preflight(cx.view);
                (!passes).then(|| denial(refusal))
            }
        }
    }

    /// Takes tokens off the request.
    fn strip(&self, view: &dyn View, ops: &mut Ops) {
        remove::all(Map::RequestHeaders, view, ops, self.config.strip.iter().map(String::as_str));
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

fn count_spoofs(count: u64, ops: &mut Ops) {
    if count > 0 {
        ops.count(metrics::SPOOF_REMOVED, count);
    }
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
    let reply = |status, details| {
        Reply::new(status, details)
            .header("content-type", "application/json")
            .body(format!(r#"{{"error":"{refusal}"}}"#).into_bytes())
    };
    let unverified = |challenge| reply(401, "claims_not_verified").header("www-authenticate", challenge);
    match refusal {
        // Signatures are counted by the second, and an issuer that is down is asked again after one at the soonest.
        ours if ours.is_ours() => reply(503, "claims_not_judged").header("retry-after", "1"),
        Refusal::Missing => unverified("Bearer"),
        _ => unverified("Bearer error=\"invalid_token\""),
    }
}
