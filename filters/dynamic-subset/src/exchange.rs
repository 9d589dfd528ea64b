//! One HTTP exchange: headers in, a selection of endpoints out.

use crate::config::{Config, ModelSource, Settings};
use crate::message::{Progress, Reader};
use crate::model;
use crate::rules::Found;
use crate::text::{as_header_part, begins_with};
use filter_api::{
    Account, Caps, Charge, Chunk, ConfigError, Cx, Dir, Level, Map, Memory, Metric, MetricKind, OnData,
    OnHeaders, OnTrailers, PARK_LIMIT_BYTES, Plugin, Stream,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The filter: what a request says chooses the endpoints that may serve it.
#[derive(Debug)]
pub struct DynamicSubset {
    settings: Settings,
    caps: Caps,
    account: Account,
}

impl DynamicSubset {
    /// Requests for which at least one pair was set.
    pub const MATCHED: usize = 0;
    /// Requests for which none was.
    pub const UNMATCHED: usize = 1;
    /// Clients' headers that were removed, because they looked like the filter's own.
    pub const REMOVED_HEADERS: usize = 2;
    /// Keys and values that could not be used: empty ones do not count.
    pub const BAD_VALUES: usize = 3;
    /// Bodies in which the model's name was looked for, and that could not be understood.
    pub const BAD_BODIES: usize = 4;
}

impl Plugin for DynamicSubset {
    type Stream = Exchange;

    const NAME: &'static str = "dynamic_subset";

    const METRICS: &'static [Metric] = &[
        Metric { name: "matched", kind: MetricKind::Counter },
        Metric { name: "unmatched", kind: MetricKind::Counter },
        Metric { name: "removed_headers", kind: MetricKind::Counter },
        Metric { name: "bad_values", kind: MetricKind::Counter },
        Metric { name: "bad_bodies", kind: MetricKind::Counter },
    ];

    fn configure(json: &[u8], caps: Caps, memory: Arc<Memory>) -> Result<Self, ConfigError> {
        // A stream holds little (`max_held_bytes`), so this filter keeps to no limit on what all hold together.
        Ok(Self { settings: Config::read(json, caps)?, caps, account: memory.account(usize::MAX) })
    }

    fn open(self: &Arc<Self>) -> Exchange {
        Exchange { plugin: self.clone(), reading: None }
    }
}

/// The state of one exchange.
#[derive(Debug)]
pub struct Exchange {
    plugin: Arc<DynamicSubset>,
    /// While the request's headers are held.
    reading: Option<Reading>,
}

/// A gRPC request that has not named its model yet.
#[derive(Debug)]
struct Reading {
    /// What was found in its headers.
    found: Found,
    /// Names its model, if its message does not.
    otherwise: Option<Vec<u8>>,
    reader: Reader,
    held: Vec<u8>,
    charge: Charge,
}

/// What a request's headers say about its model, source by source.
#[derive(Debug, Default)]
struct Head {
    method: Vec<u8>,
    path: Vec<u8>,
    content_type: Vec<u8>,
    /// The header of ModelMesh; what differs between copies of it is no name.
    mm_model_id: Option<Result<Vec<u8>, Ambiguous>>,
}

#[derive(Debug)]
struct Ambiguous;

impl Stream for Exchange {
    fn headers(&mut self, dir: Dir, end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        if dir == Dir::Response {
            return OnHeaders::Continue;
        }
        let Self { plugin, reading } = self;
        let (found, head) = plugin.read_headers(cx);
        let mut model = None;
        if plugin.settings.rules.ask_for_the_model() {
            let mut sources = plugin.settings.model_from.iter().copied();
            while let Some(source) = sources.next() {
                match source {
                    ModelSource::Body
                        if !end && model::is_in_message(&head.method, &head.path, &head.content_type) =>
                    {
                        let limit = plugin.settings.max_held_bytes;
                        let otherwise = sources.find_map(|source| head.model(source, cx));
                        *reading = Some(Reading {
                            found,
                            otherwise,
                            reader: Reader::new(limit),
                            held: Vec::new(),
                            charge: plugin.account.purse(limit).charge(),
                        });
                        return OnHeaders::Hold;
                    }
                    source => model = head.model(source, cx),
                }
                if model.is_some() {
                    break;
                }
            }
        }
        plugin.select(&found, model.as_deref(), cx);
        OnHeaders::Detach
    }

    fn data(&mut self, dir: Dir, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        let Some(mut reading) = self.reading.take_if(|_| dir == Dir::Request) else { return OnData::Pass };
        let model = match reading.reader.read(chunk.slices) {
            Progress::Name(name) => Some(name),
            Progress::More if !chunk.end => match reading.keep(chunk) {
                Ok(verdict) => {
                    self.reading = Some(reading);
                    return verdict;
                }
                Err(why) => self.plugin.lost(why, cx),
            },
            Progress::More => self.plugin.lost("it ends early", cx),
            Progress::Lost(why) => self.plugin.lost(why, cx),
        };
        let model = reading.model(model);
        self.plugin.select(&reading.found, model.as_deref(), cx);
        if reading.held.is_empty() {
            return OnData::Detach;
        }
        cx.out.write(&reading.held);
        chunk.slices.iter().for_each(|slice| cx.out.write(slice));
        OnData::Emit
    }

    fn trailers(&mut self, dir: Dir, cx: &mut Cx<'_>) -> OnTrailers {
        let Some(mut reading) = self.reading.take_if(|_| dir == Dir::Request) else {
            return OnTrailers::Continue;
        };
        let model = self.plugin.lost("it ends early", cx);
        let model = reading.model(model);
        self.plugin.select(&reading.found, model.as_deref(), cx);
        match reading.held.len() {
            0 => OnTrailers::Continue,
            held if held <= PARK_LIMIT_BYTES || self.plugin.caps.emit_in_trailers => {
                cx.out.write(&reading.held);
                OnTrailers::Emit
            }
            // No server could read such a message either.
            _ => OnTrailers::Reset,
        }
    }
}

impl DynamicSubset {
    /// Reads a request's headers once, and removes those that only this filter may set.
    fn read_headers(&self, cx: &mut Cx<'_>) -> (Found, Head) {
        let Settings { rules, emit_prefix, .. } = &self.settings;
        let model_matters = rules.ask_for_the_model();
        let (mut found, mut head) = (Found::default(), Head::default());
        let mut spoofed = BTreeSet::new();
        let mut removed = 0;
        cx.view.each_header(Map::RequestHeaders, &mut |name, value| {
            if begins_with(name, emit_prefix.as_bytes()) {
                // A name that is no text cannot come through Envoy.
                spoofed.extend(std::str::from_utf8(name).ok().map(str::to_owned));
                removed += 1;
                return;
            }
            rules.see(name, value, &mut found);
            if model_matters {
                head.see(name, value);
            }
        });
        for name in spoofed {
            cx.ops.remove_header(Map::RequestHeaders, &name);
        }
        if removed > 0 {
            cx.ops.count(Self::REMOVED_HEADERS, removed);
        }
        (found, head)
    }

    /// Tells whoever picks an endpoint what the rules make of the request.
    fn select(&self, found: &Found, model: Option<&[u8]>, cx: &mut Cx<'_>) {
        let Settings { rules, emit_prefix, emit_headers, property, .. } = &self.settings;
        let selection = rules.select(found, model);
        let mut all = String::new();
        for pair in &selection.pairs {
            if self.caps.lb_metadata {
                cx.ops.set_lb_metadata(&pair.key, &pair.value);
            }
            if *emit_headers {
                let name = format!("{emit_prefix}{}", as_header_part(&pair.key));
                cx.ops.set_header(Map::RequestHeaders, &name, pair.value.as_bytes());
            }
            if property.is_some() {
                let separator = if all.is_empty() { "" } else { ";" };
                all.extend([separator, &pair.key, "=", &pair.value]);
            }
        }
        if let Some(property) = property
            && !all.is_empty()
        {
            cx.ops.set_property(property, all.as_bytes());
        }
        let outcome = if selection.pairs.is_empty() { Self::UNMATCHED } else { Self::MATCHED };
        cx.ops.count(outcome, 1);
        if selection.bad > 0 {
            cx.ops.count(Self::BAD_VALUES, selection.bad);
        }
    }

    /// Notes that a message does not name its model.
    fn lost(&self, why: &str, cx: &mut Cx<'_>) -> Option<Vec<u8>> {
        cx.ops.count(Self::BAD_BODIES, 1);
        cx.ops.log(Level::Debug, &format!("a request's message does not name its model: {why}"));
        None
    }
}

impl Head {
    /// Notes what a header says about the model.
    fn see(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b":method" => self.method = value.to_vec(),
            b":path" => self.path = value.to_vec(),
            b"content-type" => self.content_type = value.to_ascii_lowercase(),
            b"mm-model-id" => {
                let value = value.trim_ascii();
                self.mm_model_id = Some(match self.mm_model_id.take() {
                    Some(Ok(first)) if first != value => Err(Ambiguous),
                    Some(Err(Ambiguous)) => Err(Ambiguous),
                    Some(Ok(_)) | None => Ok(value.to_vec()),
                });
            }
            _ => {}
        }
    }

    /// The model's name in one place, if it is there.
    fn model(&self, source: ModelSource, cx: &mut Cx<'_>) -> Option<Vec<u8>> {
        let name = match source {
            ModelSource::Path => model::in_path(&self.path),
            ModelSource::MmModelId => match &self.mm_model_id {
                Some(Ok(name)) => Some(name.clone()),
                Some(Err(Ambiguous)) => {
                    cx.ops.count(DynamicSubset::BAD_VALUES, 1);
                    None
                }
                None => None,
            },
            ModelSource::Body => None,
        };
        name.filter(|name| !name.is_empty())
    }
}

impl Reading {
    /// Holds a chunk back.
    fn keep(&mut self, chunk: Chunk<'_>) -> Result<OnData, &'static str> {
        self.charge
            .grow(chunk.len())
            .map_err(|_| "its model's name is too far from its beginning, or memory is short")?;
        chunk.slices.iter().for_each(|slice| self.held.extend_from_slice(slice));
        // What is parked can be sent whatever follows, also trailers.
        Ok(if self.held.len() <= PARK_LIMIT_BYTES { OnData::Park } else { OnData::Keep })
    }

    /// The model's name: the message's, or what the sources after it say.
    fn model(&mut self, in_message: Option<Vec<u8>>) -> Option<Vec<u8>> {
        in_message.filter(|name| !name.is_empty()).or_else(|| self.otherwise.take())
    }
}
