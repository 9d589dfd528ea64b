//! When the messages of a stream go on, and what is held of it.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

mod headers;

use filter_api::{Caps, Chunk, Cx, Dir, Map, Memory, OnData, OnHeaders, Ops, Plugin, Stream};
use headers::Headers;
use kserve_transcoder::{Exchange, KserveTranscoder};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};
use testkit::golden_cases;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const REQUEST: &[u8] = br#"{"name":"a"}"#;

/// With a method of a user's that answers with a stream.
static CONFIG: LazyLock<String> = LazyLock::new(|| {
    let cases = golden_cases().unwrap();
    cases.into_iter().find(|case| case.name == "streams/lines").unwrap().config
});

/// A stream whose headers have come.
struct Begun {
    memory: Arc<Memory>,
    world: Headers,
    exchange: Exchange,
    sent: Vec<u8>,
}

impl Begun {
    fn new(caps: Caps) -> Self {
        Self::configured(&CONFIG, caps, caps == Caps::DYNAMIC_MODULE)
    }

    /// In wasm, where headers are held.
    fn held_in_wasm() -> Self {
        let config = CONFIG.replacen('{', r#"{"hold_response_headers": true, "#, 1);
        Self::configured(&config, Caps::PROXY_WASM, true)
    }

    fn configured(config: &str, caps: Caps, holds: bool) -> Self {
        let memory = Memory::new(1 << 20);
        let plugin = KserveTranscoder::configure(config.as_bytes(), caps, memory.clone()).unwrap();
        let world = Headers(vec![
            (Map::RequestHeaders, ":method", "POST".to_owned()),
            (Map::RequestHeaders, ":path", "/v1/watch".to_owned()),
            (Map::ResponseHeaders, ":status", "200".to_owned()),
            (Map::ResponseHeaders, "content-type", "application/grpc".to_owned()),
        ]);
        let exchange = Arc::new(plugin).open();
        let mut begun = Self { memory, world, exchange, sent: Vec::new() };
        let _verdict = begun.call(|exchange, cx| exchange.headers(Dir::Request, false, cx));
        let request = Chunk { slices: &[REQUEST], end: true };
        let _verdict = begun.call(|exchange, cx| exchange.data(Dir::Request, request, cx));
        let verdict = begun.call(|exchange, cx| exchange.headers(Dir::Response, false, cx));
        assert_eq!(matches!(verdict, OnHeaders::Hold), holds);
        begun.sent.clear();
        begun
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Exchange, &mut Cx<'_>) -> T) -> T {
        let mut ops = Ops::default();
        call(&mut self.exchange, &mut Cx::new(&self.world, &mut ops, &mut self.sent))
    }

    fn data(&mut self, slices: &[&[u8]]) -> OnData {
        self.call(|exchange, cx| exchange.data(Dir::Response, Chunk { slices, end: false }, cx))
    }
}

/// A message whose name has so many letters, in its frame, and its line.
fn message(letters: usize) -> (Vec<u8>, String) {
    let name = "n".repeat(letters);
    let message = kserve_proto::wire::Message::new().bytes(1, &name).into_bytes();
    (testkit::frame(&message), format!("{{\"name\":\"{name}\",\"number\":0,\"big_number\":0}}\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_goes_on_with_its_last_byte_however_the_stream_is_cut(
        letters in prop::collection::vec(0..40_usize, 1..12),
        cuts in prop::collection::vec(0..30_usize, 1..20),
        native: bool,
    ) {
        let mut stream = Begun::new(if native { Caps::DYNAMIC_MODULE } else { Caps::PROXY_WASM });
        let messages: Vec<_> = letters.into_iter().map(message).collect();
        let bytes: Vec<u8> = messages.iter().flat_map(|(frame, _)| frame.clone()).collect();
        let (mut taken, mut cuts) = (0, cuts.into_iter().cycle());
        while taken < bytes.len() {
            let [first, second] = [taken, taken + cuts.next().unwrap()].map(|at| at.min(bytes.len()));
            let end = (second + cuts.next().unwrap()).clamp((taken + 1).min(bytes.len()), bytes.len());
            let verdict = stream.data(&[&bytes[first..second], &bytes[second..end.max(second)]]);
            taken = end.max(second);
            let (mut ends, mut expected) = (0, String::new());
            for (frame, line) in &messages {
                ends += frame.len();
                if ends <= taken {
                    expected += line;
                }
            }
            prop_assert_eq!(String::from_utf8_lossy(&stream.sent), expected.as_str());
            let held = native && expected.is_empty();
            let right = if held { matches!(verdict, OnData::Keep) } else { matches!(verdict, OnData::Emit(_)) };
            prop_assert!(right);
        }
        // All messages are complete, and nothing of them is held.
        prop_assert_eq!(stream.memory.used(), 0);
    }
}

#[test]
fn of_a_stream_no_more_than_the_message_at_hand_is_held_and_a_client_that_leaves_frees_it() {
    for caps in [Caps::PROXY_WASM, Caps::DYNAMIC_MODULE] {
        let mut stream = Begun::new(caps);
        let (frame, line) = message(100_000);
        for _ in 0..50 {
            let (first, rest) = frame.split_at(60_000);
            stream.data(&[first]);
            assert!((59_000..300_000).contains(&stream.memory.used()), "{}", stream.memory.used());
            stream.data(&[rest]);
            assert_eq!((stream.memory.used(), stream.sent.len()), (0, line.len()));
            stream.sent.clear();
        }
        stream.data(&[&frame[..60_000]]);
        assert!(stream.memory.used() > 0);
        let memory = stream.memory.clone();
        drop(stream);
        assert_eq!(memory.used(), 0);
    }
}

#[test]
fn headers_are_not_held_for_a_message_in_pieces_where_the_host_buffers_what_comes_meanwhile() {
    for letters in [1000, 20_000] {
        let mut stream = Begun::held_in_wasm();
        let (frame, line) = message(letters);
        assert!(matches!(stream.data(&[&frame[..3]]), OnData::Emit(_)), "{letters}");
        assert!(matches!(stream.data(&[&frame[3..500]]), OnData::Emit(_)));
        assert_eq!(String::from_utf8_lossy(&stream.sent), "");
        assert!(matches!(stream.data(&[&frame[500..]]), OnData::Emit(_)));
        assert_eq!(String::from_utf8_lossy(&stream.sent), line);
    }
}

#[test]
fn a_message_that_does_not_fit_the_budget_ends_the_stream() {
    for caps in [Caps::PROXY_WASM, Caps::DYNAMIC_MODULE] {
        let mut stream = Begun::new(caps);
        let (frame, _) = message(10);
        assert!(matches!(stream.data(&[&frame]), OnData::Emit(_)));
        let (large, _) = message(2 << 20);
        let mut verdicts = large.chunks(16 << 10).map(|piece| stream.data(&[piece]));
        assert!(verdicts.any(|verdict| matches!(verdict, OnData::Reset)), "{caps:?}");
        assert_eq!(stream.memory.used(), 0, "{caps:?}");
    }
}
