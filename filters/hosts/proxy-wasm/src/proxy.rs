//! What the driver has Envoy do.

use crate::calls;
use crate::foreign;
use crate::view::{HostView, map_type};
use crate::voice::Voice;
use crate::waiting::{Waiting, Wake};
use filter_api::{Call, CallFailure, Dir, Labels, Level, Map, Reply, View};
use host_driver::{Maps, Nowhere, Proxy};
use proxy_wasm::hostcalls;
use std::fmt::Arguments;
use std::rc::Weak;
use std::sync::Arc;

/// What an exchange knows of its surroundings.
pub(crate) struct Surroundings {
    pub(crate) context: u32,
    pub(crate) me: Weak<dyn Wake>,
    pub(crate) voice: Arc<Voice>,
    /// Where to wait for the plugin's events, if it has any.
    pub(crate) waiting: Option<Waiting>,
    /// Envoy has forgotten where the request's headers are, as it does when either direction is resumed.
    pub(crate) request_map_lost: bool,
}

/// Envoy within one callback.
pub(crate) struct Envoy<'a> {
    around: &'a Surroundings,
    view: HostView,
    /// The SDK would take a call that is made in a callback of the root context for one of that context.
    can_call: bool,
}

impl<'a> Envoy<'a> {
    /// In one of the exchange's own callbacks. `maps` are those that are in the filter's hands.
    pub(crate) fn new(around: &'a Surroundings, maps: Maps) -> Self {
        Self { around, view: HostView::new(maps), can_call: true }
    }

    /// In a callback of the root context.
    pub(crate) fn in_root_context(around: &'a Surroundings, maps: Maps) -> Self {
        Self { can_call: false, ..Self::new(around, maps) }
    }
}

impl Proxy for Envoy<'_> {
    type Call = u32;
    type Beside = Nowhere;

    fn prepare(&mut self, maps: &mut Maps) {
        if self.around.request_map_lost {
            maps.set(Map::RequestHeaders, false);
        }
        self.view = HostView::new(*maps);
    }

    fn view(&self) -> &dyn View {
        &self.view
    }

    fn beside(&self, _dir: Dir) -> Option<Nowhere> {
        None
    }

    fn set_header(&mut self, map: Map, name: &str, value: &[u8]) -> bool {
        let changes = !self.view.is_already(map, name, &[value]);
        if changes {
            self.view.changes(map, name);
            let _ok = hostcalls::set_map_value_bytes(map_type(map), name, Some(value));
        }
        changes
    }

    fn add_header(&mut self, map: Map, name: &str, value: &[u8]) {
        self.view.changes(map, name);
        let _ok = hostcalls::add_map_value_bytes(map_type(map), name, value);
    }

    fn remove_header(&mut self, map: Map, name: &str) -> bool {
        let changes = !self.view.is_already(map, name, &[]);
        if changes {
            self.view.changes(map, name);
            let _ok = hostcalls::remove_map_value(map_type(map), name);
        }
        changes
    }

    fn set_lb_metadata(&mut self, _key: &str, _value: &str) -> bool {
        false
    }

    fn set_property(&mut self, name: &str, value: &[u8]) {
        // The SDK panics where Envoy refuses, as it does a name that another module declared read-only.
        let _ok = hostcalls::set_property(vec![name], Some(value));
    }

    fn describe(&mut self, name: &str, value: &str) {
        self.set_property(&format!("{}.{name}", self.around.voice.name()), value.as_bytes());
    }

    fn reselect_route(&mut self) {
        // Any change of a request header has Envoy do so.
        if !self.view.has_changes(Map::RequestHeaders) {
            foreign::clear_route_cache();
        }
    }

    fn count(&mut self, metric: usize, by: u64) {
        self.around.voice.count(metric, by);
    }

    fn count_by(&mut self, metric: usize, labels: Labels<'_>, by: u64) {
        self.around.voice.count_by(metric, labels, by);
    }

    fn record(&mut self, metric: usize, value: u64) {
        self.around.voice.record(metric, value);
    }

    fn count_dropped(&mut self) {
        self.around.voice.count_dropped();
    }

    fn log(&mut self, level: Level, text: Arguments<'_>) {
        self.around.voice.log(level, text);
    }

    fn call(&mut self, call: &Call) -> Result<u32, CallFailure> {
        if self.can_call { calls::dispatch(call, &self.around.voice) } else { Err(CallFailure::Refused) }
    }

    fn wait_for_event(&mut self, _dir: Dir) -> bool {
        let waiting = self.around.waiting.as_ref();
        waiting.inspect(|waiting| waiting.add(self.around.context, self.around.me.clone())).is_some()
    }

    fn reply(self, reply: &Reply) {
        let headers = reply.headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        let body = Some(reply.body.as_slice()).filter(|body| !body.is_empty());
        let _ok = hostcalls::send_http_response(reply.status.into(), headers, body);
    }

    /// HTTP/1.1 loses the connection before the end of the message (Envoy closes it after its `delayed_close_timeout`),
    /// HTTP/2 gets RST_STREAM.
    ///
    /// Envoy may die of a response that is closed in its trailers callback. A local reply there, after headers that
    /// have gone out, makes Envoy itself reset the stream.
    fn reset(self) {
        let _ok = match self.view.has(Map::ResponseTrailers) {
            true => hostcalls::send_http_response(502, Vec::new(), None),
            false => hostcalls::reset_http_response(),
        };
    }
}
