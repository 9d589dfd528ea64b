//! A host in plain Rust: a proxy in memory under the driver that all hosts share.

use crate::case::{Case, Column, FirstCall};
use crate::chunking::Chunking;
use crate::headers::{Headers, Pairs, to_headers};
use crate::local_reply::{grpc_local_reply, grpc_status_of, is_grpc};
use crate::outcome::{Got, Outcome, Seen};
use crate::part::Part;
use filter_api::{
    Call, CallEnd, CallFailure, CallResponse, Caps, Charge, Dir, Event, Labels, Leases, Level, Map, Memory,
    PARK_LIMIT_BYTES, Plugin, Reply, Sink, View,
};
use host_driver::{Body, Driver, EventProxy, Fate, Lost, OnChunk, OnHead, Proxy};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt::Arguments;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The time at which cases happen on a core, in seconds since 1970: 2027-01-15T08:00:00Z. Elsewhere they happen at
/// another one, so a case must hold at any time in the years from 2026 to 2099.
const NOW_SECONDS: u64 = 1_800_000_000;

/// The memory in which a core runs, in bytes.
pub const MEMORY_BYTES: usize = 64 << 20;

/// The cluster that this host does not know: a call to it is refused.
pub const UNKNOWN_CLUSTER: &str = "no-such-cluster";

/// How many events a stream that waits for them is told of.
const MOST_EVENTS: usize = 16;

/// A configured core in one column, on which cases run.
#[derive(Debug)]
pub struct Core<P> {
    plugin: Arc<P>,
    memory: Arc<Memory>,
    /// What other streams hold of the memory.
    others: Charge,
    caps: Caps,
    column: Column,
}

/// Runs a case on a core of its own in the given column, and returns what it led to.
///
/// # Errors
/// The case is about another filter, the configuration is refused, or the core breaks a rule of `filter-api`.
pub fn run_on_core<P: Plugin>(case: &Case, column: Column, chunking: Chunking) -> Result<Outcome, String> {
    if case.filter != P::NAME {
        return Err(format!("this is a case of the filter {}, not {}", case.filter, P::NAME));
    }
    Core::<P>::configure(&case.config_in(column), column)?.run(case, chunking)
}

impl<P: Plugin> Core<P> {
    /// Configures a core with `config`, which is JSON ([`Case::config_in`]).
    ///
    /// # Errors
    /// The configuration is refused.
    pub fn configure(config: &str, column: Column) -> Result<Self, String> {
        Self::configure_beside(0, config, column)
    }

    /// As [`Self::configure`], in a process whose other streams hold `held` bytes of [`MEMORY_BYTES`].
    ///
    /// # Errors
    /// As [`Self::configure`], or there are fewer bytes than that.
    pub fn configure_beside(others: usize, config: &str, column: Column) -> Result<Self, String> {
        let caps = match column {
            Column::Wasm | Column::WasmHold => Caps::PROXY_WASM,
            Column::Native => Caps::DYNAMIC_MODULE,
        };
        let memory = Memory::new(MEMORY_BYTES);
        let mut charge = memory.account(usize::MAX).charge();
        charge.grow(others).map_err(|error| error.to_string())?;
        let plugin =
            P::configure(config.as_bytes(), caps, memory.clone()).map_err(|error| error.to_string())?;
        Ok(Self { plugin: Arc::new(plugin), memory, others: charge, caps, column })
    }

    /// Runs a case, and returns what it led to.
    ///
    /// # Errors
    /// The core breaks a rule of `filter-api`.
    pub fn run(&self, case: &Case, chunking: Chunking) -> Result<Outcome, String> {
        let Exchange { outcome, dropped, failed, .. } = self.exchange(case, chunking)?;
        match (dropped, failed) {
            (0, false) => Ok(outcome),
            (0, true) => {
                Err(format!("the core broke a rule: {}", String::from_utf8_lossy(&outcome.got.body)))
            }
            _ => Err(format!("{dropped} operations of the core were dropped")),
        }
    }

    /// As [`run`](Self::run), for a core that may break the rules that every host knows how to answer. The second result
    /// is how many of its operations were dropped.
    ///
    /// # Errors
    /// The core breaks another rule.
    pub fn run_any(&self, case: &Case, chunking: Chunking) -> Result<(Outcome, usize), String> {
        self.exchange(case, chunking).map(|exchange| (exchange.outcome, exchange.dropped))
    }

    fn exchange(&self, case: &Case, chunking: Chunking) -> Result<Exchange, String> {
        let mut host = Host::new(self, case);
        host.request(chunking)?;
        if !host.exchange.over {
            host.answer(chunking)?;
        }
        host.driver.ended(&mut host.exchange);
        let exchange = std::mem::take(&mut host.exchange);
        drop(host);
        match self.memory.used() - self.others.held() {
            0 => Ok(exchange),
            bytes => Err(format!("{bytes} bytes are still charged after the exchange")),
        }
    }
}

/// An exchange on its way through one filter.
struct Host<'a, P: Plugin> {
    core: &'a Core<P>,
    case: &'a Case,
    driver: Driver<P::Stream, usize>,
    exchange: Exchange,
    /// The last chunk was parked, so that a little can still be emitted in the trailers.
    parked: bool,
    /// The rule that the core broke.
    broken: Option<&'static str>,
}

/// What a proxy knows of an exchange.
#[derive(Default)]
struct Exchange {
    headers: HashMap<Map, Headers>,
    subset: Pairs,
    outcome: Outcome,
    /// The filter has answered or reset it.
    over: bool,
    reply: Option<Reply>,
    dropped: usize,
    /// The driver answered a core that broke a rule.
    failed: bool,
    calls_made: usize,
    /// The calls under way.
    calls: VecDeque<(usize, Call)>,
    /// The configuration has events.
    events: bool,
    lb_metadata: bool,
    body_on_header_only: bool,
    /// The body that a message without one is given.
    beside: Shared,
}

/// Bytes that both a core and its host hold.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Sink for Shared {
    fn write(&mut self, bytes: &[u8]) {
        self.0.borrow_mut().extend_from_slice(bytes);
    }
}

impl<'a, P: Plugin> Host<'a, P> {
    fn new(core: &'a Core<P>, case: &'a Case) -> Self {
        let exchange = Exchange {
            events: core.plugin.tick().is_some(),
            lb_metadata: core.caps.lb_metadata,
            body_on_header_only: core.caps.body_on_header_only,
            ..Exchange::default()
        };
        let driver = Driver::new(core.plugin.open());
        Self { core, case, driver, exchange, parked: false, broken: None }
    }

    fn request(&mut self, chunking: Chunking) -> Result<(), String> {
        let request = &self.case.request;
        let body = request.body.bytes()?;
        let mut headers: Headers = to_headers(&vec![
            (":method".into(), request.method.clone()),
            (":path".into(), request.path.clone()),
            (":scheme".into(), "http".into()),
            (":authority".into(), "gateway.test".into()),
        ]);
        headers.extend(to_headers(&request.headers));
        if !body.is_empty() && request.trailers.is_empty() {
            headers.push((b"content-length".to_vec(), body.len().to_string().into_bytes()));
        }
        self.message(Dir::Request, headers, &body, to_headers(&request.trailers), chunking)
    }

    fn answer(&mut self, chunking: Chunking) -> Result<(), String> {
        self.parked = false;
        let Some(answer) = &self.case.answer else {
            return Err("the core asks the server, but the case has no answer".into());
        };
        let mut headers = vec![(b":status".to_vec(), answer.http_status.to_string().into_bytes())];
        headers.extend(to_headers(&answer.headers));
        let trailers = answer.trailers().map_or_else(Vec::new, |trailers| to_headers(&trailers));
        let chunking = answer.chunking(chunking);
        self.message(Dir::Response, headers, &self.case.answer_data()?, trailers, chunking)
    }

    /// Drives one direction.
    fn message(
        &mut self,
        dir: Dir,
        headers: Headers,
        body: &[u8],
        trailers: Headers,
        chunking: Chunking,
    ) -> Result<(), String> {
        let end = body.is_empty() && trailers.is_empty();
        self.exchange.headers.insert(dir.headers(), headers);
        self.headers(dir, end)?;
        let chunks = chunking.cut(body);
        for (index, chunk) in chunks.iter().enumerate() {
            if self.exchange.over {
                return Ok(());
            }
            self.data(dir, chunk, index + 1 == chunks.len() && trailers.is_empty())?;
        }
        if !trailers.is_empty() && !self.exchange.over {
            self.exchange.headers.insert(dir.trailers(), trailers);
            self.trailers(dir)?;
        }
        if self.driver.holds_headers(dir) && !self.exchange.over {
            return Err(format!("the core still holds the {dir:?} headers at the end of the message"));
        }
        Ok(())
    }

    fn headers(&mut self, dir: Dir, end: bool) -> Result<(), String> {
        let mut step = self.driver.headers(dir, end, &mut self.exchange);
        if step == OnHead::Wait {
            step = self.wait(dir)?;
        }
        if step == OnHead::Hold
            && !(self.core.caps.hold[dir as usize] || self.core.column == Column::WasmHold)
        {
            return Err("the core holds headers where that cannot be done".into());
        }
        if step == OnHead::Pass {
            self.exchange.release(dir);
            let beside = self.exchange.beside.0.take();
            self.exchange.pass(dir, &beside);
        }
        self.replied()
    }

    /// Has calls answered, and events happen, until the headers no longer wait.
    fn wait(&mut self, dir: Dir) -> Result<OnHead, String> {
        for _ in 0..MOST_EVENTS {
            let mut over = false;
            while let Some((number, call)) = self.exchange.calls.pop_front() {
                let answer = self.call(&call)?;
                over |= self.driver.call_ended(number, || answer, &mut self.exchange).is_some();
            }
            let plugin = &self.core.plugin;
            if !over && !self.exchange.over {
                host_driver::tell(Event::Tick, &mut NoExchange, &NoExchange, |event, cx| {
                    plugin.event(event, cx);
                });
                over = self.driver.woken(dir, &mut self.exchange);
            }
            match over {
                _ if self.exchange.over => return Ok(OnHead::Over),
                true if self.driver.may_go_on(dir) => return Ok(OnHead::Pass),
                true => return Ok(OnHead::Hold),
                false => {}
            }
        }
        Err(format!("the core waits, and {MOST_EVENTS} events were not what it waits for"))
    }

    fn data(&mut self, dir: Dir, bytes: &[u8], end: bool) -> Result<(), String> {
        let mut left = bytes.to_vec();
        let piece =
            Piece { bytes, left: &mut left, parked: self.parked, place: true, broken: &mut self.broken };
        match self.driver.data(dir, end, &mut self.exchange, piece) {
            OnChunk::Release => {
                self.parked = false;
                self.exchange.release(dir);
                self.exchange.pass(dir, &left);
            }
            OnChunk::Keep => self.parked = false,
            OnChunk::Park => self.parked = true,
            OnChunk::Wait | OnChunk::Over => {}
        }
        self.replied()
    }

    fn trailers(&mut self, dir: Dir) -> Result<(), String> {
        let mut left = Vec::new();
        let place = self.core.caps.emit_in_trailers || self.parked;
        let piece =
            Piece { bytes: b"", left: &mut left, parked: self.parked, place, broken: &mut self.broken };
        if self.driver.trailers(dir, &mut self.exchange, piece) == OnHead::Pass {
            self.exchange.release(dir);
            self.exchange.pass(dir, &left);
            let trailers = self.exchange.headers.remove(&dir.trailers()).unwrap_or_default();
            match dir {
                Dir::Request => {
                    self.exchange.outcome.seen.iter_mut().for_each(|seen| seen.trailers = trailers.clone());
                }
                Dir::Response => self.exchange.outcome.got.trailers = trailers,
            }
        }
        self.replied()
    }

    /// Asks the model server beside the exchange: the case's answer is the call's.
    fn call(&mut self, call: &Call) -> Result<CallEnd, String> {
        let headers: Headers =
            call.headers.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect();
        if let Some(first) = &self.case.call
            && first.is(&headers, &call.body)?
        {
            return Ok(CallEnd::Answered(first_answer(first)?));
        }
        self.exchange.outcome.seen = Some(Seen { headers, body: call.body.clone(), ..Seen::default() });
        let Some(answer) = &self.case.answer else {
            return Err("the core makes a call, but the case has no answer".into());
        };
        let mut headers = vec![(b":status".to_vec(), answer.http_status.to_string().into_bytes())];
        headers.extend(to_headers(&answer.headers));
        let trailers = answer.trailers().map_or_else(Vec::new, |trailers| to_headers(&trailers));
        Ok(CallEnd::Answered(CallResponse { headers, body: self.case.answer_data()?, trailers }))
    }

    /// Gives the client the filter's own answer, if there is one.
    fn replied(&mut self) -> Result<(), String> {
        if let Some(broken) = self.broken {
            return Err(broken.to_owned());
        }
        let Some(reply) = self.exchange.reply.take() else { return Ok(()) };
        self.exchange.failed = reply.details == "filter_failed";
        let mut headers = vec![(b":status".to_vec(), reply.status.to_string().into_bytes())];
        headers.extend(
            reply.headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())),
        );
        // As every host does it, and Envoy with the answer to a HEAD.
        if !reply.body.is_empty() {
            headers.push((b"content-length".to_vec(), reply.body.len().to_string().into_bytes()));
        }
        let content_type = self.case.request.headers.iter().find(|(name, _)| name == "content-type");
        self.exchange.outcome.got = match content_type {
            Some((_, value)) if is_grpc(value.as_bytes()) => Got {
                status: 200,
                headers: grpc_local_reply(headers, &reply.body, grpc_status_of(reply.status)),
                ..Got::default()
            },
            _ => {
                let body = if self.case.request.method == "HEAD" { Vec::new() } else { reply.body };
                Got { status: reply.status, headers, body, ..Got::default() }
            }
        };
        Ok(())
    }
}

/// The answer to the call that comes first, in one piece.
fn first_answer(first: &FirstCall) -> Result<CallResponse, String> {
    let mut response = CallResponse { headers: Vec::new(), body: Vec::new(), trailers: Vec::new() };
    for part in first.parts()? {
        match part {
            Part::Headers { headers, .. } => response.headers = headers,
            Part::Data { bytes, .. } => response.body = bytes,
            Part::Trailers(trailers) => response.trailers = trailers,
            Part::Reset => {}
        }
    }
    Ok(response)
}

/// A chunk, or an empty one in front of trailers.
struct Piece<'a> {
    bytes: &'a [u8],
    /// What is in the body.
    left: &'a mut Vec<u8>,
    /// At most [`PARK_LIMIT_BYTES`] are still to come.
    parked: bool,
    /// There is a place for what is emitted.
    place: bool,
    broken: &'a mut Option<&'static str>,
}

impl Body for Piece<'_> {
    fn show<R>(self, look: impl FnOnce(&[&[u8]], &mut dyn Sink) -> (R, Fate)) -> Result<R, Lost> {
        let mut out = Vec::new();
        let (result, fate) = look(&[self.bytes], &mut out);
        if self.parked && out.len() > PARK_LIMIT_BYTES {
            *self.broken = Some("the core parked, and then emits more than it promised");
        }
        if fate == Fate::Replaced && !self.place {
            *self.broken = Some("the core emits in trailers where that cannot be done");
        }
        match fate {
            Fate::Left => {}
            Fate::Replaced => *self.left = out,
            Fate::Dropped => self.left.clear(),
        }
        Ok(result)
    }
}

impl Exchange {
    /// Lets headers go on, if they have not yet.
    fn release(&mut self, dir: Dir) {
        let headers = || self.headers.get(&dir.headers()).cloned().unwrap_or_default();
        match dir {
            Dir::Request if self.outcome.seen.is_none() => {
                let subset = Some(self.subset.clone());
                self.outcome.seen = Some(Seen { headers: headers(), subset, ..Seen::default() });
            }
            Dir::Response if self.outcome.got.status == 0 => {
                let headers = headers();
                let status =
                    headers.iter().find(|(name, _)| name == b":status").map(|(_, value)| value.clone());
                let status =
                    status.and_then(|value| String::from_utf8(value).ok()).and_then(|text| text.parse().ok());
                self.outcome.got = Got { status: status.unwrap_or_default(), headers, ..Got::default() };
            }
            Dir::Request | Dir::Response => {}
        }
    }

    fn pass(&mut self, dir: Dir, bytes: &[u8]) {
        match dir {
            Dir::Request => {
                if let Some(seen) = &mut self.outcome.seen {
                    seen.body.extend_from_slice(bytes);
                }
            }
            Dir::Response => self.outcome.got.body.extend_from_slice(bytes),
        }
    }
}

impl Proxy for &mut Exchange {
    type Call = usize;
    type Beside = Shared;

    fn view(&self) -> &dyn View {
        &**self
    }

    fn beside(&self, _dir: Dir) -> Option<Shared> {
        self.body_on_header_only.then(|| self.beside.clone())
    }

    fn set_header(&mut self, map: Map, name: &str, value: &[u8]) -> bool {
        let headers = self.headers.entry(map).or_default();
        let first = headers.iter().position(|(found, _)| found == name.as_bytes());
        headers.retain(|(found, _)| found != name.as_bytes());
        headers.insert(first.unwrap_or(headers.len()), (name.as_bytes().to_vec(), value.to_vec()));
        true
    }

    fn add_header(&mut self, map: Map, name: &str, value: &[u8]) {
        self.headers.entry(map).or_default().push((name.as_bytes().to_vec(), value.to_vec()));
    }

    fn remove_header(&mut self, map: Map, name: &str) -> bool {
        self.headers.entry(map).or_default().retain(|(found, _)| found != name.as_bytes());
        true
    }

    fn set_lb_metadata(&mut self, key: &str, value: &str) -> bool {
        if self.lb_metadata {
            self.subset.retain(|(known, _)| known != key);
            self.subset.push((key.to_owned(), value.to_owned()));
        }
        self.lb_metadata
    }

    fn set_property(&mut self, name: &str, value: &[u8]) {
        if name == "dynamic_subset" && self.outcome.seen.is_none() {
            self.subset = Seen::pairs(value);
        }
    }

    fn describe(&mut self, _name: &str, _value: &str) {}

    fn reselect_route(&mut self) {}

    fn count(&mut self, _metric: usize, _by: u64) {}

    fn count_by(&mut self, _metric: usize, _labels: Labels<'_>, _by: u64) {}

    fn record(&mut self, _metric: usize, _value: u64) {}

    fn count_dropped(&mut self) {
        self.dropped += 1;
    }

    fn log(&mut self, _level: Level, _text: Arguments<'_>) {}

    fn call(&mut self, call: &Call) -> Result<usize, CallFailure> {
        if call.cluster == UNKNOWN_CLUSTER {
            return Err(CallFailure::Refused);
        }
        self.calls_made += 1;
        self.calls.push_back((self.calls_made, call.clone()));
        Ok(self.calls_made)
    }

    fn wait_for_event(&mut self, _dir: Dir) -> bool {
        self.events
    }

    fn reply(self, reply: &Reply) {
        self.over = true;
        self.reply = Some(reply.clone());
    }

    fn reset(self) {
        self.over = true;
        self.outcome.got.reset = true;
    }
}

impl View for Exchange {
    fn header(&self, map: Map, name: &str) -> Option<Vec<u8>> {
        let headers = self.headers.get(&map)?;
        headers.iter().find(|(found, _)| found == name.as_bytes()).map(|(_, value)| value.clone())
    }

    fn each_header(&self, map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in self.headers.get(&map).into_iter().flatten() {
            f(name, value);
        }
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        (path == ["xds", "cluster_name"]).then(|| b"model-server".to_vec())
    }

    fn now(&self) -> SystemTime {
        NoExchange.now()
    }

    fn has_metadata(&self, _namespace: &str, _key: &str) -> bool {
        false
    }
}

/// The host at an event of the configuration.
struct NoExchange;

impl EventProxy for NoExchange {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS)
    }

    fn record(&mut self, _metric: usize, _value: u64) {}

    fn log(&mut self, _level: Level, _text: Arguments<'_>) {}

    fn call(&mut self, _call: Call) -> Result<(), CallFailure> {
        Err(CallFailure::Refused)
    }
}

impl Leases for NoExchange {
    fn take(&self, _name: u64, _time: Duration) -> bool {
        true
    }

    fn give_back(&self, _name: u64) {}
}
