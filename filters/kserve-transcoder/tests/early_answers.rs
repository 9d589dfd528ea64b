//! Answers that come before the request has ended.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

use filter_api::{Caps, Chunk, Cx, Dir, Map, Memory, OnData, OnHeaders, Ops, Plugin, Stream, View};
use kserve_transcoder::{Exchange, KserveTranscoder};
use std::sync::Arc;
use std::time::SystemTime;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// One header map for each direction.
struct Headers([&'static [(&'static str, &'static str)]; 2]);

impl Headers {
    fn of(&self, map: Map) -> &'static [(&'static str, &'static str)] {
        match map {
            Map::RequestHeaders => self.0[0],
            Map::ResponseHeaders => self.0[1],
            Map::RequestTrailers | Map::ResponseTrailers => &[],
        }
    }
}

impl View for Headers {
    fn header(&self, map: Map, name: &str) -> Option<Vec<u8>> {
        self.of(map).iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_bytes().to_vec())
    }

    fn each_header(&self, map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        self.of(map).iter().for_each(|(name, value)| f(name.as_bytes(), value.as_bytes()));
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

const INFER: &[(&str, &str)] = &[(":method", "POST"), (":path", "/v2/models/m/infer")];
const UNAVAILABLE: &[(&str, &str)] = &[(":status", "503"), ("content-type", "text/plain")];

fn call<T>(exchange: &mut Exchange, call: impl FnOnce(&mut Exchange, &mut Cx<'_>) -> T) -> T {
    let view = Headers([INFER, UNAVAILABLE]);
    call(exchange, &mut Cx::new(&view, &mut Ops::default(), &mut Vec::new()))
}

fn begun_with(body: &[u8]) -> Exchange {
    let plugin = KserveTranscoder::configure(b"", Caps::PROXY_WASM, Memory::new(1 << 20)).unwrap();
    let mut exchange = Arc::new(plugin).open();
    let verdict = call(&mut exchange, |exchange, cx| exchange.headers(Dir::Request, false, cx));
    assert!(matches!(verdict, OnHeaders::Continue));
    let slices = [body];
    let chunk = Chunk { slices: &slices, end: false };
    let verdict = call(&mut exchange, |exchange, cx| exchange.data(Dir::Request, chunk, cx));
    assert!(matches!(verdict, OnData::Keep), "{verdict:?}");
    exchange
}

#[test]
fn a_bad_body_stays_the_clients_fault_when_the_server_gives_up_before_the_body_has_ended() {
    let mut exchange = begun_with(b"{\"inputs\":}");
    let verdict = call(&mut exchange, |exchange, cx| exchange.headers(Dir::Response, false, cx));
    let OnHeaders::Reply(reply) = verdict else { panic!("{verdict:?}") };
    assert_eq!(reply.status, 400);
    assert!(reply.body.starts_with(b"{\"error\":\"invalid JSON at byte "), "{:?}", reply.body);
}

#[test]
fn a_body_that_was_right_so_far_is_dropped_once_the_answer_has_begun() {
    let mut exchange = begun_with(b"{\"inputs\":[");
    let verdict = call(&mut exchange, |exchange, cx| exchange.headers(Dir::Response, false, cx));
    assert!(matches!(verdict, OnHeaders::Continue), "{verdict:?}");
    let slices = [&b"]}"[..]];
    let chunk = Chunk { slices: &slices, end: true };
    let verdict = call(&mut exchange, |exchange, cx| exchange.data(Dir::Request, chunk, cx));
    assert!(matches!(verdict, OnData::Emit(_)), "{verdict:?}");
}
