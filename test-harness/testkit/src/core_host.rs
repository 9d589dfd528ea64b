//! A host in plain Rust: applies a core's verdicts as `filter-api` documents them.

use crate::case::{Case, Column, Pairs};
use crate::check::{Got, Headers, Outcome, Seen, to_headers};
use crate::chunking::Chunking;
use crate::local_reply::{grpc_local_reply, grpc_status_of, is_grpc};
use filter_api::{
    Call, CallEnd, CallResponse, Caps, Charge, Chunk, Cx, Dir, Map, Memory, OnData, OnHeaders, OnTrailers,
    Op, Ops, PARK_LIMIT_BYTES, Plugin, Reply, Stream, View,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The time at which cases happen on a core, in seconds since 1970: 2027-01-15T08:00:00Z. Elsewhere they happen at
/// another one, so a case must hold at any time in the years from 2026 to 2099.
const NOW_SECONDS: u64 = 1_800_000_000;

/// The memory in which a core runs, in bytes.
pub const MEMORY_BYTES: usize = 64 << 20;

/// A configured core in one column, on which cases run.
#[derive(Debug)]
pub struct Core<P> {
    plugin: Arc<P>,
    memory: Arc<Memory>,
    /// What others hold of the memory.
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

    /// As [`Self::configure`], in a process in which others hold so many bytes of [`MEMORY_BYTES`].
    ///
    /// # Errors
    /// As [`Self::configure`], and there are not so many.
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
        let mut host = Host::new(self.plugin.open(), self.caps, self.column, case);
        host.request(chunking)?;
        if !host.replied {
            host.answer(chunking)?;
        }
        let outcome = std::mem::take(&mut host.outcome);
        drop(host);
        match self.memory.used() - self.others.held() {
            0 => Ok(outcome),
            bytes => Err(format!("{bytes} bytes are still charged after the exchange")),
        }
    }
}

/// An exchange on its way through one filter.
struct Host<'a, S> {
    /// `None` once the filter has detached itself.
    stream: Option<S>,
    caps: Caps,
    column: Column,
    case: &'a Case,
    maps: Maps,
    held: bool,
    /// The last chunk was parked, so that a little can still be emitted in the trailers.
    parked: bool,
    /// The filter is shown nothing any more but this direction's trailers.
    until_trailers: Option<Dir>,
    replied: bool,
    outcome: Outcome,
}

#[derive(Default)]
struct Maps {
    headers: HashMap<Map, Headers>,
    /// Whether the filter can set the load balancer's metadata.
    lb_metadata: bool,
    subset: Pairs,
}

/// What a phase wrote and asked for.
struct Asked<V> {
    verdict: V,
    out: Vec<u8>,
    calls: Vec<Call>,
}

impl<'a, S: Stream> Host<'a, S> {
    fn new(stream: S, caps: Caps, column: Column, case: &'a Case) -> Self {
        let maps = Maps { lb_metadata: caps.lb_metadata, ..Maps::default() };
        let outcome = Outcome::default();
        Self {
            stream: Some(stream),
            caps,
            column,
            case,
            maps,
            held: false,
            parked: false,
            until_trailers: None,
            replied: false,
            outcome,
        }
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
        self.held = false;
        self.parked = false;
        let Some(answer) = &self.case.answer else {
            return Err("the core asks the server, but the case has no answer".into());
        };
        let mut headers = vec![(b":status".to_vec(), answer.http_status.to_string().into_bytes())];
        headers.extend(to_headers(&answer.headers));
        let trailers = answer.trailers().map_or_else(Vec::new, |trailers| to_headers(&trailers));
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
        self.maps.headers.insert(dir.headers(), headers);
        self.headers(dir, end)?;
        let chunks = chunking.cut(body);
        for (index, chunk) in chunks.iter().enumerate() {
            if self.replied || self.outcome.got.reset {
                return Ok(());
            }
            self.data(dir, chunk, index + 1 == chunks.len() && trailers.is_empty())?;
        }
        if !trailers.is_empty() && !self.replied && !self.outcome.got.reset {
            self.maps.headers.insert(dir.trailers(), trailers);
            self.trailers(dir)?;
        }
        if self.held && !self.replied && !self.outcome.got.reset {
            return Err(format!("the core still holds the {dir:?} headers at the end of the message"));
        }
        Ok(())
    }

    fn headers(&mut self, dir: Dir, end: bool) -> Result<(), String> {
        if self.until_trailers.is_some() {
            self.release(dir);
            return Ok(());
        }
        let mut asked = self.ask(dir, |stream, cx| stream.headers(dir, end, cx), OnHeaders::Continue);
        loop {
            match asked.verdict {
                OnHeaders::Wait => {
                    let call = asked.calls.pop().ok_or("the core waits, but made no call")?;
                    let answer = self.call(&call)?;
                    asked = self.ask(
                        dir,
                        |stream, cx| stream.call_ended(call.id, answer, cx),
                        OnHeaders::Continue,
                    );
                }
                OnHeaders::Continue | OnHeaders::Detach | OnHeaders::UntilTrailers => {
                    if matches!(asked.verdict, OnHeaders::Detach) {
                        self.stream = None;
                    }
                    if matches!(asked.verdict, OnHeaders::UntilTrailers) {
                        self.until_trailers = Some(dir);
                    }
                    let possible = end && self.caps.body_on_header_only;
                    if !possible && !asked.out.is_empty() {
                        return Err("the core gives a body to headers where that cannot be done".into());
                    }
                    self.release(dir);
                    self.pass(dir, &asked.out);
                    return Ok(());
                }
                OnHeaders::Hold if end => return Err("the core holds headers that end the message".into()),
                OnHeaders::Hold if !(self.caps.hold[dir as usize] || self.column == Column::WasmHold) => {
                    return Err("the core holds headers where that cannot be done".into());
                }
                OnHeaders::Hold => {
                    self.held = true;
                    return Ok(());
                }
                OnHeaders::Reply(reply) => return self.reply(dir, reply),
            }
        }
    }

    fn data(&mut self, dir: Dir, bytes: &[u8], end: bool) -> Result<(), String> {
        if self.until_trailers.is_some() {
            self.pass(dir, bytes);
            return Ok(());
        }
        let slices = [bytes];
        let chunk = Chunk { slices: &slices, end };
        let asked = self.ask(dir, |stream, cx| stream.data(dir, chunk, cx), OnData::Pass);
        if !matches!(asked.verdict, OnData::Emit) && !asked.out.is_empty() {
            return Err("the core writes to `out` and does not emit".into());
        }
        if self.parked && asked.out.len() > PARK_LIMIT_BYTES {
            return Err(format!("the core parked, and then emits {} bytes", asked.out.len()));
        }
        match asked.verdict {
            OnData::Pass | OnData::Detach => {
                if matches!(asked.verdict, OnData::Detach) {
                    self.stream = None;
                }
                self.release(dir);
                self.pass(dir, bytes);
            }
            OnData::Emit => {
                self.parked = false;
                self.release(dir);
                self.pass(dir, &asked.out);
            }
            OnData::Keep | OnData::Park if end => return Err("the core keeps the end of a message".into()),
            OnData::Keep => self.parked = false,
            OnData::Park => self.parked = true,
            OnData::Reply(reply) => return self.reply(dir, reply),
            OnData::Reset => self.outcome.got.reset = true,
        }
        Ok(())
    }

    fn trailers(&mut self, dir: Dir) -> Result<(), String> {
        if self.until_trailers.is_some_and(|only| only != dir) {
            self.stream = None;
        }
        let asked = self.ask(dir, |stream, cx| stream.trailers(dir, cx), OnTrailers::Continue);
        match asked.verdict {
            OnTrailers::Emit
                if self.caps.emit_in_trailers || (self.parked && asked.out.len() <= PARK_LIMIT_BYTES) =>
            {
                self.release(dir);
                self.pass(dir, &asked.out);
            }
            OnTrailers::Emit => return Err("the core emits in trailers where that cannot be done".into()),
            OnTrailers::Continue => self.release(dir),
            OnTrailers::Reply(reply) => return self.reply(dir, reply),
            OnTrailers::Reset => self.outcome.got.reset = true,
        }
        let trailers = self.maps.headers.remove(&dir.trailers()).unwrap_or_default();
        match dir {
            Dir::Request => {
                if let Some(seen) = &mut self.outcome.seen {
                    seen.trailers = trailers;
                }
            }
            Dir::Response => self.outcome.got.trailers = trailers,
        }
        Ok(())
    }

    /// Asks the model server beside the exchange: the case's answer is the call's.
    fn call(&mut self, call: &Call) -> Result<CallEnd, String> {
        let headers =
            call.headers.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect();
        self.outcome.seen = Some(Seen { headers, body: call.body.clone(), ..Seen::default() });
        let Some(answer) = &self.case.answer else {
            return Err("the core makes a call, but the case has no answer".into());
        };
        let mut headers = vec![(b":status".to_vec(), answer.http_status.to_string().into_bytes())];
        headers.extend(to_headers(&answer.headers));
        let trailers = answer.trailers().map_or_else(Vec::new, |trailers| to_headers(&trailers));
        Ok(CallEnd::Answered(CallResponse { headers, body: self.case.answer_data()?, trailers }))
    }

    /// Gives the client the filter's own answer. It passes the filter's response half, as a proxy-wasm host lets
    /// it, and must come out as it went in.
    fn reply(&mut self, dir: Dir, reply: Reply) -> Result<(), String> {
        if dir == Dir::Response && !self.held && self.outcome.got.status != 0 {
            return Err("the core replies after the response's headers have gone out".into());
        }
        self.replied = true;
        let mut headers = vec![(b":status".to_vec(), reply.status.to_string().into_bytes())];
        headers.extend(
            reply.headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())),
        );
        if dir == Dir::Request {
            self.maps.headers.insert(Map::ResponseHeaders, headers.clone());
            let end = reply.body.is_empty();
            let asked = self.ask(
                Dir::Response,
                |stream, cx| stream.headers(Dir::Response, end, cx),
                OnHeaders::Continue,
            );
            let slices = [&reply.body[..]];
            let chunk = Chunk { slices: &slices, end: true };
            let data =
                self.ask(Dir::Response, |stream, cx| stream.data(Dir::Response, chunk, cx), OnData::Pass);
            let passed = matches!(asked.verdict, OnHeaders::Continue | OnHeaders::Detach)
                && matches!(data.verdict, OnData::Pass);
            if !passed || self.maps.headers.get(&Map::ResponseHeaders) != Some(&headers) {
                return Err("the core changes its own reply on the way out".into());
            }
        }
        // As every host does it, and Envoy with the answer to a HEAD.
        if !reply.body.is_empty() {
            headers.push((b"content-length".to_vec(), reply.body.len().to_string().into_bytes()));
        }
        let content_type = self.case.request.headers.iter().find(|(name, _)| name == "content-type");
        self.outcome.got = match content_type {
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

    /// Lets headers go on, if they have not yet.
    fn release(&mut self, dir: Dir) {
        self.held = false;
        let headers = || self.maps.headers.get(&dir.headers()).cloned().unwrap_or_default();
        match dir {
            Dir::Request if self.outcome.seen.is_none() => {
                let subset = Some(self.maps.subset.clone());
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

    /// Calls the core and applies its operations; a core that has detached itself is not asked.
    fn ask<V>(&mut self, dir: Dir, call: impl FnOnce(&mut S, &mut Cx<'_>) -> V, otherwise: V) -> Asked<V> {
        let Some(stream) = &mut self.stream else {
            return Asked { verdict: otherwise, out: Vec::new(), calls: Vec::new() };
        };
        let mut ops = Ops::default();
        let mut out = Vec::new();
        let verdict = call(stream, &mut Cx { view: &self.maps, ops: &mut ops, out: &mut out });
        let released = match dir {
            Dir::Request => self.outcome.seen.is_some(),
            Dir::Response => self.outcome.got.status != 0,
        };
        for op in ops.iter() {
            self.maps.apply(&op, dir, released);
        }
        Asked { verdict, out, calls: ops.take_calls() }
    }
}

impl Maps {
    fn apply(&mut self, op: &Op<'_>, dir: Dir, released: bool) {
        // Writing headers that have gone out does nothing in Envoy, and so nothing here.
        let open = |map: &Map| !(released && *map == dir.headers());
        match op {
            Op::SetHeader(map, name, value) if open(map) => {
                let headers = self.headers.entry(*map).or_default();
                let first = headers.iter().position(|(found, _)| found == name.as_bytes());
                headers.retain(|(found, _)| found != name.as_bytes());
                let at = first.unwrap_or(headers.len());
                headers.insert(at, (name.as_bytes().to_vec(), value.to_vec()));
            }
            Op::AddHeader(map, name, value) if open(map) => {
                self.headers.entry(*map).or_default().push((name.as_bytes().to_vec(), value.to_vec()));
            }
            Op::RemoveHeader(map, name) if open(map) => {
                self.headers.entry(*map).or_default().retain(|(found, _)| found != name.as_bytes());
            }
            Op::SetLbMetadata(key, value) if self.lb_metadata && !released => {
                self.subset.retain(|(known, _)| known != key);
                self.subset.push(((*key).to_owned(), (*value).to_owned()));
            }
            Op::SetProperty("dynamic_subset", value) if !released => self.subset = Seen::pairs(value),
            _ => {}
        }
    }
}

impl View for Maps {
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
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS)
    }

    fn has_metadata(&self, _namespace: &str, _key: &str) -> bool {
        false
    }
}
