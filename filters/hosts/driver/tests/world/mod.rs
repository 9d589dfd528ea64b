//! A proxy in memory, which holds the driver to what it promises.
#![allow(dead_code)] // Each test target uses a part of it.

use filter_api::{Call, CallFailure, CallId, Dir, Labels, Level, Map, Reply, Sink, View};
use host_driver::{Body, Fate, Lost, Maps, Nowhere, Proxy};
use std::collections::HashMap;
use std::fmt::Arguments;
use std::time::SystemTime;

/// How an exchange ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Replied(u16),
    Reset,
}

/// What a proxy knows of one exchange.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) maps: HashMap<Map, Vec<(String, Vec<u8>)>>,
    /// What the last call of the core was told to be in its hands.
    pub(crate) here: Maps,
    /// Whether the configuration has events.
    pub(crate) events: bool,
    /// Whose headers wait for the next one.
    pub(crate) waiting: Vec<Dir>,
    pub(crate) calls: Vec<(u32, CallId)>,
    pub(crate) calls_made: u32,
    pub(crate) ended: Option<Ended>,
    /// The response's headers have gone out.
    pub(crate) answering: bool,
    pub(crate) dropped: usize,
    pub(crate) log: Vec<String>,
    pub(crate) selections: usize,
}

impl World {
    pub(crate) fn told(&mut self) -> Told<'_> {
        assert_eq!(self.ended, None, "nothing may be done after a reply or a reset");
        Told(self)
    }

    pub(crate) fn header(&self, map: Map, name: &str) -> Option<String> {
        let value = self.view(map, name)?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    fn view(&self, map: Map, name: &str) -> Option<Vec<u8>> {
        self.maps.get(&map)?.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// The proxy within one callback.
pub(crate) struct Told<'a>(&'a mut World);

impl View for World {
    fn header(&self, map: Map, name: &str) -> Option<Vec<u8>> {
        self.view(map, name)
    }

    fn each_header(&self, map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        self.maps.get(&map).into_iter().flatten().for_each(|(name, value)| f(name.as_bytes(), value));
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

impl Proxy for Told<'_> {
    type Call = u32;
    type Beside = Nowhere;

    fn prepare(&mut self, maps: &mut Maps) {
        self.0.here = *maps;
    }

    fn view(&self) -> &dyn View {
        self.0
    }

    fn beside(&self, _dir: Dir) -> Option<Nowhere> {
        None
    }

    fn set_header(&mut self, map: Map, name: &str, value: &[u8]) -> bool {
        assert!(self.0.here.has(map), "{name} of {map:?} is written, which are not here");
        self.remove_header(map, name);
        self.add_header(map, name, value);
        true
    }

    fn add_header(&mut self, map: Map, name: &str, value: &[u8]) {
        assert!(self.0.here.has(map), "{name} of {map:?} is written, which are not here");
        self.0.maps.entry(map).or_default().push((name.to_owned(), value.to_owned()));
    }

    fn remove_header(&mut self, map: Map, name: &str) -> bool {
        assert!(self.0.here.has(map), "{name} of {map:?} is written, which are not here");
        self.0.maps.entry(map).or_default().extract_if(.., |(known, _)| known == name).count() > 0
    }

    fn set_lb_metadata(&mut self, _key: &str, _value: &str) -> bool {
        assert!(self.0.here.has(Map::RequestHeaders));
        true
    }

    fn set_property(&mut self, name: &str, _value: &[u8]) {
        assert!(!name.is_empty());
    }

    fn describe(&mut self, _name: &str, _value: &str) {}

    fn reselect_route(&mut self) {
        assert!(self.0.here.has(Map::RequestHeaders));
        self.0.selections += 1;
    }

    fn count(&mut self, _metric: usize, _by: u64) {}

    fn count_by(&mut self, _metric: usize, _labels: Labels<'_>, _by: u64) {}

    fn record(&mut self, _metric: usize, _value: u64) {}

    fn count_dropped(&mut self) {
        self.0.dropped += 1;
    }

    fn log(&mut self, level: Level, text: Arguments<'_>) {
        self.0.log.push(format!("{level:?} {text}"));
    }

    /// Clusters whose names begin with `un` are not known.
    fn call(&mut self, call: &Call) -> Result<u32, CallFailure> {
        if call.cluster.starts_with("un") {
            return Err(CallFailure::Refused);
        }
        self.0.calls_made += 1;
        self.0.calls.push((self.0.calls_made, call.id));
        Ok(self.0.calls_made)
    }

    fn wait_for_event(&mut self, dir: Dir) -> bool {
        if self.0.events {
            self.0.waiting.push(dir);
        }
        self.0.events
    }

    fn reply(self, reply: &Reply) {
        assert!(!self.0.answering, "a reply after response headers");
        self.0.ended = Some(Ended::Replied(reply.status));
    }

    fn reset(self) {
        self.0.ended = Some(Ended::Reset);
    }
}

/// A chunk, or an empty one in front of trailers. What is left of it goes to `out`.
pub(crate) struct Piece<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) out: &'a mut Vec<u8>,
    /// Whether what replaces it can be passed on.
    pub(crate) can_emit: bool,
    /// Whether `out` has the bytes already, as a proxy's own buffer has.
    pub(crate) in_place: bool,
}

impl<'a> Piece<'a> {
    pub(crate) fn new(bytes: &'a [u8], out: &'a mut Vec<u8>) -> Self {
        Self { bytes, out, can_emit: true, in_place: false }
    }
}

impl Body for Piece<'_> {
    fn show<R>(self, look: impl FnOnce(&[&[u8]], &mut dyn Sink) -> (R, Fate)) -> Result<R, Lost> {
        let mut written = Vec::new();
        let (result, fate) = look(&[self.bytes], &mut written);
        if self.in_place {
            self.out.clear();
        }
        match fate {
            Fate::Left => self.out.extend_from_slice(self.bytes),
            Fate::Replaced if !self.can_emit && !written.is_empty() => {
                return Err(Lost { status: 500, why: "there is no place for it" });
            }
            Fate::Replaced => self.out.extend_from_slice(&written),
            Fate::Dropped => {}
        }
        Ok(result)
    }
}

pub(crate) fn call(id: u32, cluster: &str) -> Call {
    Call {
        id: CallId(id),
        cluster: cluster.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: std::time::Duration::from_secs(1),
    }
}
