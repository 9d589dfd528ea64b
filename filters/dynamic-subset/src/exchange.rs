//! One HTTP exchange: headers in, a selection of endpoints out.

use crate::config::ModelSource;
use crate::message::{Progress, Reader};
use crate::metrics;
use crate::model;
use crate::rules::Found;
use crate::settings::Settings;
use crate::text::as_header_part;
use filter_api::{
    Account, Caps, Charge, Chunk, ConfigError, Cx, Dir, Level, LimitReached, MODELMESH_METADATA, Map, Memory,
    Metric, NamedModel, OnData, OnHeaders, OnTrailers, OverBudget, PARK_LIMIT_BYTES, Plugin, Reply, Stream,
    has_header_prefix,
};
use std::sync::Arc;

/// The filter: what a request says chooses the endpoints that may serve it.
#[derive(Debug)]
pub struct DynamicSubset {
    settings: Settings,
    caps: Caps,
    account: Account,
}

impl Plugin for DynamicSubset {
    type Stream = Exchange;

    const NAME: &'static str = "dynamic_subset";

    const METRICS: &'static [Metric] = metrics::ALL;

    fn configure(json: &[u8], caps: Caps, memory: Arc<Memory>) -> Result<Self, ConfigError> {
        // A stream holds little (`max_held_bytes`), so this filter keeps to no limit on what all hold together.
        Ok(Self { settings: Settings::read(json, caps)?, caps, account: memory.account(usize::MAX) })
    }

    fn open(self: &Arc<Self>) -> Exchange {
        Exchange { plugin: self.clone(), reading: Reading::Nothing }
    }
}

/// The state of one exchange.
#[derive(Debug)]
pub struct Exchange {
    plugin: Arc<DynamicSubset>,
    reading: Reading,
}

/// What is read of a request's body.
#[derive(Debug)]
enum Reading {
    Nothing,
    /// For the name of its model; its headers and everything so far are held.
    Held(Box<Unnamed>),
    /// For a name that contradicts the one by which its endpoints were chosen.
    Watched(Reader),
}

/// A gRPC request that has not named its model yet.
#[derive(Debug)]
struct Unnamed {
    /// What was found in its headers.
    found: Found,
    reader: Reader,
    /// Charged by its length, as `max_held_bytes` counts it.
    held: Vec<u8>,
    charge: Charge,
}

/// What a request's headers say about its model, source by source.
#[derive(Debug, Default)]
struct Head {
    method: Vec<u8>,
    path: Vec<u8>,
    content_type: Vec<u8>,
    /// What the headers of ModelMesh name, in the order of [`MODELMESH_METADATA`].
    metadata: [Option<NamedModel>; MODELMESH_METADATA.len()],
}

/// What one place says about the model.
#[derive(Debug)]
enum Says {
    Nothing,
    Model(Vec<u8>),
    /// There is a name that may mean one model here and another one to the server.
    Unclear,
}

impl Stream for Exchange {
    fn headers(&mut self, dir: Dir, end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        if dir == Dir::Response {
            return match self.reading {
                Reading::Nothing => OnHeaders::Detach,
                Reading::Held(_) | Reading::Watched(_) => OnHeaders::Continue,
            };
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
                        let otherwise = head.first(sources, &plugin.settings, cx).unwrap_or_default();
                        *reading = Reading::Held(Box::new(Unnamed {
                            found,
                            reader: Reader::new(limit, otherwise),
                            held: Vec::new(),
                            charge: plugin.account.purse(limit).charge(),
                        }));
                        return OnHeaders::Hold;
                    }
                    source => match head.says(source, &plugin.settings, cx) {
                        Says::Nothing => {}
                        Says::Model(name) => {
                            model = Some(name);
                            break;
                        }
                        Says::Unclear if source == ModelSource::Path => break,
                        Says::Unclear => {}
                    },
                }
            }
        }
        plugin.select(&found, model.as_deref(), cx);
        OnHeaders::Detach
    }

    fn data(&mut self, dir: Dir, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        if dir == Dir::Response {
            return OnData::Pass;
        }
        match std::mem::replace(&mut self.reading, Reading::Nothing) {
            Reading::Nothing => OnData::Detach,
            Reading::Held(request) => self.look_for_a_name(request, chunk, cx),
            Reading::Watched(mut reader) => match reader.read(chunk.slices) {
                Progress::Contradicted => self.plugin.refuse_contradiction(cx),
                Progress::More | Progress::NameSoFar(_) => {
                    self.reading = Reading::Watched(reader);
                    OnData::Pass
                }
                Progress::Confirmed | Progress::Name(_) | Progress::Lost(_) => OnData::Detach,
            },
        }
    }

    fn trailers(&mut self, dir: Dir, cx: &mut Cx<'_>) -> OnTrailers {
        if dir == Dir::Response {
            return OnTrailers::Continue;
        }
        let Reading::Held(request) = std::mem::replace(&mut self.reading, Reading::Nothing) else {
            return OnTrailers::Continue;
        };
        self.plugin.lost("it ends early", cx);
        self.plugin.select(&request.found, None, cx);
        match request.held.len() {
            0 => OnTrailers::Continue,
            held if held <= PARK_LIMIT_BYTES || self.plugin.caps.emit_in_trailers => {
                OnTrailers::Emit(cx.emit(|out| out.write(&request.held)))
            }
            // No server could read such a message either.
            _ => OnTrailers::Reset,
        }
    }
}

impl Exchange {
    /// Reads the next chunk of a request whose headers are held.
    fn look_for_a_name(&mut self, mut request: Box<Unnamed>, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        let plugin = self.plugin.clone();
        let mut watched = false;
        let model = match request.reader.read(chunk.slices) {
            Progress::Name(name) => Some(name).filter(|name| !name.is_empty()),
            Progress::NameSoFar(name) => {
                watched = !chunk.end;
                Some(name)
            }
            Progress::More if !chunk.end => match request.keep(chunk) {
                Ok(verdict) => {
                    self.reading = Reading::Held(request);
                    return verdict;
                }
                Err(OverBudget { reached: LimitReached::OfAll, .. }) => return plugin.refuse_for_memory(cx),
                Err(OverBudget { reached: LimitReached::Own, .. }) => {
                    plugin.lost("it is too long to be held", cx)
                }
            },
            Progress::More => plugin.lost("it ends early", cx),
            Progress::Lost(why) => plugin.lost(why, cx),
            Progress::Contradicted => return plugin.refuse_contradiction(cx),
            // It is never said of a name that has not been told.
            Progress::Confirmed => None,
        };
        plugin.select(&request.found, model.as_deref(), cx);
        if watched {
            self.reading = Reading::Watched(request.reader);
        }
        if request.held.is_empty() {
            return if watched { OnData::Pass } else { OnData::Detach };
        }
        OnData::Emit(cx.emit(|out| {
            out.write(&request.held);
            chunk.slices.iter().for_each(|slice| out.write(slice));
        }))
    }
}

impl DynamicSubset {
    /// Reads a request's headers once, and removes those that only this filter may set.
    fn read_headers(&self, cx: &mut Cx<'_>) -> (Found, Head) {
        let Settings { rules, emit_prefix, .. } = &self.settings;
        let model_matters = rules.ask_for_the_model();
        let (mut found, mut head) = (Found::default(), Head::default());
        let mut spoofed: Vec<String> = Vec::new();
        let mut removed = 0;
        cx.view.each_header(Map::RequestHeaders, &mut |name, value| {
            if has_header_prefix(name, emit_prefix.as_bytes()) {
                // A name that is not text cannot come through Envoy.
                if let Ok(name) = std::str::from_utf8(name)
                    && !spoofed.iter().any(|other| other == name)
                {
                    spoofed.push(name.to_owned());
                }
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
            cx.ops.count(metrics::REMOVED_HEADERS, removed);
        }
        (found, head)
    }

    /// Tells the load balancer what the rules make of the request.
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
        let outcome = if selection.pairs.is_empty() { metrics::UNMATCHED } else { metrics::MATCHED };
        cx.ops.count(outcome, 1);
        if selection.bad > 0 {
            cx.ops.count(metrics::BAD_VALUES, selection.bad);
        }
    }

    /// Notes that a message does not name its model. What other places say is not asked then: the server may understand
    /// the message, and serve the model that it names.
    fn lost(&self, why: &str, cx: &mut Cx<'_>) -> Option<Vec<u8>> {
        cx.ops.count(metrics::BAD_BODIES, 1);
        cx.ops.log(Level::Debug, &format!("a request's message does not name its model: {why}"));
        None
    }

    /// Refuses a request whose message names a second model, when its endpoints have been chosen by the first.
    fn refuse_contradiction(&self, cx: &mut Cx<'_>) -> OnData {
        cx.ops.count(metrics::CONTRADICTIONS, 1);
        let why = "the message names a second model, or cannot be read, behind its first max_held_bytes";
        OnData::Reply(refusal(400, "3", "dynamic_subset_contradiction", why))
    }

    /// Refuses a request because there is no memory to read it.
    fn refuse_for_memory(&self, cx: &mut Cx<'_>) -> OnData {
        cx.ops.count(metrics::OUT_OF_MEMORY, 1);
        let why = "there is no memory to look for the model's name in the message; try again";
        OnData::Reply(refusal(503, "14", "dynamic_subset_memory_budget", why).header("retry-after", "1"))
    }
}

/// A reply of the filter's own to a gRPC request: Envoy makes the text `grpc-message`, and keeps a `grpc-status` that
/// is there. By the HTTP status alone a 400 would be INTERNAL, which says that the server is at fault.
fn refusal(status: u16, grpc_status: &'static str, details: &'static str, why: &str) -> Reply {
    let reply = Reply::new(status, details).header("content-type", "text/plain");
    reply.header("grpc-status", grpc_status).body(why.as_bytes().to_vec())
}

impl Head {
    /// Notes what a header says about the model.
    fn see(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b":method" => self.method = value.to_vec(),
            b":path" => self.path = value.to_vec(),
            b"content-type" => self.content_type = value.to_ascii_lowercase(),
            _ => {
                for ((header, binary), named) in MODELMESH_METADATA.iter().zip(&mut self.metadata) {
                    if header.as_bytes() == name {
                        *named = Some(NamedModel::by(value, *binary).and(named.take()));
                    }
                }
            }
        }
    }

    /// What a place says about the model.
    fn says(&self, source: ModelSource, settings: &Settings, cx: &mut Cx<'_>) -> Says {
        let says = match source {
            ModelSource::Path => match model::in_path(&self.path, &settings.path_prefixes) {
                Ok(name) => name.map_or(Says::Nothing, Says::Model),
                Err(why) => {
                    cx.ops.log(Level::Debug, &format!("a request's path does not name its model: {why}"));
                    Says::Unclear
                }
            },
            ModelSource::MmModelId => {
                let mut named = self.metadata.iter().flatten();
                match named.find(|named| **named != NamedModel::As(Vec::new())) {
                    Some(NamedModel::As(name)) => Says::Model(name.clone()),
                    Some(NamedModel::Unclear) => Says::Unclear,
                    None => Says::Nothing,
                }
            }
            ModelSource::Body => Says::Nothing,
        };
        if matches!(says, Says::Unclear) {
            cx.ops.count(metrics::BAD_VALUES, 1);
        }
        says
    }

    /// The model by the first of these places that has a name.
    fn first(
        &self,
        sources: impl Iterator<Item = ModelSource>,
        settings: &Settings,
        cx: &mut Cx<'_>,
    ) -> Option<Vec<u8>> {
        for source in sources {
            match self.says(source, settings, cx) {
                Says::Model(name) => return Some(name),
                Says::Unclear if source == ModelSource::Path => return None,
                Says::Nothing | Says::Unclear => {}
            }
        }
        None
    }
}

impl Unnamed {
    /// Holds a chunk back.
    fn keep(&mut self, chunk: Chunk<'_>) -> Result<OnData, OverBudget> {
        self.charge.grow(chunk.len())?;
        chunk.slices.iter().for_each(|slice| self.held.extend_from_slice(slice));
        // What is parked can be sent whatever follows, also trailers.
        Ok(if self.held.len() <= PARK_LIMIT_BYTES { OnData::Park } else { OnData::Keep })
    }
}
