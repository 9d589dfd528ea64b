//! Turns Envoy's hooks into calls on a filter's stream, and applies what comes back.

use crate::abi::{DataStatus, HeadersStatus, TrailersStatus};
use crate::envoy::{self, Envoy, Fate};
use crate::registry::Configured;
use filter_api::{
    CallEnd, CallFailure, CallId, Chunk, Cx, Dir, Level, Map, OnData, OnHeaders, OnTrailers, Op, Ops, Reply,
    Route, Sink, Stream,
};
use std::cell::Cell;
use std::sync::Arc;

/// One HTTP exchange as Envoy holds it: the module's side of Envoy's filter object.
///
/// While a hook runs, the filter's state is moved out of here. So a hook that Envoy calls from within another
/// one finds nothing and lets everything pass, and a filter that replied, detached or panicked is gone.
pub(crate) struct Exchange {
    filter: Arc<Configured>,
    core: Cell<Option<Box<Core>>>,
    /// The filter has answered the client, reset the stream or failed: the request must not go on.
    ended: Cell<bool>,
    sides: [Side; 2],
}

struct Core {
    stream: Box<dyn Stream>,
    ops: Ops,
    /// The calls under way, by Envoy's id.
    calls: Vec<(u64, CallId)>,
    /// Whose headers wait for them.
    waiting: Option<Dir>,
}

/// What has happened in one direction.
#[derive(Default)]
struct Side {
    /// The message has headers only.
    headers_only: Cell<bool>,
    /// The headers have gone on.
    released: Cell<bool>,
    /// The last hook kept something back, so Envoy buffers what is appended now until something is released.
    stopped: Cell<bool>,
}

/// What a verdict on headers comes to.
enum Settled {
    /// The headers go on.
    Released,
    /// The headers stay; data comes.
    Held,
    /// The headers stay until a call has ended.
    Waiting,
    /// The stream is over for this filter.
    Ended,
}

impl Exchange {
    /// Opens a filter's state for a new exchange.
    pub(crate) fn open(filter: Arc<Configured>) -> Self {
        let core = Core { stream: filter.open(), ops: Ops::default(), calls: Vec::new(), waiting: None };
        Self {
            filter,
            core: Cell::new(Some(Box::new(core))),
            ended: Cell::new(false),
            sides: Default::default(),
        }
    }

    /// An exchange whose filter could not be opened. Its request is answered with an error.
    pub(crate) fn failed(filter: Arc<Configured>) -> Self {
        Self { filter, core: Cell::new(None), ended: Cell::new(true), sides: Default::default() }
    }

    /// Headers have arrived.
    pub(crate) fn headers(&self, envoy: Envoy<'_>, dir: Dir, end: bool) -> HeadersStatus {
        let side = self.side(dir);
        side.headers_only.set(end);
        let Some(mut core) = self.core.take() else {
            if self.must_stop(dir) {
                self.fail(envoy, "it could not be opened");
                return HeadersStatus::StopIteration;
            }
            side.released.set(true);
            return HeadersStatus::Continue;
        };
        let verdict = self.ask_headers(envoy, dir, &mut core, |stream, cx| stream.headers(dir, end, cx));
        match self.settle(envoy, dir, core, verdict, true) {
            Settled::Released => HeadersStatus::Continue,
            Settled::Held | Settled::Ended => HeadersStatus::StopIteration,
            // Nothing else comes, and Envoy would lose a body that is given to a message stopped for all.
            Settled::Waiting if end => HeadersStatus::StopIteration,
            Settled::Waiting => HeadersStatus::StopAllAndWatermark,
        }
    }

    /// A chunk of the body has arrived.
    pub(crate) fn data(&self, envoy: Envoy<'_>, dir: Dir, end: bool) -> DataStatus {
        let Some(mut core) = self.core.take() else {
            return if self.must_stop(dir) { DataStatus::StopNoBuffer } else { DataStatus::Continue };
        };
        let side = self.side(dir);
        let verdict = envoy.received(dir, |slices, out| {
            let verdict =
                core.ask(envoy, Some(out), |stream, cx| stream.data(dir, Chunk { slices, end }, cx));
            let fate = match verdict {
                OnData::Pass | OnData::Detach => Fate::Left,
                OnData::Emit => Fate::Replaced,
                OnData::Keep | OnData::Park | OnData::Reply(_) | OnData::Reset => Fate::Dropped,
            };
            (verdict, fate)
        });
        self.apply(envoy, dir, &core.ops);
        match verdict {
            OnData::Pass | OnData::Emit => {
                side.release();
                self.core.set(Some(core));
                DataStatus::Continue
            }
            OnData::Keep | OnData::Park if end => {
                drop(core);
                self.fail(envoy, "it kept the end of a message");
                DataStatus::StopNoBuffer
            }
            OnData::Keep | OnData::Park => {
                side.stopped.set(true);
                self.core.set(Some(core));
                DataStatus::StopNoBuffer
            }
            OnData::Reply(reply) => {
                drop(core);
                self.reply(envoy, &reply);
                DataStatus::StopNoBuffer
            }
            OnData::Reset => {
                drop(core);
                self.reset(envoy);
                DataStatus::StopNoBuffer
            }
            OnData::Detach => {
                drop(core);
                side.release();
                DataStatus::Continue
            }
        }
    }

    /// Trailers have arrived.
    pub(crate) fn trailers(&self, envoy: Envoy<'_>, dir: Dir) -> TrailersStatus {
        let Some(mut core) = self.core.take() else {
            return if self.must_stop(dir) {
                TrailersStatus::StopIteration
            } else {
                TrailersStatus::Continue
            };
        };
        let side = self.side(dir);
        // Where nothing is held, Envoy passes on at once what is appended, and what comes of that may call this
        // filter again. So the bytes wait until the filter's state is back in its place.
        let mut late = Vec::new();
        let mut buffered = envoy.buffered(dir);
        let out: &mut dyn Sink = if side.stopped.get() { &mut buffered } else { &mut late };
        let verdict = core.ask(envoy, Some(out), |stream, cx| stream.trailers(dir, cx));
        self.apply(envoy, dir, &core.ops);
        match verdict {
            OnTrailers::Continue | OnTrailers::Emit => {
                side.release();
                self.core.set(Some(core));
                buffered.write(&late);
                TrailersStatus::Continue
            }
            OnTrailers::Reply(reply) => {
                drop(core);
                self.reply(envoy, &reply);
                TrailersStatus::StopIteration
            }
            OnTrailers::Reset => {
                drop(core);
                self.reset(envoy);
                TrailersStatus::StopIteration
            }
        }
    }

    /// A call has ended. `id` is Envoy's.
    pub(crate) fn call_ended(&self, envoy: Envoy<'_>, id: u64, end: CallEnd) {
        let Some(mut core) = self.core.take() else { return };
        let call = core.calls.iter().position(|(envoys, _)| *envoys == id);
        let (Some(call), Some(dir)) = (call, core.waiting) else {
            self.core.set(Some(core));
            return;
        };
        let (_, id) = core.calls.swap_remove(call);
        let verdict = self.ask_headers(envoy, dir, &mut core, |stream, cx| stream.call_ended(id, end, cx));
        if let Settled::Released = self.settle(envoy, dir, core, verdict, false) {
            envoy.resume(dir);
        }
    }

    /// A hook has panicked, and the filter's state went with it.
    pub(crate) fn panicked(&self, envoy: Envoy<'_>) {
        self.fail(envoy, "it panicked");
    }

    /// Applies a verdict on headers. `fresh` says that their hook is still running: only then can they be held
    /// while data comes.
    fn settle(
        &self,
        envoy: Envoy<'_>,
        dir: Dir,
        mut core: Box<Core>,
        mut verdict: OnHeaders,
        fresh: bool,
    ) -> Settled {
        let side = self.side(dir);
        let mut refused = Vec::new();
        loop {
            self.apply(envoy, dir, &core.ops);
            match verdict {
                OnHeaders::Continue => {
                    side.release();
                    core.waiting = None;
                    self.core.set(Some(core));
                    return Settled::Released;
                }
                OnHeaders::Detach => {
                    side.release();
                    return Settled::Released;
                }
                OnHeaders::Hold if fresh && !side.headers_only.get() => {
                    side.stopped.set(true);
                    self.core.set(Some(core));
                    return Settled::Held;
                }
                OnHeaders::Hold => {
                    drop(core);
                    self.fail(envoy, "it holds headers that no data follows, or after a wait");
                    return Settled::Ended;
                }
                OnHeaders::Reply(reply) => {
                    drop(core);
                    self.reply(envoy, &reply);
                    return Settled::Ended;
                }
                OnHeaders::Wait => {
                    for call in core.ops.take_calls() {
                        match envoy.call(&call) {
                            Some(id) => core.calls.push((id, call.id)),
                            None => refused.push(call.id),
                        }
                    }
                    if let Some(id) = refused.pop() {
                        let end = CallEnd::Failed(CallFailure::Refused);
                        verdict = self
                            .ask_headers(envoy, dir, &mut core, |stream, cx| stream.call_ended(id, end, cx));
                    } else if core.calls.is_empty() {
                        drop(core);
                        self.fail(envoy, "it waits for no call");
                        return Settled::Ended;
                    } else {
                        side.stopped.set(true);
                        core.waiting = Some(dir);
                        self.core.set(Some(core));
                        return Settled::Waiting;
                    }
                }
            }
        }
    }

    /// Applies the operations of one call.
    fn apply(&self, envoy: Envoy<'_>, dir: Dir, ops: &Ops) {
        let mut route = None;
        let mut request_changed = false;
        for op in ops.iter() {
            match op {
                Op::SetHeader(map, ..) | Op::AddHeader(map, ..) | Op::RemoveHeader(map, _) => {
                    request_changed |= map == Map::RequestHeaders;
                }
                _ => {}
            }
            match op {
                Op::SetHeader(map, name, value) if self.legal(name, value) => {
                    envoy.set_header(map, name, value);
                }
                Op::AddHeader(map, name, value) if self.legal(name, value) => {
                    envoy.add_header(map, name, value);
                }
                Op::SetHeader(map, name, _) | Op::RemoveHeader(map, name) => envoy.remove_header(map, name),
                Op::AddHeader(..) => {}
                Op::Route(wanted) => route = Some(wanted),
                Op::Count(metric, by) => self.metric(metric, |id| envoy.count(id, by)),
                Op::Record(metric, value) => self.metric(metric, |id| envoy.record(id, value)),
                Op::Log(level, text) => envoy::log(level, self.filter.name, text),
            }
        }
        let reselect = match route {
            Some(Route::Reselect) => true,
            Some(Route::Keep) => false,
            // A filter that says nothing gets what every host can do.
            None => request_changed,
        };
        if reselect && dir == Dir::Request && !self.side(dir).released.get() {
            envoy.clear_route_cache();
        }
    }

    /// Envoy does not check header values, and a line break in one would split the message.
    fn legal(&self, name: &str, value: &[u8]) -> bool {
        let legal = !value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n'));
        if !legal {
            let text = format!("a value of the header {name} has a line break or NUL and is left out");
            envoy::log(Level::Error, self.filter.name, &text);
        }
        legal
    }

    fn metric(&self, metric: usize, with: impl FnOnce(usize)) {
        if let Some(Some(id)) = self.filter.metrics.get(metric) {
            with(*id);
        }
    }

    /// Has a filter decide on headers. Only a message without a body can be given one.
    fn ask_headers(
        &self,
        envoy: Envoy<'_>,
        dir: Dir,
        core: &mut Core,
        f: impl FnOnce(&mut dyn Stream, &mut Cx<'_>) -> OnHeaders,
    ) -> OnHeaders {
        let mut body = envoy.buffered(dir);
        let out: Option<&mut dyn Sink> =
            if self.side(dir).headers_only.get() { Some(&mut body) } else { None };
        core.ask(envoy, out, f)
    }

    fn reply(&self, envoy: Envoy<'_>, reply: &Reply) {
        if self.side(Dir::Response).released.get() {
            self.reset(envoy);
        } else {
            self.ended.set(true);
            envoy.send_response(reply);
        }
    }

    fn reset(&self, envoy: Envoy<'_>) {
        self.ended.set(true);
        envoy.reset_stream(self.filter.name);
    }

    /// The filter did what it must not do. The client gets an error, and never what it should not see.
    fn fail(&self, envoy: Envoy<'_>, why: &str) {
        envoy::log(Level::Error, self.filter.name, &format!("the filter failed: {why}"));
        self.reply(envoy, &Reply::new(500, "filter_failed"));
    }

    /// Without the filter's state: may what arrives not go on?
    fn must_stop(&self, dir: Dir) -> bool {
        // The response that arrives may be the very one that ended the exchange.
        dir == Dir::Request && self.ended.get()
    }

    fn side(&self, dir: Dir) -> &Side {
        &self.sides[dir as usize]
    }
}

impl Core {
    /// Calls the filter, with a sink or one that swallows everything.
    fn ask<R>(
        &mut self,
        envoy: Envoy<'_>,
        out: Option<&mut dyn Sink>,
        f: impl FnOnce(&mut dyn Stream, &mut Cx<'_>) -> R,
    ) -> R {
        self.ops.clear();
        let mut nowhere = Nowhere;
        let out = out.unwrap_or(&mut nowhere);
        f(&mut *self.stream, &mut Cx { view: &envoy, ops: &mut self.ops, out })
    }
}

impl Side {
    fn release(&self) {
        self.released.set(true);
        self.stopped.set(false);
    }
}

/// Swallows what it is given.
struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, _bytes: &[u8]) {}
}
