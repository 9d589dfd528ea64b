//! One HTTP exchange: Envoy's callbacks in, its return codes out. What is between is the driver's.

use crate::body::{BeforeTrailers, Chunk, body};
use crate::calls;
use crate::events::Loaded;
use crate::half::{Half, Place};
use crate::proxy::{Envoy, Surroundings};
use crate::waiting::Wake;
use filter_api::{Dir, Plugin};
use host_driver::{Driver, Maps, OnChunk, OnHead, Unseen};
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
            exchange.driver = Driver::new(exchange.plugin.open());
            exchange.headers(Dir::Request, end)
        })
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        self.with(|exchange| exchange.data(Dir::Request, size, end, Place::Body))
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.with(|exchange| exchange.trailers(Dir::Request, Place::Body))
    }

    fn on_http_response_headers(&mut self, _count: usize, end: bool) -> Action {
        self.with(|exchange| exchange.headers(Dir::Response, end))
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        self.with(|exchange| exchange.data(Dir::Response, size, end, Place::Body))
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.with(|exchange| exchange.trailers(Dir::Response, Place::Body))
    }
}

/// An exchange. Without request headers nothing is driven, and everything passes.
struct Exchange<P: Plugin> {
    plugin: Arc<P>,
    driver: Driver<P::Stream, u32>,
    halves: [Half; 2],
    around: Surroundings,
}

impl<P: Plugin> Exchange<P> {
    fn new(context: u32, loaded: &Loaded<P>, me: Weak<RefCell<Self>>) -> Self {
        let around = Surroundings {
            context,
            me,
            voice: loaded.voice.clone(),
            waiting: loaded.plugin.tick().map(|_| loaded.waiting.clone()),
            request_map_lost: false,
        };
        Self { plugin: loaded.plugin.clone(), driver: Driver::default(), halves: Default::default(), around }
    }

    fn headers(&mut self, dir: Dir, end: bool) -> Action {
        let envoy = Envoy::new(&self.around, self.driver.maps());
        action(self.driver.headers(dir, end, envoy))
    }

    /// Gives the core a chunk, which is all that Envoy's buffer holds: whatever a pause leaves there was
    /// emptied, or is unseen.
    fn data(&mut self, dir: Dir, size: usize, end: bool, place: Place) -> Action {
        let half = &mut self.halves[dir as usize];
        half.chunk_came(size);
        let chunk = Chunk { body: body(dir), size, limit: half.limit(dir, place) };
        let envoy = Envoy::new(&self.around, self.driver.maps());
        let pause = match self.driver.data(dir, end, envoy, chunk) {
            OnChunk::Release => false,
            // Going on releases held headers, so kept bytes stop the stream only while there are some: a pause makes
            // Envoy buffer, under its limit.
            OnChunk::Keep => self.driver.holds_headers(dir),
            OnChunk::Park => true,
            // Only where the operator set `allow_on_headers_stop_iteration`: otherwise Envoy waits with the
            // body, too.
            OnChunk::Wait => {
                half.waits(size);
                true
            }
            OnChunk::Over => return Action::Pause,
        };
        half.pauses(pause);
        if pause { Action::Pause } else { Action::Continue }
    }

    fn trailers(&mut self, dir: Dir, place: Place) -> Action {
        let half = self.halves[dir as usize];
        let buffer = half.is_buffered().then(|| half.limit(dir, place));
        let envoy = Envoy::new(&self.around, self.driver.maps());
        action(self.driver.trailers(dir, envoy, BeforeTrailers { body: body(dir), buffer }))
    }

    /// A call has ended; without headers it failed.
    fn call_ended(&mut self, token: u32, headers: usize, body: usize, trailers: usize) {
        let envoy = Envoy::new(&self.around, self.driver.maps());
        let end = || calls::ended(&self.around.voice, headers, body, trailers);
        if let Some(dir) = self.driver.call_ended(token, end, envoy) {
            self.catch_up(dir);
        }
    }

    /// Headers wait no more: gives the core what Envoy buffered meanwhile, which Envoy itself would pass by this filter,
    /// and has it go on.
    fn catch_up(&mut self, dir: Dir) {
        while let Some(unseen) = self.driver.unseen(dir) {
            let _answers_no_callback = match unseen {
                Unseen::Data { end } => {
                    let size = self.halves[dir as usize].waited();
                    let action = self.data(dir, size, end, Place::AfterWait);
                    // Whatever the verdict: Envoy buffers until the next body callback has answered.
                    self.halves[dir as usize].pauses(true);
                    action
                }
                Unseen::Trailers => self.trailers(dir, Place::AfterWait),
            };
        }
        if self.driver.may_go_on(dir) {
            self.around.request_map_lost = true;
            let _ok = match dir {
                Dir::Request => hostcalls::resume_http_request(),
                Dir::Response => hostcalls::resume_http_response(),
            };
        }
    }
}

/// Envoy has the SDK forget an exchange, in `proxy_on_delete`, as soon as it is over. That serves for `proxy_on_done`, too,
/// which would be one more callback of every exchange. The headers are out of reach.
impl<P: Plugin> Drop for Exchange<P> {
    fn drop(&mut self) {
        self.driver.ended(Envoy::new(&self.around, Maps::default()));
    }
}

impl<P: Plugin> Wake for RefCell<Exchange<P>> {
    fn woken(&self) {
        let Ok(mut exchange) = self.try_borrow_mut() else { return };
        let exchange = &mut *exchange;
        for dir in [Dir::Request, Dir::Response] {
            let envoy = Envoy::in_root_context(&exchange.around, exchange.driver.maps());
            if exchange.driver.woken(dir, envoy) {
                exchange.catch_up(dir);
            }
        }
    }
}

fn action(step: OnHead) -> Action {
    match step {
        OnHead::Pass => Action::Continue,
        OnHead::Hold | OnHead::Wait | OnHead::Over => Action::Pause,
    }
}
