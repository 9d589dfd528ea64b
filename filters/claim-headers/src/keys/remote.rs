//! Keys that are fetched from their issuer, and fetched again.
//!
//! One fetch at a time, and never one for a request: a request with a `kid` that nobody knows can have the keys fetched
//! sooner, but not sooner than half a minute after the last time. While keys cannot be had the old ones stay in use.

use super::set::KeySet;
use super::url::Url;
use crate::json::{self, Value};
use crate::token::MAX_DEPTH;
use filter_api::{Call, CallEnd, CallId, EventCx, Level};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// When to give up on an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A lease lasts as long as both calls of a fetch may take.
const LEASE: Duration = Duration::from_secs(11);
/// An unknown `kid` has keys fetched at most so often (for each issuer).
const SOONEST_FOR_UNKNOWN: Duration = Duration::from_secs(30);
/// After a failure keys are fetched again so soon, then after twice that, and so on up to half a minute.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct Remote {
    issuer: String,
    cluster: String,
    /// Where the keys are, if the configuration says so.
    keys_at: Option<Url>,
    refresh: Duration,
    /// Among the leases and calls of this configuration.
    lease: u64,
    call: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    keys: Option<Fetched>,
    step: Step,
    /// When the last fetch began.
    began: Option<SystemTime>,
    /// When keys were last fetched.
    fetched: Option<SystemTime>,
    /// When keys are fetched for the next time.
    next: SystemTime,
    /// How many fetches have failed since the last that did not.
    failures: u32,
    /// How many fetches have ended.
    ended: u64,
    /// A token named a key that is not there.
    wanted: bool,
}

/// Where a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    Discovery,
    Keys,
}

#[derive(Clone, Debug)]
struct Fetched {
    keys: Arc<KeySet>,
    /// The text of the set, by which it is seen whether keys have changed.
    text: Vec<u8>,
    number: u64,
}

/// What became of a wish for newer keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// They are, or will be, fetched; so many fetches had ended before.
    Coming(u64),
    /// It is too soon.
    TooSoon,
}

impl Remote {
    /// Keys through a cluster, from a URL or by discovery. `numbers` name the lease and the call.
    pub(crate) fn new(
        issuer: &str,
        cluster: &str,
        keys_at: Option<&str>,
        refresh: Duration,
        numbers: (u64, u32),
    ) -> Self {
        let state = State {
            keys: None,
            step: Step::Idle,
            began: None,
            fetched: None,
            next: SystemTime::UNIX_EPOCH,
            failures: 0,
            ended: 0,
            wanted: false,
        };
        Self {
            issuer: issuer.to_owned(),
            cluster: cluster.to_owned(),
            keys_at: keys_at.and_then(Url::parse),
            refresh,
            lease: numbers.0,
            call: numbers.1,
            state: Mutex::new(state),
        }
    }

    /// The keys, and a number that changes with them.
    ///
    /// # Errors
    /// There are none yet. If the first ones may come soon (nobody has tried, or somebody is trying): how many fetches
    /// have ended.
    pub(crate) fn keys(&self) -> Result<(Arc<KeySet>, u64), Option<u64>> {
        let state = self.state();
        let may_come = state.failures == 0 || state.step != Step::Idle;
        let fetched = state.keys.as_ref().map(|fetched| (fetched.keys.clone(), fetched.number));
        fetched.ok_or(may_come.then_some(state.ended))
    }

    /// How old the keys are.
    pub(crate) fn age(&self, now: SystemTime) -> Option<Duration> {
        self.state().fetched.map(|fetched| now.duration_since(fetched).unwrap_or_default())
    }

    /// How many fetches have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.state().ended
    }

    /// A token names a key that is not there.
    pub(crate) fn want(&self, now: SystemTime) -> Want {
        let mut state = self.state();
        let soonest = state.began.map_or(SystemTime::UNIX_EPOCH, |began| began + SOONEST_FOR_UNKNOWN);
        if state.step == Step::Idle && now < soonest {
            return Want::TooSoon;
        }
        state.wanted = true;
        Want::Coming(state.ended)
    }

    /// Some time has passed.
    pub(crate) fn tick(&self, cx: &mut EventCx<'_>) {
        let mut state = self.state();
        let due = cx.now >= state.next || (state.wanted && state.failures == 0);
        if state.step != Step::Idle || !due || !cx.leases.take(self.lease, LEASE) {
            return;
        }
        (state.began, state.wanted) = (Some(cx.now), false);
        match (&self.keys_at, Url::discovery(&self.issuer)) {
            (Some(url), _) => self.ask(&mut state, Step::Keys, url, cx),
            (None, Some(url)) => self.ask(&mut state, Step::Discovery, &url, cx),
            (None, None) => self.fail(&mut state, "its URL is none", cx),
        }
    }

    /// A call has ended; `false` if it is another issuer's.
    pub(crate) fn call_ended(&self, id: CallId, end: &CallEnd, cx: &mut EventCx<'_>) -> bool {
        if id.0 != self.call {
            return false;
        }
        let mut state = self.state();
        let step = std::mem::replace(&mut state.step, Step::Idle);
        let outcome = body(end).map_err(Cow::from).and_then(|body| match step {
            Step::Idle => Err("nothing was asked".into()),
            Step::Discovery => keys_url(body, &self.issuer).map(Some).map_err(Cow::from),
            Step::Keys => self.take(&mut state, body, cx).map(|()| None),
        });
        match outcome {
            Ok(Some(url)) => self.ask(&mut state, Step::Keys, &url, cx),
            Ok(None) => {
                state.ended += 1;
                cx.leases.give_back(self.lease);
            }
            Err(why) => self.fail(&mut state, &why, cx),
        }
        true
    }

    fn take(&self, state: &mut State, body: &[u8], cx: &mut EventCx<'_>) -> Result<(), Cow<'static, str>> {
        let keys = KeySet::read(body).map_err(|why| why.to_string())?;
        if keys.has_secrets() {
            return Err("the set has a secret, which everyone who can fetch it can read".into());
        }
        let now = cx.now;
        let unchanged = state.keys.as_ref().is_some_and(|known| known.text == body);
        if !unchanged {
            for remark in keys.remarks() {
                cx.ops.log(Level::Warn, &format!("the keys of the issuer {:?}: {remark}", self.issuer));
            }
            // Numbers of several issuers, whose calls differ, stay apart.
            let number = (u64::from(self.call) << 40) + state.ended + 1;
            state.keys = Some(Fetched { keys: Arc::new(keys), text: body.to_vec(), number });
        }
        (state.fetched, state.next, state.failures) = (Some(now), now + self.refresh, 0);
        Ok(())
    }

    fn ask(&self, state: &mut State, step: Step, url: &Url, cx: &mut EventCx<'_>) {
        state.step = step;
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        cx.ops.call(Call {
            id: CallId(self.call),
            cluster: self.cluster.clone(),
            headers: vec![
                header(":method", "GET"),
                header(":path", &url.path),
                header(":authority", &url.authority),
                header("accept", "application/json"),
            ],
            body: Vec::new(),
            timeout: TIMEOUT,
        });
    }

    fn fail(&self, state: &mut State, why: &str, cx: &mut EventCx<'_>) {
        let wait = FIRST_RETRY.saturating_mul(1 << state.failures.min(10)).min(LAST_RETRY);
        (state.failures, state.next) = (state.failures.saturating_add(1), cx.now + wait);
        state.ended += 1;
        cx.leases.give_back(self.lease);
        let old = if state.keys.is_some() { "the old ones stay in use" } else { "there are none" };
        cx.ops.log(
            Level::Warn,
            &format!("the keys of the issuer {:?} could not be fetched: {why}; {old}", self.issuer),
        );
    }

    /// What is locked is whole between any two statements.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of an answer that is one.
fn body(end: &CallEnd) -> Result<&[u8], &'static str> {
    let CallEnd::Answered(answer) = end else { return Err("no answer came") };
    let status =
        answer.headers.iter().find(|(name, _)| name == b":status").map(|(_, value)| value.as_slice());
    match status {
        Some(b"200") if answer.body.len() <= MAX_ANSWER_BYTES => Ok(&answer.body),
        Some(b"200") => Err("the answer is too large"),
        _ => Err("the answer's status is not 200"),
    }
}

/// What a discovery document says of keys (OpenID Connect Discovery 1.0, section 3). It must be that of the issuer, whose
/// name it says (section 4.3).
fn keys_url(document: &[u8], issuer: &str) -> Result<Url, &'static str> {
    let document = json::parse(document, MAX_DEPTH).map_err(|_| "the discovery document is not JSON")?;
    let text = |name: &str| document.get(name).and_then(Value::text);
    if text("issuer") != Some(issuer) {
        return Err("the discovery document is another issuer's");
    }
    text("jwks_uri").and_then(Url::parse).ok_or("the discovery document has no URL of keys")
}
