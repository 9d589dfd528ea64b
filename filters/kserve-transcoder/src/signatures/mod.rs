//! The signatures of models: those of the configuration, and those that model servers have been asked for.
//!
//! The bodies of KServe v1's `:predict` and of Triton's `generate` say nothing of datatypes and shapes: they are the model's
//! own, and known before the first byte of a body is read.
//!
//! The first request for a model asks its server, beside its own route, and all others that come meanwhile wait for the same
//! answer. If that request ends before the answer comes, the configuration asks in its place, at its next event. What the
//! server said is remembered for some time; a failure is told to all that waited for it, and is not remembered. So a client
//! cannot make up entries, and what a server makes up is bounded.

mod metadata;

pub(crate) use metadata::{MODEL_METADATA, cannot_be_had, metadata_request};

use crate::kserve_v1::KserveV1;
use crate::problem::Problem;
use crate::tensor::Signature;
use filter_api::{Call, CallId, ConfigError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Signatures by model. Natively all workers share them; in proxy-wasm each VM has its own.
#[derive(Debug)]
pub(crate) struct Signatures {
    given: HashMap<String, Arc<Signature>>,
    most: usize,
    valid: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Place, Known>,
    under_way: HashMap<Place, Arc<Flight>>,
    /// Questions whose exchange has ended and that others wait for; to be asked by the configuration.
    orphans: Vec<Question>,
    /// Those that it has asked, by the number of its call.
    asked: HashMap<u32, Question>,
    asked_so_far: u32,
}

/// A question that is no exchange's own.
#[derive(Debug)]
struct Question {
    place: Place,
    flight: Arc<Flight>,
    call: Call,
}

#[derive(Debug)]
struct Known {
    signature: Arc<Signature>,
    since: SystemTime,
}

/// Where a model is: the same name may mean different models in different clusters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) cluster: String,
    pub(crate) model: String,
    pub(crate) version: Option<String>,
}

/// What is known of a model.
#[derive(Debug)]
pub(crate) enum Lookup {
    Known(Arc<Signature>),
    /// Whoever gets this asks the model server.
    Ask(Fetch),
    /// The model server is being asked.
    Wait(Arc<Flight>),
}

/// The question to a model server, of an exchange that may end before the answer comes.
#[derive(Debug)]
pub(crate) struct Fetch {
    signatures: Arc<Signatures>,
    place: Place,
    flight: Arc<Flight>,
    call: Option<Call>,
}

/// What a question came to, for those that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Flight(Mutex<Outcome>);

/// What a question came to.
#[derive(Clone, Debug, Default)]
pub(crate) enum Outcome {
    #[default]
    UnderWay,
    Answered(Arc<Signature>),
    Failed(Problem),
}

impl Signatures {
    pub(crate) fn new(config: &KserveV1) -> Result<Self, ConfigError> {
        Ok(Self {
            given: config.check("kserve_v1")?,
            most: config.max_models,
            valid: Duration::from_secs(config.metadata_seconds),
            state: Mutex::default(),
        })
    }

    /// The signature of a model if the configuration gives it.
    pub(crate) fn given(&self, model: &str) -> Option<Arc<Signature>> {
        self.given.get(model).cloned()
    }

    /// What is known of a model at a place.
    pub(crate) fn look_up(self: &Arc<Self>, place: Place, now: SystemTime) -> Lookup {
        let mut state = lock(&self.state);
        let known = state.known.get(&place);
        // A clock that was set back must not keep anything for ever.
        let age =
            |known: &Known| now.duration_since(known.since).or_else(|_| known.since.duration_since(now));
        let is_valid = known.is_some_and(|known| age(known).is_ok_and(|age| age < self.valid));
        match (known, state.under_way.get(&place)) {
            // While it is asked for again, what was known serves.
            (Some(known), asked) if is_valid || asked.is_some() => Lookup::Known(known.signature.clone()),
            (_, Some(flight)) => Lookup::Wait(flight.clone()),
            _ => {
                let flight = Arc::<Flight>::default();
                state.under_way.insert(place.clone(), flight.clone());
                Lookup::Ask(Fetch { signatures: self.clone(), place, flight, call: None })
            }
        }
    }
}

impl Signatures {
    /// The calls that the configuration must make, because the exchanges that made them have ended.
    pub(crate) fn take_orphans(&self) -> Vec<Call> {
        let mut state = lock(&self.state);
        let mut calls = Vec::new();
        for question in std::mem::take(&mut state.orphans) {
            if !question.flight.is_awaited() {
                state.under_way.remove(&question.place);
                continue;
            }
            state.asked_so_far = state.asked_so_far.wrapping_add(1);
            let id = state.asked_so_far;
            calls.push(Call { id: CallId(id), ..question.call.clone() });
            state.asked.insert(id, question);
        }
        calls
    }

    /// The model that a call of the configuration's is about.
    pub(crate) fn model_of(&self, CallId(id): CallId) -> Option<String> {
        lock(&self.state).asked.get(&id).map(|question| question.place.model.clone())
    }

    /// A call of the configuration's has ended.
    pub(crate) fn call_ended(&self, CallId(id): CallId, answer: Result<&[u8], Problem>, now: SystemTime) {
        let question = lock(&self.state).asked.remove(&id);
        if let Some(Question { place, flight, .. }) = question {
            // Those that wait are told.
            let _signature = self.settle(&place, &flight, answer, now);
        }
    }

    /// A question has ended: with what a `ModelMetadataResponse` says, or with a problem.
    fn settle(
        &self,
        place: &Place,
        flight: &Flight,
        answer: Result<&[u8], Problem>,
        now: SystemTime,
    ) -> Result<Arc<Signature>, Problem> {
        let signature = answer.and_then(|message| {
            Signature::of_metadata(message).map(Arc::new).map_err(|why| cannot_be_had(&place.model, &why))
        });
        let mut state = lock(&self.state);
        state.under_way.remove(place);
        state.known.remove(place);
        if let Ok(signature) = &signature {
            if state.known.len() >= self.most {
                let oldest = state.known.iter().min_by_key(|(_, known)| known.since);
                if let Some(oldest) = oldest.map(|(place, _)| place.clone()) {
                    state.known.remove(&oldest);
                }
            }
            state.known.insert(place.clone(), Known { signature: signature.clone(), since: now });
        }
        drop(state);
        *lock(&flight.0) = match signature.clone() {
            Ok(signature) => Outcome::Answered(signature),
            Err(problem) => Outcome::Failed(problem),
        };
        signature
    }
}

impl Fetch {
    /// The model that is asked for.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// This is the call that asks.
    pub(crate) fn begun(&mut self, call: Call) {
        self.call = Some(call);
    }

    /// The question has ended: with what a `ModelMetadataResponse` says, or with a problem.
    pub(crate) fn end(
        mut self,
        answer: Result<&[u8], Problem>,
        now: SystemTime,
    ) -> Result<Arc<Signature>, Problem> {
        self.call = None;
        self.signatures.settle(&self.place, &self.flight, answer, now)
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if !matches!(self.flight.outcome(), Outcome::UnderWay) {
            return;
        }
        let mut state = lock(&self.signatures.state);
        let (place, flight) = (self.place.clone(), self.flight.clone());
        // Beside this one, and the clone, and the list's own.
        match self.call.take().filter(|_| Arc::strong_count(&flight) > 3) {
            Some(call) => state.orphans.push(Question { place, flight, call }),
            None => {
                state.under_way.remove(&place);
            }
        }
    }
}

impl Flight {
    /// Whether an exchange waits for it, beside its question and the list of those under way.
    fn is_awaited(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 2
    }

    /// What the question has come to so far.
    pub(crate) fn outcome(&self) -> Outcome {
        lock(&self.0).clone()
    }
}

/// What is locked is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kserve_proto::wire::Message;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn signatures(config: KserveV1) -> Arc<Signatures> {
        Arc::new(Signatures::new(&config).unwrap())
    }

    fn place(model: &str) -> Place {
        Place { cluster: "c".to_owned(), model: model.to_owned(), version: None }
    }

    fn metadata(input: &str) -> Vec<u8> {
        let input = Message::new().bytes(1, input).bytes(2, "FP32").packed_varints(3, [4]);
        Message::new().message(4, &input).into_bytes()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn ask(signatures: &Arc<Signatures>, model: &str, now: SystemTime) -> Fetch {
        match signatures.look_up(place(model), now) {
            Lookup::Ask(fetch) => fetch,
            other => panic!("{other:?}"),
        }
    }

    fn known(signatures: &Arc<Signatures>, model: &str, now: SystemTime) -> Option<String> {
        match signatures.look_up(place(model), now) {
            Lookup::Known(signature) => Some(signature.names()),
            _ => None,
        }
    }

    #[test]
    fn one_asks_and_the_others_wait_for_the_same_answer() {
        let signatures = signatures(KserveV1::default());
        let fetch = ask(&signatures, "m", at(0));
        let Lookup::Wait(flight) = signatures.look_up(place("m"), at(0)) else {
            panic!("nothing to wait for")
        };
        assert!(matches!(flight.outcome(), Outcome::UnderWay));
        assert_eq!(fetch.end(Ok(&metadata("x")), at(1)).unwrap().names(), "x");
        assert!(matches!(flight.outcome(), Outcome::Answered(signature) if signature.names() == "x"));
        assert_eq!(known(&signatures, "m", at(2)).as_deref(), Some("x"));
        // Another cluster's model of the same name is another model.
        let elsewhere = Place { cluster: "d".to_owned(), ..place("m") };
        assert!(matches!(signatures.look_up(elsewhere, at(2)), Lookup::Ask(_)));
    }

    #[test]
    fn a_failure_is_told_to_all_that_wait_and_is_not_remembered() {
        let signatures = signatures(KserveV1::default());
        let fetch = ask(&signatures, "m", at(0));
        let Lookup::Wait(flight) = signatures.look_up(place("m"), at(0)) else {
            panic!("nothing to wait for")
        };
        let problem = Problem::new(404, "unknown", "d");
        assert_eq!(fetch.end(Err(problem.clone()), at(1)), Err(problem.clone()));
        assert!(matches!(flight.outcome(), Outcome::Failed(told) if told == problem));
        let fetch = ask(&signatures, "m", at(1));
        let problem = fetch.end(Ok(b""), at(1)).unwrap_err();
        assert_eq!(problem.status, 503);
        assert_eq!(
            problem.message,
            "the inputs of model m cannot be known: the model server does not say what its inputs are"
        );
    }

    #[test]
    fn where_the_one_that_asks_goes_away_the_configuration_asks_for_those_that_wait() {
        let signatures = signatures(KserveV1::default());
        let call = Call {
            id: CallId(0),
            cluster: "c".to_owned(),
            headers: vec![],
            body: b"q".to_vec(),
            timeout: Duration::ZERO,
        };
        let mut fetch = ask(&signatures, "m", at(0));
        fetch.begun(call.clone());
        let wait = || match signatures.look_up(place("m"), at(0)) {
            Lookup::Wait(flight) => flight,
            other => panic!("{other:?}"),
        };
        let flight = wait();
        drop(fetch);
        // One more may come before it is asked, and wait as well.
        let late = wait();
        let calls = signatures.take_orphans();
        assert_eq!((calls.len(), &calls[0].body[..]), (1, &b"q"[..]));
        assert!(signatures.take_orphans().is_empty());
        assert_eq!(signatures.model_of(calls[0].id).as_deref(), Some("m"));
        signatures.call_ended(calls[0].id, Ok(&metadata("x")), at(1));
        for flight in [flight, late] {
            assert!(matches!(flight.outcome(), Outcome::Answered(signature) if signature.names() == "x"));
        }
        assert!(known(&signatures, "m", at(2)).is_some());

        // Where nothing waits, the question is forgotten: at once, or when it would be asked.
        let mut fetch = ask(&signatures, "n", at(0));
        fetch.begun(call.clone());
        drop(fetch);
        let mut fetch = ask(&signatures, "n", at(0));
        fetch.begun(call);
        let Lookup::Wait(flight) = signatures.look_up(place("n"), at(0)) else {
            panic!("nothing to wait for")
        };
        drop(fetch);
        drop(flight);
        assert!(signatures.take_orphans().is_empty());
        drop(ask(&signatures, "n", at(0)));
    }

    #[test]
    fn what_a_server_said_holds_for_a_time_and_serves_while_it_is_asked_again() {
        let signatures = signatures(KserveV1 { metadata_seconds: 10, ..KserveV1::default() });
        ask(&signatures, "m", at(100)).end(Ok(&metadata("x")), at(100)).unwrap();
        assert!(known(&signatures, "m", at(109)).is_some());
        let again = ask(&signatures, "m", at(110));
        assert_eq!(known(&signatures, "m", at(110)).as_deref(), Some("x"));
        again.end(Ok(&metadata("y")), at(111)).unwrap();
        assert_eq!(known(&signatures, "m", at(120)).as_deref(), Some("y"));
        // A clock that was set back.
        drop(ask(&signatures, "m", at(50)));
    }

    #[test]
    fn of_more_models_than_are_remembered_the_oldest_is_asked_for_again() {
        let signatures = signatures(KserveV1 { max_models: 2, ..KserveV1::default() });
        for (second, model) in ["a", "b", "c"].into_iter().enumerate() {
            ask(&signatures, model, at(second as u64)).end(Ok(&metadata("x")), at(second as u64)).unwrap();
        }
        assert!(known(&signatures, "b", at(3)).is_some() && known(&signatures, "c", at(3)).is_some());
        drop(ask(&signatures, "a", at(3)));
    }
}
