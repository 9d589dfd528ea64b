//! The vocabulary between filter cores and the hosts that run them.
//!
//! A *core* is a [`Plugin`] (one per configuration) that opens a [`Stream`] per HTTP exchange. It does no
//! I/O, reads no clock and knows no host: bytes come in as arguments, and what should happen goes out as a
//! *verdict* ([`OnHeaders`], [`OnData`], [`OnTrailers`]), as [`Ops`] and as bytes that it [emits](Cx::emit).
//! A *host* turns its own callbacks into calls on a [`Stream`] and applies what comes back; what it can and
//! cannot do is said in [`Caps`], the only thing a core may ask about it.
//!
//! Every phase has its own verdict type, because a verdict that is illegal in a phase (a header set after
//! the headers went out, a reply after data) is not an error in a host but a dead VM. Resuming is a verdict
//! too and never a call: a native host re-enters the same filter when told to continue, and the proxy-wasm
//! SDK holds its own borrow during every callback.
//!
//! ```
//! use filter_api::*;
//! use std::sync::Arc;
//!
//! /// Marks every request, and refuses those without a host.
//! struct Marker;
//! struct Exchange;
//!
//! impl Plugin for Marker {
//!     type Stream = Exchange;
//!     const NAME: &'static str = "marker";
//!     fn configure(_json: &[u8], _caps: Caps, _memory: Arc<Memory>) -> Result<Self, ConfigError> {
//!         Ok(Self)
//!     }
//!     fn open(self: &Arc<Self>) -> Exchange {
//!         Exchange
//!     }
//! }
//!
//! impl Stream for Exchange {
//!     fn headers(&mut self, dir: Dir, _end: bool, cx: &mut Cx<'_>) -> OnHeaders {
//!         if dir == Dir::Request {
//!             if cx.view.header(Map::RequestHeaders, ":authority").is_none() {
//!                 return OnHeaders::Reply(Reply::new(400, "no_host").body(b"no host".to_vec()));
//!             }
//!             cx.ops.set_header(Map::RequestHeaders, "x-marked", b"yes");
//!         }
//!         OnHeaders::Continue
//!     }
//! }
//! ```

mod balancer;
mod budget;
mod buffer;
mod config;
mod event;
mod header_name;
mod metric;
mod modelmesh;
mod ops;
mod path_prefix;
mod percent;
mod rope;
mod signature;
mod verdict;

pub use balancer::{Balancer, Choice, HostIndex, HostList, HostMetadata, Hosts, LbRequest, Policy};
pub use budget::{Account, Charge, LimitReached, Memory, OverBudget, Purse};
pub use buffer::Buffer;
pub use config::{Bounds, ConfigError, parse_config};
pub use event::{Event, EventCx, Leases};
pub use header_name::{folded, has_header_prefix, is_same_header};
pub use metric::{DROPPED_OPERATIONS, Labels, Metric, MetricKind};
pub use modelmesh::{MODELMESH_METADATA, NamedModel, modelmesh_header};
pub use ops::{Call, CallEnd, CallFailure, CallId, CallResponse, Level, Op, Ops, Route};
pub use path_prefix::PathPrefixes;
pub use percent::{BadSegment, EscapedSlash, Octet, decode_segment, octets};
pub use rope::{Rope, SEGMENT_BYTES, Sink};
pub use signature::{Hash, SignatureCheck};
pub use verdict::{Emission, OnData, OnHeaders, OnTrailers, PARK_LIMIT_BYTES, Reply};

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A filter: one value per configuration that a host loads. Several of them may live in one VM.
pub trait Plugin: Sized + Send + Sync + 'static {
    /// The state of one HTTP exchange.
    type Stream: Stream;

    /// The filter's name: `filter_name` in a native host, and the prefix of its log lines and metrics.
    const NAME: &'static str;

    /// What the filter counts and measures, declared by [`metrics!`]; [`Ops::count`] and [`Ops::record`] name a metric
    /// by its index.
    const METRICS: &'static [Metric] = &[];

    /// Reads a configuration.
    ///
    /// `json` is what the operator wrote (empty where nothing was), `caps` is what the host can do, and
    /// `memory` is what all plugins of a VM, or natively of the process, share.
    ///
    /// # Errors
    /// A configuration that is not understood in full. The host then refuses to load the filter and logs the
    /// error, which names the path of the key and the reason.
    fn configure(json: &[u8], caps: Caps, memory: Arc<Memory>) -> Result<Self, ConfigError>;

    /// What an operator should know of a configuration that was taken all the same. The host logs each line as a
    /// warning when it loads the filter.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// How often [`event`](Self::event) is called with [`Event::Tick`]; `None` for never, and then there are no other
    /// events either.
    fn tick(&self) -> Option<Duration> {
        None
    }

    /// Something happened that concerns no exchange. In a native host not on a worker's thread.
    fn event(&self, _event: Event, _cx: &mut EventCx<'_>) {}

    /// Opens the state of a new exchange. Dropping that state gives back whatever it holds.
    fn open(self: &Arc<Self>) -> Self::Stream;
}

/// One HTTP exchange as a filter sees it. Every method has a default that lets everything pass.
///
/// For each direction the host calls [`headers`](Stream::headers), then [`data`](Stream::data) for every chunk,
/// then [`trailers`](Stream::trailers) if there are any. The response may begin before the request has ended.
/// A host may end an exchange without a word: Envoy answers by itself, past all filters, if the server breaks off
/// while the response's headers are held.
pub trait Stream: Send {
    /// Headers have arrived. `end` says that neither data nor trailers follow.
    fn headers(&mut self, _dir: Dir, _end: bool, _cx: &mut Cx<'_>) -> OnHeaders {
        OnHeaders::Continue
    }

    /// A chunk of the body has arrived: new bytes only, whatever the host buffers.
    fn data(&mut self, _dir: Dir, _chunk: Chunk<'_>, _cx: &mut Cx<'_>) -> OnData {
        OnData::Pass
    }

    /// Trailers have arrived; nothing follows them.
    fn trailers(&mut self, _dir: Dir, _cx: &mut Cx<'_>) -> OnTrailers {
        OnTrailers::Continue
    }

    /// A call that this stream made has ended. Comes only after [`OnHeaders::Wait`], and answers for those
    /// headers; a stream that has more calls under way may return [`OnHeaders::Wait`] again.
    fn call_ended(&mut self, _id: CallId, _end: CallEnd, _cx: &mut Cx<'_>) -> OnHeaders {
        OnHeaders::Continue
    }

    /// The plugin has had an event. Comes only after [`OnHeaders::Wait`] without a call, and answers for those headers;
    /// a stream that still waits returns [`OnHeaders::Wait`] again.
    fn woken(&mut self, _cx: &mut Cx<'_>) -> OnHeaders {
        OnHeaders::Continue
    }

    /// The exchange is over, however it ended: with its answer, because the client left, or with a time-out or a reset.
    /// Comes once, as the last call, and right before the stream is dropped; not after a reply, a reset or a detachment of the
    /// stream's own. Headers are not there any more, and metrics and log lines are all that can be asked for.
    fn ended(&mut self, _cx: &mut Cx<'_>) {}
}

/// A stream whose type is forgotten, for a host that runs several filters.
impl<S: Stream + ?Sized> Stream for Box<S> {
    fn headers(&mut self, dir: Dir, end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        (**self).headers(dir, end, cx)
    }

    fn data(&mut self, dir: Dir, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        (**self).data(dir, chunk, cx)
    }

    fn trailers(&mut self, dir: Dir, cx: &mut Cx<'_>) -> OnTrailers {
        (**self).trailers(dir, cx)
    }

    fn call_ended(&mut self, id: CallId, end: CallEnd, cx: &mut Cx<'_>) -> OnHeaders {
        (**self).call_ended(id, end, cx)
    }

    fn woken(&mut self, cx: &mut Cx<'_>) -> OnHeaders {
        (**self).woken(cx)
    }

    fn ended(&mut self, cx: &mut Cx<'_>) {
        (**self).ended(cx);
    }
}

/// A direction of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dir {
    /// From the client to the server.
    Request = 0,
    /// From the server to the client.
    Response = 1,
}

impl Dir {
    /// The header map of this direction.
    #[must_use]
    pub const fn headers(self) -> Map {
        match self {
            Self::Request => Map::RequestHeaders,
            Self::Response => Map::ResponseHeaders,
        }
    }

    /// The trailer map of this direction.
    #[must_use]
    pub const fn trailers(self) -> Map {
        match self {
            Self::Request => Map::RequestTrailers,
            Self::Response => Map::ResponseTrailers,
        }
    }
}

/// A header map of an exchange. Pseudo headers (`:path`, `:status`) are entries of the header maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Map {
    /// The request's headers.
    RequestHeaders,
    /// The request's trailers.
    RequestTrailers,
    /// The response's headers.
    ResponseHeaders,
    /// The response's trailers.
    ResponseTrailers,
}

/// What a core is given with every call.
pub struct Cx<'a> {
    /// The exchange as it stands, read only. Operations of this call are not yet in it.
    pub view: &'a dyn View,
    /// What the host shall do besides the verdict. Applied before the verdict, in order.
    pub ops: &'a mut Ops,
    out: &'a mut dyn Sink,
    emits: bool,
}

impl<'a> Cx<'a> {
    /// What a host gives a core. `out` takes what the core [emits](Self::emit); the host may pass it on at once.
    pub fn new(view: &'a dyn View, ops: &'a mut Ops, out: &'a mut dyn Sink) -> Self {
        Self { view, ops, out, emits: false }
    }

    /// Writes bytes that replace the chunk ([`OnData::Emit`]), precede the trailers ([`OnTrailers::Emit`]) or give a
    /// message without a body one ([`OnHeaders::Emit`]), and returns what those verdicts ask for.
    ///
    /// A host may pass bytes on while they are written. So the sink is open only in here, and after it no other verdict
    /// is possible than to emit or to reset the stream: the host fails an exchange whose core decides otherwise. May be
    /// called several times in one call of the core; what is written is added.
    pub fn emit(&mut self, write: impl FnOnce(&mut dyn Sink)) -> Emission {
        self.emits = true;
        write(self.out);
        Emission(())
    }

    /// Whether the core has emitted in this call.
    #[must_use]
    pub fn emits(&self) -> bool {
        self.emits
    }
}

/// Read access to an exchange.
///
/// Header values are bytes: a client may send any octet but NUL, CR and LF, and none may kill a filter.
pub trait View {
    /// The first value of a header; `name` is in lower case.
    fn header(&self, map: Map, name: &str) -> Option<Vec<u8>>;

    /// Every header as `(name, value)`, in the order in which the host holds them, repeated ones each.
    fn each_header(&self, map: Map, f: &mut dyn FnMut(&[u8], &[u8]));

    /// A property that the host holds under a path: an Envoy attribute such as `["xds", "cluster_name"]`, or under a
    /// path of one name what [`Ops::set_property`] has set in a filter of the same host. No client can set it.
    fn property(&self, path: &[&str]) -> Option<Vec<u8>>;

    /// The time by the host's clock. It is read when it is asked for, because most exchanges do not need it.
    fn now(&self) -> SystemTime;

    /// Whether a namespace of the exchange's dynamic metadata has a key (in Envoy
    /// `envoy.config.core.v3.Metadata.filter_metadata`), whatever its value. Other filters set it, and no client can.
    fn has_metadata(&self, namespace: &str, key: &str) -> bool;

    /// Whether a signature is right, by the host's own cryptography; `None` where it has none for such a signature.
    fn verify(&self, _check: &SignatureCheck<'_>) -> Option<bool> {
        None
    }
}

/// A chunk of a body.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// The new bytes, in order.
    pub slices: &'a [&'a [u8]],
    /// Nothing follows, not even trailers.
    pub end: bool,
}

impl Chunk<'_> {
    /// How many bytes the chunk has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slices.iter().map(|slice| slice.len()).sum()
    }

    /// Whether the chunk has no bytes; such a chunk still may say `end`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slices.iter().all(|slice| slice.is_empty())
    }
}

/// What a host can do. Arrays are indexed by [`Dir`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// [`OnHeaders::Hold`] works without the operator's help. Where it is `false`, a filter may offer the
    /// operator a key by which to promise it (proxy-wasm with `allow_on_headers_stop_iteration`: a module
    /// cannot see that flag).
    pub hold: [bool; 2],
    /// A request or response that has headers only can be given a body.
    pub body_on_header_only: bool,
    /// Headers can change without the route being selected again.
    pub keep_route: bool,
    /// [`Ops::set_lb_metadata`] works.
    pub lb_metadata: bool,
    /// [`View::property`] reads what lies below the top level of dynamic metadata.
    pub nested_metadata: bool,
    /// [`OnTrailers::Emit`] works after [`OnData::Keep`], at any size; where it is `false` it works only after
    /// [`OnData::Park`].
    pub emit_in_trailers: bool,
}

impl Caps {
    /// A stock proxy-wasm host (Envoy's `envoy.filters.http.wasm`).
    pub const PROXY_WASM: Self = Self {
        hold: [false; 2],
        body_on_header_only: false,
        keep_route: false,
        lb_metadata: false,
        nested_metadata: true,
        emit_in_trailers: false,
    };

    /// An Envoy dynamic module.
    pub const DYNAMIC_MODULE: Self = Self {
        hold: [true; 2],
        body_on_header_only: true,
        keep_route: true,
        lb_metadata: true,
        nested_metadata: false,
        emit_in_trailers: true,
    };
}
