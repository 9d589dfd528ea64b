//! A filter for tests: does in every phase what the request asks for, and logs what it sees.
//!
//! The request header `x-probe` holds steps such as `rqh=hold;rqd=keep;rqe=dump`: a phase and what to do there.
//!
//! Phases: `rqh`, `rqd`, `rqe`, `rqt` for the request's headers, chunks, last chunk and trailers; `rsh`, `rsd`,
//! `rse`, `rst` for the response's; `end` for the end of a call. Where nothing is said, everything passes.
//!
//! Every phase also sets a header `x-saw-<phase>`, so that it shows what was still in time, and logs a line
//! `<x-probe-id> <phase> …`.

use filter_api::{
    Call, CallEnd, CallId, Caps, Chunk, ConfigError, Cx, Dir, Level, Map, Memory, Metric, OnData, OnHeaders,
    OnTrailers, Plugin, Reply, Route, Sink, Stream, parse_config,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Panics while it is configured.
    #[serde(default)]
    panic: bool,
    /// Panics when a stream is opened.
    #[serde(default)]
    panic_on_open: bool,
}

/// The filter that does in every phase what the request header `x-probe` asks for, and logs what it sees.
pub struct Probe {
    config: Config,
}

/// One exchange.
pub struct Probing {
    id: String,
    steps: HashMap<String, String>,
    /// What was kept, by direction.
    kept: [Vec<u8>; 2],
    /// Calls made so far.
    calls: u32,
}

filter_api::metrics! {
    /// What the filter counts and measures.
    const METRICS;
    /// calls that were made
    CALLS: Counter "calls";
    /// the sizes of chunks, in bytes
    CHUNK_BYTES: Histogram "chunk_bytes";
}

impl Plugin for Probe {
    type Stream = Probing;
    const NAME: &'static str = "probe";
    const METRICS: &'static [Metric] = METRICS;

    fn configure(json: &[u8], _caps: Caps, _memory: Arc<Memory>) -> Result<Self, ConfigError> {
        let config: Config = parse_config(json)?;
        assert!(!config.panic, "a panic was asked for");
        Ok(Self { config })
    }

    fn open(self: &Arc<Self>) -> Probing {
        assert!(!self.config.panic_on_open, "a panic was asked for");
        Probing { id: String::new(), steps: HashMap::new(), kept: Default::default(), calls: 0 }
    }
}

impl Stream for Probing {
    fn headers(&mut self, dir: Dir, end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        if dir == Dir::Request {
            let text = |name| cx.view.header(Map::RequestHeaders, name).unwrap_or_default();
            self.id = String::from_utf8_lossy(&text("x-probe-id")).into_owned();
            let steps = String::from_utf8_lossy(&text("x-probe")).into_owned();
            let pairs = steps.split(';').filter_map(|step| step.trim().split_once('='));
            self.steps = pairs.map(|(phase, step)| (phase.to_owned(), step.to_owned())).collect();
        }
        let phase = ["rqh", "rsh"][dir as usize];
        let mut seen = 0;
        cx.view.each_header(dir.headers(), &mut |_, _| seen += 1);
        self.saw(dir, phase, &format!("end={end} headers={}", seen > 0), cx);
        if phase == "rqh"
            && let Some(path) = self.steps.get("property")
        {
            let path: Vec<&str> = path.split('.').collect();
            let value = cx.view.property(&path).map(|value| String::from_utf8_lossy(&value).into_owned());
            cx.ops.log(Level::Info, &format!("{} property {value:?}", self.id));
        }
        if phase == "rqh"
            && let Some(value) = self.steps.get("value")
        {
            // What a host must not send: it would make two headers of one.
            cx.ops.set_header(Map::RequestHeaders, "x-probe-value", format!("a\r\nx-{value}: b").as_bytes());
        }
        if phase == "rqh" && self.steps.contains_key("path") {
            cx.ops.set_header(Map::RequestHeaders, ":path", self.steps["path"].as_bytes());
            match self.steps.get("route").map(String::as_str) {
                Some("keep") => cx.ops.route(Route::Keep),
                Some("reselect") => cx.ops.route(Route::Reselect),
                _ => {}
            }
        }
        self.on_headers(phase, cx)
    }

    fn data(&mut self, dir: Dir, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        let phase = [["rqd", "rsd"], ["rqe", "rse"]][usize::from(chunk.end)][dir as usize];
        cx.ops.record(CHUNK_BYTES, chunk.len() as u64);
        self.saw(dir, phase, &format!("bytes={}", chunk.len()), cx);
        let (step, number) = self.step(phase);
        match step.as_str() {
            "emit" => OnData::Emit(cx.emit(|out| write(out, number))),
            "echo" => OnData::Emit(cx.emit(|out| chunk.slices.iter().for_each(|slice| out.write(slice)))),
            "keep" | "park" => {
                chunk.slices.iter().for_each(|slice| self.kept[dir as usize].extend_from_slice(slice));
                if step == "keep" { OnData::Keep } else { OnData::Park }
            }
            "dump" => {
                let kept = std::mem::take(&mut self.kept[dir as usize]);
                OnData::Emit(cx.emit(|out| {
                    out.write(&kept);
                    chunk.slices.iter().for_each(|slice| out.write(slice));
                }))
            }
            "reply" => OnData::Reply(reply(phase)),
            "reset" => OnData::Reset,
            "detach" => OnData::Detach,
            "panic" => panic!("a panic was asked for in {phase}"),
            _ => OnData::Pass,
        }
    }

    fn trailers(&mut self, dir: Dir, cx: &mut Cx<'_>) -> OnTrailers {
        let phase = ["rqt", "rst"][dir as usize];
        cx.ops.set_header(dir.trailers(), "x-saw-trailers", b"yes");
        self.saw(dir, phase, "", cx);
        let (step, number) = self.step(phase);
        match step.as_str() {
            "emit" => OnTrailers::Emit(cx.emit(|out| write(out, number))),
            "dump" => {
                OnTrailers::Emit(cx.emit(|out| out.write(&std::mem::take(&mut self.kept[dir as usize]))))
            }
            "reply" => OnTrailers::Reply(reply(phase)),
            "reset" => OnTrailers::Reset,
            "panic" => panic!("a panic was asked for in {phase}"),
            _ => OnTrailers::Continue,
        }
    }

    fn call_ended(&mut self, id: CallId, end: CallEnd, cx: &mut Cx<'_>) -> OnHeaders {
        let dir = if self.step("rqh").0 == "wait" { Dir::Request } else { Dir::Response };
        let told = match &end {
            CallEnd::Answered(response) => {
                let status = response.headers.iter().find(|(name, _)| name == b":status");
                let status = status.map(|(_, value)| String::from_utf8_lossy(value)).unwrap_or_default();
                format!("call={} status={status} bytes={}", id.0, response.body.len())
            }
            CallEnd::Failed(failure) => format!("call={} {failure:?}", id.0),
        };
        self.saw(dir, "end", &told, cx);
        self.on_headers("end", cx)
    }
}

impl Probing {
    fn on_headers(&mut self, phase: &str, cx: &mut Cx<'_>) -> OnHeaders {
        let (step, number) = self.step(phase);
        match step.as_str() {
            "hold" => OnHeaders::Hold,
            "wait" => {
                let cluster = self.steps.get("cluster").cloned().unwrap_or_else(|| "upstream".to_owned());
                let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
                for _ in 0..number.max(1) {
                    cx.ops.call(Call {
                        id: CallId(self.calls),
                        cluster: cluster.clone(),
                        headers: vec![
                            header(":method", "GET"),
                            header(":path", "/call"),
                            header(":authority", "call"),
                        ],
                        body: Vec::new(),
                        timeout: Duration::from_secs(5),
                    });
                    self.calls += 1;
                }
                OnHeaders::Wait
            }
            "more" => OnHeaders::Wait,
            "body" => OnHeaders::Emit(cx.emit(|out| write(out, number))),
            "reply" => OnHeaders::Reply(reply(phase)),
            "detach" => OnHeaders::Detach,
            "panic" => panic!("a panic was asked for in {phase}"),
            _ => OnHeaders::Continue,
        }
    }

    fn saw(&self, dir: Dir, phase: &str, what: &str, cx: &mut Cx<'_>) {
        cx.ops.set_header(dir.headers(), &format!("x-saw-{phase}"), b"yes");
        cx.ops.count(CALLS, 1);
        cx.ops.log(Level::Info, format!("{} {phase} {what}", self.id).trim());
    }

    fn step(&self, phase: &str) -> (String, usize) {
        let step = self.steps.get(phase).map_or("", String::as_str);
        let (step, number) = step.split_once(':').unwrap_or((step, "0"));
        (step.to_owned(), number.parse().unwrap_or(0))
    }
}

fn reply(phase: &str) -> Reply {
    Reply::new(418, "probe_reply")
        .header("content-type", "application/json")
        .header("x-probe-reply", phase.to_owned())
        .body(br#"{"error":"probe"}"#.to_vec())
}

fn write(out: &mut dyn Sink, mut bytes: usize) {
    while bytes > 0 {
        let now = bytes.min(64 * 1024);
        out.write(&vec![b'e'; now]);
        bytes -= now;
    }
}
