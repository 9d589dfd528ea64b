//! Turns Envoy's hooks into calls on a filter's stream, and applies what comes back.

use crate::abi::{DataStatus, HeadersStatus, TrailersStatus};
use crate::envoy::{self, Envoy, Fate};
use crate::operations;
use crate::registry::Configured;
use filter_api::{
    CallEnd, CallFailure, CallId, Chunk, Cx, Dir, Level, OnData, OnHeaders, OnTrailers, Ops, Reply, Sink,
    Stream,
};
use std::cell::Cell;
use std::sync::Arc;

/// One HTTP exchange as Envoy holds it: the module's side of Envoy's filter object.
///
/// While a hook runs, the filter's state is moved out of here. So a hook that Envoy calls from within another
/// one finds nothing and lets everything pass, and a filter that replied, detached or panicked is gone.
pub(crate) struct Exchange {
    filter: Arc<Configured>,
    core: Cell<Option<Core>>,
    /// The filter has answered the client, reset the stream or failed: the request must not go on.
    ended: Cell<bool>,
    /// The last hook, in whichever direction, let things go on.
    went_on: Cell<bool>,
    /// The client sent a gRPC request, as far as Envoy knows: the filter may have changed its headers since.
    from_grpc: Cell<bool>,
    /// The filter is shown nothing any more but this direction's trailers.
    until_trailers: Cell<Option<Dir>>,
    sides: [Side; 2],
}

/// The event by which a stream is told of one of its configuration's. The others are directions.
const WOKEN: u64 = 2;

struct Core {
    stream: Box<dyn Stream>,
    ops: Ops,
    /// The calls under way, by Envoy's id.
    calls: Vec<(u64, CallId)>,
    /// Whose headers wait for them.
    waiting: Option<Dir>,
}

thread_local! {
    /// The list of the last stream that ended on this worker: its memory serves the next one.
    static SPARE: Cell<Option<Ops>> = const { Cell::new(None) };
}

impl Drop for Core {
    fn drop(&mut self) {
        SPARE.set(Some(std::mem::take(&mut self.ops)));
    }
}

/// What has happened in one direction.
#[derive(Default)]
struct Side {
    /// The message has headers only.
    headers_only: Cell<bool>,
    /// The headers have gone on.
    released: Cell<bool>,
    /// Something is held, so Envoy keeps what is appended now until things go on.
    stopped: Cell<bool>,
    /// The headers wait for a call; what follows them is held by Envoy.
    waiting: Cell<bool>,
    /// The last chunk has come during the wait.
    waiting_end: Cell<bool>,
    /// Trailers have come during the wait.
    waiting_trailers: Cell<bool>,
}

/// What a verdict on what follows headers comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// It goes on.
    On,
    /// It is kept.
    Kept,
    /// The stream is over for this filter.
    Ended,
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
        let ops = SPARE.take().unwrap_or_default();
        let core = Core { stream: filter.open(), ops, calls: Vec::new(), waiting: None };
        Self {
            filter,
            core: Cell::new(Some(core)),
            ended: Cell::new(false),
            went_on: Cell::new(false),
            from_grpc: Cell::new(false),
            until_trailers: Cell::new(None),
            sides: Default::default(),
        }
    }

    /// An exchange whose filter could not be opened. Its request is answered with an error.
    pub(crate) fn failed(filter: Arc<Configured>) -> Self {
        Self {
            filter,
            core: Cell::new(None),
            ended: Cell::new(true),
            went_on: Cell::new(false),
            from_grpc: Cell::new(false),
            until_trailers: Cell::new(None),
            sides: Default::default(),
        }
    }

    /// Headers have arrived.
    pub(crate) fn headers(&self, envoy: Envoy<'_>, dir: Dir, end: bool) -> HeadersStatus {
        self.noting(HeadersStatus::Continue, self.on_headers(envoy, dir, end))
    }

    /// A chunk of the body has arrived.
    pub(crate) fn data(&self, envoy: Envoy<'_>, dir: Dir, end: bool) -> DataStatus {
        self.noting(DataStatus::Continue, self.on_data(envoy, dir, end))
    }

    /// Trailers have arrived.
    pub(crate) fn trailers(&self, envoy: Envoy<'_>, dir: Dir) -> TrailersStatus {
        self.noting(TrailersStatus::Continue, self.on_trailers(envoy, dir))
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
        self.waited(envoy, dir, core, verdict);
    }

    /// The configuration has had an event.
    fn woken(&self, envoy: Envoy<'_>) {
        let Some(mut core) = self.core.take() else { return };
        let (Some(dir), true) = (core.waiting, core.calls.is_empty()) else {
            self.core.set(Some(core));
            return;
        };
        let verdict = self.ask_headers(envoy, dir, &mut core, |stream, cx| stream.woken(cx));
        self.waited(envoy, dir, core, verdict);
    }

    /// Does what a verdict on headers says that have waited.
    fn waited(&self, envoy: Envoy<'_>, dir: Dir, core: Core, verdict: OnHeaders) {
        match self.settle(envoy, dir, core, verdict) {
            Settled::Released => {
                self.side(dir).released.set(true);
                self.catch_up(envoy, dir, true);
            }
            Settled::Held => self.catch_up(envoy, dir, false),
            Settled::Waiting | Settled::Ended => {}
        }
    }

    /// The event that [`on_trailers`](Self::on_trailers) asked for has come, or one of the configuration's.
    pub(crate) fn scheduled(&self, envoy: Envoy<'_>, event: u64) {
        if event == WOKEN {
            self.woken(envoy);
        } else if !self.ended.get() {
            self.resume(envoy, if event == Dir::Request as u64 { Dir::Request } else { Dir::Response });
        }
    }

    /// A hook has panicked, and the filter's state went with it.
    pub(crate) fn panicked(&self, envoy: Envoy<'_>) {
        self.fail(envoy, "the filter panicked");
    }

    fn on_headers(&self, envoy: Envoy<'_>, dir: Dir, end: bool) -> HeadersStatus {
        let side = self.side(dir);
        side.headers_only.set(end);
        if dir == Dir::Request {
            self.from_grpc.set(envoy.is_grpc_request());
        }
        if self.until_trailers.get().is_some() {
            side.release();
            return HeadersStatus::Continue;
        }
        let Some(mut core) = self.core.take() else {
            if self.must_stop(dir) {
                self.fail(envoy, "the filter could not be opened");
                return HeadersStatus::StopIteration;
            }
            side.release();
            return HeadersStatus::Continue;
        };
        let verdict = self.ask_headers(envoy, dir, &mut core, |stream, cx| stream.headers(dir, end, cx));
        match self.settle(envoy, dir, core, verdict) {
            Settled::Released => {
                side.release();
                HeadersStatus::Continue
            }
            // A wait, too, is a plain stop with Envoy buffering what follows. To stop for all would have Envoy
            // call the data and trailers hooks from within the resumption, where they can hold nothing back and
            // what is appended is lost.
            Settled::Held | Settled::Waiting | Settled::Ended => HeadersStatus::StopIteration,
        }
    }

    fn on_data(&self, envoy: Envoy<'_>, dir: Dir, end: bool) -> DataStatus {
        let side = self.side(dir);
        if side.waiting.get() {
            side.waiting_end.set(end);
            return DataStatus::StopAndWatermark;
        }
        if self.until_trailers.get().is_some() {
            return DataStatus::Continue;
        }
        let Some(mut core) = self.core.take() else {
            return if self.must_stop(dir) { DataStatus::StopNoBuffer } else { DataStatus::Continue };
        };
        let verdict =
            envoy.received(dir, |slices, out| core.ask_data(envoy, dir, Chunk { slices, end }, out));
        match self.settle_data(envoy, dir, core, verdict, end) {
            Flow::On => {
                side.release();
                DataStatus::Continue
            }
            Flow::Kept => {
                side.stopped.set(true);
                DataStatus::StopNoBuffer
            }
            Flow::Ended => DataStatus::StopNoBuffer,
        }
    }

    fn on_trailers(&self, envoy: Envoy<'_>, dir: Dir) -> TrailersStatus {
        let side = self.side(dir);
        if side.waiting.get() {
            side.waiting_trailers.set(true);
            return TrailersStatus::StopIteration;
        }
        if self.until_trailers.get().is_some_and(|only| only != dir) {
            return TrailersStatus::Continue;
        }
        let Some(core) = self.core.take() else {
            return match self.must_stop(dir) {
                true => TrailersStatus::StopIteration,
                false => TrailersStatus::Continue,
            };
        };
        // Where nothing is held, Envoy passes on at once what is appended, and what comes of that may call this
        // filter again. So the bytes wait until the filter's state is back in its place.
        let mut late = Vec::new();
        let mut buffered = envoy.buffered(dir);
        let out: &mut dyn Sink = if side.stopped.get() { &mut buffered } else { &mut late };
        if self.ask_trailers(envoy, dir, core, out) == Flow::Ended {
            return TrailersStatus::StopIteration;
        }
        side.release();
        let others = envoy.buffered_bytes(dir);
        buffered.write(&late);
        if !late.is_empty() && others == 0 && envoy.buffered_bytes(dir) > 0 {
            // Nothing is held, but a buffer is left from headers that were: Envoy puts the bytes there and forgets
            // them. A stop, and going on from the event loop, has it send them.
            envoy.schedule(dir as u64);
            return TrailersStatus::StopIteration;
        }
        TrailersStatus::Continue
    }

    /// A wait is over: the filter sees what has come meanwhile, and things go on as it says.
    fn catch_up(&self, envoy: Envoy<'_>, dir: Dir, mut on: bool) {
        let side = self.side(dir);
        side.waiting.set(false);
        let end = side.waiting_end.get();
        if (end || envoy.buffered_bytes(dir) > 0)
            && self.until_trailers.get().is_none()
            && !side.headers_only.get()
            && let Some(mut core) = self.core.take()
        {
            let verdict =
                envoy.held(dir, |slices, out| core.ask_data(envoy, dir, Chunk { slices, end }, out));
            match self.settle_data(envoy, dir, core, verdict, end) {
                Flow::On => on = true,
                Flow::Kept => {}
                Flow::Ended => return,
            }
        }
        if side.waiting_trailers.get() {
            if let Some(core) = self.core.take()
                && self.ask_trailers(envoy, dir, core, &mut envoy.buffered(dir)) == Flow::Ended
            {
                return;
            }
            on = true;
        }
        if on {
            self.resume(envoy, dir);
        }
    }

    fn settle_data(&self, envoy: Envoy<'_>, dir: Dir, core: Core, verdict: OnData, end: bool) -> Flow {
        self.apply(envoy, dir, &core.ops);
        match verdict {
            OnData::Pass | OnData::Emit => {
                self.core.set(Some(core));
                Flow::On
            }
            OnData::Detach => Flow::On,
            OnData::Keep | OnData::Park if end => {
                drop(core);
                self.fail(envoy, "the filter kept the end of a message");
                Flow::Ended
            }
            OnData::Keep | OnData::Park => {
                self.core.set(Some(core));
                Flow::Kept
            }
            OnData::Reply(reply) => {
                drop(core);
                self.reply(envoy, &reply);
                Flow::Ended
            }
            OnData::Reset => {
                drop(core);
                self.reset(envoy);
                Flow::Ended
            }
        }
    }

    fn ask_trailers(&self, envoy: Envoy<'_>, dir: Dir, mut core: Core, out: &mut dyn Sink) -> Flow {
        let verdict = core.ask(envoy, Some(out), |stream, cx| stream.trailers(dir, cx));
        self.apply(envoy, dir, &core.ops);
        match verdict {
            OnTrailers::Continue | OnTrailers::Emit => {
                // It was shown them as the last thing.
                let kept = self.until_trailers.get().is_none().then_some(core);
                self.core.set(kept);
                Flow::On
            }
            OnTrailers::Reply(reply) => {
                drop(core);
                self.reply(envoy, &reply);
                Flow::Ended
            }
            OnTrailers::Reset => {
                drop(core);
                self.reset(envoy);
                Flow::Ended
            }
        }
    }

    /// Has a direction go on after a stop. Envoy calls this filter's hooks from within.
    fn resume(&self, envoy: Envoy<'_>, dir: Dir) {
        if self.went_on.get() && envoy::ignores_resumption_after_progress() {
            drop(self.core.take());
            envoy::log(
                Level::Error,
                self.filter.name,
                "Envoy 1.38 cannot resume one direction while the other runs",
            );
            self.reset(envoy);
            return;
        }
        self.side(dir).release();
        envoy.resume(dir);
        self.went_on.set(true);
    }

    /// Applies a verdict on headers.
    fn settle(&self, envoy: Envoy<'_>, dir: Dir, mut core: Core, mut verdict: OnHeaders) -> Settled {
        let side = self.side(dir);
        let mut refused = Vec::new();
        loop {
            self.apply(envoy, dir, &core.ops);
            match verdict {
                OnHeaders::Continue => {
                    core.waiting = None;
                    self.core.set(Some(core));
                    return Settled::Released;
                }
                OnHeaders::Detach => return Settled::Released,
                OnHeaders::UntilTrailers => {
                    core.waiting = None;
                    self.until_trailers.set(Some(dir));
                    self.core.set(Some(core));
                    return Settled::Released;
                }
                OnHeaders::Hold if side.headers_only.get() => {
                    drop(core);
                    self.fail(envoy, "the filter held headers that end the message");
                    return Settled::Ended;
                }
                OnHeaders::Hold => {
                    side.stopped.set(true);
                    core.waiting = None;
                    self.core.set(Some(core));
                    return Settled::Held;
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
                    } else if core.calls.is_empty() && self.filter.instance.plugin.tick().is_none() {
                        drop(core);
                        self.fail(envoy, "the filter returned Wait without a pending call");
                        return Settled::Ended;
                    } else {
                        if core.calls.is_empty() {
                            self.filter.instance.events.wait(envoy.waker(WOKEN));
                        }
                        side.stopped.set(true);
                        side.waiting.set(true);
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
        let released = |dir: Dir| self.side(dir).released.get();
        operations::apply(&self.filter, envoy, dir, ops, released);
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
            envoy.send_response(reply, self.from_grpc.get());
        }
    }

    fn reset(&self, envoy: Envoy<'_>) {
        self.ended.set(true);
        envoy.reset_stream(self.filter.name);
    }

    /// The filter did what it must not do. The client gets an error, and never what it should not see.
    fn fail(&self, envoy: Envoy<'_>, why: &str) {
        envoy::log(Level::Error, self.filter.name, why);
        self.reply(envoy, &Reply::failure(500, "filter_failed", why));
    }

    /// Without the filter's state: may what arrives not go on?
    fn must_stop(&self, dir: Dir) -> bool {
        // The response that arrives may be the very one that ended the exchange.
        dir == Dir::Request && self.ended.get()
    }

    fn noting<S: PartialEq>(&self, go_on: S, status: S) -> S {
        self.went_on.set(status == go_on);
        status
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

impl Core {
    /// Has the filter look at a chunk, and says what becomes of it.
    fn ask_data(
        &mut self,
        envoy: Envoy<'_>,
        dir: Dir,
        chunk: Chunk<'_>,
        out: &mut dyn Sink,
    ) -> (OnData, Fate) {
        let verdict = self.ask(envoy, Some(out), |stream, cx| stream.data(dir, chunk, cx));
        let fate = match verdict {
            OnData::Pass | OnData::Detach => Fate::Left,
            OnData::Emit => Fate::Replaced,
            OnData::Keep | OnData::Park | OnData::Reply(_) | OnData::Reset => Fate::Dropped,
        };
        (verdict, fate)
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
