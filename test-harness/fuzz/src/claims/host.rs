//! A proxy with the filter only.

use claim_headers::ClaimHeaders;
use filter_api::{
    Call, CallEnd, CallId, CallResponse, Caps, Cx, Dir, Event, EventCx, Leases, Map, Memory, OnHeaders, Op,
    Ops, Plugin, Route, Stream as _, View,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Headers that claims are mapped to in all configurations.
const MAPPED: [&str; 6] = ["x-text", "x-percent", "x-bool", "x-integer", "x-list", "x-inner"];

pub(super) struct Proxy {
    filter: Arc<ClaimHeaders>,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) verified: bool,
    headers: Vec<(String, Vec<u8>)>,
}

impl Outcome {
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(found, _)| found == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

impl Proxy {
    pub(super) fn new(config: &str) -> Self {
        let filter = ClaimHeaders::configure(config.as_bytes(), Caps::PROXY_WASM, Memory::new(1 << 30));
        Self { filter: Arc::new(filter.expect("the configuration is right")) }
    }

    /// Sends a request that says of itself what only a token may say.
    pub(super) fn send(&self, path: &[u8], headers: &[(&str, &[u8])]) -> Outcome {
        let own = [(":method", &b"GET"[..]), (":path", path), ("x-text", b"root"), ("X_Text", b"root")];
        let headers = own.iter().chain(headers).map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        let request = Request { headers: headers.collect() };
        let mut ops = Ops::default();
        let mut stream = Plugin::open(&self.filter);
        let verdict = stream.headers(Dir::Request, true, &mut Cx::new(&request, &mut ops, &mut Vec::new()));
        let mut headers = request.headers;
        let (mut verified, mut reselected) = (false, false);
        for op in ops.iter() {
            match op {
                Op::SetHeader(_, name, value) => {
                    headers.retain(|(found, _)| found != name);
                    headers.push((name.to_owned(), value.to_vec()));
                }
                Op::RemoveHeader(_, name) => headers.retain(|(found, _)| found != name),
                Op::Count(metric, _) if ClaimHeaders::METRICS[metric].name == "verified" => verified = true,
                Op::Route(Route::Reselect) => reselected = true,
                _ => {}
            }
        }
        match verdict {
            OnHeaders::Detach => assert!(reselected, "the route is always selected again"),
            OnHeaders::Wait | OnHeaders::Reply(_) => {
                assert!(!verified, "who is verified goes on");
                return Outcome { verified, headers: Vec::new() };
            }
            other => panic!("{other:?}"),
        }
        headers.retain(|(name, _)| MAPPED.contains(&name.to_ascii_lowercase().replace('_', "-").as_str()));
        for (name, value) in &headers {
            assert!(verified, "{name} without a verified token");
            assert!(value.iter().all(|byte| matches!(byte, b' '..=b'~')), "{name}: {value:?}");
            assert!(value.trim_ascii() == value && !value.is_empty(), "{name}: {value:?}");
        }
        for name in MAPPED {
            assert!(headers.iter().filter(|(found, _)| found == name).count() <= 1, "{name} is there twice");
        }
        assert!(headers.iter().all(|(name, _)| MAPPED.contains(&name.as_str())), "{headers:?}");
        headers.sort();
        Outcome { verified, headers }
    }

    /// Time passes; the calls that the filter makes come back.
    pub(super) fn tick(&self) -> Vec<Call> {
        self.event(Event::Tick)
    }

    /// A call is answered.
    pub(super) fn answer(&self, id: CallId, body: &[u8]) {
        let headers = vec![(b":status".to_vec(), b"200".to_vec())];
        let answer = CallResponse { headers, body: body.to_vec(), trailers: Vec::new() };
        self.event(Event::CallEnded(id, CallEnd::Answered(answer)));
    }

    fn event(&self, event: Event) -> Vec<Call> {
        let mut ops = Ops::default();
        self.filter.event(event, &mut EventCx { now: now(), ops: &mut ops, leases: &Free });
        ops.take_calls()
    }
}

/// 2027-01-15T08:00:00Z.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

struct Free;

impl Leases for Free {
    fn take(&self, _name: u64, _time: Duration) -> bool {
        true
    }

    fn give_back(&self, _name: u64) {}
}

struct Request {
    headers: Vec<(String, Vec<u8>)>,
}

impl View for Request {
    fn header(&self, _map: Map, name: &str) -> Option<Vec<u8>> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    }

    fn each_header(&self, _map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in &self.headers {
            f(name.as_bytes(), value);
        }
    }

    fn property(&self, _path: &[&str]) -> Option<Vec<u8>> {
        None
    }

    fn now(&self) -> SystemTime {
        now()
    }

    fn has_metadata(&self, _namespace: &str, _key: &str) -> bool {
        false
    }
}
