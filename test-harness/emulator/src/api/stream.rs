//! One HTTP exchange through a plugin's filter, driven by a test from both ends.

use super::call::Call;
use super::message::Message;
use super::plugin::Plugin;
use super::vm::Vm;
use crate::chain;
use crate::state::abi::Direction;
use crate::state::headers::HeaderMap;
use crate::state::metadata::Metadata;
use crate::state::options::FailPolicy;
use crate::state::properties::Properties;
use crate::state::single_entry::MapKind;
use crate::state::stream::{Delivered, Half, Reply, Route, RouteTable, StreamState};
use crate::state::value::PropertyValue;

/// What is particular to a stream.
#[derive(Clone, Default)]
pub struct StreamOptions {
    /// Bytes of request body that may be buffered while the filter holds it; more is a 413. Envoy takes it from
    /// `per_connection_buffer_limit_bytes` (1 MiB by default) over HTTP/1.1, and from the window of a stream (16 MiB by
    /// default) over HTTP/2. `None`: no limit.
    pub request_buffer_limit: Option<usize>,
    /// The same for response bodies; more is a 500.
    pub response_buffer_limit: Option<usize>,
    /// Properties that the module can read. They go before those that the emulator makes itself (`request.*`,
    /// `response.code`, `source.address`, `plugin_name`, ...).
    pub properties: Properties,
    /// Dynamic metadata that filters in front have set, for `metadata` and what lies below it.
    pub metadata: Metadata,
    /// Selects the cluster, for `xds.cluster_name`, [`Route::cluster`] and the 404 when no route matches.
    pub routes: Option<RouteTable>,
}

impl StreamOptions {
    /// Sets a property by its path, whose parts are joined by dots: `xds.cluster_name`, `source.address`, ...
    #[must_use]
    pub fn property(mut self, path: &str, value: impl Into<PropertyValue>) -> Self {
        self.properties.set_dotted(path, value);
        self
    }

    /// Sets a property by the parts of its path, which may have dots in them:
    /// `["metadata", "filter_metadata", "envoy.filters.http.lua", "key"]`.
    #[must_use]
    pub fn property_path(mut self, path: &[&str], value: impl Into<PropertyValue>) -> Self {
        self.properties.set(path, value);
        self
    }

    /// Sets both buffer limits, in bytes.
    #[must_use]
    pub fn buffer_limits(mut self, bytes: usize) -> Self {
        self.request_buffer_limit = Some(bytes);
        self.response_buffer_limit = Some(bytes);
        self
    }
}

/// An open exchange. Dropping it does nothing to the exchange.
pub struct Stream {
    vm: Vm,
    id: u32,
}

impl Plugin {
    /// Opens a stream: an HTTP exchange that passes this plugin's filter.
    #[must_use]
    pub fn open(&self, options: StreamOptions) -> Stream {
        let vm = self.vm.clone();
        let policy = vm.with_host(|h| h.plugins[self.index].options.fail_policy);
        vm.instance.borrow_mut().reload_if_due(policy);
        let id = vm.with_host(|host| {
            let id = host.new_context_id();
            let p = &host.plugins[self.index];
            let half = |limit| Half { limit, streaming: true, ..Half::default() };
            let state = StreamState {
                plugin: self.index,
                root: p.root,
                generation: host.generation,
                allow_headers_stop: p.options.allow_on_headers_stop_iteration,
                bypassed: host.failed.is_some() && policy == FailPolicy::Open,
                halves: [half(options.request_buffer_limit), half(options.response_buffer_limit)],
                started: host.now,
                properties: options.properties,
                metadata: options.metadata,
                routes: options.routes,
                ..StreamState::default()
            };
            host.streams.insert(id, state);
            id
        });
        Stream { vm, id }
    }

    /// A whole exchange: the request, then the response as soon as all of the request has reached the upstream. Where
    /// the filter still waits for something, an answer to a call for instance, the response is yet to be sent with
    /// [`Stream::respond`].
    pub fn exchange(&self, request: &Message, response: &Message) -> Stream {
        let stream = self.open(StreamOptions::default());
        stream.request(request);
        if stream.upstream().ended {
            stream.respond(response);
        }
        stream
    }
}

impl Stream {
    /// The id of the stream's context in the VM.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The client sends a whole request.
    pub fn request(&self, request: &Message) {
        let end = request.trailers.is_none();
        self.request_headers(request.headers.clone(), request.body.is_empty() && end);
        if !request.body.is_empty() {
            self.request_data(&request.body, end);
        }
        if let Some(trailers) = &request.trailers {
            self.request_trailers(trailers.clone());
        }
    }

    /// The upstream sends a whole response.
    pub fn respond(&self, response: &Message) {
        let end = response.trailers.is_none();
        self.response_headers(response.headers.clone(), response.body.is_empty() && end);
        if !response.body.is_empty() {
            self.response_data(&response.body, end);
        }
        if let Some(trailers) = &response.trailers {
            self.response_trailers(trailers.clone());
        }
    }

    /// The client sends headers, pseudo-headers included.
    pub fn request_headers(&self, headers: impl Into<HeaderMap>, end: bool) {
        let headers = headers.into().into_kind(MapKind::Request);
        self.vm.with(|cx| {
            let s = cx.data_mut().streams.entry(self.id).or_default();
            s.is_head = headers.get(":method") == Some(b"HEAD");
            s.forwarded_proto = headers.get("x-forwarded-proto").is_some();
            s.is_grpc = headers.get("content-type").is_some_and(is_grpc);
            s.selected_cluster = s.routes.as_ref().and_then(|routes| routes(&headers));
            chain::headers(cx, self.id, Direction::Request, headers, end);
        });
    }

    /// The client sends a piece of the body.
    pub fn request_data(&self, bytes: impl AsRef<[u8]>, end: bool) {
        self.vm.with(|cx| chain::data(cx, self.id, Direction::Request, bytes.as_ref().to_vec(), end));
    }

    /// The client sends trailers.
    pub fn request_trailers(&self, trailers: impl Into<HeaderMap>) {
        let trailers = trailers.into().into_kind(MapKind::RequestTrailers);
        self.vm.with(|cx| chain::trailers(cx, self.id, Direction::Request, trailers));
    }

    /// The upstream sends headers, `:status` included.
    pub fn response_headers(&self, headers: impl Into<HeaderMap>, end: bool) {
        let headers = headers.into().into_kind(MapKind::Response);
        self.vm.with(|cx| chain::headers(cx, self.id, Direction::Response, headers, end));
    }

    /// The upstream sends a piece of the body.
    pub fn response_data(&self, bytes: impl AsRef<[u8]>, end: bool) {
        self.vm.with(|cx| chain::data(cx, self.id, Direction::Response, bytes.as_ref().to_vec(), end));
    }

    /// The upstream sends trailers.
    pub fn response_trailers(&self, trailers: impl Into<HeaderMap>) {
        let trailers = trailers.into().into_kind(MapKind::ResponseTrailers);
        self.vm.with(|cx| chain::trailers(cx, self.id, Direction::Response, trailers));
    }

    /// The client goes away.
    pub fn client_reset(&self) {
        self.vm.with(|cx| chain::reset(cx, self.id));
    }

    /// The upstream resets its stream: a 503 where no response has begun, else the client's stream is reset.
    pub fn upstream_reset(&self) {
        let body = "upstream connect error or disconnect/reset before headers. reset reason: remote reset";
        self.vm.with(|cx| {
            chain::send_local_reply(
                cx,
                self.id,
                Reply {
                    status: 503,
                    headers: HeaderMap::new(),
                    body: body.into(),
                    grpc_status: None,
                    details: "upstream_reset_before_response_started{remote_reset}".to_owned(),
                },
            );
        });
    }

    /// What the next filter, in the end the upstream, has got so far.
    #[must_use]
    pub fn upstream(&self) -> Delivered {
        self.state(|s| s.half_ref(Direction::Request).out.clone())
    }

    /// What the client has got so far.
    #[must_use]
    pub fn downstream(&self) -> Delivered {
        self.state(|s| s.half_ref(Direction::Response).out.clone())
    }

    /// Bytes that the chain holds back in a direction.
    #[must_use]
    pub fn buffered(&self, direction: Direction) -> usize {
        self.state(|s| s.half_ref(direction).buffered.as_ref().map_or(0, Vec::len))
    }

    /// Whether the exchange is over: response complete, or reset.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state(|s| s.destroyed)
    }

    /// `%RESPONSE_CODE_DETAILS%` where the proxy made the response.
    #[must_use]
    pub fn details(&self) -> Option<String> {
        self.state(|s| s.details.clone())
    }

    /// How the route was selected.
    #[must_use]
    pub fn route(&self) -> Route {
        self.state(|s| s.route.clone())
    }

    /// Filter state that the module set with `proxy_set_property`, by the path it gave (Envoy puts `wasm.` in
    /// front).
    #[must_use]
    pub fn filter_state(&self, path: &str) -> Option<Vec<u8>> {
        self.state(|s| s.filter_state.of_module(path.as_bytes()).map(<[u8]>::to_vec))
    }

    /// An object of filter state by its whole name: `envoy.string`, `wasm.my_property`, ...
    #[must_use]
    pub fn envoy_filter_state(&self, name: &str) -> Option<Vec<u8>> {
        self.state(|s| s.filter_state.get(name.as_bytes()).map(<[u8]>::to_vec))
    }

    /// Calls not yet answered that were made in this stream's context.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.vm.calls().into_iter().filter(|c| c.context == self.id).collect()
    }

    fn state<T>(&self, f: impl FnOnce(&StreamState) -> T) -> T {
        self.vm.with_host(|host| f(host.streams.entry(self.id).or_default()))
    }
}

/// `Grpc::Common::hasGrpcContentType`.
fn is_grpc(content_type: &[u8]) -> bool {
    content_type.strip_prefix(b"application/grpc").is_some_and(|rest| rest.first().is_none_or(|c| *c == b'+'))
}
