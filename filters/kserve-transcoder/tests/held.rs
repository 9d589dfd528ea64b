//! The budget counts what is really held, whatever a body consists of: a VM that runs out of memory ends every stream
//! of its worker.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

mod headers;

use filter_api::{Caps, Chunk, Cx, Dir, Map, Memory, OnHeaders, Ops, Plugin, Sink, Stream};
use flate2::Compression;
use flate2::write::GzEncoder;
use headers::Headers;
use kserve_transcoder::{Exchange, KserveTranscoder};
use peak_alloc::PeakAlloc;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The heap is everybody's, so one test at a time.
static TURN: Mutex<()> = Mutex::new(());

/// How large the bodies are.
const BODY_BYTES: usize = 512 * 1024;
const CHUNK: usize = 16 * 1024;

/// How much more than what is charged may be held: a part of it for lists of segments and the like, and the fixed
/// size of a stream.
const UNCHARGED_PART: f64 = 0.1;
const UNCHARGED_BYTES: usize = 32 * 1024;

/// A host that sends on what it gets, and so holds nothing.
struct Sent;

impl Sink for Sent {
    fn write(&mut self, _bytes: &[u8]) {}
}

struct Meter {
    memory: Arc<Memory>,
    view: Headers,
    exchange: Exchange,
    /// What the heap had before the body came.
    before: usize,
    most: usize,
}

impl Meter {
    fn new(config: &str, path: &str, headers: &[(&'static str, String)]) -> Self {
        let memory = Memory::new(1 << 30);
        let plugin =
            KserveTranscoder::configure(config.as_bytes(), Caps::PROXY_WASM, memory.clone()).unwrap();
        let request = Map::RequestHeaders;
        let mut view = vec![(request, ":method", "POST".to_owned()), (request, ":path", path.to_owned())];
        view.extend(headers.iter().map(|(name, value)| (request, *name, value.clone())));
        view.push((Map::ResponseHeaders, ":status", "200".to_owned()));
        view.push((Map::ResponseHeaders, "content-type", "application/grpc".to_owned()));
        let exchange = Arc::new(plugin).open();
        let mut meter = Self { memory, view: Headers(view), exchange, before: 0, most: 0 };
        meter.headers(Dir::Request);
        meter
    }

    fn headers(&mut self, dir: Dir) {
        let (mut ops, mut sent) = (Ops::default(), Sent);
        let mut cx = Cx::new(&self.view, &mut ops, &mut sent);
        let verdict = self.exchange.headers(dir, false, &mut cx);
        assert!(matches!(verdict, OnHeaders::Continue), "{verdict:?}");
        self.before = HEAP.current_usage();
    }

    /// Feeds a body, and compares what is held after each chunk with what is charged for it.
    fn feed(&mut self, dir: Dir, body: &[u8], what: &str) {
        let chunks = body.len().div_ceil(CHUNK);
        for (index, chunk) in body.chunks(CHUNK).enumerate() {
            let slices = [chunk];
            let chunk = Chunk { slices: &slices, end: dir == Dir::Request && index + 1 == chunks };
            let mut ops = Ops::default();
            let mut sent = Sent;
            let mut cx = Cx::new(&self.view, &mut ops, &mut sent);
            self.exchange.data(dir, chunk, &mut cx);
            drop(ops);
            let held = HEAP.current_usage().saturating_sub(self.before);
            let charged = self.memory.used();
            self.most = self.most.max(charged);
            let most = charged + (charged as f64 * UNCHARGED_PART) as usize + UNCHARGED_BYTES;
            assert!(held <= most, "{what}: {held} bytes are held, but {charged} are charged");
        }
    }
}

/// A document of about [`BODY_BYTES`] that repeats one thing.
fn repeated(before: &str, one: &str, after: &str) -> Vec<u8> {
    let times = BODY_BYTES / one.len();
    [before, &one.repeat(times), after].concat().into_bytes()
}

const INFER: &str = "/v2/models/m/infer";

#[test]
fn what_a_request_holds_is_charged_whatever_it_consists_of() {
    let _turn = TURN.lock().unwrap();
    let input = r#"{"name":"x","shape":[1],"datatype":"FP32","data":[1]},"#;
    let last = r#"{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#;
    let shape = vec!["1"; 64].join(",");
    let bodies = [
        (
            "numbers",
            repeated(r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":["#, "1.5,", "1]}]}"),
        ),
        ("text that is kept", repeated(r#"{"inputs":[{"data":["#, "1.5,", r#"1],"name":"x"}]}"#)),
        ("inputs", repeated(r#"{"inputs":["#, input, last)),
        (
            "inputs in shared memory",
            repeated(
                r#"{"inputs":["#,
                r#"{"name":"x","shape":[1],"datatype":"FP32","parameters":{"shared_memory_region":"r"}},"#,
                last,
            ),
        ),
        (
            "binary inputs",
            repeated(
                r#"{"inputs":["#,
                r#"{"name":"x","shape":[0],"datatype":"FP32","parameters":{"binary_data_size":0}},"#,
                last,
            ),
        ),
        (
            "inputs without data",
            repeated(r#"{"inputs":["#, r#"{"name":"","shape":[1],"datatype":"FP32"},"#, last),
        ),
        (
            "shapes",
            repeated(
                r#"{"inputs":["#,
                &format!(r#"{{"name":"","shape":[{shape}],"datatype":"FP32","data":[1]}},"#),
                last,
            ),
        ),
        (
            "short strings",
            repeated(
                r#"{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["#,
                r#""a","#,
                r#"""]}]}"#,
            ),
        ),
        (
            "a long string",
            repeated(r#"{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":[""#, "a", r#""]}]}"#),
        ),
        (
            "a long name",
            repeated(r#"{"inputs":[{"name":""#, "a", r#"","shape":[1],"datatype":"FP32","data":[1]}]}"#),
        ),
        ("a long id", repeated(r#"{"id":""#, "a", r#"","inputs":[]}"#)),
        ("a long key", repeated(r#"{""#, "a", r#"":1,"inputs":[]}"#)),
        ("a long string that is skipped", repeated(r#"{"x":""#, "a", r#"","inputs":[]}"#)),
        ("a long error", repeated(r#"{"inputs":[{"datatype":""#, "a", r#""}]}"#)),
        ("parameters", repeated(r#"{"parameters":{"#, r#""a":1,"#, r#""b":1},"inputs":[]}"#)),
        ("parameters of an input", repeated(r#"{"inputs":[{"parameters":{"#, r#""a":"b","#, r#""b":1}}]}"#)),
        (
            "outputs",
            repeated(
                r#"{"outputs":["#,
                r#"{"name":"y","parameters":{"binary_data":true}},"#,
                r#"{"name":"z"}],"inputs":[]}"#,
            ),
        ),
        ("raw contents", repeated(r#"{"raw_input_contents":["#, r#""AAAA","#, r#"""],"inputs":[]}"#)),
        (
            "typed contents",
            repeated(
                r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","contents":{"fp32_contents":["#,
                "1,",
                "1]}}]}",
            ),
        ),
    ];
    for (what, body) in &bodies {
        for config in ["{}", r#"{"tensor_encoding": "contents"}"#] {
            let mut meter = Meter::new(config, INFER, &[]);
            meter.feed(Dir::Request, body, what);
            println!("{what}: at most {} KiB charged for {} KiB", meter.most >> 10, body.len() >> 10);
        }
    }
    let index = repeated(r#"{"repository_name":""#, "a", r#""}"#);
    Meter::new("{}", "/v2/repository/index", &[]).feed(Dir::Request, &index, "another call's text");
}

#[test]
fn what_an_answer_holds_is_charged_whatever_it_consists_of() {
    let _turn = TURN.lock().unwrap();
    let small = br#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#;
    let field = |number: u8, bytes: &[u8]| {
        let mut length = Vec::new();
        let mut left = bytes.len();
        while left > 127 {
            length.push(left as u8 | 0x80);
            left >>= 7;
        }
        length.push(left as u8);
        [&[number << 3 | 2], length.as_slice(), bytes].concat()
    };
    let many = |one: &[u8]| one.repeat(BODY_BYTES / one.len());
    let output = [field(1, b"y"), field(2, b"FP32"), field(3, &[1])].concat();
    let parameter = [field(1, b"a"), field(2, &field(3, b"b"))].concat();
    let answers = [
        ("raw contents", field(6, &vec![1; BODY_BYTES])),
        ("many raw contents", many(&field(6, &[1; 4]))),
        ("outputs", many(&field(5, &output))),
        ("outputs with nothing", many(&field(5, b""))),
        ("outputs with contents", many(&field(5, &[output.clone(), field(5, &field(6, &[1; 4]))].concat()))),
        ("packed contents", field(5, &[output.clone(), field(5, &field(2, &vec![1; BODY_BYTES]))].concat())),
        ("single contents", field(5, &[output.clone(), field(5, &many(&[2 << 3, 1]))].concat())),
        ("strings", field(5, &field(5, &many(&field(8, b"a"))))),
        ("parameters", many(&field(4, &parameter))),
        ("parameters of an output", field(5, &many(&field(4, &parameter)))),
        ("a long name", field(1, &vec![b'a'; BODY_BYTES])),
        ("a long name of an output", field(5, &field(1, &vec![b'a'; BODY_BYTES]))),
        ("unknown fields", many(&field(15, b"what"))),
    ];
    let frame = |flag: u8, message: &[u8]| {
        let length = u32::try_from(message.len()).unwrap();
        [&[flag][..], &length.to_be_bytes(), message].concat()
    };
    for (what, message) in &answers {
        for config in ["{}", r#"{"compress_answers": {"from_bytes": 1}}"#] {
            let mut meter = Meter::new(config, INFER, &[("accept-encoding", "deflate".to_owned())]);
            meter.feed(Dir::Request, small, "the request");
            let body = frame(0, message);
            meter.headers(Dir::Response);
            meter.feed(Dir::Response, &body, what);
            println!("{what}: at most {} KiB charged for {} KiB", meter.most >> 10, message.len() >> 10);
        }
        let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
        compressed.write_all(message).unwrap();
        let compressed = frame(1, &compressed.finish().unwrap());
        let mut meter = Meter::new("{}", INFER, &[]);
        meter.view.0.push((Map::ResponseHeaders, "grpc-encoding", "gzip".to_owned()));
        meter.feed(Dir::Request, small, "the request");
        meter.headers(Dir::Response);
        meter.feed(Dir::Response, &compressed, &format!("{what}, compressed"));
    }
}
