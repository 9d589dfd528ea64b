//! Reading an exchange.

#![allow(unsafe_code)]

use super::{Envoy, map_type};
use crate::abi::{self, EnvoyBuffer, EnvoyHeader, ModuleBuffer};
use filter_api::{Map, View};
use std::cell::{Cell, OnceCell};
use std::time::SystemTime;

/// An exchange within one hook.
///
/// Where the headers of a map are is asked for once, at the first look at one of them: to look one up by its name takes
/// Envoy longer than to tell where all of them are. Of all maps one is remembered, because most hooks read one.
pub(crate) struct HookView<'hook> {
    envoy: Envoy<'hook>,
    seen: OnceCell<(Map, Headers)>,
}

impl<'hook> HookView<'hook> {
    pub(crate) fn new(envoy: Envoy<'hook>) -> Self {
        Self { envoy, seen: OnceCell::new() }
    }

    /// A map is about to be changed: what is known of it holds no longer. To be called before each change.
    pub(crate) fn forget(&mut self, map: Map) {
        if self.seen.get().is_some_and(|(seen, _)| *seen == map) {
            self.seen.take();
        }
    }

    /// As [`forget`](Self::forget), whichever map is known.
    pub(crate) fn forget_all(&mut self) {
        self.seen.take();
    }

    /// The first value of a header, if its map is known.
    pub(crate) fn known(&self, map: Map, name: &str) -> Option<Option<&[u8]>> {
        self.seen.get().filter(|(seen, _)| *seen == map).map(|(_, headers)| headers.first(name))
    }

    fn with<R>(&self, map: Map, look: impl FnOnce(&Headers) -> R) -> R {
        match self.seen.get_or_init(|| (map, Headers::of(self.envoy, map))) {
            (seen, headers) if *seen == map => look(headers),
            _ => look(&Headers::of(self.envoy, map)),
        }
    }
}

/// Where the headers of a map are. It is dropped before the map is changed ([`HookView::forget`]) and before the hook
/// returns, so what it points to stays valid.
struct Headers(Vec<EnvoyHeader>);

thread_local! {
    // One list that all streams of a worker use in turn.
    static SPARE: Cell<Vec<EnvoyHeader>> = const { Cell::new(Vec::new()) };
}

impl Headers {
    fn of(envoy: Envoy<'_>, map: Map) -> Self {
        let map = map_type(map);
        let mut list = SPARE.take();
        list.clear();
        // SAFETY: the stream is valid during the hook.
        let count = unsafe { abi::get_headers_size(envoy.stream, map) };
        list.reserve(count);
        // SAFETY: as above, and there is room for all headers; none can be added in between.
        if count > 0 && unsafe { abi::get_headers(envoy.stream, map, list.as_mut_ptr()) } {
            // SAFETY: Envoy has written all of them.
            unsafe { list.set_len(count) };
        }
        Self(list)
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        // SAFETY: names and values stay valid as long as this list exists, and so as long as it is borrowed.
        self.0.iter().map(|header| unsafe { (header.name.bytes(), header.value.bytes()) })
    }

    fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        SPARE.set(std::mem::take(&mut self.0));
    }
}

impl View for HookView<'_> {
    fn header(&self, map: Map, name: &str) -> Option<Vec<u8>> {
        self.with(map, |headers| headers.first(name).map(<[u8]>::to_vec))
    }

    fn each_header(&self, map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        self.with(map, |headers| headers.iter().for_each(|(name, value)| f(name, value)));
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        let stream = self.envoy.stream;
        let mut value = EnvoyBuffer::EMPTY;
        let found = if let [name] = path {
            // SAFETY: the stream is valid during the hook; Envoy writes the result before it returns.
            unsafe { abi::get_filter_state_bytes(stream, name.as_bytes().into(), &mut value) }
        } else if path == ["xds", "cluster_name"] {
            // SAFETY: the stream is valid during the hook; Envoy writes the result before it returns.
            unsafe { abi::get_cluster_name(stream, &mut value) }
        } else {
            let attribute = ATTRIBUTES.iter().find(|(known, _)| *known == path)?.1;
            // SAFETY: as above.
            unsafe { abi::get_attribute_string(stream, attribute, &mut value) }
        };
        // SAFETY: the value stays valid during the hook while the stream is not changed; it is copied here.
        found.then(|| unsafe { value.bytes() }.to_vec())
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn has_metadata(&self, namespace: &str, key: &str) -> bool {
        let stream = self.envoy.stream;
        let namespace = || ModuleBuffer::from(namespace.as_bytes());
        // SAFETY: the stream is valid during the hook.
        let count = unsafe { abi::get_metadata_keys_count(stream, abi::DYNAMIC_METADATA, namespace()) };
        let mut keys = vec![EnvoyBuffer::EMPTY; count];
        // SAFETY: as above, and the array has room for all keys; none can be added in between.
        let found = count > 0
            && unsafe {
                abi::get_metadata_keys(stream, abi::DYNAMIC_METADATA, namespace(), keys.as_mut_ptr())
            };
        // SAFETY: the keys stay valid while the metadata is not changed.
        found && keys.iter().any(|found| unsafe { found.bytes() } == key.as_bytes())
    }
}

/// The string attributes that Envoy gives to a dynamic module, with their numbers in `abi.h`. It does not give
/// `xds.cluster_name` in this way.
const ATTRIBUTES: &[(&[&str], u32)] = &[
    (&["request", "path"], 0),
    (&["request", "url_path"], 1),
    (&["request", "host"], 2),
    (&["request", "scheme"], 3),
    (&["request", "method"], 4),
    (&["request", "id"], 9),
    (&["request", "protocol"], 10),
    (&["request", "query"], 11),
    (&["source", "address"], 24),
    (&["destination", "address"], 26),
    (&["connection", "requested_server_name"], 30),
    (&["connection", "uri_san_local_certificate"], 36),
    (&["connection", "uri_san_peer_certificate"], 37),
    (&["xds", "route_name"], 61),
];
