//! What each model's inferences come to, for the metrics that are kept apart by model.
//!
//! An exchange adds to counters in memory, and now and then one of them [tells](Models::tell) the host all that has been
//! added since: to look a host's counter up by its labels costs about as much as the filter's whole work on a small
//! request. For the same reason durations are counted into buckets here, as Prometheus counts them, and not recorded one
//! by one in a histogram of the host's.
//!
//! A client cannot make up names of models: a model has a name of its own here once a model server has answered one of
//! its inferences with success, and everything before that counts for [`OTHER`], as do the models for which there is no
//! room. Versions are bounded by model, so that those of one model take no room of another.

mod tally;

use crate::config::MAX_MODELS;
use filter_api::Ops;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tally::Tally;

/// The label of models without a name of their own.
const OTHER: &str = "other";

/// The label of inferences whose client left the version to the server.
const ANY_VERSION: &str = "any";

/// So many versions of a model have a name of their own, beside [`ANY_VERSION`]; further ones count together as version
/// [`OTHER`] of the model. A server that ignores versions answers all that a client makes up, which must not take the
/// room of other models.
const NAMED_VERSIONS: usize = 8;

/// A model whose name or version is longer, in bytes, has no name of its own.
const LABEL_BYTES: usize = 128;

/// How often a host is told, at most, in milliseconds. At a lower rate of requests each of them tells what it has added.
const INTERVAL_MS: u64 = 250;

/// How an inference ended that went to a model server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With this gRPC status.
    Status(u16),
    /// The exchange was over before the answer was: the client left, or a time-out or a reset ended it.
    Unfinished,
}

/// The models of a configuration. Natively all workers share it; in proxy-wasm each VM has one of its own, and the host
/// adds them up.
#[derive(Debug)]
pub(crate) struct Models {
    most: usize,
    known: RwLock<Known>,
    other: Tally,
    /// When the host was last told, in milliseconds since 1970.
    told: AtomicU64,
}

/// By name, and then by version: a lookup needs no key of its own.
#[derive(Debug, Default)]
struct Known {
    by_name: HashMap<String, Versions>,
}

/// The versions of a model.
#[derive(Debug, Default)]
struct Versions {
    named: Vec<Version>,
    /// Those for which there was no room; `None` as long as there is some.
    others: Option<Arc<Tally>>,
}

#[derive(Debug)]
struct Version {
    version: Option<String>,
    tally: Arc<Tally>,
}

/// An inference that is measured.
#[derive(Debug)]
pub(crate) struct Inference {
    model: Model,
    began: SystemTime,
    first_byte: Option<Duration>,
    /// The length of the message to the model server, in bytes.
    pub(crate) request_bytes: u64,
    /// The elements of its inputs.
    pub(crate) elements: u64,
    /// The length of the model server's message, in bytes.
    pub(crate) answer_bytes: u64,
}

#[derive(Debug)]
enum Model {
    /// The bound has been reached.
    Uncounted,
    Known(Arc<Tally>),
    New {
        name: String,
        version: Option<String>,
    },
}

impl Models {
    /// Room for so many models; with 0 nothing is measured.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.min(MAX_MODELS.most as usize);
        Self {
            most,
            known: RwLock::default(),
            other: Tally::new(OTHER.to_owned(), OTHER.to_owned()),
            told: AtomicU64::new(0),
        }
    }

    /// An inference begins; `None` if its end matters to nothing: it is not counted, and not `described` either.
    pub(crate) fn begin(
        &self,
        name: &str,
        version: Option<&str>,
        described: bool,
        now: impl FnOnce() -> SystemTime,
    ) -> Option<Inference> {
        let known = || self.known.read().unwrap_or_else(PoisonError::into_inner).find(name, version);
        let model = match self.most {
            0 if described => Model::Uncounted,
            0 => return None,
            _ => match known() {
                Some(tally) => Model::Known(tally),
                None => Model::New { name: name.to_owned(), version: version.map(str::to_owned) },
            },
        };
        Some(Inference {
            model,
            began: now(),
            first_byte: None,
            request_bytes: 0,
            elements: 0,
            answer_bytes: 0,
        })
    }

    /// An inference begins whose model is not known yet: it counts for nothing until that is [named](Self::name). `None` as of
    /// [`begin`](Self::begin).
    pub(crate) fn begin_unnamed(
        &self,
        described: bool,
        now: impl FnOnce() -> SystemTime,
    ) -> Option<Inference> {
        (self.most > 0 || described).then(|| Inference {
            model: Model::Uncounted,
            began: now(),
            first_byte: None,
            request_bytes: 0,
            elements: 0,
            answer_bytes: 0,
        })
    }

    /// Says which model an inference is for.
    pub(crate) fn name(&self, inference: &mut Inference, name: &str, version: Option<&str>) {
        if let Some(named) = self.begin(name, version, true, || inference.began) {
            inference.model = named.model;
        }
    }

    /// Adds an inference that has ended.
    pub(crate) fn add(&self, inference: Inference, ending: Ending, now: SystemTime) {
        let last_byte = inference.elapsed(now);
        let of = |tally: &Tally| tally.add(&inference, last_byte, ending);
        match &inference.model {
            Model::Uncounted => {}
            Model::Known(tally) => of(tally),
            Model::New { name, version } if ending == Ending::Status(0) => {
                match self.admit(name, version.as_deref()) {
                    Some(tally) => of(&tally),
                    None => of(&self.other),
                }
            }
            Model::New { .. } => of(&self.other),
        }
    }

    /// Adds an inference that has ended in a place without a clock: its durations count for nothing.
    pub(crate) fn add_unfinished(&self, inference: Inference) {
        let began = inference.began;
        self.add(inference, Ending::Unfinished, began);
    }

    /// Tells the host what has been added, if it is time to.
    pub(crate) fn tell(&self, now: SystemTime, ops: &mut Ops) {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let told = self.told.load(Relaxed);
        // A clock that was set back must not keep anything from being told.
        if now.abs_diff(told) < INTERVAL_MS
            || self.told.compare_exchange(told, now, Relaxed, Relaxed).is_err()
        {
            return;
        }
        self.other.tell(ops);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        for versions in known.by_name.values() {
            let named = versions.named.iter().map(|version| &version.tally);
            named.chain(&versions.others).for_each(|tally| tally.tell(ops));
        }
    }

    /// Gives a model that a server has answered for a name of its own, if there is room.
    fn admit(&self, name: &str, version: Option<&str>) -> Option<Arc<Tally>> {
        let fits = |text: &str| !text.is_empty() && text.len() <= LABEL_BYTES;
        if !fits(name) || !version.is_none_or(fits) {
            return None;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(tally) = known.find(name, version) {
            return Some(tally);
        }
        if known.by_name.len() >= self.most && !known.by_name.contains_key(name) {
            return None;
        }
        Some(known.by_name.entry(name.to_owned()).or_default().admit(name, version))
    }
}

impl Known {
    fn find(&self, name: &str, version: Option<&str>) -> Option<Arc<Tally>> {
        let versions = self.by_name.get(name)?;
        let named = versions.named.iter().find(|known| known.version.as_deref() == version);
        match (named, version) {
            (Some(version), _) => Some(version.tally.clone()),
            (None, Some(_)) => versions.others.clone(),
            (None, None) => None,
        }
    }
}

impl Versions {
    /// Gives a new version a name of its own, if there is room.
    fn admit(&mut self, name: &str, version: Option<&str>) -> Arc<Tally> {
        let named = self.named.iter().filter(|known| known.version.is_some()).count();
        let tally = |version| Arc::new(Tally::new(label(name), version));
        if version.is_some() && named >= NAMED_VERSIONS {
            return self.others.get_or_insert_with(|| tally(OTHER.to_owned())).clone();
        }
        let tally = tally(version.map_or_else(|| ANY_VERSION.to_owned(), label));
        self.named.push(Version { version: version.map(str::to_owned), tally: tally.clone() });
        tally
    }
}

impl Inference {
    /// The answer's headers have come.
    pub(crate) fn first_byte(&mut self, now: SystemTime) {
        self.first_byte = Some(self.elapsed(now));
    }

    /// A clock that was set back meanwhile counts as no time at all.
    fn elapsed(&self, now: SystemTime) -> Duration {
        now.duration_since(self.began).unwrap_or_default()
    }
}

/// A name as the value of a label. In proxy-wasm it is a part of a metric's name, in which `;.;` ends a value; control
/// characters, and what Envoy or Prometheus would have to escape, are not worth having either.
fn label(name: &str) -> String {
    let plain = |c: char| match c {
        ';' | '=' | '"' | '\\' | ',' | '{' | '}' => '_',
        c if c.is_control() || c.is_whitespace() => '_',
        c => c,
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests;
