//! The filter.

use crate::builtin::Builtin;
use crate::config::{Config, OnUnverified, Source};
use crate::mapping::Mapped;
use crate::token::Refusal;
use crate::{cookies, header, metadata, metrics, place};
use filter_api::{
    Caps, ConfigError, Cx, Dir, Map, Metric, OnHeaders, Ops, Plugin, Reply, Route, Stream, View, Vm,
};
use std::sync::Arc;

/// The filter, configured.
#[derive(Debug)]
pub struct ClaimHeaders {
    config: Config,
    builtin: Option<Builtin>,
}

/// One exchange.
#[derive(Debug)]
pub struct Exchange(Arc<ClaimHeaders>);

impl Plugin for ClaimHeaders {
    type Stream = Exchange;
    const NAME: &'static str = "claim_headers";
    const METRICS: &'static [Metric] = metrics::ALL;

    fn configure(json: &[u8], caps: Caps, _vm: Arc<Vm>) -> Result<Self, ConfigError> {
        let config = Config::read(json, caps)?;
        let builtin = (config.source == Source::Builtin).then(|| Builtin::new(&config));
        Ok(Self { config, builtin })
    }

    fn warnings(&self) -> Vec<String> {
        self.config.warnings()
    }

    fn open(self: &Arc<Self>) -> Exchange {
        Exchange(self.clone())
    }
}

impl Stream for Exchange {
    fn headers(&mut self, dir: Dir, _end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        match dir {
            Dir::Request => self.0.request(cx),
            Dir::Response => OnHeaders::Continue,
        }
    }
}

impl ClaimHeaders {
    /// Whatever else happens: what a client says of itself is taken off the request, and the route is selected again.
    /// The second also where nothing was taken off, because a filter in front may have done that after the route was
    /// selected by it.
    fn request(&self, cx: &mut Cx<'_>) -> OnHeaders {
        self.remove_clients(cx.view, cx.ops);
        cx.ops.route(Route::Reselect);
        match self.verify(cx.view, cx.ops) {
            Ok(mapped) => {
                cx.ops.count(metrics::VERIFIED, 1);
                self.set(&mapped, cx.ops);
                self.strip(cx.view, cx.ops);
                OnHeaders::Continue
            }
            Err(refusal) => {
                cx.ops.count(metrics::refusal(refusal), 1);
                self.unverified(refusal, cx)
            }
        }
    }

    /// Removes every header that has the name of a mapped one, however it is spelt.
    fn remove_clients(&self, view: &dyn View, ops: &mut Ops) {
        let mut found: Vec<String> = Vec::new();
        let mut count = 0;
        view.each_header(Map::RequestHeaders, &mut |name, _| {
            let mapped =
                |rule: &crate::config::Rule| header::fold(rule.header.as_bytes()).eq(header::fold(name));
            if self.config.map.iter().any(mapped) {
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
        if count > 0 {
            ops.count(metrics::SPOOF_REMOVED, count);
        }
    }

    /// The values of the mapped headers, if the request has verified claims.
    fn verify(&self, view: &dyn View, ops: &mut Ops) -> Result<Arc<Vec<Mapped>>, Refusal> {
        match &self.builtin {
            Some(builtin) => {
                let verified = builtin.verify(view, &self.config.map)?;
                if verified.remembered {
                    ops.count(metrics::CACHE_HITS, 1);
                }
                Ok(verified.mapped)
            }
            None => {
                let from = &self.config.metadata;
                let mapped = metadata::verified(from, view, &self.config.map);
                if let Some(name) = &from.payload_header {
                    ops.remove_header(Map::RequestHeaders, name);
                }
                mapped.map(Arc::new)
            }
        }
    }

    fn set(&self, mapped: &[Mapped], ops: &mut Ops) {
        for (rule, mapped) in self.config.map.iter().zip(mapped) {
            let (counter, value) = match mapped {
                Mapped::Value(value) => (metrics::MAPPED, Some(value)),
                Mapped::Missing(default) => (metrics::MISSING_CLAIM, default.as_ref()),
                Mapped::Bad(default) => (metrics::BAD_VALUE, default.as_ref()),
            };
            ops.count(counter, 1);
            if let Some(value) = value {
                ops.set_header(Map::RequestHeaders, &rule.header, value.as_bytes());
            }
        }
    }

    fn unverified(&self, refusal: Refusal, cx: &mut Cx<'_>) -> OnHeaders {
        match self.config.on_unverified {
            OnUnverified::Pass => OnHeaders::Continue,
            OnUnverified::Deny if !(self.config.allow_cors_preflight && is_preflight(cx.view)) => {
                OnHeaders::Reply(denial(refusal))
            }
            OnUnverified::Deny | OnUnverified::Strip => {
                self.strip(cx.view, cx.ops);
                OnHeaders::Continue
            }
        }
    }

    /// Takes tokens off the request.
    fn strip(&self, view: &dyn View, ops: &mut Ops) {
        for name in &self.config.strip {
            ops.remove_header(Map::RequestHeaders, name);
        }
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
