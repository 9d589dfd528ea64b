//! Reading an exchange.

use crate::half::Half;
use filter_api::{Map, View};
use proxy_wasm::hostcalls;
use proxy_wasm::types::MapType;

/// Which header maps are in the filter's hands: Envoy answers for another with an error, and the SDK turns
/// that error into a panic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostView {
    here: [bool; 4],
}

impl HostView {
    pub(crate) fn new([request, response]: &[Half; 2]) -> Self {
        let here =
            [request.headers_here(), request.trailers_here, response.headers_here(), response.trailers_here];
        Self { here }
    }

    /// Whether a map can be read and written.
    pub(crate) fn has(self, map: Map) -> bool {
        self.here[map as usize]
    }
}

impl View for HostView {
    fn header(&self, map: Map, name: &str) -> Option<Vec<u8>> {
        if !self.has(map) {
            return None;
        }
        hostcalls::get_map_value_bytes(map_type(map), name).ok().flatten()
    }

    fn each_header(&self, map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        if !self.has(map) {
            return;
        }
        for (name, value) in hostcalls::get_map_bytes(map_type(map)).unwrap_or_default() {
            f(name.as_bytes(), &value);
        }
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        if path.is_empty() {
            return None;
        }
        hostcalls::get_property(path.to_vec()).ok().flatten().filter(|value| !value.is_empty())
    }
}

/// The ABI's number of a header map.
pub(crate) fn map_type(map: Map) -> MapType {
    match map {
        Map::RequestHeaders => MapType::HttpRequestHeaders,
        Map::RequestTrailers => MapType::HttpRequestTrailers,
        Map::ResponseHeaders => MapType::HttpResponseHeaders,
        Map::ResponseTrailers => MapType::HttpResponseTrailers,
    }
}
