//! Reading an exchange.

use crate::foreign;
use crate::pairs::Pairs;
use filter_api::{Map, SignatureCheck, View};
use host_driver::Maps;
use proxy_wasm::hostcalls;
use proxy_wasm::types::{MapType, Status};
use std::cell::{Cell, OnceCell};
use std::time::SystemTime;

/// An exchange within one callback.
///
/// A map is fetched whole when it is first read: one host call costs as much as two or three headers in it, and a
/// core reads more than that. What is known of the map then also spares the host calls that would change nothing.
#[derive(Debug)]
pub(crate) struct HostView {
    /// Which header maps are in the filter's hands: Envoy answers for another with an error, and the SDK turns
    /// that error into a panic.
    here: Maps,
    fetched: [OnceCell<Pairs>; 4],
    changes: Cell<Changes>,
    changed: [Cell<bool>; 4],
}

/// So many changes of headers are told apart.
const MOST_CHANGES: usize = 12;

/// The headers that this callback's operations have written, as hashes: of these the fetched map says nothing any more.
/// Two headers with the same hash cost a host call that would not have been needed, and so do all headers once there
/// are more changes than have a place.
#[derive(Clone, Copy, Debug, Default)]
struct Changes {
    hashes: [u32; MOST_CHANGES],
    count: usize,
}

impl Changes {
    fn add(&mut self, map: Map, name: &str) {
        if let Some(place) = self.hashes.get_mut(self.count) {
            *place = hash(map, name);
        }
        self.count += 1;
    }

    fn may_have(&self, map: Map, name: &str) -> bool {
        match self.hashes.get(..self.count) {
            Some(hashes) => hashes.contains(&hash(map, name)),
            None => true,
        }
    }
}

/// By the length and the last bytes of a name: names of headers differ in these.
fn hash(map: Map, name: &str) -> u32 {
    let start = 1 + map as u32 + 4 * name.len() as u32;
    let tail = name.as_bytes().iter().rev().take(4);
    tail.fold(start, |hash, byte| hash.wrapping_mul(31).wrapping_add((*byte).into()))
}

impl HostView {
    pub(crate) fn new(here: Maps) -> Self {
        Self { here, fetched: Default::default(), changes: Cell::default(), changed: Default::default() }
    }

    /// Whether a map can be read and written.
    pub(crate) fn has(&self, map: Map) -> bool {
        self.here.has(map)
    }

    /// Whether a header is known to have just these values, so that writing them would change nothing.
    pub(crate) fn is_already(&self, map: Map, name: &str, values: &[&[u8]]) -> bool {
        let Some(headers) = self.fetched[map as usize].get() else { return false };
        let here = headers.iter().filter(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value);
        here.eq(values.iter().copied()) && !self.changes.get().may_have(map, name)
    }

    /// Notes that a header is being written.
    pub(crate) fn changes(&self, map: Map, name: &str) {
        self.changed[map as usize].set(true);
        // Of a map that was not read nothing is known anyway.
        if self.fetched[map as usize].get().is_some() {
            let mut changes = self.changes.get();
            changes.add(map, name);
            self.changes.set(changes);
        }
    }

    /// Whether a header of a map was written.
    pub(crate) fn has_changes(&self, map: Map) -> bool {
        self.changed[map as usize].get()
    }

    fn map(&self, map: Map) -> Option<&Pairs> {
        self.has(map).then(|| self.fetched[map as usize].get_or_init(|| Pairs::fetch(map_type(map))))
    }
}

impl View for HostView {
    fn header(&self, map: Map, name: &str) -> Option<Vec<u8>> {
        self.map(map)?.first(name).map(<[u8]>::to_vec)
    }

    fn each_header(&self, map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        if let Some(headers) = self.map(map) {
            headers.iter().for_each(|(name, value)| f(name, value));
        }
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        if path.is_empty() {
            return None;
        }
        hostcalls::get_property(path.to_vec()).ok().flatten().filter(|value| !value.is_empty())
    }

    fn now(&self) -> SystemTime {
        // Envoy has a clock whatever the moment, and 1970 is a time at which no token is valid.
        hostcalls::get_current_time().unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn has_metadata(&self, namespace: &str, key: &str) -> bool {
        let path = vec!["metadata", "filter_metadata", namespace, key];
        match hostcalls::get_property(path) {
            Ok(value) => value.is_some(),
            // It is there, and the ABI has no form for it: a structure with a null in it, say.
            Err(status) => status == Status::SerializationFailure,
        }
    }

    fn verify(&self, check: &SignatureCheck<'_>) -> Option<bool> {
        foreign::verify(check)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_and_unchanged_is_already_there() {
        let view = HostView::new(Maps::default());
        let map = Map::RequestHeaders;
        assert!(!view.is_already(map, "te", &[]), "nothing is known before the map is fetched");

        let headers = [(":method", "POST"), ("accept", "a"), ("accept", "b")];
        view.fetched[map as usize].set(headers.into()).unwrap();
        assert!(view.is_already(map, ":method", &[b"POST"]));
        assert!(!view.is_already(map, ":method", &[b"GET"]));
        assert!(!view.is_already(map, "accept", &[b"a"]), "it would lose its second value");
        assert!(view.is_already(map, "te", &[]));

        view.changes(map, "te");
        assert!(!view.is_already(map, "te", &[]), "an operation has set it since");
        assert!(view.is_already(map, "content-length", &[]));
        assert!(
            view.is_already(map, "tx", &[]) && view.is_already(map, "xte", &[]),
            "they only look like it"
        );

        for number in 0..MOST_CHANGES {
            view.changes(map, &format!("x-{number}"));
            assert!(!view.is_already(map, &format!("x-{number}"), &[]));
        }
        assert!(!view.is_already(map, "content-length", &[]), "there are too many changes to know");
    }
}
