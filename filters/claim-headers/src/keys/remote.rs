//! Keys that are fetched from their issuer, and fetched again.
//!
//! One fetch at a time, and never one for a request: a request with an unknown `kid` can have the keys fetched
//! sooner, but not sooner than half a minute after the last time. While keys cannot be fetched the old ones stay in use,
//! until they are too old to be believed.
//!
//! Instances of a configuration in several VMs take turns at refreshing keys that they have. What requests wait for is
//! fetched at once: the first keys, and those that a token asks for.

use super::set::KeySet;
use super::url::Url;
use crate::json::{self, Value};
use crate::token::MAX_DEPTH;
use filter_api::{Call, CallEnd, CallId, EventCx, Level};
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
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
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct Remote {
    issuer: String,
    cluster: String,
    at: KeysAt,
    times: Times,
    /// Among the leases and calls of this configuration.
    lease: u64,
    call: u32,
    /// What requests look at.
    keys: Current,
    state: Mutex<State>,
}

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeysAt {
    /// At this URL.
    Url(Url),
    /// At a URL that the discovery document at this one names.
    Discovery(Url),
}

/// How often keys are fetched, and how long they are believed without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) refresh: Duration,
    pub(crate) max_stale: Duration,
}

/// The keys in use. Nearly every request asks only whether they are still those by which its token was remembered, for
/// which no lock is needed.
#[derive(Debug, Default)]
struct Current {
    /// Changes with the keys; 0 while there are none.
    number: AtomicU64,
    /// Until when they are believed, in milliseconds since 1970.
    until: AtomicU64,
    keys: RwLock<Option<Arc<KeySet>>>,
}

#[derive(Debug)]
struct State {
    /// The text of the set in use, by which it is seen whether keys have changed.
    text: Option<Vec<u8>>,
    step: Step,
    /// The fetch under way has the lease.
    leased: bool,
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
    /// The log says that the keys are too old.
    warned: bool,
}

/// Where a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    Discovery,
    Keys,
}

/// What became of a wish for newer keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// They are, or will be, fetched; this is how many fetches had ended before.
    Coming(u64),
    /// The keys were fetched a moment ago: they are what the token is judged by.
    TooSoon,
    /// The issuer is known to be down.
    Down,
}

impl Remote {
    /// Keys through a cluster, from a URL or by discovery. `numbers` name the lease and the call.
    pub(crate) fn new(issuer: &str, cluster: String, at: KeysAt, times: Times, numbers: (u64, u32)) -> Self {
        let state = State {
            text: None,
            step: Step::Idle,
            leased: false,
            began: None,
            fetched: None,
            next: SystemTime::UNIX_EPOCH,
            failures: 0,
            ended: 0,
            wanted: false,
            warned: false,
        };
        Self {
            issuer: issuer.to_owned(),
            cluster,
            at,
            times,
            lease: numbers.0,
            call: numbers.1,
            keys: Current::default(),
            state: Mutex::new(state),
        }
    }

    /// The keys, and a number that changes with them.
    ///
    /// # Errors
    /// There are no keys that can be believed. If they may come soon, because the issuer is not known to be down: how
    /// many fetches have ended.
    pub(crate) fn keys(&self, now: SystemTime) -> Result<(Arc<KeySet>, u64), Option<u64>> {
        let current = self.number(now).zip(self.current());
        current.map(|(number, keys)| (keys, number)).ok_or_else(|| {
            let state = self.state();
            (state.failures == 0).then_some(state.ended)
        })
    }

    /// The number of the keys; `None` while there are none that can be believed.
    pub(crate) fn number(&self, now: SystemTime) -> Option<u64> {
        let number = self.keys.number.load(Ordering::Acquire);
        (number > 0 && milliseconds(now) < self.keys.until.load(Ordering::Acquire)).then_some(number)
    }

    /// How old the keys are.
    pub(crate) fn age(&self, now: SystemTime) -> Option<Duration> {
        self.age_of(&self.state(), now)
    }

    fn age_of(&self, state: &State, now: SystemTime) -> Option<Duration> {
        state.fetched.map(|fetched| now.duration_since(fetched).unwrap_or_default())
    }

    /// How many fetches have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.state().ended
    }

    /// A token names a key that is not there.
    pub(crate) fn want(&self, now: SystemTime) -> Want {
        let mut state = self.state();
        if state.failures > 0 {
            return Want::Down;
        }
        if state.step == Step::Idle {
            let soonest = state.began.map_or(SystemTime::UNIX_EPOCH, |began| began + SOONEST_FOR_UNKNOWN);
            if now < soonest {
                return Want::TooSoon;
            }
            // Not while a fetch is under way: its keys answer the wish, and another fetch would follow it at once.
            state.wanted = true;
        }
        Want::Coming(state.ended)
    }

    /// Some time has passed.
    pub(crate) fn tick(&self, cx: &mut EventCx<'_>) {
        let mut state = self.state();
        if state.began.is_some_and(|began| cx.now < began) {
            self.was_set_back(&mut state, cx.now);
        }
        let believed = self.number(cx.now).is_some();
        if !believed && !state.warned && state.text.is_some() {
            state.warned = true;
            let text = format!(
                "the keys of the issuer {:?} were last fetched {} seconds ago and are not believed any more: requests \
                 with its tokens are answered 503",
                self.issuer,
                self.age_of(&state, cx.now).unwrap_or_default().as_secs()
            );
            cx.ops.log(Level::Warn, &text);
        }
        let due = cx.now >= state.next || (state.wanted && state.failures == 0);
        if state.step != Step::Idle || !due {
            return;
        }
        // Requests wait for these.
        let urgent = !believed || state.wanted;
        if !urgent && !cx.leases.take(self.lease, LEASE) {
            return;
        }
        (state.leased, state.began, state.wanted) = (!urgent, Some(cx.now), false);
        match &self.at {
            KeysAt::Url(url) => self.ask(&mut state, Step::Keys, url, cx),
            KeysAt::Discovery(url) => self.ask(&mut state, Step::Discovery, url, cx),
        }
    }

    /// The clock was set back. To what was noted before, keys would be new for as long as it went back: they would
    /// neither be fetched again nor grow old.
    fn was_set_back(&self, state: &mut State, now: SystemTime) {
        (state.began, state.next) = (Some(now), now);
        state.fetched = state.fetched.map(|fetched| fetched.min(now));
        self.keys.until.fetch_min(milliseconds(now + self.times.max_stale), Ordering::AcqRel);
    }

    /// A call has ended; `false` if it is another issuer's.
    pub(crate) fn call_ended(&self, id: CallId, end: &CallEnd, cx: &mut EventCx<'_>) -> bool {
        if id.0 != self.call {
            return false;
        }
        let mut state = self.state();
        let step = std::mem::replace(&mut state.step, Step::Idle);
        let outcome = body(end).and_then(|body| match step {
            Step::Idle => Err("nothing was asked".into()),
            Step::Discovery => keys_url(body, &self.issuer).map(Some).map_err(Cow::from),
            Step::Keys => self.take(&mut state, body, cx).map(|()| None),
        });
        match outcome {
            Ok(Some(url)) => self.ask(&mut state, Step::Keys, &url, cx),
            Ok(None) => {
                state.ended += 1;
                self.give_back(&mut state, cx);
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
        let until = milliseconds(now + self.times.max_stale);
        self.keys.until.store(until, Ordering::Release);
        if state.text.as_deref() != Some(body) {
            for remark in keys.remarks() {
                cx.ops.log(Level::Warn, &format!("the keys of the issuer {:?}: {remark}", self.issuer));
            }
            // Numbers of several issuers, whose calls differ, stay apart.
            let number = (u64::from(self.call) << 40) + state.ended + 1;
            *self.keys.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
            self.keys.number.store(number, Ordering::Release);
            state.text = Some(body.to_vec());
        }
        (state.fetched, state.next, state.failures) = (Some(now), now + self.times.refresh, 0);
        state.warned = false;
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
        self.give_back(state, cx);
        let old = match (self.number(cx.now), &state.text) {
            (Some(_), _) => "the keys fetched before stay in use",
            (None, Some(_)) => "the keys fetched before are too old to be used",
            (None, None) => "no keys have been fetched so far, so its tokens cannot be verified",
        };
        cx.ops.log(
            Level::Warn,
            &format!("the keys of the issuer {:?} could not be fetched: {why}; {old}", self.issuer),
        );
    }

    fn give_back(&self, state: &mut State, cx: &EventCx<'_>) {
        if std::mem::take(&mut state.leased) {
            cx.leases.give_back(self.lease);
        }
    }

    fn current(&self) -> Option<Arc<KeySet>> {
        self.keys.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is locked is whole between any two statements.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The body of an answer with status 200.
fn body(end: &CallEnd) -> Result<&[u8], Cow<'static, str>> {
    let CallEnd::Answered(answer) = end else { return Err("no answer came".into()) };
    let status =
        answer.headers.iter().find(|(name, _)| name == b":status").map(|(_, value)| value.as_slice());
    match status {
        Some(b"200") if answer.body.len() <= MAX_ANSWER_BYTES => Ok(&answer.body),
        Some(b"200") => Err(format!("the answer is larger than {MAX_ANSWER_BYTES} bytes").into()),
        // The router answers for a server that it cannot reach.
        Some(b"503") => {
            Err("the answer's status is 503, as when its cluster has no endpoint that can be reached".into())
        }
        status => {
            let status = String::from_utf8_lossy(status.unwrap_or_default());
            Err(format!("the answer's status is {status}, not 200").into())
        }
    }
}

/// What a discovery document says of keys (OpenID Connect Discovery 1.0, section 3). It must be that of the issuer,
/// whose name it says (section 4.3).
fn keys_url(document: &[u8], issuer: &str) -> Result<Url, &'static str> {
    let document = json::parse(document, MAX_DEPTH).map_err(|_| "the discovery document is not JSON")?;
    let text = |name: &str| document.get(name).and_then(Value::text);
    if text("issuer") != Some(issuer) {
        return Err("the discovery document is another issuer's");
    }
    text("jwks_uri").and_then(Url::parse).ok_or("the discovery document has no URL of keys")
}
