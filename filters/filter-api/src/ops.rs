//! What a core asks its host to do besides the verdict.

use crate::metric::BETWEEN_LABELS;
use crate::{Labels, Map};
use std::ops::Range;
use std::time::Duration;

/// A list of operations over two arenas: no allocation per operation once a host reuses the list.
#[derive(Debug, Default)]
pub struct Ops {
    /// Names and texts, apart from values: so they need not be checked to be UTF-8 again.
    texts: String,
    values: Vec<u8>,
    list: Vec<Stored>,
    calls: Vec<Call>,
}

/// Most exchanges' names, and most exchanges' values, fit into so many bytes: each is one allocation.
const USUAL_BYTES: usize = 256;

/// One operation, as a host reads it.
#[derive(Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Replace all values of a header by one.
    SetHeader(Map, &'a str, &'a [u8]),
    /// Add one more value of a header.
    AddHeader(Map, &'a str, &'a [u8]),
    /// Remove all values of a header.
    RemoveHeader(Map, &'a str),
    /// Set a pair of the metadata by which the load balancer picks a subset of a cluster's endpoints.
    SetLbMetadata(&'a str, &'a str),
    /// Set a property of the exchange, for filters that follow and for the access log.
    SetProperty(&'a str, &'a [u8]),
    /// Say something about the exchange to whatever comes after.
    Describe(&'a str, &'a str),
    /// How the route is treated after this call's header operations.
    Route(Route),
    /// Add to the counter at this index of [`Plugin::METRICS`](crate::Plugin::METRICS).
    Count(usize, u64),
    /// Add to the counter at this index, for these values of its labels.
    CountBy(usize, Labels<'a>, u64),
    /// Record a value in the histogram or gauge at this index of [`Plugin::METRICS`](crate::Plugin::METRICS).
    Record(usize, u64),
    /// Write a line to the host's log.
    Log(Level, &'a str),
}

/// How the route is treated that was selected before request headers changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// It stays. Only where [`Caps::keep_route`](crate::Caps::keep_route) is set; other hosts select again.
    Keep,
    /// It is selected again from the changed headers.
    Reselect,
}

/// Log levels, as Envoy knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For a developer of the filter.
    Debug,
    /// For an operator who looks.
    Info,
    /// Something is wrong, and the filter goes on.
    Warn,
    /// Something is broken.
    Error,
}

/// Names a call among those of one stream; the core chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId(pub u32);

/// An HTTP call to a cluster of the host, beside the exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What [`Stream::call_ended`](crate::Stream::call_ended) is told.
    pub id: CallId,
    /// The cluster's name.
    pub cluster: String,
    /// Headers, `:method`, `:path` and `:authority` included.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
    /// When to give up.
    pub timeout: Duration,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// With an answer, whatever its status.
    Answered(CallResponse),
    /// Without one.
    Failed(CallFailure),
}

/// The answer to a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallResponse {
    /// Headers, `:status` included.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// Trailers; always empty where the host cannot read them.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why a call got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The host does not know the cluster, or would not start the call.
    Refused,
    /// The host knows the cluster, but the call ended as it began: Envoy's load balancer picked no endpoint for it.
    NoEndpoint,
    /// It was reset, or timed out.
    Reset,
}

impl Ops {
    /// Replaces all values of a header by one. `name` is in lower case.
    pub fn set_header(&mut self, map: Map, name: &str, value: &[u8]) {
        let (name, value) = (self.store_text(name), self.store(value));
        self.list.push(Stored::SetHeader(map, name, value));
    }

    /// Adds one more value of a header. `name` is in lower case.
    pub fn add_header(&mut self, map: Map, name: &str, value: &[u8]) {
        let (name, value) = (self.store_text(name), self.store(value));
        self.list.push(Stored::AddHeader(map, name, value));
    }

    /// Removes all values of a header. `name` is in lower case.
    pub fn remove_header(&mut self, map: Map, name: &str) {
        let name = self.store_text(name);
        self.list.push(Stored::RemoveHeader(map, name));
    }

    /// Sets a pair of the metadata by which the load balancer picks a subset of a cluster's endpoints (in Envoy the
    /// namespace `envoy.lb` of the dynamic metadata, `envoy.config.cluster.v3.Cluster.LbSubsetConfig`). Only before
    /// the request's headers have gone on, and only where [`Caps::lb_metadata`](crate::Caps::lb_metadata) is set.
    pub fn set_lb_metadata(&mut self, key: &str, value: &str) {
        let (key, value) = (self.store_text(key), self.store_text(value));
        self.list.push(Stored::SetLbMetadata(key, value));
    }

    /// Sets a property of the exchange, at most once for each name. In Envoy it is filter state: `wasm.<name>` where a
    /// proxy-wasm module sets it, `<name>` where a dynamic module does.
    pub fn set_property(&mut self, name: &str, value: &[u8]) {
        let (name, value) = (self.store_text(name), self.store(value));
        self.list.push(Stored::SetProperty(name, value));
    }

    /// Says something about the exchange, at most once under each name, to whatever comes after: limits, and the access
    /// log. In Envoy it is dynamic metadata in the namespace of the filter's name where a dynamic module says it, and
    /// filter state `wasm.<filter>.<name>` where a proxy-wasm module does, which cannot set metadata.
    pub fn describe(&mut self, name: &str, value: &str) {
        let (name, value) = (self.store_text(name), self.store_text(value));
        self.list.push(Stored::Describe(name, value));
    }

    /// Says how the route is treated.
    pub fn route(&mut self, route: Route) {
        self.list.push(Stored::Route(route));
    }

    /// Adds to a counter.
    pub fn count(&mut self, metric: usize, by: u64) {
        self.list.push(Stored::Count(metric, by));
    }

    /// Adds to a counter for these values of its [labels](crate::Metric::labels), in their order. A host looks each of
    /// them up, so this is nothing for every request: a filter adds up and asks now and then. How many different values
    /// there are must not be a client's choice, because a host forgets none of them.
    pub fn count_by(&mut self, metric: usize, labels: &[&str], by: u64) {
        let start = self.texts.len();
        for (index, value) in labels.iter().enumerate() {
            if index > 0 {
                self.texts.push(BETWEEN_LABELS);
            }
            self.store_text(value);
        }
        self.list.push(Stored::CountBy(metric, start..self.texts.len(), by));
    }

    /// How much has been added to a counter without labels.
    #[must_use]
    pub fn counted(&self, metric: usize) -> u64 {
        let added = |stored: &Stored| match stored {
            Stored::Count(counter, by) if *counter == metric => *by,
            _ => 0,
        };
        self.list.iter().map(added).sum()
    }

    /// Records a value in a histogram or gauge.
    pub fn record(&mut self, metric: usize, value: u64) {
        self.list.push(Stored::Record(metric, value));
    }

    /// Writes a line to the host's log.
    pub fn log(&mut self, level: Level, text: &str) {
        let text = self.store_text(text);
        self.list.push(Stored::Log(level, text));
    }

    /// Starts a call. Only together with the verdict [`OnHeaders::Wait`](crate::OnHeaders::Wait).
    pub fn call(&mut self, call: Call) {
        self.calls.push(call);
    }

    /// The operations but calls, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = Op<'_>> {
        self.list.iter().map(|stored| match stored {
            Stored::SetHeader(map, name, value) => Op::SetHeader(*map, self.text(name), self.value(value)),
            Stored::AddHeader(map, name, value) => Op::AddHeader(*map, self.text(name), self.value(value)),
            Stored::RemoveHeader(map, name) => Op::RemoveHeader(*map, self.text(name)),
            Stored::SetLbMetadata(key, value) => Op::SetLbMetadata(self.text(key), self.text(value)),
            Stored::SetProperty(name, value) => Op::SetProperty(self.text(name), self.value(value)),
            Stored::Describe(name, value) => Op::Describe(self.text(name), self.text(value)),
            Stored::Route(route) => Op::Route(*route),
            Stored::Count(metric, by) => Op::Count(*metric, *by),
            Stored::CountBy(metric, labels, by) => Op::CountBy(*metric, Labels(self.text(labels)), *by),
            Stored::Record(metric, value) => Op::Record(*metric, *value),
            Stored::Log(level, text) => Op::Log(*level, self.text(text)),
        })
    }

    /// The calls to start, in order; they are taken out of the list.
    pub fn take_calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }

    /// Empties the list and keeps its memory.
    pub fn clear(&mut self) {
        self.texts.clear();
        self.values.clear();
        self.list.clear();
        self.calls.clear();
    }

    fn store_text(&mut self, text: &str) -> Range<usize> {
        if self.texts.capacity() == 0 {
            self.texts.reserve(USUAL_BYTES);
        }
        let start = self.texts.len();
        self.texts.push_str(text);
        start..self.texts.len()
    }

    fn store(&mut self, bytes: &[u8]) -> Range<usize> {
        if self.values.capacity() == 0 {
            self.values.reserve(USUAL_BYTES);
        }
        let start = self.values.len();
        self.values.extend_from_slice(bytes);
        start..self.values.len()
    }

    fn text(&self, range: &Range<usize>) -> &str {
        &self.texts[range.clone()]
    }

    fn value(&self, range: &Range<usize>) -> &[u8] {
        &self.values[range.clone()]
    }
}

#[derive(Debug)]
enum Stored {
    SetHeader(Map, Range<usize>, Range<usize>),
    AddHeader(Map, Range<usize>, Range<usize>),
    RemoveHeader(Map, Range<usize>),
    SetLbMetadata(Range<usize>, Range<usize>),
    SetProperty(Range<usize>, Range<usize>),
    Describe(Range<usize>, Range<usize>),
    Route(Route),
    Count(usize, u64),
    CountBy(usize, Range<usize>, u64),
    Record(usize, u64),
    Log(Level, Range<usize>),
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn operations_come_back_in_the_order_in_which_they_were_made() {
        let mut ops = Ops::default();
        ops.set_header(Map::RequestHeaders, "te", b"trailers");
        ops.remove_header(Map::RequestHeaders, "content-length");
        ops.set_lb_metadata("stage", "blue");
        ops.set_property("stages", b"blue");
        ops.count(3, 1);
        ops.count_by(4, &["m", "", "0"], 2);
        ops.log(Level::Warn, "odd");
        let expected = [
            Op::SetHeader(Map::RequestHeaders, "te", b"trailers"),
            Op::RemoveHeader(Map::RequestHeaders, "content-length"),
            Op::SetLbMetadata("stage", "blue"),
            Op::SetProperty("stages", b"blue"),
            Op::Count(3, 1),
            Op::CountBy(4, Labels("m\0\x000"), 2),
            Op::Log(Level::Warn, "odd"),
        ];
        assert_eq!(ops.iter().collect::<Vec<_>>(), expected);
        let Some(Op::CountBy(_, labels, _)) = ops.iter().nth(5) else { panic!("not the labels' place") };
        assert_eq!(labels.values().collect::<Vec<_>>(), ["m", "", "0"]);
        assert_eq!((ops.counted(3), ops.counted(4)), (1, 0));
        ops.clear();
        assert_eq!(ops.iter().count(), 0);
    }
}
