//! When the one answer of Triton's `generate` goes out, and what another message behind it comes to.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

mod headers;

use filter_api::{Caps, Chunk, Cx, Dir, Map, Memory, OnData, OnHeaders, OnTrailers, Ops, Plugin, Stream};
use headers::Headers;
use kserve_proto::wire::Message;
use kserve_transcoder::{Exchange, KserveTranscoder};
use std::sync::Arc;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const CONFIG: &[u8] = br#"{"stream_messages": "triton", "kserve_v1": {"models": [
    {"name": "m", "inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1]}]}]}}"#;

const NOT_ONE: &str = "{\"error\":\"generate expects model to produce exactly 1 response, use generate stream for model that \
                       generates various number of responses\"}";

/// An answer whose headers have come.
struct Begun {
    memory: Arc<Memory>,
    world: Headers,
    exchange: Exchange,
    sent: Vec<u8>,
}

impl Begun {
    fn new(caps: Caps) -> Self {
        let memory = Memory::new(1 << 20);
        let plugin = KserveTranscoder::configure(CONFIG, caps, memory.clone()).unwrap();
        let world = Headers(vec![
            (Map::RequestHeaders, ":method", "POST".to_owned()),
            (Map::RequestHeaders, ":path", "/v2/models/m/generate".to_owned()),
            (Map::ResponseHeaders, ":status", "200".to_owned()),
            (Map::ResponseHeaders, "content-type", "application/grpc".to_owned()),
            (Map::ResponseTrailers, "grpc-status", "0".to_owned()),
        ]);
        let exchange = Arc::new(plugin).open();
        let mut begun = Self { memory, world, exchange, sent: Vec::new() };
        let _verdict = begun.call(|exchange, cx| exchange.headers(Dir::Request, false, cx));
        let request = Chunk { slices: &[br#"{"text_input": "a"}"#], end: true };
        let _verdict = begun.call(|exchange, cx| exchange.data(Dir::Request, request, cx));
        let verdict = begun.call(|exchange, cx| exchange.headers(Dir::Response, false, cx));
        assert_eq!(matches!(verdict, OnHeaders::Hold), caps == Caps::DYNAMIC_MODULE);
        begun.sent.clear();
        begun
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Exchange, &mut Cx<'_>) -> T) -> T {
        let mut ops = Ops::default();
        call(&mut self.exchange, &mut Cx::new(&self.world, &mut ops, &mut self.sent))
    }

    fn data(&mut self, bytes: &[u8]) -> OnData {
        self.call(|exchange, cx| exchange.data(Dir::Response, Chunk { slices: &[bytes], end: false }, cx))
    }

    fn trailers(&mut self) -> OnTrailers {
        self.call(|exchange, cx| exchange.trailers(Dir::Response, cx))
    }

    fn sent(&self) -> String {
        String::from_utf8_lossy(&self.sent).into_owned()
    }
}

/// A message with a text of so many letters, in its frame, and its answer.
fn message(letters: usize) -> (Vec<u8>, String) {
    let text = "n".repeat(letters);
    let contents = Message::new().bytes(8, &text);
    let output = Message::new().bytes(1, "y").bytes(2, "BYTES").packed_varints(3, [1]).message(5, &contents);
    let answer = Message::new().bytes(1, "m").message(5, &output);
    let message = Message::new().message(2, &answer).into_bytes();
    (testkit::frame(&message), format!("{{\"model_name\":\"m\",\"y\":\"{text}\"}}"))
}

#[test]
fn an_answer_goes_out_at_the_streams_end_if_it_is_small_or_the_host_keeps_it() {
    for (caps, letters) in
        [(Caps::PROXY_WASM, 4000), (Caps::DYNAMIC_MODULE, 4000), (Caps::DYNAMIC_MODULE, 90_000)]
    {
        let mut begun = Begun::new(caps);
        let (frame, answer) = message(letters);
        let (first, rest) = frame.split_at(3000);
        assert!(matches!(begun.data(first), OnData::Keep | OnData::Park));
        assert!(matches!(begun.data(rest), OnData::Keep | OnData::Park));
        assert_eq!(begun.sent(), "");
        assert!(matches!(begun.trailers(), OnTrailers::Emit(_)));
        assert_eq!(begun.sent(), answer);
        assert_eq!(begun.memory.used(), 0);
    }
}

#[test]
fn a_large_answer_goes_out_at_once_where_the_host_cannot_keep_it_and_is_cut_off_if_another_follows() {
    let mut begun = Begun::new(Caps::PROXY_WASM);
    let (frame, answer) = message(5000);
    assert!(matches!(begun.data(&frame), OnData::Emit(_)));
    assert_eq!(begun.sent(), answer);
    assert!(matches!(begun.data(&frame), OnData::Reset));
    assert_eq!(begun.memory.used(), 0);
}

#[test]
fn another_message_takes_the_place_of_an_answer_that_is_kept() {
    for caps in [Caps::PROXY_WASM, Caps::DYNAMIC_MODULE] {
        let mut begun = Begun::new(caps);
        let (frame, _) = message(10);
        begun.data(&frame);
        // With its first byte.
        assert!(matches!(begun.data(&frame[..1]), OnData::Emit(_)));
        assert_eq!(begun.sent(), NOT_ONE);
        for rest in [&frame[1..], &frame] {
            assert!(matches!(begun.data(rest), OnData::Emit(_)));
        }
        assert!(matches!(begun.trailers(), OnTrailers::Continue));
        assert_eq!((begun.sent().as_str(), begun.memory.used()), (NOT_ONE, 0));
    }
}

#[test]
fn an_answer_that_is_cut_is_none() {
    let (frame, _) = message(10);
    let mut native = Begun::new(Caps::DYNAMIC_MODULE);
    native.data(&frame[..20]);
    assert!(matches!(native.trailers(), OnTrailers::Emit(_)));
    assert!(
        native.sent().starts_with("{\"error\":\"the model server's answer ended after"),
        "{}",
        native.sent()
    );
    // Nothing has been kept, so there is no place for an error.
    let mut wasm = Begun::new(Caps::PROXY_WASM);
    wasm.data(&frame[..20]);
    assert!(matches!(wasm.trailers(), OnTrailers::Reset));
    assert_eq!((wasm.memory.used(), native.memory.used()), (0, 0));
}
