//! One HTTP exchange: Envoy's callbacks in, a core's verdicts out.

use crate::apply::{Voice, give_back, take_ops};
use crate::body::{self, BodySink, NoBody};
use crate::calls::Calls;
use crate::events::Waiting;
use crate::half::{Flow, Half, Headers, Place, Taken};
use crate::root::Loaded;
use crate::view::HostView;
use filter_api::{Call, Chunk, Cx, Dir, Level, OnData, OnHeaders, OnTrailers, Plugin, Reply, Sink, Stream};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// An exchange as the SDK holds it. It is shared with the root context, which wakes it after an event.
pub(crate) struct Handle<P: Plugin>(Rc<RefCell<Exchange<P>>>);

impl<P: Plugin> Handle<P> {
    pub(crate) fn new(context: u32, loaded: &Loaded<P>) -> Self {
        Self(Rc::new_cyclic(|me| RefCell::new(Exchange::new(context, loaded, me.clone()))))
    }

    /// A callback inside a callback, of which none is known, lets things pass.
    fn with(&self, f: impl FnOnce(&mut Exchange<P>) -> Action) -> Action {
        self.0.try_borrow_mut().map_or(Action::Continue, |mut exchange| f(&mut exchange))
    }
}

impl<P: Plugin> Context for Handle<P> {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, trailers: usize) {
        if let Ok(mut exchange) = self.0.try_borrow_mut() {
            exchange.call_ended(token, headers, body, trailers);
        }
    }
}

impl<P: Plugin> HttpContext for Handle<P> {
    fn on_http_request_headers(&mut self, _count: usize, end: bool) -> Action {
        self.with(|exchange| {
            exchange.stream = Some(exchange.plugin.open());
            exchange.on_headers(Dir::Request, end)
        })
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        self.with(|exchange| exchange.on_body(Dir::Request, size, end))
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.with(|exchange| exchange.on_trailers(Dir::Request))
    }

    fn on_http_response_headers(&mut self, _count: usize, end: bool) -> Action {
        self.with(|exchange| exchange.on_headers(Dir::Response, end))
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        self.with(|exchange| exchange.on_body(Dir::Response, size, end))
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.with(|exchange| exchange.on_trailers(Dir::Response))
    }
}

/// An exchange. Once the core's stream is gone, everything passes.
pub(crate) struct Exchange<P: Plugin> {
    pub(crate) context: u32,
    pub(crate) me: Weak<RefCell<Self>>,
    pub(crate) plugin: Arc<P>,
    stream: Option<P::Stream>,
    /// The stream is shown nothing any more but this direction's trailers.
    until_trailers: Option<Dir>,
    pub(crate) voice: Arc<Voice>,
    pub(crate) halves: [Half; 2],
    pub(crate) calls: Calls,
    /// Whose headers wait for the plugin's next event.
    pub(crate) signal: Option<Dir>,
    pub(crate) waiting: Waiting<P>,
}

impl<P: Plugin> Exchange<P> {
    fn new(context: u32, loaded: &Loaded<P>, me: Weak<RefCell<Self>>) -> Self {
        Self {
            context,
            me,
            plugin: loaded.plugin.clone(),
            stream: None,
            until_trailers: None,
            voice: loaded.voice.clone(),
            halves: <[Half; 2]>::default(),
            calls: Calls::default(),
            signal: None,
            waiting: loaded.waiting.clone(),
        }
    }

    fn on_headers(&mut self, dir: Dir, end: bool) -> Action {
        if self.passes() {
            return Action::Continue;
        }
        self.half(dir).headers = Headers::Here;
        let mut out = NoBody::default();
        let Some((verdict, calls)) = self.ask(&mut out, |stream, cx| stream.headers(dir, end, cx)) else {
            return Action::Continue;
        };
        self.no_body(&out);
        match self.settle(dir, verdict, calls) {
            // No body callback would ever release headers that end the message.
            OnHeaders::Hold if !end => Action::Pause,
            OnHeaders::Continue | OnHeaders::Hold => {
                self.half(dir).headers = Headers::Gone;
                Action::Continue
            }
            OnHeaders::Wait => {
                self.half(dir).headers = Headers::Waiting;
                Action::Pause
            }
            OnHeaders::Reply(reply) => {
                self.reply(&reply);
                Action::Pause
            }
            OnHeaders::Detach => {
                self.detach();
                Action::Continue
            }
            OnHeaders::UntilTrailers => {
                self.show_only_trailers(dir);
                Action::Continue
            }
        }
    }

    fn on_body(&mut self, dir: Dir, size: usize, end: bool) -> Action {
        if self.passes() {
            return Action::Continue;
        }
        let half = self.half(dir);
        if half.headers == Headers::Waiting {
            // Only where the operator set `allow_on_headers_stop_iteration`: otherwise Envoy waits with the
            // body, too.
            half.body_waits(size, end);
            return Action::Pause;
        }
        match self.data(dir, size, end, Place::Body) {
            Flow::Go => Action::Continue,
            Flow::Stop | Flow::Over => Action::Pause,
        }
    }

    fn on_trailers(&mut self, dir: Dir) -> Action {
        if self.stream.is_none() || self.until_trailers.is_some_and(|only| only != dir) {
            return Action::Continue;
        }
        let half = self.half(dir);
        half.trailers_here = true;
        if half.headers == Headers::Waiting {
            half.unseen.trailers = true;
            return Action::Pause;
        }
        let flow = self.trailers(dir, Place::Body);
        if self.until_trailers.is_some() {
            self.detach();
        }
        match flow {
            Flow::Go => Action::Continue,
            Flow::Stop | Flow::Over => Action::Pause,
        }
    }

    /// Gives the core a chunk, which is all that Envoy's buffer holds: whatever a pause leaves there was
    /// emptied, or is unseen.
    pub(crate) fn data(&mut self, dir: Dir, size: usize, end: bool, place: Place) -> Flow {
        self.half(dir).chunk_came(size);
        let mut charge = crate::memory().account(usize::MAX).charge();
        if charge.grow(size).is_err() {
            return self.fail(dir, 503, "the memory for requests in progress is used up; try again later");
        }
        let chunk = match size {
            0 => None,
            _ => hostcalls::get_buffer(body::body(dir), 0, size).ok().flatten(),
        };
        let slices = [chunk.as_deref().unwrap_or_default()];
        let mut out = BodySink::new(dir, size, self.half(dir).limit(dir, place));
        let asked = self.ask(&mut out, |stream, cx| stream.data(dir, Chunk { slices: &slices, end }, cx));
        let written = out.finish();
        let Some((verdict, calls)) = asked else { return Flow::Go };
        self.no_calls(&calls);
        match verdict {
            OnData::Pass => self.half(dir).answer(Taken::Released),
            OnData::Emit if written.overflowed => {
                self.fail(dir, 500, "the filter emitted more than Envoy's buffer is known to take")
            }
            OnData::Emit => {
                body::empty(dir, written.chunk_left);
                self.half(dir).answer(Taken::Released)
            }
            // Nothing could bring it back: the message would end clean and short.
            OnData::Keep | OnData::Park if end => self.fail(dir, 500, "the filter kept the end of a message"),
            OnData::Keep => {
                body::empty(dir, written.chunk_left);
                self.half(dir).answer(Taken::Kept)
            }
            OnData::Park => {
                body::empty(dir, written.chunk_left);
                self.half(dir).answer(Taken::Parked)
            }
            OnData::Reply(reply) => self.reply_if_possible(dir, &reply),
            OnData::Reset => self.reset(),
            OnData::Detach => {
                let flow = self.half(dir).answer(Taken::Released);
                self.detach();
                flow
            }
        }
    }

    /// Gives the core the trailers.
    pub(crate) fn trailers(&mut self, dir: Dir, place: Place) -> Flow {
        let half = *self.half(dir);
        let (asked, lost) = if half.buffered {
            let mut out = BodySink::new(dir, 0, half.limit(dir, place));
            let asked = self.ask(&mut out, |stream, cx| stream.trailers(dir, cx));
            (asked, out.finish().overflowed)
        } else {
            let mut out = NoBody::default();
            let asked = self.ask(&mut out, |stream, cx| stream.trailers(dir, cx));
            (asked, out.bytes > 0)
        };
        let Some((verdict, calls)) = asked else { return Flow::Go };
        self.no_calls(&calls);
        match verdict {
            OnTrailers::Emit if lost => {
                self.fail(dir, 500, "the filter emitted only when the trailers had come")
            }
            OnTrailers::Continue | OnTrailers::Emit => {
                let half = self.half(dir);
                half.headers = Headers::Gone;
                half.trailers_here = false;
                Flow::Go
            }
            OnTrailers::Reply(reply) => self.reply_if_possible(dir, &reply),
            OnTrailers::Reset => self.reset(),
        }
    }

    /// Asks the core, and applies the operations that it made. `None` if its stream is gone; else the verdict
    /// and the calls that it wants.
    pub(crate) fn ask<T>(
        &mut self,
        out: &mut dyn Sink,
        ask: impl FnOnce(&mut P::Stream, &mut Cx<'_>) -> T,
    ) -> Option<(T, Vec<Call>)> {
        let stream = self.stream.as_mut()?;
        let mut ops = take_ops();
        let view = HostView::new(&self.halves);
        let verdict = ask(stream, &mut Cx { view: &view, ops: &mut ops, out });
        self.voice.apply(&ops, &view);
        let calls = ops.take_calls();
        give_back(ops);
        Some((verdict, calls))
    }

    pub(crate) fn half(&mut self, dir: Dir) -> &mut Half {
        &mut self.halves[dir as usize]
    }

    /// Lets headers that were held go on, and what Envoy buffered with them.
    pub(crate) fn resume(&mut self, dir: Dir) {
        self.half(dir).headers = Headers::Gone;
        // In either case Envoy forgets where the request's maps are.
        self.half(Dir::Request).map_lost = true;
        let _ok = match dir {
            Dir::Request => hostcalls::resume_http_request(),
            Dir::Response => hostcalls::resume_http_response(),
        };
    }

    /// Answers the client instead. The answer passes this filter untouched.
    pub(crate) fn reply(&mut self, reply: &Reply) -> Flow {
        let headers = reply.headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        let body = Some(reply.body.as_slice()).filter(|body| !body.is_empty());
        self.voice.log(Level::Debug, || format!("replied {}: {}", reply.status, reply.details));
        let _ok = hostcalls::send_http_response(reply.status.into(), headers, body);
        self.detach();
        Flow::Over
    }

    /// Cuts the exchange, so that the client sees an error: HTTP/1.1 loses the connection before the end of the
    /// message (Envoy closes it after its `delayed_close_timeout`), HTTP/2 gets RST_STREAM.
    ///
    /// Envoy may die of a response that is closed in its trailers callback. A local reply there, after headers that
    /// have gone out, makes Envoy itself reset the stream.
    pub(crate) fn reset(&mut self) -> Flow {
        let _ok = match self.half(Dir::Response).trailers_here {
            true => hostcalls::send_http_response(502, Vec::new(), None),
            false => hostcalls::reset_http_response(),
        };
        self.detach();
        Flow::Over
    }

    /// Gives up for a reason of the host's own.
    pub(crate) fn fail(&mut self, dir: Dir, status: u16, why: &str) -> Flow {
        self.voice.log(Level::Warn, || format!("gave up on the {dir:?}: {why}"));
        self.reply_if_possible(dir, &Reply::failure(status, "filter_failed", why))
    }

    /// Whether headers and data pass unseen.
    fn passes(&self) -> bool {
        self.stream.is_none() || self.until_trailers.is_some()
    }

    /// Lets headers go on, and what follows them, unseen but for this direction's trailers.
    pub(crate) fn show_only_trailers(&mut self, dir: Dir) {
        self.half(dir).headers = Headers::Gone;
        self.until_trailers = Some(dir);
    }

    /// Drops the core's stream, and with it all that it holds.
    pub(crate) fn detach(&mut self) {
        self.stream = None;
        self.calls = Calls::default();
        self.signal = None;
    }

    /// A reply that comes after response headers would only look like a short answer.
    fn reply_if_possible(&mut self, dir: Dir, reply: &Reply) -> Flow {
        if self.half(Dir::Response).headers == Headers::Gone {
            self.voice.log(Level::Debug, || format!("reset in place of {} for the {dir:?}", reply.status));
            return self.reset();
        }
        self.reply(reply)
    }

    pub(crate) fn no_body(&self, out: &NoBody) {
        if out.bytes > 0 {
            self.voice.dropped(|| format!("{} bytes of body beside headers", out.bytes));
        }
    }

    pub(crate) fn no_calls(&self, calls: &[Call]) {
        if !calls.is_empty() {
            self.voice.dropped(|| format!("{} calls of a stream that does not wait", calls.len()));
        }
    }
}
