//! A proxy with this filter only.

use crate::exchange::{ClaimHeaders, Exchange};
use crate::metrics;
use filter_api::{
    Call, CallEnd, CallFailure, CallResponse, Caps, Cx, Dir, Event, EventCx, Leases, Map, Memory, OnHeaders,
    OnTrailers, Op, Ops, Plugin, Reply, Route, Stream, View,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The time in a proxy, unless it is set: 2027-01-15T08:00:00Z, in seconds since 1970.
pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) struct Proxy {
    filter: Arc<ClaimHeaders>,
    pub(crate) now: u64,
    /// The metadata that filters in front have set, by its path.
    pub(crate) metadata: BTreeMap<Vec<String>, Vec<u8>>,
    /// The same as one message.
    pub(crate) whole_metadata: Vec<u8>,
    /// The properties that filters in front have set.
    pub(crate) properties: BTreeMap<String, Vec<u8>>,
    /// What the filter has logged at events.
    pub(crate) log: RefCell<Vec<String>>,
    /// The value that an event last recorded.
    pub(crate) gauge: Cell<Option<u64>>,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) reply: Option<Reply>,
    pub(crate) reselected: bool,
    pub(crate) logs: Vec<String>,
    /// The properties that the filter has set.
    pub(crate) properties: BTreeMap<String, Vec<u8>>,
    /// Whether the filter wants to see the request's trailers.
    pub(crate) until_trailers: bool,
    counts: BTreeMap<&'static str, u64>,
}

impl Proxy {
    pub(crate) fn new(config: &str) -> Self {
        Self::on(Caps::PROXY_WASM, config)
    }

    pub(crate) fn on(caps: Caps, config: &str) -> Self {
        let filter = ClaimHeaders::configure(config.as_bytes(), caps, Memory::new(1 << 30)).unwrap();
        Self {
            filter: Arc::new(filter),
            now: NOW,
            metadata: BTreeMap::new(),
            whole_metadata: Vec::new(),
            properties: BTreeMap::new(),
            log: RefCell::default(),
            gauge: Cell::new(None),
        }
    }

    pub(crate) fn send(&self, path: &str, headers: &[(String, String)]) -> Outcome {
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        self.send_bytes(path, &headers)
    }

    /// Sends a request; a pseudo header that is named replaces the usual one.
    pub(crate) fn send_bytes(&self, path: &str, headers: &[(&str, &[u8])]) -> Outcome {
        let pending = self.begin(path, headers);
        assert!(!pending.waits, "it waits");
        pending.outcome
    }

    /// Sends a request that may wait for something.
    pub(crate) fn begin(&self, path: &str, headers: &[(&str, &[u8])]) -> Pending<'_> {
        self.begin_message(path, headers, true)
    }

    /// Sends the headers of a request whose body and trailers may follow.
    pub(crate) fn begin_message(&self, path: &str, headers: &[(&str, &[u8])], end: bool) -> Pending<'_> {
        let usual = [(":method", "GET"), (":path", path), (":authority", "gateway.test")];
        let usual = usual.map(|(name, value)| (name, value.as_bytes()));
        let usual = usual.iter().filter(|(name, _)| !headers.iter().any(|(own, _)| own == name));
        let headers =
            usual.chain(headers).map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        let outcome = Outcome {
            headers,
            reply: None,
            reselected: false,
            logs: Vec::new(),
            properties: BTreeMap::new(),
            until_trailers: false,
            counts: BTreeMap::new(),
        };
        let mut pending = Pending { proxy: self, stream: Plugin::open(&self.filter), outcome, waits: false };
        pending.ask(|stream, cx| stream.headers(Dir::Request, end, cx));
        pending
    }

    /// Time passes for the filter; the calls that it makes come back.
    pub(crate) fn tick(&self, leases: &dyn Leases) -> Vec<Call> {
        self.event(Event::Tick, leases)
    }

    /// A call is answered, or with status 0 fails.
    pub(crate) fn answer(&self, call: &Call, status: u16, body: &str) -> Vec<Call> {
        self.answer_with(call, status, body, &Free)
    }

    /// The same, with these leases.
    pub(crate) fn answer_with(&self, call: &Call, status: u16, body: &str, leases: &dyn Leases) -> Vec<Call> {
        let headers = vec![(b":status".to_vec(), status.to_string().into_bytes())];
        let answer = CallResponse { headers, body: body.as_bytes().to_vec(), trailers: Vec::new() };
        let end = if status == 0 { CallEnd::Failed(CallFailure::Reset) } else { CallEnd::Answered(answer) };
        self.event(Event::CallEnded(call.id, end), leases)
    }

    fn event(&self, event: Event, leases: &dyn Leases) -> Vec<Call> {
        let mut ops = Ops::default();
        self.filter.event(event, &mut EventCx { now: self.time(), ops: &mut ops, leases });
        for op in ops.iter() {
            match op {
                Op::Log(_, text) => self.log.borrow_mut().push(text.to_owned()),
                Op::Record(_, value) => self.gauge.set(Some(value)),
                other => panic!("{other:?}"),
            }
        }
        ops.take_calls()
    }

    fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.now)
    }
}

/// Leases that are always free.
pub(crate) struct Free;

impl Leases for Free {
    fn take(&self, _name: u64, _time: Duration) -> bool {
        true
    }

    fn give_back(&self, _name: u64) {}
}

/// A request that may wait for something.
pub(crate) struct Pending<'p> {
    proxy: &'p Proxy,
    stream: Exchange,
    pub(crate) outcome: Outcome,
    pub(crate) waits: bool,
}

impl Pending<'_> {
    /// The filter has had an event; the time may have changed.
    pub(crate) fn wake(&mut self, now: u64) {
        assert!(self.waits);
        self.ask_at(now, |stream, cx| stream.woken(cx));
    }

    fn ask(&mut self, ask: impl FnOnce(&mut Exchange, &mut Cx<'_>) -> OnHeaders) {
        self.ask_at(self.proxy.now, ask);
    }

    fn ask_at(&mut self, now: u64, ask: impl FnOnce(&mut Exchange, &mut Cx<'_>) -> OnHeaders) {
        let request = Request { headers: &self.outcome.headers, proxy: self.proxy, now };
        let mut ops = Ops::default();
        let verdict = ask(&mut self.stream, &mut Cx::new(&request, &mut ops, &mut Vec::new()));
        self.apply(&ops);
        let outcome = &mut self.outcome;
        self.waits = matches!(verdict, OnHeaders::Wait);
        match verdict {
            OnHeaders::Detach | OnHeaders::Wait => {}
            OnHeaders::UntilTrailers => outcome.until_trailers = true,
            OnHeaders::Reply(reply) => outcome.reply = Some(reply),
            other => panic!("{other:?}"),
        }
    }

    /// The request's trailers have come; what is left of them.
    pub(crate) fn trailers(mut self, trailers: &[(&str, &str)]) -> (Outcome, Vec<(String, Vec<u8>)>) {
        assert!(self.outcome.until_trailers && !self.waits);
        let trailers = trailers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        let headers = std::mem::replace(&mut self.outcome.headers, trailers.collect());
        let request = Request { headers: &self.outcome.headers, proxy: self.proxy, now: self.proxy.now };
        let mut ops = Ops::default();
        let mut out = Vec::new();
        let mut cx = Cx::new(&request, &mut ops, &mut out);
        assert!(matches!(self.stream.trailers(Dir::Request, &mut cx), OnTrailers::Continue));
        self.apply(&ops);
        let trailers = std::mem::replace(&mut self.outcome.headers, headers);
        (self.outcome, trailers)
    }

    fn apply(&mut self, ops: &Ops) {
        let outcome = &mut self.outcome;
        for op in ops.iter() {
            match op {
                Op::SetHeader(_, name, value) => {
                    outcome.headers.retain(|(found, _)| found != name);
                    outcome.headers.push((name.to_owned(), value.to_vec()));
                }
                Op::RemoveHeader(_, name) => outcome.headers.retain(|(found, _)| found != name),
                Op::Route(Route::Reselect) => outcome.reselected = true,
                Op::Count(metric, by) => *outcome.counts.entry(metrics::ALL[metric].name).or_default() += by,
                Op::Record(metric, value) => {
                    outcome.counts.insert(metrics::ALL[metric].name, value);
                }
                Op::Log(_, text) => outcome.logs.push(text.to_owned()),
                Op::SetProperty(name, value) => {
                    outcome.properties.insert(name.to_owned(), value.to_vec());
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Outcome {
    /// The values of all headers whose names are this one but for case, `_` and `-`.
    pub(crate) fn values_folded(&self, name: &str) -> Vec<&str> {
        let same = |found: &str| filter_api::folded(found.as_bytes()).eq(name.bytes());
        let values = self.headers.iter().filter(|(found, _)| same(found));
        values.map(|(_, value)| std::str::from_utf8(value).unwrap()).collect()
    }

    pub(crate) fn count(&self, counter: &str) -> u64 {
        self.counts.get(counter).copied().unwrap_or_default()
    }

    pub(crate) fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }
}

struct Request<'p> {
    headers: &'p [(String, Vec<u8>)],
    proxy: &'p Proxy,
    now: u64,
}

impl View for Request<'_> {
    fn header(&self, _map: Map, name: &str) -> Option<Vec<u8>> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    }

    fn each_header(&self, _map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in self.headers {
            f(name.as_bytes(), value);
        }
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        if path == ["metadata"] {
            return Some(self.proxy.whole_metadata.clone());
        }
        if let [name] = path {
            return self.proxy.properties.get(*name).cloned();
        }
        let path: Vec<String> = path.iter().skip(2).map(|step| (*step).to_owned()).collect();
        // As the host does it: an empty value counts as absent.
        self.proxy.metadata.get(&path).filter(|value| !value.is_empty()).cloned()
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.now)
    }

    fn has_metadata(&self, namespace: &str, key: &str) -> bool {
        self.proxy.metadata.keys().any(|path| path[..2] == [namespace, key])
    }
}
