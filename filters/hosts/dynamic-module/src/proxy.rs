//! What the driver has Envoy do.

use crate::configured::Configured;
use crate::envoy::body::Appender;
use crate::envoy::view::HookView;
use crate::envoy::{self, Envoy};
use filter_api::{Call, CallFailure, Dir, Labels, Level, Map, MetricKind, Reply, View};
use host_driver::{Maps, Proxy};
use std::cell::Cell;
use std::fmt::Arguments;

/// Envoy within one hook, for one filter.
pub(crate) struct FilterInEnvoy<'a> {
    envoy: Envoy<'a>,
    filter: &'a Configured,
    state: &'a ProxyState,
    view: HookView<'a>,
}

impl<'a> FilterInEnvoy<'a> {
    pub(crate) fn new(envoy: Envoy<'a>, filter: &'a Configured, state: &'a ProxyState) -> Self {
        Self { envoy, filter, state, view: HookView::new(envoy) }
    }

    /// A header is about to be changed.
    fn changes(&mut self, map: Map, name: &str) {
        if map == Map::RequestHeaders && self.state.from_grpc.get().is_none() {
            match self.view.known(map, "content-type") {
                Some(value) => self.state.from_grpc.set(Some(value.is_some_and(envoy::is_grpc))),
                None if name.eq_ignore_ascii_case("content-type") => self.state.note_grpc(self.envoy),
                None => {}
            }
        }
        self.view.forget(map);
    }
}

/// What is remembered between hooks.
#[derive(Default)]
pub(crate) struct ProxyState {
    /// The filter has answered the client or reset the stream: the request must not go on.
    pub(crate) ended: Cell<bool>,
    /// The client sent a gRPC request, as far as Envoy knows; not yet asked. This filter, and those behind it, may have
    /// changed the request's headers since.
    pub(crate) from_grpc: Cell<Option<bool>>,
}

impl ProxyState {
    /// Asks, once, whether the client sent a gRPC request. The request's headers are still as they came.
    pub(crate) fn note_grpc(&self, envoy: Envoy<'_>) {
        if self.from_grpc.get().is_none() {
            self.from_grpc.set(Some(envoy.is_grpc_request()));
        }
    }
}

/// The event by which a stream is told of one of its configuration's, for each direction. Those below are directions.
pub(crate) const WOKEN: u64 = 2;

impl<'a> Proxy for FilterInEnvoy<'a> {
    type Call = u64;
    type Beside = Appender<'a>;

    fn prepare(&mut self, _maps: &mut Maps) {
        // Other filters may have changed what this one has seen before a wait.
        self.view.forget_all();
    }

    fn view(&self) -> &dyn View {
        &self.view
    }

    fn beside(&self, dir: Dir) -> Option<Appender<'a>> {
        Some(self.envoy.buffered(dir))
    }

    fn set_header(&mut self, map: Map, name: &str, value: &[u8]) -> bool {
        self.changes(map, name);
        self.envoy.set_header(map, name, value);
        true
    }

    fn add_header(&mut self, map: Map, name: &str, value: &[u8]) {
        self.changes(map, name);
        self.envoy.add_header(map, name, value);
    }

    fn remove_header(&mut self, map: Map, name: &str) -> bool {
        self.changes(map, name);
        self.envoy.remove_header(map, name);
        true
    }

    fn set_lb_metadata(&mut self, key: &str, value: &str) -> bool {
        self.envoy.set_metadata("envoy.lb", key, value);
        true
    }

    fn set_property(&mut self, name: &str, value: &[u8]) {
        self.envoy.set_filter_state(name, value);
    }

    fn describe(&mut self, name: &str, value: &str) {
        self.envoy.set_metadata(self.filter.name, name, value);
    }

    fn reselect_route(&mut self) {
        self.envoy.clear_route_cache();
    }

    fn count(&mut self, metric: usize, by: u64) {
        if let Some((id, _)) = self.filter.metric(metric) {
            self.envoy.count(id, by);
        }
    }

    fn count_by(&mut self, metric: usize, labels: Labels<'_>, by: u64) {
        if let Some((id, _)) = self.filter.metric(metric) {
            self.envoy.count_by(id, labels, by);
        }
    }

    fn record(&mut self, metric: usize, value: u64) {
        match self.filter.metric(metric) {
            Some((id, MetricKind::Gauge)) => self.envoy.set_gauge(id, value),
            Some((id, _)) => self.envoy.record(id, value),
            None => {}
        }
    }

    fn count_dropped(&mut self) {
        if let Some(id) = self.filter.dropped {
            self.envoy.count(id, 1);
        }
    }

    fn log(&mut self, level: Level, text: Arguments<'_>) {
        envoy::log(level, self.filter.name, text);
    }

    fn call(&mut self, call: &Call) -> Result<u64, CallFailure> {
        self.envoy.call(call).ok_or(CallFailure::Refused)
    }

    fn wait_for_event(&mut self, dir: Dir) -> bool {
        let events = self.filter.instance.plugin.tick().is_some();
        if events {
            self.filter.instance.events.wait(self.envoy.waker(WOKEN + dir as u64));
        }
        events
    }

    fn reply(self, reply: &Reply) {
        self.state.ended.set(true);
        self.state.note_grpc(self.envoy);
        self.envoy.send_response(reply, self.state.from_grpc.get().unwrap_or_default());
    }

    fn reset(self) {
        self.state.ended.set(true);
        self.envoy.reset_stream(self.filter.name);
    }
}
