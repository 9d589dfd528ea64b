//! One exchange: a proxy's callbacks in, a core's verdicts out.

use crate::calls::{Calls, MOST_REFUSED_CALLS};
use crate::half::{Half, Headers};
use crate::operations::{self, drop_operation};
use crate::proxy::{Body, Fate, Lost, Maps, Nowhere, Proxy};
use filter_api::{
    Call, CallEnd, Chunk, Cx, Dir, Level, OnData, OnHeaders, OnTrailers, Ops, Reply, Sink, Stream,
};
use std::collections::VecDeque;

/// Why an exchange fails whose core emitted and then did not return the [`Emission`](filter_api::Emission).
const EMITTED_FIRST: &str = "the filter emitted bytes and then decided otherwise";

/// What happens to headers, or to trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum OnHead {
    /// They go on.
    Pass,
    /// They are kept back; data still comes.
    Hold,
    /// They are kept back, and so is all that follows. The host calls the driver for it all the same.
    Wait,
    /// The exchange was answered or reset: nothing goes on.
    Over,
}

/// What happens to a chunk, with which [`Body::show`] has been done already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum OnChunk {
    /// What is in the body goes on, and so do held headers.
    Release,
    /// The core took the bytes. Held headers stay.
    Keep,
    /// The core took the bytes, and will emit a few in the trailers.
    Park,
    /// Headers wait, and the chunk with them: it was not shown.
    Wait,
    /// The exchange was answered or reset: nothing goes on.
    Over,
}

/// What came while headers waited, and is to be given to the driver now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// Data, by [`Driver::data`], in one piece.
    Data {
        /// Nothing follows it, not even trailers.
        end: bool,
    },
    /// Trailers, by [`Driver::trailers`].
    Trailers,
}

/// One exchange of a core's. `C` is the proxy's name for a call under way ([`Proxy::Call`]).
///
/// Without a stream, which is the default, everything passes. That is also so once the core has detached itself.
#[derive(Debug)]
pub struct Driver<S, C> {
    stream: Option<S>,
    /// The client was answered, or the stream reset.
    over: bool,
    /// The stream is shown nothing any more but this direction's trailers.
    until_trailers: Option<Dir>,
    halves: [Half; 2],
    calls: Calls<C>,
}

/// Why an exchange ends before its time.
enum Ending {
    /// The core answers the client.
    Reply(Reply),
    /// The core cuts the stream.
    Reset,
    /// The core did what it must not do.
    Failed(&'static str),
    /// The host cannot go on.
    Lost(Lost),
}

impl<S, C> Default for Driver<S, C> {
    fn default() -> Self {
        Self {
            stream: None,
            over: false,
            until_trailers: None,
            halves: <[Half; 2]>::default(),
            calls: Calls::default(),
        }
    }
}

impl<S: Stream, C: Copy + Eq> Driver<S, C> {
    /// Drives a stream that has just been opened.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self { stream: Some(stream), ..Self::default() }
    }

    /// Headers have arrived. `end` says that neither data nor trailers follow.
    pub fn headers<P: Proxy<Call = C>>(&mut self, dir: Dir, end: bool, proxy: P) -> OnHead {
        if self.must_stop(dir) {
            return OnHead::Over;
        }
        let half = self.half(dir);
        (half.headers, half.headers_only) = (Headers::Here, end);
        if !self.shows_data() {
            self.half(dir).headers = Headers::Gone;
            return OnHead::Pass;
        }
        self.conclude(proxy, OnHead::Over, |driver, proxy| {
            let asked = driver.ask_headers(dir, proxy, |stream, cx| stream.headers(dir, end, cx))?;
            driver.settle(dir, asked, proxy)
        })
    }

    /// A chunk has arrived: new bytes only, whatever the proxy buffers. `end` says that nothing follows, not even
    /// trailers.
    pub fn data<P: Proxy<Call = C>>(&mut self, dir: Dir, end: bool, proxy: P, body: impl Body) -> OnChunk {
        if self.must_stop(dir) {
            return OnChunk::Over;
        }
        if self.half(dir).is_waiting() {
            self.half(dir).unseen_data = Some(end);
            return OnChunk::Wait;
        }
        if !self.shows_data() {
            self.half(dir).headers = Headers::Gone;
            return OnChunk::Release;
        }
        self.conclude(proxy, OnChunk::Over, |driver, proxy| {
            let (verdict, emitted) = driver.ask_body(dir, proxy, body, |stream, slices, cx| {
                let verdict = stream.data(dir, Chunk { slices, end }, cx);
                let fate = match verdict {
                    OnData::Pass | OnData::Detach => Fate::Left,
                    OnData::Emit(_) => Fate::Replaced,
                    OnData::Keep | OnData::Park | OnData::Reply(_) | OnData::Reset => Fate::Dropped,
                };
                (verdict, fate)
            })?;
            match verdict {
                OnData::Reset => Err(Ending::Reset),
                OnData::Pass | OnData::Keep | OnData::Park | OnData::Reply(_) | OnData::Detach if emitted => {
                    Err(Ending::Failed(EMITTED_FIRST))
                }
                OnData::Pass | OnData::Emit(_) => {
                    driver.half(dir).headers = Headers::Gone;
                    Ok(OnChunk::Release)
                }
                // Nothing could bring it back: the message would end clean and short.
                OnData::Keep | OnData::Park if end => {
                    Err(Ending::Failed("the filter kept the end of a message"))
                }
                OnData::Keep => Ok(OnChunk::Keep),
                OnData::Park => Ok(OnChunk::Park),
                OnData::Reply(reply) => Err(Ending::Reply(reply)),
                OnData::Detach => {
                    driver.half(dir).headers = Headers::Gone;
                    driver.stream = None;
                    Ok(OnChunk::Release)
                }
            }
        })
    }

    /// Trailers have arrived. `body` has no bytes, and a sink for those that are to go in front of them.
    pub fn trailers<P: Proxy<Call = C>>(&mut self, dir: Dir, proxy: P, body: impl Body) -> OnHead {
        if self.must_stop(dir) {
            return OnHead::Over;
        }
        if self.half(dir).is_waiting() {
            let half = self.half(dir);
            (half.unseen_trailers, half.trailers_here) = (true, true);
            return OnHead::Wait;
        }
        if !self.shows_trailers(dir) {
            let half = self.half(dir);
            (half.headers, half.trailers_here) = (Headers::Gone, false);
            return OnHead::Pass;
        }
        self.half(dir).trailers_here = true;
        self.conclude(proxy, OnHead::Over, |driver, proxy| {
            let (verdict, emitted) = driver.ask_body(dir, proxy, body, |stream, _none, cx| {
                let verdict = stream.trailers(dir, cx);
                let fate = match verdict {
                    OnTrailers::Continue => Fate::Left,
                    OnTrailers::Emit(_) => Fate::Replaced,
                    OnTrailers::Reply(_) | OnTrailers::Reset => Fate::Dropped,
                };
                (verdict, fate)
            })?;
            match verdict {
                OnTrailers::Reset => Err(Ending::Reset),
                OnTrailers::Continue | OnTrailers::Reply(_) if emitted => Err(Ending::Failed(EMITTED_FIRST)),
                OnTrailers::Continue | OnTrailers::Emit(_) => {
                    let half = driver.half(dir);
                    (half.headers, half.trailers_here) = (Headers::Gone, false);
                    if driver.until_trailers.is_some() {
                        // It was shown them as the last thing.
                        driver.stream = None;
                    }
                    Ok(OnHead::Pass)
                }
                OnTrailers::Reply(reply) => Err(Ending::Reply(reply)),
            }
        })
    }

    /// A call has ended; `end` is asked only if it is known. Where the result names a direction, its headers wait no
    /// more: the host gives the driver what is [unseen](Self::unseen), and then has that direction
    /// [go on](Self::may_go_on).
    #[must_use]
    pub fn call_ended<P: Proxy<Call = C>>(
        &mut self,
        call: C,
        end: impl FnOnce() -> CallEnd,
        proxy: P,
    ) -> Option<Dir> {
        let (id, dir) = self.calls.ended(call)?;
        let end = end();
        self.answered(dir, proxy, |stream, cx| stream.call_ended(id, end, cx)).then_some(dir)
    }

    /// The configuration has had an event. Where the result is `true`, headers waited for it and no longer do, as with
    /// [`call_ended`](Self::call_ended).
    #[must_use]
    pub fn woken<P: Proxy<Call = C>>(&mut self, dir: Dir, proxy: P) -> bool {
        self.half(dir).headers == Headers::Waiting { for_event: true }
            && self.answered(dir, proxy, |stream, cx| stream.woken(cx))
    }

    /// The exchange is over, and the proxy calls nothing else of it.
    pub fn ended<P: Proxy<Call = C>>(&mut self, mut proxy: P) {
        // A core that fails now changes nothing for the client.
        self.over = true;
        self.calls.forget_all();
        let Some(mut stream) = self.stream.take() else { return };
        let (mut ops, mut nowhere) = (operations::take(), Nowhere::default());
        stream.ended(&mut Cx::new(proxy.view(), &mut ops, &mut nowhere));
        let calls = applied(ops, Dir::Response, Maps::default(), &mut proxy);
        drop_calls(&calls, &mut proxy);
    }

    /// What came while headers waited. Each is told once: the host gives it to the driver and asks again.
    pub fn unseen(&mut self, dir: Dir) -> Option<Unseen> {
        if self.over || self.half(dir).is_waiting() {
            return None;
        }
        if let Some(end) = self.half(dir).unseen_data.take()
            && self.shows_data()
        {
            return Some(Unseen::Data { end });
        }
        std::mem::take(&mut self.half(dir).unseen_trailers).then_some(Unseen::Trailers)
    }

    /// Whether a direction may go on whose headers waited, once nothing is unseen: its headers are held no longer.
    #[must_use]
    pub fn may_go_on(&self, dir: Dir) -> bool {
        !self.over && self.halves[dir as usize].headers == Headers::Gone
    }

    /// Whether headers of a direction are held back, for data or for a call.
    #[must_use]
    pub fn holds_headers(&self, dir: Dir) -> bool {
        self.halves[dir as usize].holds_headers()
    }

    /// Whether the core is shown nothing any more.
    #[must_use]
    pub fn is_through(&self) -> bool {
        self.stream.is_none()
    }

    /// Which header maps are in the filter's hands.
    #[must_use]
    pub fn maps(&self) -> Maps {
        let mut maps = Maps::default();
        for dir in [Dir::Request, Dir::Response] {
            let half = &self.halves[dir as usize];
            maps.set(dir.headers(), half.holds_headers());
            maps.set(dir.trailers(), half.trailers_here);
        }
        maps
    }

    /// Gives up for a reason of the host's own: the client is answered with a 500, or cut off if an answer has begun.
    pub fn fail<P: Proxy<Call = C>>(&mut self, why: &'static str, proxy: P) {
        self.end(Ending::Failed(why), proxy);
    }

    /// Resets the stream for a reason of the host's own.
    pub fn reset<P: Proxy<Call = C>>(&mut self, proxy: P) {
        self.end(Ending::Reset, proxy);
    }

    /// The core decides on headers that have waited; says whether they no longer wait.
    fn answered<P: Proxy<Call = C>>(
        &mut self,
        dir: Dir,
        proxy: P,
        call: impl FnOnce(&mut S, &mut Cx<'_>) -> OnHeaders,
    ) -> bool {
        if self.over {
            return false;
        }
        let step = self.conclude(proxy, OnHead::Over, |driver, proxy| {
            let asked = driver.ask_headers(dir, proxy, call)?;
            driver.settle(dir, asked, proxy)
        });
        matches!(step, OnHead::Pass | OnHead::Hold)
    }

    /// Does what a verdict on headers says. Calls that cannot be started have ended at once, in the order in which they
    /// were made, which makes a new verdict.
    fn settle<P: Proxy<Call = C>>(
        &mut self,
        dir: Dir,
        (mut verdict, mut calls): (OnHeaders, Vec<Call>),
        proxy: &mut P,
    ) -> Result<OnHead, Ending> {
        let mut refused = VecDeque::new();
        for told in 0.. {
            if !matches!(verdict, OnHeaders::Wait) {
                self.calls.forget(dir);
                drop_calls(&calls, proxy);
                return self.decide(dir, verdict);
            }
            for call in calls {
                match proxy.call(&call) {
                    Ok(began) => self.calls.began(began, call.id, dir),
                    Err(why) => refused.push_back((call.id, why)),
                }
            }
            let Some((id, why)) = refused.pop_front() else { break };
            if told == MOST_REFUSED_CALLS {
                return Err(Ending::Failed("the filter repeated calls that could not be made"));
            }
            let end = CallEnd::Failed(why);
            (verdict, calls) = self.ask_headers(dir, proxy, |stream, cx| stream.call_ended(id, end, cx))?;
        }
        let for_event = !self.calls.any(dir);
        if for_event && !proxy.wait_for_event(dir) {
            return Err(Ending::Failed("the filter returned Wait without a pending call"));
        }
        self.half(dir).headers = Headers::Waiting { for_event };
        Ok(OnHead::Wait)
    }

    /// Does what a verdict on headers says that does not wait.
    fn decide(&mut self, dir: Dir, verdict: OnHeaders) -> Result<OnHead, Ending> {
        // Of a stream that is shown no data, none would ever release them.
        let no_data = self.until_trailers.is_some();
        let half = &mut self.halves[dir as usize];
        match verdict {
            // `settle` has dealt with every wait.
            OnHeaders::Hold | OnHeaders::Wait if half.headers_only || no_data => {
                return Err(Ending::Failed("the filter held headers that no data follows"));
            }
            OnHeaders::Hold | OnHeaders::Wait => {
                half.headers = Headers::Here;
                return Ok(OnHead::Hold);
            }
            OnHeaders::Reply(reply) => return Err(Ending::Reply(reply)),
            OnHeaders::Continue | OnHeaders::Emit(_) => {}
            OnHeaders::Detach => self.stream = None,
            OnHeaders::UntilTrailers => self.until_trailers = Some(dir),
        }
        half.headers = Headers::Gone;
        Ok(OnHead::Pass)
    }

    /// Has the core decide on headers. Only a message without a body can be given one.
    fn ask_headers<P: Proxy<Call = C>>(
        &mut self,
        dir: Dir,
        proxy: &mut P,
        call: impl FnOnce(&mut S, &mut Cx<'_>) -> OnHeaders,
    ) -> Result<(OnHeaders, Vec<Call>), Ending> {
        let maps = self.prepared(proxy);
        // A stream that detached itself in one direction while headers of the other waited.
        let Some(stream) = &mut self.stream else { return Ok((OnHeaders::Continue, Vec::new())) };
        let mut nowhere = Nowhere::default();
        let mut beside = self.halves[dir as usize].headers_only.then(|| proxy.beside(dir)).flatten();
        let out: &mut dyn Sink = match &mut beside {
            Some(beside) => beside,
            None => &mut nowhere,
        };
        let mut ops = operations::take();
        let mut cx = Cx::new(proxy.view(), &mut ops, out);
        let verdict = call(stream, &mut cx);
        let kept_its_word = !cx.emits() || matches!(verdict, OnHeaders::Emit(_));
        let calls = applied(ops, dir, maps, proxy);
        if nowhere.bytes > 0 {
            drop_operation(proxy, format_args!("{} bytes of body beside headers", nowhere.bytes));
        }
        if kept_its_word { Ok((verdict, calls)) } else { Err(Ending::Failed(EMITTED_FIRST)) }
    }

    /// Has the core decide on a body, or on what is in front of trailers; also says whether it emitted.
    fn ask_body<P: Proxy<Call = C>, V>(
        &mut self,
        dir: Dir,
        proxy: &mut P,
        body: impl Body,
        call: impl FnOnce(&mut S, &[&[u8]], &mut Cx<'_>) -> (V, Fate),
    ) -> Result<(V, bool), Ending> {
        let maps = self.prepared(proxy);
        // The callers have seen that it is there.
        let Some(stream) = &mut self.stream else { return Err(Ending::Failed("the filter is gone")) };
        let mut ops = operations::take();
        let shown = body.show(|slices, out| {
            let mut cx = Cx::new(proxy.view(), &mut ops, out);
            let (verdict, fate) = call(stream, slices, &mut cx);
            ((verdict, cx.emits()), fate)
        });
        let calls = applied(ops, dir, maps, proxy);
        drop_calls(&calls, proxy);
        shown.map_err(Ending::Lost)
    }

    fn prepared<P: Proxy<Call = C>>(&self, proxy: &mut P) -> Maps {
        let mut maps = self.maps();
        proxy.prepare(&mut maps);
        maps
    }

    /// Runs a step, and ends the exchange if that is what it comes to; then the result is `over`.
    fn conclude<P: Proxy<Call = C>, T>(
        &mut self,
        mut proxy: P,
        over: T,
        step: impl FnOnce(&mut Self, &mut P) -> Result<T, Ending>,
    ) -> T {
        step(self, &mut proxy).unwrap_or_else(|ending| {
            self.end(ending, proxy);
            over
        })
    }

    /// Ends the exchange. A reply that came after response headers would only look like a short answer.
    fn end<P: Proxy<Call = C>>(&mut self, ending: Ending, mut proxy: P) {
        if self.over {
            return;
        }
        self.over = true;
        self.stream = None;
        self.calls.forget_all();
        let reply = match ending {
            Ending::Reset => return proxy.reset(),
            Ending::Reply(reply) => reply,
            Ending::Failed(why) => {
                proxy.log(Level::Error, format_args!("{why}"));
                Reply::failure(500, "filter_failed", why)
            }
            Ending::Lost(Lost { status, why }) => {
                proxy.log(Level::Warn, format_args!("{why}"));
                Reply::failure(status, "filter_failed", why)
            }
        };
        let (status, details) = (reply.status, reply.details);
        if self.half(Dir::Response).headers == Headers::Gone {
            proxy.log(Level::Debug, format_args!("reset in place of {status} ({details})"));
            proxy.reset();
        } else {
            proxy.log(Level::Debug, format_args!("replied {status}: {details}"));
            proxy.reply(&reply);
        }
    }

    /// Whether what arrives must not go on. A response may be the very one that ended the exchange.
    fn must_stop(&self, dir: Dir) -> bool {
        self.over && dir == Dir::Request
    }

    /// Whether the core is shown headers and data.
    fn shows_data(&self) -> bool {
        self.stream.is_some() && self.until_trailers.is_none()
    }

    fn shows_trailers(&self, dir: Dir) -> bool {
        self.stream.is_some() && self.until_trailers.is_none_or(|only| only == dir)
    }

    fn half(&mut self, dir: Dir) -> &mut Half {
        &mut self.halves[dir as usize]
    }
}

/// Applies operations, and returns the calls among them.
fn applied<P: Proxy>(mut ops: Ops, dir: Dir, maps: Maps, proxy: &mut P) -> Vec<Call> {
    operations::apply(&ops, dir, maps, proxy);
    let calls = ops.take_calls();
    operations::give_back(ops);
    calls
}

fn drop_calls<P: Proxy>(calls: &[Call], proxy: &mut P) {
    if !calls.is_empty() {
        drop_operation(proxy, format_args!("{} calls of a stream that does not wait", calls.len()));
    }
}
