//! A request is either sent or refused, and is counted as one of the two.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

use filter_api::{Caps, Chunk, Cx, Dir, Map, Memory, OnData, OnHeaders, Op, Ops, Plugin, Stream, View};
use kserve_transcoder::{Exchange, KserveTranscoder, metrics};
use std::sync::Arc;
use std::time::SystemTime;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

struct Infer;

impl Infer {
    fn headers(map: Map) -> &'static [(&'static str, &'static str)] {
        match map {
            Map::RequestHeaders => &[(":method", "POST"), (":path", "/v2/models/m/infer")],
            _ => &[],
        }
    }
}

impl View for Infer {
    fn header(&self, map: Map, name: &str) -> Option<Vec<u8>> {
        let headers = Self::headers(map).iter();
        headers.copied().find(|(found, _)| *found == name).map(|(_, value)| value.as_bytes().to_vec())
    }

    fn each_header(&self, map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        Self::headers(map).iter().for_each(|(name, value)| f(name.as_bytes(), value.as_bytes()));
    }

    fn property(&self, _path: &[&str]) -> Option<Vec<u8>> {
        None
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn has_metadata(&self, _namespace: &str, _key: &str) -> bool {
        false
    }
}

/// An exchange, and what it has sent and counted.
struct Watched {
    exchange: Exchange,
    sent: Vec<u8>,
    transcoded: u64,
    refused: u64,
}

impl Watched {
    fn begun(caps: Caps) -> Self {
        let plugin = KserveTranscoder::configure(b"", caps, Memory::new(1 << 20)).unwrap();
        let mut watched =
            Self { exchange: Arc::new(plugin).open(), sent: Vec::new(), transcoded: 0, refused: 0 };
        let verdict = watched.call(|exchange, cx| exchange.headers(Dir::Request, false, cx));
        assert!(matches!(verdict, OnHeaders::Continue), "{verdict:?}");
        watched
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Exchange, &mut Cx<'_>) -> T) -> T {
        let mut ops = Ops::default();
        let result = call(&mut self.exchange, &mut Cx::new(&Infer, &mut ops, &mut self.sent));
        for op in ops.iter() {
            match op {
                Op::Count(metrics::TRANSCODED, by) => self.transcoded += by,
                Op::Count(metrics::REFUSED, by) => self.refused += by,
                _ => {}
            }
        }
        result
    }

    fn data(&mut self, slices: &[&[u8]], end: bool) -> OnData {
        self.call(|exchange, cx| exchange.data(Dir::Request, Chunk { slices, end }, cx))
    }
}

#[test]
fn nothing_of_a_message_goes_out_while_its_chunk_may_still_be_wrong() {
    for caps in [Caps::PROXY_WASM, Caps::DYNAMIC_MODULE] {
        let mut watched = Watched::begun(caps);
        let verdict = watched.data(&[br#"{"inputs":[]}"#, b" ", b"x"], false);
        assert!(matches!(verdict, OnData::Keep), "{verdict:?}");
        assert_eq!((watched.sent.len(), watched.transcoded, watched.refused), (0, 0, 0));
        let verdict = watched.data(&[], true);
        let OnData::Reply(reply) = verdict else { panic!("{verdict:?}") };
        assert_eq!(reply.status, 400);
        assert_eq!((watched.sent.len(), watched.transcoded, watched.refused), (0, 0, 1));

        let mut watched = Watched::begun(caps);
        let verdict = watched.data(&[br#"{"inputs":[]}"#, b"x"], true);
        assert!(matches!(verdict, OnData::Reply(_)), "{verdict:?}");
        assert_eq!((watched.sent.len(), watched.transcoded, watched.refused), (0, 0, 1));
    }
}

#[test]
fn a_message_in_several_slices_goes_out_once() {
    let mut watched = Watched::begun(Caps::PROXY_WASM);
    let verdict = watched.data(&[br#"{"inputs""#, b":[", b"]}", b" ", b""], true);
    assert!(matches!(verdict, OnData::Emit(_)), "{verdict:?}");
    assert_eq!(watched.sent, b"\0\0\0\0\x03\x0a\x01m");
    assert_eq!((watched.transcoded, watched.refused), (1, 0));
}

#[test]
fn a_request_that_turns_out_to_be_bad_after_it_was_sent_is_not_counted_as_refused_too() {
    let mut watched = Watched::begun(Caps::PROXY_WASM);
    let verdict = watched.data(&[br#"{"inputs":[]}"#], false);
    assert!(matches!(verdict, OnData::Emit(_)), "{verdict:?}");
    assert!(matches!(watched.data(&[b"x"], false), OnData::Keep));
    assert!(matches!(watched.data(&[], true), OnData::Reply(_)));
    assert_eq!((watched.transcoded, watched.refused), (1, 0));
}

#[test]
fn nor_is_it_where_the_server_answers_before_the_request_has_ended() {
    let mut watched = Watched::begun(Caps::PROXY_WASM);
    assert!(matches!(watched.data(&[br#"{"inputs":[]}"#], false), OnData::Emit(_)));
    assert!(matches!(watched.data(&[b"x"], false), OnData::Keep));
    let verdict = watched.call(|exchange, cx| exchange.headers(Dir::Response, false, cx));
    assert!(matches!(verdict, OnHeaders::Reply(_)), "{verdict:?}");
    assert_eq!((watched.transcoded, watched.refused), (1, 0));
}
