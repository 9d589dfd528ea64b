//! What Envoy knows of one exchange.

use super::buffer::Buffer;
use proxy_wasm_emulator::{Delivered, Direction, HeaderMap};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is particular to a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamOptions {
    /// Attributes by path, its parts joined by a dot: `xds.cluster_name`, `request.path`.
    pub properties: BTreeMap<String, Vec<u8>>,
    /// Clusters to which no call can be started.
    pub unknown_clusters: Vec<String>,
    /// Dynamic metadata that filters in front have set, by namespace and key; its values are not shown.
    pub metadata: BTreeSet<(String, String)>,
}

/// A call that the module has started and a test may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Envoy's number of it.
    pub id: u64,
    /// The cluster.
    pub cluster: String,
    /// Request headers.
    pub headers: HeaderMap,
    /// Request body.
    pub body: Vec<u8>,
    /// When it is given up.
    pub timeout: Duration,
}

/// Which hook of a direction is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Headers,
    Data,
    Trailers,
}

/// One direction of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Half {
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) trailers: Option<HeaderMap>,
    /// The chunk of the body hook that is running.
    pub(crate) received: Option<Buffer>,
    /// What is held. Once made it stays, empty, when its bytes have gone on.
    pub(crate) buffered: Option<Buffer>,
    /// Iteration has stopped at the filter, which is still called.
    pub(crate) stopped: bool,
    pub(crate) phase: Option<Phase>,
    /// The sender has sent everything.
    pub(crate) complete: bool,
    pub(crate) out: Delivered,
}

/// One exchange.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) options: StreamOptions,
    pub(crate) halves: [Half; 2],
    pub(crate) calls: Vec<Call>,
    pub(crate) next_call: u64,
    pub(crate) details: Option<String>,
    pub(crate) route_selections: usize,
    /// Dynamic metadata: namespace and key, and the value.
    pub(crate) metadata: BTreeMap<(String, String), String>,
    pub(crate) filter_state: BTreeMap<String, Vec<u8>>,
    /// The client sent a gRPC request.
    pub(crate) from_grpc: bool,
    /// The filter has answered itself: its response hooks are not called any more.
    pub(crate) replied: bool,
    /// Answered, or reset.
    pub(crate) over: bool,
    /// Events that the module has scheduled.
    pub(crate) scheduled: Vec<u64>,
}

impl State {
    pub(crate) fn half(&mut self, direction: Direction) -> &mut Half {
        &mut self.halves[index(direction)]
    }

    /// The map of a type, by the ABI's number.
    pub(crate) fn map(&mut self, map: u32) -> Option<&mut HeaderMap> {
        let half = &mut self.halves[usize::from(map >= 2)];
        if map.is_multiple_of(2) { half.headers.as_mut() } else { half.trailers.as_mut() }
    }

    /// The body of a type, by the ABI's number.
    pub(crate) fn body(&mut self, body: u32) -> Option<&mut Buffer> {
        let half = &mut self.halves[usize::from(body >= 2)];
        if body.is_multiple_of(2) { half.received.as_mut() } else { half.buffered.as_mut() }
    }

    /// Answers the client without the filter's response hooks, or resets where an answer has begun.
    pub(crate) fn reply(&mut self, status: u32, headers: HeaderMap, body: &[u8], details: &str) {
        if self.over {
            return;
        }
        if self.halves[1].out.headers.is_some() {
            self.reset(details);
            return;
        }
        // The ABI's call says OK for the gRPC status, whatever the HTTP status is.
        let (map, body) = match self.from_grpc {
            true => (to_grpc(headers, body, 0), &b""[..]),
            false => (local_reply(status, headers, body), body),
        };
        let out = &mut self.halves[1].out;
        out.headers = Some(map);
        out.chunks = if body.is_empty() { Vec::new() } else { vec![body.to_vec()] };
        out.ended = true;
        self.end(details);
    }

    /// Cuts the stream on both sides.
    pub(crate) fn reset(&mut self, details: &str) {
        if self.over {
            return;
        }
        let out = &mut self.halves[1].out;
        out.reset = !out.ended;
        self.end(details);
    }

    fn end(&mut self, details: &str) {
        let out = &mut self.halves[0].out;
        out.reset = out.headers.is_some() && !out.ended;
        self.details = Some(details.to_owned());
        self.over = true;
    }
}

/// The head of an answer that Envoy makes itself (`Utility::prepareLocalReply`).
pub(crate) fn local_reply(status: u32, headers: HeaderMap, body: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.add(":status", status.to_string());
    for (name, value) in headers.iter() {
        map.add(name, value);
    }
    if body.is_empty() {
        map.remove("content-type");
    } else if map.get("content-type").is_none() {
        map.add("content-type", "text/plain");
    }
    map.set("content-length", body.len().to_string());
    map
}

/// The same to a gRPC request; `status` is the gRPC status if the headers have none.
fn to_grpc(headers: HeaderMap, body: &[u8], status: u16) -> HeaderMap {
    let headers = headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    testkit::grpc_local_reply(headers, body, status).into_iter().collect()
}

pub(crate) fn index(direction: Direction) -> usize {
    match direction {
        Direction::Request => 0,
        Direction::Response => 1,
    }
}
