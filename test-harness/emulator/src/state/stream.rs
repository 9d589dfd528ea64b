//! What the host keeps per stream: two halves, each a filter chain with one filter in it.

use std::fmt;
use std::rc::Rc;

use crate::state::abi::Direction;
use crate::state::headers::HeaderMap;
use crate::state::metadata::Metadata;
use crate::state::properties::{FilterState, Properties};

/// What came out of the filter in one direction: what the next filter, or the client, has seen so far.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Headers, once they were released.
    pub headers: Option<HeaderMap>,
    /// Body pieces as they were passed on. Empty ones are left out, as HTTP codecs do.
    pub chunks: Vec<Vec<u8>>,
    /// Trailers, once they were released.
    pub trailers: Option<HeaderMap>,
    /// The message is complete.
    pub ended: bool,
    /// The stream was reset in this direction before it was complete.
    pub reset: bool,
}

impl Delivered {
    /// The whole body so far.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    /// The whole body so far as text, with invalid UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body()).into_owned()
    }

    /// The first value of a header as text, if the headers were released and have it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.as_ref()?.text(name)
    }

    /// The value of `:status`, where this is a response whose headers were released.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        std::str::from_utf8(self.headers.as_ref()?.get(":status")?).ok()?.parse().ok()
    }
}

impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chunks: Vec<_> = self.chunks.iter().map(|chunk| String::from_utf8_lossy(chunk)).collect();
        f.debug_struct("Delivered")
            .field("headers", &self.headers)
            .field("chunks", &chunks)
            .field("trailers", &self.trailers)
            .field("ended", &self.ended)
            .field("reset", &self.reset)
            .finish()
    }
}

/// A response made by the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u32,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) details: String,
}

/// `IterationState` of Envoy's filter manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Iteration {
    #[default]
    Continue,
    StopSingle,
    StopAllBuffer,
    StopAllWatermark,
}

/// Where the filter's body pointer points: the piece being handed over, or what the chain has buffered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Body {
    #[default]
    None,
    /// The last piece handed over. Kept after codes 2 and 3, when the piece itself is gone: reads find
    /// nothing, writes are lost.
    Chunk,
    Buffered,
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub(crate) struct Half {
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) chunk: Vec<u8>,
    pub(crate) buffered: Option<Vec<u8>>,
    pub(crate) limit: Option<usize>,
    pub(crate) above_limit: bool,
    /// A full buffer stops reading instead of failing the stream.
    pub(crate) streaming: bool,
    pub(crate) iteration: Iteration,
    pub(crate) headers_continued: bool,
    pub(crate) iterate_from_current: bool,
    pub(crate) filter_ended: bool,
    pub(crate) observed_end: bool,
    /// Bytes of body that came in from the network.
    pub(crate) received: u64,
    pub(crate) aborted: bool,
    pub(crate) headers_open: bool,
    pub(crate) trailers_open: bool,
    pub(crate) body: Body,
    pub(crate) buffering: bool,
    pub(crate) out: Delivered,
}

impl Half {
    pub(crate) fn stopped_all(&self) -> bool {
        matches!(self.iteration, Iteration::StopAllBuffer | Iteration::StopAllWatermark)
    }

    /// The buffer a buffer function of the filter works on.
    pub(crate) fn filter_buffer(&mut self) -> Option<&mut Vec<u8>> {
        if self.buffering || self.body == Body::Buffered {
            return self.buffered.as_mut();
        }
        match self.body {
            Body::None | Body::Buffered => None,
            Body::Chunk => Some(&mut self.chunk),
        }
    }
}

/// Decides which cluster takes a request, from its headers; `None` is "no route matches".
pub type RouteTable = Rc<dyn Fn(&HeaderMap) -> Option<String>>;

/// How often and on what the route was selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// How often the filter made Envoy forget the route it had selected: by every change of a request header,
    /// and by the foreign function `clear_route_cache`.
    pub clears: usize,
    /// `:path` when the request headers were passed on and the route was taken for good.
    pub path: Option<Vec<u8>>,
    /// The cluster the route named then, where the test gave a route table.
    pub cluster: Option<String>,
}

#[derive(Default)]
pub(crate) struct StreamState {
    pub(crate) plugin: usize,
    pub(crate) root: u32,
    pub(crate) generation: u32,
    pub(crate) allow_headers_stop: bool,
    /// FAIL_OPEN with a dead VM: there is no filter at all.
    pub(crate) bypassed: bool,
    pub(crate) halves: [Half; 2],
    pub(crate) end_of_stream: bool,
    pub(crate) decoding: bool,
    pub(crate) encoding: bool,
    pub(crate) prepared: Option<Reply>,
    pub(crate) response_encoded: bool,
    pub(crate) destroyed: bool,
    pub(crate) created_in_vm: bool,
    pub(crate) stream_failed: bool,
    pub(crate) failure_reply_sent: bool,
    pub(crate) log_phase: bool,
    pub(crate) is_grpc: bool,
    pub(crate) is_head: bool,
    /// The request came with `x-forwarded-proto`.
    pub(crate) forwarded_proto: bool,
    pub(crate) details: Option<String>,
    /// When the first byte came, on the emulator's clock.
    pub(crate) started: u64,
    pub(crate) properties: Properties,
    pub(crate) metadata: Metadata,
    pub(crate) filter_state: FilterState,
    pub(crate) routes: Option<RouteTable>,
    pub(crate) selected_cluster: Option<String>,
    pub(crate) route: Route,
}

impl StreamState {
    pub(crate) fn half(&mut self, dir: Direction) -> &mut Half {
        &mut self.halves[dir.index()]
    }

    pub(crate) fn half_ref(&self, dir: Direction) -> &Half {
        &self.halves[dir.index()]
    }
}
