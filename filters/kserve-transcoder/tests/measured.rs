//! What an inference comes to in the metrics of its model.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

use filter_api::{Caps, Chunk, Cx, Dir, Map, Memory, OnHeaders, Op, Ops, Plugin, Stream, View};
use kserve_transcoder::{Exchange, KserveTranscoder, metrics};
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const BODY: &[u8] = br#"{"inputs":[{"name":"x","datatype":"INT8","shape":[2,3],"data":[1,2,3,4,5,6]}]}"#;
/// An answer with nothing but the model's name, framed.
const ANSWER: &[u8] = b"\0\0\0\0\x03\x0a\x01m";

/// Headers, and the time in milliseconds.
#[derive(Default)]
struct World {
    headers: HashMap<Map, Vec<(&'static str, String)>>,
    ms: u64,
}

impl View for World {
    fn header(&self, map: Map, name: &str) -> Option<Vec<u8>> {
        let headers = self.headers.get(&map)?;
        headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone().into_bytes())
    }

    fn each_header(&self, map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in self.headers.get(&map).into_iter().flatten() {
            f(name.as_bytes(), value.as_bytes());
        }
    }

    fn property(&self, _path: &[&str]) -> Option<Vec<u8>> {
        None
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + Duration::from_millis(self.ms)
    }

    fn has_metadata(&self, _namespace: &str, _key: &str) -> bool {
        false
    }
}

/// A filter, and what its host was told: for each metric by its name the values of its labels, and the sum.
struct Filter {
    plugin: Arc<KserveTranscoder>,
    world: World,
    told: BTreeMap<String, u64>,
    /// What it said of exchanges, and the properties that it set.
    described: Vec<(String, String)>,
}

impl Filter {
    fn new(config: &str, caps: Caps) -> Self {
        let plugin = KserveTranscoder::configure(config.as_bytes(), caps, Memory::new(1 << 20)).unwrap();
        Self {
            plugin: Arc::new(plugin),
            world: World::default(),
            told: BTreeMap::new(),
            described: Vec::new(),
        }
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        let (mut ops, mut out) = (Ops::default(), Vec::new());
        let result = call(&mut Cx::new(&self.world, &mut ops, &mut out));
        for op in ops.iter() {
            match op {
                Op::CountBy(metric, labels, by) => {
                    let labels: Vec<_> = labels.values().collect();
                    let name = format!("{} {}", metrics::ALL[metric].name, labels.join(" "));
                    *self.told.entry(name).or_default() += by;
                }
                Op::Describe(name, value) => self.described.push((name.to_owned(), value.to_owned())),
                Op::SetProperty(name, value) => {
                    self.described.push((name.to_owned(), String::from_utf8(value.to_vec()).unwrap()));
                }
                _ => {}
            }
        }
        result
    }

    /// A request in one piece.
    fn request(&mut self, path: &str, encoding: Option<&str>, body: &[u8]) -> Exchange {
        let mut exchange = self.plugin.open();
        let mut headers = vec![(":method", "POST".to_owned()), (":path", path.to_owned())];
        headers.extend(encoding.map(|encoding| ("content-encoding", encoding.to_owned())));
        self.world.headers.insert(Map::RequestHeaders, headers);
        let _verdict = self.call(|cx| exchange.headers(Dir::Request, false, cx));
        let _verdict = self.call(|cx| exchange.data(Dir::Request, Chunk { slices: &[body], end: true }, cx));
        exchange
    }

    fn answer_headers(&mut self, exchange: &mut Exchange, end: bool, headers: &[(&'static str, &str)]) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.world.headers.insert(Map::ResponseHeaders, headers);
        let _verdict = self.call(|cx| exchange.headers(Dir::Response, end, cx));
    }

    fn answer_data(&mut self, exchange: &mut Exchange, bytes: &[u8]) {
        let chunk = Chunk { slices: &[bytes], end: false };
        let _verdict = self.call(|cx| exchange.data(Dir::Response, chunk, cx));
    }

    fn answer_trailers(&mut self, exchange: &mut Exchange, status: &str) {
        self.world.headers.insert(Map::ResponseTrailers, vec![("grpc-status", status.to_owned())]);
        let _verdict = self.call(|cx| exchange.trailers(Dir::Response, cx));
    }

    /// A whole answer, a second later, so that the host is told.
    fn answer(&mut self, mut exchange: Exchange, message: &[u8], status: &str) {
        self.world.ms += 1000;
        self.answer_headers(&mut exchange, false, &GRPC);
        if !message.is_empty() {
            self.answer_data(&mut exchange, message);
        }
        self.answer_trailers(&mut exchange, status);
    }

    /// An inference that succeeds, so that the model has a name of its own.
    fn known(config: &str, caps: Caps) -> Self {
        let mut filter = Self::new(config, caps);
        let exchange = filter.request("/v2/models/m/infer", None, BODY);
        filter.answer(exchange, ANSWER, "0");
        filter
    }

    fn described(&self) -> Vec<(&str, &str)> {
        self.described.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The statuses with which inferences have ended, and how many.
    fn endings(&self) -> Vec<(&str, u64)> {
        let ending = |(name, count): (_, &u64)| {
            let name: &String = name;
            Some((name.strip_prefix("model_requests ")?, *count))
        };
        self.told.iter().filter_map(ending).collect()
    }
}

const GRPC: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];
const HOSTS: [(&str, Caps); 3] = [
    ("{}", Caps::PROXY_WASM),
    (r#"{"hold_response_headers": true}"#, Caps::PROXY_WASM),
    ("{}", Caps::DYNAMIC_MODULE),
];

/// OpenAI's API in front of the model `m`, which clients know as `gpt`.
const OPENAI: &str = r#"{"describe_requests":true,"openai":{"models":[{"id":"gpt","model":"m","version":"2",
    "embeddings":{"text":{"name":"x"},"output":"y"}}]}}"#;

#[test]
fn an_inference_of_openais_api_counts_for_the_model_that_the_configuration_names() {
    let mut filter = Filter::new(OPENAI, Caps::DYNAMIC_MODULE);
    let vector = b"\0\0\0\0\x14\x2a\x0c\x0a\x01y\x12\x04FP32\x1a\x01\x01\x32\x04\0\0\x80\x3f";
    for (body, message, status) in [
        (&br#"{"model":"gpt","input":["a","b","c"]}"#[..], &b""[..], "5"),
        (br#"{"model":"gpt","input":"a"}"#, vector, "0"),
        // Neither has reached a model server.
        (br#"{"model":"m","input":"a"}"#, b"", "0"),
        (br#"{"model":"made up","input":"a"}"#, b"", "0"),
    ] {
        let exchange = filter.request("/openai/v1/embeddings", None, body);
        if body.starts_with(br#"{"model":"gpt""#) {
            filter.answer(exchange, message, status);
        }
    }
    assert_eq!(filter.endings(), [("m 2 0", 1), ("other other 5", 1)]);
    let first =
        ["model", "version", "envoy.ai.model.request", "datatype", "shape", "elements", "grpc_status"];
    let names: Vec<&str> = filter.described().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [first, first].concat());
    assert_eq!(filter.described()[..2], [("model", "m"), ("version", "2")]);
    assert_eq!(
        filter.described()[3..7],
        [("datatype", "BYTES"), ("shape", "3,1"), ("elements", "3"), ("grpc_status", "5")]
    );
}

#[test]
fn an_inference_is_counted_with_its_sizes_its_elements_and_its_durations() {
    for (config, caps) in HOSTS {
        let filter = Filter::known(config, caps);
        // The message: the model's name, and one input with its head and its six bytes.
        let of = |metric: &str| filter.told.get(metric).copied();
        assert_eq!(filter.endings(), [("m any 0", 1)]);
        assert_eq!(of("model_elements m any"), Some(6));
        assert_eq!(of("model_request_bytes m any"), Some(26));
        assert_eq!(of("model_answer_bytes m any"), Some(3));
        assert_eq!(of("model_first_byte_ms_sum m any"), Some(1000));
        assert_eq!(of("model_last_byte_ms_bucket m any 1000"), Some(1));
        assert_eq!(of("model_last_byte_ms_bucket m any 500"), None);
        assert_eq!(of("model_last_byte_ms_count m any"), Some(1));
    }
}

#[test]
fn a_stream_is_one_inference_with_all_of_its_messages() {
    for (config, caps) in HOSTS {
        let config = config.replacen('{', r#"{"stream_messages": "mlserver", "#, 1).replace(", }", "}");
        let stream = |status: &str| {
            let mut filter = Filter::known(&config, caps);
            let mut exchange = filter.request("/v2/models/m/infer_stream", None, BODY);
            filter.world.ms += 1000;
            filter.answer_headers(&mut exchange, false, &GRPC);
            filter.answer_data(&mut exchange, ANSWER);
            filter.world.ms += 1000;
            filter.answer_data(&mut exchange, ANSWER);
            filter.answer_trailers(&mut exchange, status);
            filter
        };
        let filter = stream("0");
        assert_eq!(filter.endings(), [("m any 0", 2)]);
        assert_eq!(filter.told["model_answer_bytes m any"], 3 + 6);
        assert_eq!(filter.told["model_first_byte_ms_sum m any"], 2000);
        assert_eq!(filter.told["model_last_byte_ms_sum m any"], 3000);
        // The error counts for the model, whether or not the client could be told.
        assert_eq!(stream("13").endings(), [("m any 0", 1), ("m any 13", 1)]);
    }
}

#[test]
fn a_compressed_body_and_a_version_in_the_path_are_counted_as_any_other() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(BODY).unwrap();
    let body = encoder.finish().unwrap();
    let mut filter = Filter::new("{}", Caps::PROXY_WASM);
    let exchange = filter.request("/v2/models/a%2Fb/versions/7/infer", Some("gzip"), &body);
    filter.answer(exchange, ANSWER, "0");
    assert_eq!(filter.endings(), [("a/b 7 0", 1)]);
    assert_eq!(filter.told["model_elements a/b 7"], 6);
}

#[test]
fn an_error_is_counted_by_its_grpc_status_wherever_it_comes() {
    for (config, caps) in HOSTS {
        let count = |headers: &[(&'static str, &str)], end, then: &dyn Fn(&mut Filter, &mut Exchange)| {
            let mut filter = Filter::known(config, caps);
            let mut exchange = filter.request("/v2/models/m/infer", None, BODY);
            filter.world.ms += 1000;
            filter.answer_headers(&mut exchange, end, headers);
            then(&mut filter, &mut exchange);
            drop(exchange);
            let endings: Vec<_> = filter.endings().into_iter().map(|(of, n)| (of.to_owned(), n)).collect();
            endings.into_iter().find(|(of, _)| of != "m any 0").map(|(of, _)| of)
        };
        let nothing = |_: &mut Filter, _: &mut Exchange| {};
        let only = [GRPC[0], GRPC[1], ("grpc-status", "5")];
        assert_eq!(count(&only, true, &nothing).as_deref(), Some("m any 5"), "in headers only");
        let late = |filter: &mut Filter, exchange: &mut Exchange| filter.answer_trailers(exchange, "14");
        assert_eq!(count(&GRPC, false, &late).as_deref(), Some("m any 14"), "in trailers");
        let after_data = |filter: &mut Filter, exchange: &mut Exchange| {
            filter.answer_data(exchange, b"\0\0\0\0\0");
            filter.answer_trailers(exchange, "9");
        };
        assert_eq!(count(&GRPC, false, &after_data).as_deref(), Some("m any 9"), "after an empty message");
        let strange = |filter: &mut Filter, exchange: &mut Exchange| filter.answer_trailers(exchange, "99");
        assert_eq!(count(&GRPC, false, &strange).as_deref(), Some("m any 2"), "one that gRPC does not know");
        let envoys = [(":status", "503"), ("content-type", "text/plain")];
        assert_eq!(count(&envoys, false, &nothing).as_deref(), Some("m any 14"), "Envoy's own");
        let bad =
            |filter: &mut Filter, exchange: &mut Exchange| filter.answer_data(exchange, b"\0\0\0\0\x01\xff");
        let bad_end = |filter: &mut Filter, exchange: &mut Exchange| {
            bad(filter, exchange);
            filter.answer_trailers(exchange, "0");
        };
        assert_eq!(count(&GRPC, false, &bad_end).as_deref(), Some("m any 13"), "a bad message");
        let html = [(":status", "200"), ("content-type", "text/html")];
        assert_eq!(count(&html, false, &nothing).as_deref(), Some("m any 2"), "not gRPC");
    }
}

/// The client is told UNKNOWN, and so are the metric and the access log.
#[test]
fn an_answer_that_ends_without_a_grpc_status_counts_as_unknown_wherever_it_ends() {
    for (config, caps) in HOSTS {
        let config = config.replacen('{', r#"{"describe_requests": true, "#, 1).replace(", }", "}");
        let count = |end, data: &[u8], trailers: bool| {
            let mut filter = Filter::known(&config, caps);
            filter.described.clear();
            let mut exchange = filter.request("/v2/models/m/infer", None, BODY);
            filter.world.ms += 1000;
            filter.answer_headers(&mut exchange, end, &GRPC);
            if !end && !trailers {
                let chunk = Chunk { slices: &[data], end: true };
                let _verdict = filter.call(|cx| exchange.data(Dir::Response, chunk, cx));
            } else if !end {
                if !data.is_empty() {
                    filter.answer_data(&mut exchange, data);
                }
                filter.world.headers.insert(Map::ResponseTrailers, vec![("x-cost", "7".to_owned())]);
                let _verdict = filter.call(|cx| exchange.trailers(Dir::Response, cx));
            }
            drop(exchange);
            let told = filter.described.last().cloned().unwrap();
            assert_eq!(
                told,
                ("grpc_status".to_owned(), "2".to_owned()),
                "{config} {end} {data:?} {trailers}"
            );
            assert_eq!(
                filter.endings(),
                [("m any 0", 1), ("m any 2", 1)],
                "{config} {end} {data:?} {trailers}"
            );
        };
        count(true, b"", false);
        for data in [ANSWER, &b"\0\0\0\0\0"[..], b"", &ANSWER[..4]] {
            count(false, data, false);
            count(false, data, true);
        }
    }
}

#[test]
fn an_exchange_that_is_cut_off_is_unfinished() {
    for (config, caps) in HOSTS {
        let mut filter = Filter::known(config, caps);
        drop(filter.request("/v2/models/m/infer", None, BODY));
        let mut begun = filter.request("/v2/models/m/infer", None, BODY);
        filter.answer_headers(&mut begun, false, &GRPC);
        drop(begun);
        let exchange = filter.request("/v2/models/m/infer", None, BODY);
        filter.answer(exchange, ANSWER, "0");
        assert_eq!(filter.endings(), [("m any 0", 2), ("m any unfinished", 2)]);
    }
}

#[test]
fn a_server_that_hangs_shows_without_another_inference() {
    for (config, caps) in HOSTS {
        let mut filter = Filter::known(config, caps);
        for begun in [false, true] {
            let mut exchange = filter.request("/v2/models/m/infer", None, BODY);
            if begun {
                filter.answer_headers(&mut exchange, false, &GRPC);
            }
            filter.world.ms += 15_000;
            filter.call(|cx| exchange.ended(cx));
            drop(exchange);
        }
        assert_eq!(filter.endings(), [("m any 0", 1), ("m any unfinished", 2)]);
        // What is over with its answer, or was refused, is not unfinished.
        for body in [BODY, b"{"] {
            let mut exchange = filter.request("/v2/models/m/infer", None, body);
            if body == BODY {
                filter.answer_headers(&mut exchange, false, &GRPC);
                filter.answer_data(&mut exchange, ANSWER);
                filter.answer_trailers(&mut exchange, "0");
            }
            filter.world.ms += 15_000;
            filter.call(|cx| exchange.ended(cx));
        }
        let exchange = filter.request("/v2/models/m/infer", None, BODY);
        filter.answer(exchange, ANSWER, "0");
        assert_eq!(filter.endings(), [("m any 0", 3), ("m any unfinished", 2)]);
    }
}

#[test]
fn a_request_that_goes_to_no_model_server_counts_for_no_model() {
    let mut filter = Filter::known("{}", Caps::DYNAMIC_MODULE);
    for body in [&b"{}"[..], b"{", b"[]"] {
        drop(filter.request("/v2/models/m/infer", None, body));
    }
    drop(filter.request("/v2/models/m/unknown", None, BODY));
    let exchange = filter.request("/v2/models/m/infer", None, BODY);
    filter.answer(exchange, ANSWER, "0");
    assert_eq!(filter.endings(), [("m any 0", 2)]);
}

#[test]
fn names_that_clients_make_up_are_counted_as_other() {
    let mut filter = Filter::known("{}", Caps::DYNAMIC_MODULE);
    for number in 0..300 {
        let exchange = filter.request(&format!("/v2/models/invented-{number}/infer"), None, BODY);
        filter.answer(exchange, b"", "5");
    }
    assert_eq!(filter.endings(), [("m any 0", 1), ("other other 5", 300)]);
    assert!(filter.told.keys().all(|name| !name.contains("invented")));
}

#[test]
fn without_room_for_models_nothing_is_measured() {
    let filter = Filter::known(r#"{"max_models": 0}"#, Caps::PROXY_WASM);
    assert_eq!(filter.told, BTreeMap::new());
}

#[test]
fn an_inference_is_described_as_soon_as_each_thing_is_known() {
    let config = r#"{"describe_requests": true, "max_models": 0}"#;
    for caps in [Caps::PROXY_WASM, Caps::DYNAMIC_MODULE] {
        let mut filter = Filter::new(config, caps);
        let exchange = filter.request("/v2/models/m/versions/7/infer", None, BODY);
        let native = (caps == Caps::DYNAMIC_MODULE).then_some(("envoy.ai.model.request", "m"));
        let of_request = [
            &[("model", "m"), ("version", "7")][..],
            native.as_slice(),
            &[("datatype", "INT8"), ("shape", "2,3"), ("elements", "6")],
        ];
        assert_eq!(filter.described(), of_request.concat());
        filter.described.clear();
        filter.answer(exchange, b"", "8");
        assert_eq!(filter.described(), [("grpc_status", "8")]);
        assert_eq!(filter.told, BTreeMap::new());
    }
}

#[test]
fn the_shape_is_that_of_the_first_input_and_the_elements_are_those_of_all() {
    let mut filter = Filter::new(r#"{"describe_requests": true}"#, Caps::PROXY_WASM);
    let body = br#"{"inputs":[{"name":"a name of some length","datatype":"FP32","shape":[1,300],"parameters":{"p":1},
        "data":[%]},{"name":"y","datatype":"BOOL","shape":[],"data":[true]}]}"#;
    let data = vec!["0.5"; 300].join(",");
    let body = String::from_utf8_lossy(body).replace('%', &data);
    let _exchange = filter.request("/v2/models/m/infer", None, body.as_bytes());
    let expected = [("model", "m"), ("datatype", "FP32"), ("shape", "1,300"), ("elements", "301")];
    assert_eq!(filter.described(), expected);
}

/// Envoy takes at most 1e9 hits for a request, and drops the limit's descriptor of one with more.
#[test]
fn no_more_elements_are_told_than_a_rate_limit_can_count() {
    for (shape, told) in [
        ("[1000000000]", "1000000000"),
        ("[1000000001]", "1000000000"),
        ("[3000000000]", "1000000000"),
        ("[4000000000,4000000000]", "1000000000"),
    ] {
        let mut filter = Filter::new(r#"{"describe_requests": true}"#, Caps::PROXY_WASM);
        let body = format!(
            r#"{{"inputs":[{{"name":"x","datatype":"INT8","shape":{shape},
            "parameters":{{"shared_memory_region":"r","shared_memory_byte_size":8}}}}]}}"#
        );
        let _exchange = filter.request("/v2/models/m/infer", None, body.as_bytes());
        assert_eq!(filter.described().last(), Some(&("elements", told)), "{shape}");
    }
}

#[test]
fn with_its_headers_held_an_inference_goes_on_when_its_shape_is_known_and_nothing_else_is_held() {
    let config = r#"{"hold_request_headers": true}"#;
    for caps in [Caps::PROXY_WASM, Caps::DYNAMIC_MODULE] {
        let filter = Filter::new(config, caps);
        let headers = |path: &str| {
            let mut world = World::default();
            let headers = vec![(":method", "POST".to_owned()), (":path", path.to_owned())];
            world.headers.insert(Map::RequestHeaders, headers);
            let (mut ops, mut out) = (Ops::default(), Vec::new());
            let mut cx = Cx::new(&world, &mut ops, &mut out);
            filter.plugin.open().headers(Dir::Request, false, &mut cx)
        };
        assert!(matches!(headers("/v2/models/m/infer"), OnHeaders::Hold));
        assert!(matches!(headers("/v2/repository/models/m/load"), OnHeaders::Continue));
        assert!(matches!(headers("/elsewhere"), OnHeaders::Detach));
    }
}
