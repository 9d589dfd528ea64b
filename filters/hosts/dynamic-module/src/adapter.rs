//! One HTTP exchange: Envoy's hooks in, its return codes out. What is between is the driver's.

use crate::abi::{DataStatus, HeadersStatus, TrailersStatus};
use crate::configured::Configured;
use crate::envoy::body::BeforeTrailers;
use crate::envoy::{self, Envoy};
use crate::proxy::{FilterInEnvoy, ProxyState, WOKEN};
use filter_api::{CallEnd, Dir, Level, Sink, Stream};
use host_driver::{Body, Driver, OnChunk, OnHead, Unseen};
use std::cell::{Cell, RefCell, RefMut};
use std::sync::Arc;

/// One HTTP exchange as Envoy holds it: the module's side of Envoy's filter object.
///
/// The driver is borrowed while it decides. A hook that Envoy calls meanwhile is due to the filter's own reply or reset:
/// it lets the response pass and nothing else. Whatever else may call hooks, such as a resumption, comes after that.
pub(crate) struct Exchange {
    filter: Arc<Configured>,
    driver: RefCell<Driver<Box<dyn Stream>, u64>>,
    /// Why the filter is not here, if it is not.
    missing: Option<&'static str>,
    state: ProxyState,
    /// The last hook, in whichever direction, let things go on.
    went_on: Cell<bool>,
    /// By direction: something is held, so Envoy keeps what is appended now until things go on.
    stopped: [Cell<bool>; 2],
}

impl Exchange {
    /// Opens a filter's state for a new exchange.
    pub(crate) fn open(filter: Arc<Configured>) -> Self {
        let driver = Driver::new(filter.open());
        Self::with(filter, driver, None)
    }

    /// An exchange whose filter could not be opened. Its request is answered with an error.
    pub(crate) fn failed(filter: Arc<Configured>) -> Self {
        Self::with(filter, Driver::default(), Some("the filter could not be opened"))
    }

    fn with(
        filter: Arc<Configured>,
        driver: Driver<Box<dyn Stream>, u64>,
        missing: Option<&'static str>,
    ) -> Self {
        Self {
            filter,
            driver: RefCell::new(driver),
            missing,
            state: ProxyState::default(),
            went_on: Cell::new(false),
            stopped: Default::default(),
        }
    }

    /// Headers have arrived.
    pub(crate) fn headers(&self, envoy: Envoy<'_>, dir: Dir, end: bool) -> HeadersStatus {
        let step = self.driving(dir, OnHead::Pass, OnHead::Over, |driver| {
            if let (Some(why), Dir::Request) = (self.missing, dir) {
                driver.fail(why, self.filter_in(envoy));
            }
            let step = driver.headers(dir, end, self.filter_in(envoy));
            if dir == Dir::Request && !driver.is_through() {
                // It may still answer, when others have changed the headers.
                self.state.note_grpc(envoy);
            }
            step
        });
        self.stopped(dir).set(step != OnHead::Pass);
        // A wait, too, is a plain stop with Envoy buffering what follows. To stop for all would have Envoy
        // call the data and trailers hooks from within the resumption, where they can hold nothing back and
        // what is appended is lost.
        self.noting(step == OnHead::Pass, HeadersStatus::Continue, HeadersStatus::StopIteration)
    }

    /// A chunk of the body has arrived.
    pub(crate) fn data(&self, envoy: Envoy<'_>, dir: Dir, end: bool) -> DataStatus {
        let step = self.on_data(envoy, dir, end, envoy.received(dir));
        self.stopped(dir).set(step != OnChunk::Release);
        let stop =
            if step == OnChunk::Wait { DataStatus::StopAndWatermark } else { DataStatus::StopNoBuffer };
        self.noting(step == OnChunk::Release, DataStatus::Continue, stop)
    }

    /// Trailers have arrived.
    pub(crate) fn trailers(&self, envoy: Envoy<'_>, dir: Dir) -> TrailersStatus {
        // Where nothing is held, Envoy passes on at once what is appended, which may call this
        // filter again. So the bytes wait until the driver has been given back.
        let mut late = Vec::new();
        let held = self.stopped(dir).get();
        let step =
            self.on_trailers(envoy, dir, BeforeTrailers::new(envoy, dir, (!held).then_some(&mut late)));
        let mut on = step == OnHead::Pass;
        self.stopped(dir).set(!on);
        if on && !late.is_empty() {
            let others = envoy.buffered_bytes(dir);
            envoy.buffered(dir).write(&late);
            if others == 0 && envoy.buffered_bytes(dir) > 0 {
                // Nothing is held, but a buffer is left from headers that were: Envoy puts the bytes there and forgets
                // them. A stop, and going on from the event loop, has it send them.
                envoy.schedule(dir as u64);
                on = false;
            }
        }
        self.noting(on, TrailersStatus::Continue, TrailersStatus::StopIteration)
    }

    /// A call has ended. `id` is Envoy's.
    pub(crate) fn call_ended(&self, envoy: Envoy<'_>, id: u64, end: CallEnd) {
        let ended = self.driver().and_then(|mut it| it.call_ended(id, || end, self.filter_in(envoy)));
        if let Some(dir) = ended {
            self.catch_up(envoy, dir);
        }
    }

    /// The event that [`trailers`](Self::trailers) asked for has come, or one of the configuration's.
    pub(crate) fn scheduled(&self, envoy: Envoy<'_>, event: u64) {
        let dir = if event % WOKEN == Dir::Request as u64 { Dir::Request } else { Dir::Response };
        if event < WOKEN {
            self.resume(envoy, dir);
        } else if self.driver().is_some_and(|mut it| it.woken(dir, self.filter_in(envoy))) {
            self.catch_up(envoy, dir);
        }
    }

    /// The stream is complete, whatever its end was.
    pub(crate) fn completed(&self, envoy: Envoy<'_>) {
        if let Some(mut driver) = self.driver() {
            driver.ended(self.filter_in(envoy));
        }
    }

    /// A hook has panicked. The filter's state goes, whatever it is in.
    pub(crate) fn panicked(&self, envoy: Envoy<'_>) {
        if let Some(mut driver) = self.driver() {
            driver.fail("the filter panicked", self.filter_in(envoy));
        }
    }

    fn on_data(&self, envoy: Envoy<'_>, dir: Dir, end: bool, body: impl Body) -> OnChunk {
        self.driving(dir, OnChunk::Release, OnChunk::Over, |driver| {
            driver.data(dir, end, self.filter_in(envoy), body)
        })
    }

    fn on_trailers(&self, envoy: Envoy<'_>, dir: Dir, body: impl Body) -> OnHead {
        self.driving(dir, OnHead::Pass, OnHead::Over, |driver| {
            driver.trailers(dir, self.filter_in(envoy), body)
        })
    }

    /// A wait is over: the filter sees what has come meanwhile, and things go on as it says.
    fn catch_up(&self, envoy: Envoy<'_>, dir: Dir) {
        let unseen = || self.driver().and_then(|mut it| it.unseen(dir));
        while let Some(unseen) = unseen() {
            match unseen {
                Unseen::Data { end } => {
                    let _answers_no_hook = self.on_data(envoy, dir, end, envoy.held(dir));
                }
                Unseen::Trailers => {
                    let _answers_no_hook =
                        self.on_trailers(envoy, dir, BeforeTrailers::new(envoy, dir, None));
                }
            }
        }
        if self.driver().is_some_and(|it| it.may_go_on(dir)) {
            self.resume(envoy, dir);
        }
    }

    /// Has a direction go on after a stop. Envoy calls this filter's hooks from within.
    fn resume(&self, envoy: Envoy<'_>, dir: Dir) {
        if self.state.ended.get() {
            return;
        }
        if self.went_on.get() && envoy::ignores_resumption_after_progress() {
            let why = "Envoy 1.38 cannot resume one direction while the other runs";
            envoy::log(Level::Error, self.filter.name, format_args!("{why}"));
            if let Some(mut driver) = self.driver() {
                driver.reset(self.filter_in(envoy));
            }
            return;
        }
        self.stopped(dir).set(false);
        envoy.resume(dir);
        self.went_on.set(true);
    }

    /// Has the driver decide. Inside a reply or a reset it cannot: then the response passes, and the request stops.
    fn driving<T>(
        &self,
        dir: Dir,
        pass: T,
        over: T,
        decide: impl FnOnce(&mut Driver<Box<dyn Stream>, u64>) -> T,
    ) -> T {
        match self.driver() {
            Some(mut driver) => decide(&mut driver),
            None if dir == Dir::Request && self.state.ended.get() => over,
            None => pass,
        }
    }

    /// The driver, if it is not deciding just now.
    fn driver(&self) -> Option<RefMut<'_, Driver<Box<dyn Stream>, u64>>> {
        self.driver.try_borrow_mut().ok()
    }

    fn filter_in<'a>(&'a self, envoy: Envoy<'a>) -> FilterInEnvoy<'a> {
        FilterInEnvoy::new(envoy, &self.filter, &self.state)
    }

    fn stopped(&self, dir: Dir) -> &Cell<bool> {
        &self.stopped[dir as usize]
    }

    fn noting<S>(&self, on: bool, go_on: S, stop: S) -> S {
        self.went_on.set(on);
        if on { go_on } else { stop }
    }
}
