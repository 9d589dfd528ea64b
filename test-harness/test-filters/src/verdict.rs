//! A test filter that does in each phase what a request header says.
//!
//! `x-plan` is a list of `phase=action`, separated by spaces. A phase is `q` (request) or `p` (response) with
//! `h` (headers), `1` (the first chunk), `d` (every later chunk), `e` (the chunk that ends the body, if it is
//! named) or `t` (trailers); `c` is the end of a call, or `c1`, `c2` and so on the first and second; `w` is an event of the
//! configuration, of which there are some where it says `events`. An action is a list of words separated by `+`:
//!
//! - a verdict: `continue`, `hold`, `wait` (for calls to the clusters of the step `call=<cluster>,<cluster>`), `more`
//!   (waits without another call), `reply`, `detach`, `pass`, `emit` (what was kept, then the chunk), `keep`, `park`,
//!   `reset`;
//! - `call` makes those calls beside another verdict, and `body` writes a body beside headers;
//! - how the chunk is written: `upper` (in upper case), `thrice`, `nothing`;
//! - `mark`: sets `x-marked` to the phase, in the headers or trailers of the phase; `late`: in the request's
//!   headers, whatever the phase; `broken`: sets a value with a line break; `subset`: sets the load balancer's
//!   metadata;
//! - `echo`: copies the request header `x-echo` to `x-echoed` of the phase's map, `none` for one that cannot be
//!   read; `names`: sets `x-names` to the names of all request headers that can be read; `cluster`: sets
//!   `x-cluster` to the property `xds.cluster_name`.
//!
//! Phases that a plan does not name pass. Without a plan there is no stream at all.

use filter_api::{
    Call, CallEnd, CallFailure, CallId, Caps, Chunk, ConfigError, Cx, Dir, Level, Map, Memory, Metric,
    OnData, OnHeaders, OnTrailers, Plugin, Reply, Stream, parse_config,
};
use std::sync::Arc;
use std::time::Duration;

/// The filter that does in each phase what a request header says: the plan `x-plan`, as above.
pub struct VerdictFilter {
    config: Arc<Config>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Sent with every reply, so that a test sees which plugin answered.
    #[serde(default)]
    tag: String,
    /// Has an event many times a second.
    #[serde(default)]
    events: bool,
}

/// An exchange that follows its plan.
pub struct Exchange {
    config: Arc<Config>,
    plan: Vec<(String, String)>,
    chunks: [usize; 2],
    kept: [Vec<u8>; 2],
    waiting: Dir,
    /// How calls ended.
    called: Vec<String>,
}

filter_api::metrics! {
    /// What the filter counts and measures.
    const METRICS;
    /// chunks of bodies
    CHUNKS: Counter "chunks";
    /// the sizes of chunks, in bytes
    CHUNK_BYTES: Histogram "chunk_bytes";
}

impl Plugin for VerdictFilter {
    type Stream = Exchange;
    const NAME: &'static str = "verdict_filter";
    const METRICS: &'static [Metric] = METRICS;

    fn configure(json: &[u8], _caps: Caps, _memory: Arc<Memory>) -> Result<Self, ConfigError> {
        Ok(Self { config: Arc::new(parse_config(json)?) })
    }

    fn tick(&self) -> Option<Duration> {
        self.config.events.then_some(Duration::from_millis(20))
    }

    fn open(self: &Arc<Self>) -> Exchange {
        Exchange {
            config: self.config.clone(),
            plan: Vec::new(),
            chunks: [0; 2],
            kept: Default::default(),
            waiting: Dir::Request,
            called: Vec::new(),
        }
    }
}

impl Stream for Exchange {
    fn headers(&mut self, dir: Dir, _end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        if dir == Dir::Request {
            let Some(plan) = cx.view.header(Map::RequestHeaders, "x-plan") else { return OnHeaders::Detach };
            self.plan = read_plan(&String::from_utf8_lossy(&plan));
        }
        self.on_headers(if dir == Dir::Request { "qh" } else { "ph" }, dir, cx)
    }

    fn data(&mut self, dir: Dir, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        cx.ops.count(CHUNKS, 1);
        cx.ops.record(CHUNK_BYTES, chunk.len() as u64);
        self.chunks[dir as usize] += 1;
        let names = match (dir, self.chunks[dir as usize]) {
            (Dir::Request, 1) => ["qe", "q1"],
            (Dir::Request, _) => ["qe", "qd"],
            (Dir::Response, 1) => ["pe", "p1"],
            (Dir::Response, _) => ["pe", "pd"],
        };
        let action = Some(self.action(names[0])).filter(|action| chunk.end && !action.is_empty());
        let action = action.unwrap_or_else(|| self.action(names[1]));
        self.operations(&action, names[1], dir.headers(), cx);
        let mut bytes = chunk.slices.concat();
        if has(&action, "upper") {
            bytes.make_ascii_uppercase();
        }
        if has(&action, "thrice") {
            bytes = bytes.repeat(3);
        }
        if has(&action, "nothing") {
            bytes.clear();
        }
        match verdict(&action) {
            "emit" => {
                // Kept bytes come in small writes, the chunk in one.
                let kept = std::mem::take(&mut self.kept[dir as usize]);
                OnData::Emit(cx.emit(|out| {
                    kept.chunks(100).for_each(|bytes| out.write(bytes));
                    out.write(&bytes);
                }))
            }
            "keep" | "park" => {
                self.kept[dir as usize].extend_from_slice(&bytes);
                if verdict(&action) == "keep" { OnData::Keep } else { OnData::Park }
            }
            "reply" => OnData::Reply(self.reply()),
            "reset" => OnData::Reset,
            "detach" => OnData::Detach,
            _ => OnData::Pass,
        }
    }

    fn trailers(&mut self, dir: Dir, cx: &mut Cx<'_>) -> OnTrailers {
        let phase = if dir == Dir::Request { "qt" } else { "pt" };
        let action = self.action(phase);
        self.operations(&action, phase, dir.trailers(), cx);
        match verdict(&action) {
            "emit" => OnTrailers::Emit(cx.emit(|out| out.write(&self.kept[dir as usize]))),
            "reply" => OnTrailers::Reply(self.reply()),
            "reset" => OnTrailers::Reset,
            _ => OnTrailers::Continue,
        }
    }

    fn call_ended(&mut self, id: CallId, end: CallEnd, cx: &mut Cx<'_>) -> OnHeaders {
        let text = match &end {
            CallEnd::Answered(response) => {
                let status = response.headers.iter().find(|(name, _)| name == b":status");
                let status = status.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
                format!(
                    "{} {} bytes, {} trailers",
                    status.unwrap_or_default(),
                    response.body.len(),
                    response.trailers.len()
                )
            }
            CallEnd::Failed(CallFailure::Refused) => "refused".to_owned(),
            CallEnd::Failed(CallFailure::NoEndpoint) => "no endpoint".to_owned(),
            CallEnd::Failed(CallFailure::Reset) => "reset".to_owned(),
        };
        self.called.push(format!("{}: {text}", id.0));
        cx.ops.set_header(self.waiting.headers(), "x-called", self.called.join(", ").as_bytes());
        let numbered = format!("c{}", self.called.len());
        let phase = if self.action(&numbered).is_empty() { "c" } else { &numbered };
        self.on_headers(phase, self.waiting, cx)
    }

    fn woken(&mut self, cx: &mut Cx<'_>) -> OnHeaders {
        self.on_headers("w", self.waiting, cx)
    }
}

impl Exchange {
    fn on_headers(&mut self, phase: &str, dir: Dir, cx: &mut Cx<'_>) -> OnHeaders {
        let action = self.action(phase);
        self.waiting = dir;
        if verdict(&action) == "wait" || has(&action, "call") {
            self.call(cx);
        }
        self.operations(&action, phase, dir.headers(), cx);
        match verdict(&action) {
            "hold" => OnHeaders::Hold,
            "wait" | "more" => OnHeaders::Wait,
            "reply" => OnHeaders::Reply(self.reply()),
            "detach" => OnHeaders::Detach,
            _ if has(&action, "body") => OnHeaders::Emit(cx.emit(|out| out.write(b"a body beside headers"))),
            _ => OnHeaders::Continue,
        }
    }

    fn call(&self, cx: &mut Cx<'_>) {
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        for (id, cluster) in (7..).zip(self.action("call").split(',')) {
            cx.ops.call(Call {
                id: CallId(id),
                cluster: cluster.to_owned(),
                headers: vec![
                    header(":method", "POST"),
                    header(":path", "/called"),
                    header(":authority", "called"),
                ],
                body: b"who is it".to_vec(),
                timeout: Duration::from_secs(5),
            });
        }
    }

    fn operations(&self, action: &str, phase: &str, map: Map, cx: &mut Cx<'_>) {
        for word in action.split('+') {
            match word {
                "mark" => cx.ops.set_header(map, "x-marked", phase.as_bytes()),
                "late" => cx.ops.set_header(Map::RequestHeaders, "x-late", phase.as_bytes()),
                "subset" => cx.ops.set_lb_metadata("phase", phase),
                "broken" => cx.ops.set_header(map, "x-broken", b"one\r\nx-two: three"),
                "echo" => {
                    let value = cx.view.header(Map::RequestHeaders, "x-echo");
                    cx.ops.set_header(map, "x-echoed", value.as_deref().unwrap_or(b"none"));
                    cx.ops.log(Level::Info, &format!("{phase} saw {value:?}"));
                }
                "names" => {
                    let mut names = Vec::new();
                    cx.view.each_header(Map::RequestHeaders, &mut |name, _| {
                        names.extend_from_slice(name);
                        names.push(b' ');
                    });
                    cx.ops.add_header(map, "x-names", &names);
                }
                "cluster" => {
                    let value = cx.view.property(&["xds", "cluster_name"]).unwrap_or_default();
                    cx.ops.set_header(map, "x-cluster", &value);
                }
                _ => {}
            }
        }
    }

    fn action(&self, phase: &str) -> String {
        let found = self.plan.iter().find(|(name, _)| name == phase);
        found.map(|(_, action)| action.clone()).unwrap_or_default()
    }

    fn reply(&self) -> Reply {
        Reply::new(418, "as_planned")
            .header("content-type", "application/json")
            .header("x-tag", self.config.tag.clone())
            .body(br#"{"error":"as planned"}"#.to_vec())
    }
}

fn read_plan(text: &str) -> Vec<(String, String)> {
    let steps = text.split_whitespace().filter_map(|step| step.split_once('='));
    steps.map(|(phase, action)| (phase.to_owned(), action.to_owned())).collect()
}

fn has(action: &str, word: &str) -> bool {
    action.split('+').any(|part| part == word)
}

fn verdict(action: &str) -> &str {
    const VERDICTS: [&str; 11] =
        ["continue", "hold", "wait", "more", "reply", "detach", "pass", "emit", "keep", "park", "reset"];
    action.split('+').find(|word| VERDICTS.contains(word)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::VerdictFilter;
    use testkit::{Chunking, Column, Core, RULES};

    #[test]
    fn the_nine_rules_hold_in_the_host_in_memory() {
        for rule in RULES {
            for column in [Column::Wasm, Column::WasmHold, Column::Native] {
                let core = Core::<VerdictFilter>::configure(&rule.config(), column).unwrap();
                let (outcome, wrong) = core.run_any(&rule.case(), Chunking::Whole).unwrap();
                rule.check(&outcome.into(), wrong).unwrap_or_else(|why| panic!("{column:?}: {why}"));
            }
        }
    }
}
