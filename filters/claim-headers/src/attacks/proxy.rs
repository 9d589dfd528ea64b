//! A proxy with this filter only.

use crate::exchange::ClaimHeaders;
use crate::metrics;
use filter_api::{Caps, Cx, Dir, Map, OnHeaders, Op, Ops, Plugin, Reply, Route, Stream, View, Vm};
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
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) reply: Option<Reply>,
    pub(crate) reselected: bool,
    pub(crate) logs: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

impl Proxy {
    pub(crate) fn new(config: &str) -> Self {
        Self::on(Caps::PROXY_WASM, config)
    }

    pub(crate) fn on(caps: Caps, config: &str) -> Self {
        let filter = ClaimHeaders::configure(config.as_bytes(), caps, Vm::new(1 << 30)).unwrap();
        Self { filter: Arc::new(filter), now: NOW, metadata: BTreeMap::new() }
    }

    pub(crate) fn send(&self, path: &str, headers: &[(String, String)]) -> Outcome {
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        self.send_bytes(path, &headers)
    }

    /// Sends a request; a pseudo header that is named replaces the usual one.
    pub(crate) fn send_bytes(&self, path: &str, headers: &[(&str, &[u8])]) -> Outcome {
        let usual = [(":method", "GET"), (":path", path), (":authority", "gateway.test")];
        let usual = usual.map(|(name, value)| (name, value.as_bytes()));
        let usual = usual.iter().filter(|(name, _)| !headers.iter().any(|(own, _)| own == name));
        let all = usual.chain(headers).map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        let mut request = Request { headers: all, proxy: self };
        let mut ops = Ops::default();
        let mut stream = Plugin::open(&self.filter);
        let verdict = stream.headers(
            Dir::Request,
            true,
            &mut Cx { view: &request, ops: &mut ops, out: &mut Vec::new() },
        );
        let mut outcome = Outcome {
            headers: Vec::new(),
            reply: None,
            reselected: false,
            logs: Vec::new(),
            counts: BTreeMap::new(),
        };
        for op in ops.iter() {
            match op {
                Op::SetHeader(_, name, value) => {
                    request.headers.retain(|(found, _)| found != name);
                    request.headers.push((name.to_owned(), value.to_vec()));
                }
                Op::RemoveHeader(_, name) => request.headers.retain(|(found, _)| found != name),
                Op::Route(Route::Reselect) => outcome.reselected = true,
                Op::Count(metric, by) => *outcome.counts.entry(metrics::ALL[metric].name).or_default() += by,
                Op::Log(_, text) => outcome.logs.push(text.to_owned()),
                other => panic!("{other:?}"),
            }
        }
        outcome.headers = request.headers;
        match verdict {
            OnHeaders::Continue => {}
            OnHeaders::Reply(reply) => outcome.reply = Some(reply),
            other => panic!("{other:?}"),
        }
        outcome
    }
}

impl Outcome {
    /// The values of all headers whose names are this one but for case, `_` and `-`.
    pub(crate) fn values_folded(&self, name: &str) -> Vec<&str> {
        let same = |found: &str| crate::header::fold(found.as_bytes()).eq(name.bytes());
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
    headers: Vec<(String, Vec<u8>)>,
    proxy: &'p Proxy,
}

impl View for Request<'_> {
    fn header(&self, _map: Map, name: &str) -> Option<Vec<u8>> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    }

    fn each_header(&self, _map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in &self.headers {
            f(name.as_bytes(), value);
        }
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        let path: Vec<String> = path.iter().skip(2).map(|step| (*step).to_owned()).collect();
        self.proxy.metadata.get(&path).cloned()
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.proxy.now)
    }

    fn has_metadata(&self, namespace: &str, key: &str) -> bool {
        self.proxy.metadata.keys().any(|path| path[..2] == [namespace, key])
    }
}
