//! A request on its way through filters, in memory: a proxy that writes down what it is told.

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::time::SystemTime;

use filter_api::{Call, CallFailure, Labels, Level, Map, Metric, Reply, Sink, View};
use host_driver::{Body, Fate, Lost, Nowhere, Proxy};
use serde_json::Value;

use super::claims;
use super::request::Request;

/// Names and values, in their order.
pub(super) type Headers = Vec<(String, Vec<u8>)>;

/// What the request has become so far.
#[derive(Debug)]
pub(super) struct Way {
    /// Its headers, pseudo headers included.
    pub(super) headers: Headers,
    /// Its body.
    pub(super) body: Vec<u8>,
    /// The answer to it, as far as it has come back.
    pub(super) answer: Answer,
    /// The pairs by which a load balancer picks a subset.
    pub(super) subset: BTreeMap<String, String>,
    /// A filter answered it.
    pub(super) over: bool,
    /// A filter asks the server beside the exchange, so that the request itself goes nowhere.
    pub(super) aside: bool,
    /// What has been done with it.
    pub(super) lines: Vec<String>,
    pub(super) metrics: &'static [Metric],
    pub(super) native: bool,
    properties: BTreeMap<String, Vec<u8>>,
    claims: Option<Value>,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
    /// None of them for an answer that ends with its body.
    pub(super) trailers: Headers,
}

impl Way {
    pub(super) fn new(request: &Request, claims: Option<Value>) -> Self {
        let mut headers: Headers = vec![
            (":method".into(), request.method.clone().into_bytes()),
            (":scheme".into(), request.scheme.clone().into_bytes()),
            (":authority".into(), request.authority.clone().into_bytes()),
            (":path".into(), request.path.clone().into_bytes()),
        ];
        headers
            .extend(request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        if !request.body.is_empty() && !headers.iter().any(|(name, _)| name == "content-length") {
            headers.push(("content-length".into(), request.body.len().to_string().into_bytes()));
        }
        Self {
            headers,
            body: request.body.clone(),
            answer: Answer::default(),
            subset: BTreeMap::new(),
            over: false,
            aside: false,
            lines: Vec::new(),
            metrics: &[],
            native: true,
            properties: BTreeMap::new(),
            claims,
        }
    }

    /// The first value of a header, as text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }

    /// The same request, without what has been said of it.
    pub(super) fn again(&self) -> Self {
        Self {
            headers: self.headers.clone(),
            body: self.body.clone(),
            answer: self.answer.clone(),
            subset: self.subset.clone(),
            lines: Vec::new(),
            properties: self.properties.clone(),
            claims: self.claims.clone(),
            ..*self
        }
    }

    /// The headers of a map, and what a line about one of them ends with.
    fn list(&mut self, map: Map) -> Option<(&mut Headers, &'static str)> {
        match map {
            Map::RequestHeaders => Some((&mut self.headers, "")),
            Map::ResponseHeaders => Some((&mut self.answer.headers, "")),
            Map::ResponseTrailers => Some((&mut self.answer.trailers, " (trailer)")),
            Map::RequestTrailers => None,
        }
    }

    fn seen(&self, map: Map) -> &[(String, Vec<u8>)] {
        match map {
            Map::RequestHeaders => &self.headers,
            Map::ResponseHeaders => &self.answer.headers,
            Map::ResponseTrailers => &self.answer.trailers,
            Map::RequestTrailers => &[],
        }
    }

    fn say(&mut self, line: String) {
        self.lines.push(line);
    }
}

/// Bytes for a message without a body.
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) left: &'a mut Vec<u8>,
}

impl Body for Piece<'_> {
    fn show<R>(self, look: impl FnOnce(&[&[u8]], &mut dyn Sink) -> (R, Fate)) -> Result<R, Lost> {
        let mut out = Vec::new();
        let (result, fate) = look(&[self.bytes], &mut out);
        match fate {
            Fate::Left => {}
            Fate::Replaced => *self.left = out,
            Fate::Dropped => self.left.clear(),
        }
        Ok(result)
    }
}

fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

impl Proxy for &mut Way {
    type Call = usize;
    type Beside = Nowhere;

    fn view(&self) -> &dyn View {
        &**self
    }

    fn beside(&self, _dir: filter_api::Dir) -> Option<Nowhere> {
        self.native.then(Nowhere::default)
    }

    fn set_header(&mut self, map: Map, name: &str, value: &[u8]) -> bool {
        let Some((list, of)) = self.list(map) else { return true };
        let place = list.iter().position(|(known, _)| known == name);
        let before = place.map(|place| list[place].1.clone());
        list.retain(|(known, _)| known != name);
        list.insert(place.unwrap_or(list.len()).min(list.len()), (name.to_owned(), value.to_vec()));
        match before {
            Some(before) if before == value => {}
            Some(before) => self.say(format!("sets {name}: {} (was {}){of}", shown(value), shown(&before))),
            None => self.say(format!("sets {name}: {}{of}", shown(value))),
        }
        true
    }

    fn add_header(&mut self, map: Map, name: &str, value: &[u8]) {
        let Some((list, of)) = self.list(map) else { return };
        list.push((name.to_owned(), value.to_vec()));
        self.say(format!("adds {name}: {}{of}", shown(value)));
    }

    fn remove_header(&mut self, map: Map, name: &str) -> bool {
        let Some((list, of)) = self.list(map) else { return true };
        let before = list.iter().find(|(known, _)| known == name).map(|(_, value)| shown(value));
        list.retain(|(known, _)| known != name);
        if let Some(before) = before {
            self.say(format!("removes {name} (was {before}){of}"));
        }
        true
    }

    fn set_lb_metadata(&mut self, key: &str, value: &str) -> bool {
        if self.native {
            self.subset.insert(key.to_owned(), value.to_owned());
            self.say(format!("subset: {key}={value} (metadata envoy.lb)"));
        }
        self.native
    }

    fn set_property(&mut self, name: &str, value: &[u8]) {
        self.properties.insert(name.to_owned(), value.to_vec());
        let text = shown(value);
        if name == "dynamic_subset" {
            for (key, value) in text.split(';').filter_map(|pair| pair.split_once('=')) {
                self.subset.insert(key.to_owned(), value.to_owned());
            }
        }
        self.say(format!("property {name}: {text}"));
    }

    fn describe(&mut self, name: &str, value: &str) {
        self.say(format!("says for the access log and for limits: {name}={value}"));
    }

    fn reselect_route(&mut self) {
        self.say("the route is selected again".to_owned());
    }

    fn count(&mut self, metric: usize, _by: u64) {
        if let Some(metric) = self.metrics.get(metric) {
            self.say(format!("counts {}: {}", metric.name, metric.meaning.trim()));
        }
    }

    fn count_by(&mut self, _metric: usize, _labels: Labels<'_>, _by: u64) {}

    fn record(&mut self, _metric: usize, _value: u64) {}

    fn count_dropped(&mut self) {}

    fn log(&mut self, level: Level, text: Arguments<'_>) {
        self.say(format!("logs a line of level {level:?}: {text}"));
    }

    fn call(&mut self, call: &Call) -> Result<usize, CallFailure> {
        let header = |name: &str| {
            let found = call.headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| shown(value)).unwrap_or_default()
        };
        self.aside = true;
        self.say(format!(
            "calls the cluster {} by itself: {} {}",
            call.cluster,
            header(":method"),
            header(":path")
        ));
        Ok(0)
    }

    fn wait_for_event(&mut self, _dir: filter_api::Dir) -> bool {
        self.say("waits for keys, which this command does not fetch".to_owned());
        self.aside = true;
        true
    }

    fn reply(self, reply: &Reply) {
        self.over = true;
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        self.say(format!("answers the request itself: {} {} ({body})", reply.status, reply.details));
    }

    fn reset(self) {
        self.over = true;
        self.say("resets the request".to_owned());
    }
}

impl View for Way {
    fn header(&self, map: Map, name: &str) -> Option<Vec<u8>> {
        let found = self.seen(map).iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    }

    fn each_header(&self, map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        self.seen(map).iter().for_each(|(name, value)| f(name.as_bytes(), value));
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        match path {
            ["xds", "cluster_name"] => Some(b"the route's cluster".to_vec()),
            [name] if *name != "metadata" => self.properties.get(*name).cloned(),
            path => claims::property(self.claims.as_ref(), path),
        }
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn has_metadata(&self, namespace: &str, key: &str) -> bool {
        claims::has(self.claims.as_ref(), namespace, key)
    }
}
