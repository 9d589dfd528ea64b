//! The rules of the contract, one story each.

#![allow(clippy::unwrap_used)] // A test whose helpers are not marked as such.

mod world;

use filter_api::{
    CallEnd, CallFailure, CallId, CallResponse, Chunk, Cx, Dir, Map, OnData, OnHeaders, OnTrailers, Reply,
    Route, Stream,
};
use host_driver::{Driver, MOST_REFUSED_CALLS, OnChunk, OnHead, Unseen};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use world::{Ended, Piece, World, call};

type Decide<V> = Box<dyn FnMut(&mut Cx<'_>) -> V + Send>;

/// A core that has a decision ready for each call, and lets everything pass after that.
#[derive(Default)]
struct Core {
    headers: VecDeque<Decide<OnHeaders>>,
    data: VecDeque<Decide<OnData>>,
    trailers: VecDeque<Decide<OnTrailers>>,
    /// Which calls have ended, and `u32::MAX` for an event.
    told: Arc<Mutex<Vec<u32>>>,
}

impl Core {
    fn headers(mut self, decide: impl FnMut(&mut Cx<'_>) -> OnHeaders + Send + 'static) -> Self {
        self.headers.push_back(Box::new(decide));
        self
    }

    fn data(mut self, decide: impl FnMut(&mut Cx<'_>) -> OnData + Send + 'static) -> Self {
        self.data.push_back(Box::new(decide));
        self
    }

    fn trailers(mut self, decide: impl FnMut(&mut Cx<'_>) -> OnTrailers + Send + 'static) -> Self {
        self.trailers.push_back(Box::new(decide));
        self
    }

    /// Waits for calls to clusters, numbered from 0.
    fn waits_for(self, clusters: &'static [&'static str]) -> Self {
        self.headers(move |cx| {
            (0..).zip(clusters).for_each(|(id, cluster)| cx.ops.call(call(id, cluster)));
            OnHeaders::Wait
        })
    }

    fn driver(self) -> (Driver<Self, u32>, Arc<Mutex<Vec<u32>>>) {
        let told = self.told.clone();
        (Driver::new(self), told)
    }

    fn decide(&mut self, cx: &mut Cx<'_>) -> OnHeaders {
        self.headers.pop_front().map_or(OnHeaders::Continue, |mut decide| decide(cx))
    }
}

impl Stream for Core {
    fn headers(&mut self, _dir: Dir, _end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        self.decide(cx)
    }

    fn data(&mut self, _dir: Dir, _chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        self.data.pop_front().map_or(OnData::Pass, |mut decide| decide(cx))
    }

    fn trailers(&mut self, _dir: Dir, cx: &mut Cx<'_>) -> OnTrailers {
        self.trailers.pop_front().map_or(OnTrailers::Continue, |mut decide| decide(cx))
    }

    fn call_ended(&mut self, id: CallId, end: CallEnd, cx: &mut Cx<'_>) -> OnHeaders {
        self.told.lock().unwrap().push(id.0);
        assert!(end != CallEnd::Failed(CallFailure::Reset));
        self.decide(cx)
    }

    fn woken(&mut self, cx: &mut Cx<'_>) -> OnHeaders {
        self.told.lock().unwrap().push(u32::MAX);
        self.decide(cx)
    }

    fn ended(&mut self, cx: &mut Cx<'_>) {
        self.told.lock().unwrap().push(ENDED);
        cx.ops.set_header(Map::ResponseHeaders, "late", b"1");
    }
}

/// What [`Core::told`] has of the end of an exchange.
const ENDED: u32 = u32::MAX - 1;

fn answer() -> CallEnd {
    CallEnd::Answered(CallResponse::default())
}

fn seen(told: &Arc<Mutex<Vec<u32>>>) -> Vec<u32> {
    std::mem::take(&mut told.lock().unwrap())
}

#[test]
fn refused_calls_are_told_in_the_order_in_which_they_were_made() {
    let mut world = World::default();
    let core = Core::default().waits_for(&["un", "un", "un"]);
    let (mut driver, told) = core.headers(|_| OnHeaders::Wait).headers(|_| OnHeaders::Wait).driver();
    assert_eq!(driver.headers(Dir::Request, true, world.told()), OnHead::Pass);
    assert_eq!(seen(&told), [0, 1, 2]);
}

#[test]
fn a_core_is_told_once_that_an_exchange_is_over_and_can_change_nothing_any_more() {
    let mut world = World::default();
    let (mut driver, told) = Core::default().waits_for(&["a"]).driver();
    assert_eq!(driver.headers(Dir::Request, true, world.told()), OnHead::Wait);
    driver.ended(world.told());
    driver.ended(world.told());
    assert_eq!((seen(&told), world.dropped), (vec![ENDED], 1));
    assert_eq!(driver.call_ended(0, || panic!("it is not even read"), world.told()), None);
    driver.fail("too late to say", world.told());
    assert_eq!(world.ended, None);
}

#[test]
fn a_core_that_has_answered_or_detached_itself_is_told_nothing_of_the_end() {
    for verdict in [|| OnHeaders::Reply(Reply::new(400, "no")), || OnHeaders::Detach] {
        let mut world = World::default();
        let (mut driver, told) = Core::default().headers(move |_| verdict()).driver();
        let _step = driver.headers(Dir::Request, true, world.told());
        world.ended = None;
        driver.ended(world.told());
        assert!(seen(&told).is_empty());
    }
}

#[test]
fn a_core_that_repeats_a_refused_call_is_answered_with_500_after_sixteen() {
    let mut world = World { events: true, ..World::default() };
    let core = (0..100).fold(Core::default(), |core, _| core.waits_for(&["un"]));
    let (mut driver, told) = core.driver();
    assert_eq!(driver.headers(Dir::Request, true, world.told()), OnHead::Over);
    assert_eq!(seen(&told).len(), MOST_REFUSED_CALLS);
    assert_eq!(world.ended, Some(Ended::Replied(500)));
}

#[test]
fn the_calls_of_a_direction_that_went_on_are_forgotten() {
    let mut world = World::default();
    let core = Core::default().waits_for(&["a", "un"]).headers(|_| OnHeaders::Continue);
    let (mut driver, told) = core.headers(|_| OnHeaders::Wait).driver();
    assert_eq!(driver.headers(Dir::Request, true, world.told()), OnHead::Pass);
    assert_eq!(seen(&told), [1]);
    assert_eq!(driver.call_ended(1, || panic!("it is not even read"), world.told()), None);
    // Nor does the response wait for them.
    assert_eq!(driver.headers(Dir::Response, false, world.told()), OnHead::Over);
    assert_eq!(world.ended, Some(Ended::Replied(500)));
}

#[test]
fn after_a_refused_call_headers_may_wait_for_an_event_where_there_are_events() {
    let mut world = World { events: true, ..World::default() };
    let core = || Core::default().waits_for(&["un"]).headers(|_| OnHeaders::Wait);
    let (mut driver, told) = core().headers(|_| OnHeaders::Wait).driver();
    assert_eq!(driver.headers(Dir::Request, true, world.told()), OnHead::Wait);
    assert!(!driver.woken(Dir::Response, world.told()), "the response does not wait");
    assert!(!driver.woken(Dir::Request, world.told()), "it waits again");
    assert!(driver.woken(Dir::Request, world.told()));
    assert!(driver.may_go_on(Dir::Request));
    assert_eq!(seen(&told), [0, u32::MAX, u32::MAX]);
    assert_eq!(world.waiting, [Dir::Request, Dir::Request]);

    let mut world = World::default();
    let (mut driver, _) = core().driver();
    assert_eq!(driver.headers(Dir::Request, true, world.told()), OnHead::Over);
    assert_eq!(world.ended, Some(Ended::Replied(500)));
}

#[test]
fn headers_that_end_the_message_cannot_be_held() {
    for waits in [false, true] {
        let mut world = World::default();
        let core = if waits { Core::default().waits_for(&["a"]) } else { Core::default() };
        let (mut driver, _) = core.headers(|_| OnHeaders::Hold).driver();
        let head = driver.headers(Dir::Request, true, world.told());
        if waits {
            assert_eq!(head, OnHead::Wait);
            assert_eq!(driver.call_ended(1, answer, world.told()), None);
        }
        assert_eq!(world.ended, Some(Ended::Replied(500)));
    }
}

#[test]
fn a_body_beside_headers_is_dropped_and_counted() {
    let mut world = World::default();
    let (mut driver, _) =
        Core::default().headers(|cx| OnHeaders::Emit(cx.emit(|out| out.write(b"body")))).driver();
    assert_eq!(driver.headers(Dir::Request, false, world.told()), OnHead::Pass);
    assert_eq!(
        (world.dropped, world.log.as_slice()),
        (1, &["Warn dropped: 4 bytes of body beside headers".to_owned()][..])
    );
}

#[test]
fn calls_without_a_wait_are_dropped_and_counted() {
    let mut world = World::default();
    let (mut driver, _) = Core::default()
        .headers(|cx| {
            cx.ops.call(call(0, "a"));
            OnHeaders::Continue
        })
        .data(|cx| {
            cx.ops.call(call(1, "a"));
            OnData::Pass
        })
        .driver();
    assert_eq!(driver.headers(Dir::Request, false, world.told()), OnHead::Pass);
    assert_eq!(
        driver.data(Dir::Request, true, world.told(), Piece::new(b"a", &mut vec![])),
        OnChunk::Release
    );
    assert_eq!((world.dropped, world.calls.len()), (2, 0));
}

#[test]
fn headers_that_have_gone_on_or_have_not_come_are_not_written() {
    let mut world = World::default();
    let (mut driver, _) = Core::default()
        .headers(|cx| {
            cx.ops.set_header(Map::ResponseHeaders, "x-early", b"1");
            cx.ops.set_header(Map::RequestHeaders, "x-now", b"1");
            OnHeaders::Continue
        })
        .data(|cx| {
            cx.ops.set_header(Map::RequestHeaders, "x-late", b"1");
            cx.ops.add_header(Map::RequestHeaders, "x-late", b"1");
            cx.ops.remove_header(Map::RequestHeaders, "x-now");
            cx.ops.set_lb_metadata("late", "1");
            cx.ops.route(Route::Reselect);
            OnData::Pass
        })
        .trailers(|cx| {
            cx.ops.set_header(Map::RequestTrailers, "x-now", b"1");
            OnTrailers::Continue
        })
        .driver();
    assert_eq!(driver.headers(Dir::Request, false, world.told()), OnHead::Pass);
    assert_eq!(
        driver.data(Dir::Request, false, world.told(), Piece::new(b"", &mut vec![])),
        OnChunk::Release
    );
    assert_eq!(driver.trailers(Dir::Request, world.told(), Piece::new(b"", &mut vec![])), OnHead::Pass);
    assert_eq!(world.dropped, 5);
    assert_eq!(world.header(Map::RequestHeaders, "x-now").as_deref(), Some("1"));
    assert_eq!(world.header(Map::RequestTrailers, "x-now").as_deref(), Some("1"));
    assert_eq!(world.selections, 1, "once, for the header that was in time");
}

#[test]
fn everything_that_is_dropped_is_a_warning_and_is_counted() {
    let mut world = World::default();
    let (mut driver, _) = Core::default()
        .headers(|cx| {
            cx.ops.set_header(Map::RequestHeaders, "x-broken", b"1\r\nx-two: 2");
            cx.ops.add_header(Map::RequestHeaders, "", b"1");
            cx.ops.set_property("", b"1");
            OnHeaders::Continue
        })
        .driver();
    assert_eq!(driver.headers(Dir::Request, true, world.told()), OnHead::Pass);
    assert_eq!(world.dropped, 3);
    assert!(world.log.iter().all(|line| line.starts_with("Warn dropped: ")), "{:?}", world.log);
    assert_eq!(world.log.len(), 3);
}

#[test]
fn a_route_is_selected_again_when_request_headers_change_unless_the_core_says_keep() {
    for (route, changes, selections) in [
        (None, true, 1),
        (None, false, 0),
        (Some(Route::Keep), true, 0),
        (Some(Route::Reselect), false, 1),
        (Some(Route::Reselect), true, 1),
    ] {
        let mut world = World::default();
        let (mut driver, _) = Core::default()
            .headers(move |cx| {
                if changes {
                    cx.ops.set_header(Map::RequestHeaders, ":path", b"/new");
                }
                route.into_iter().for_each(|route| cx.ops.route(route));
                OnHeaders::Continue
            })
            .driver();
        assert_eq!(driver.headers(Dir::Request, true, world.told()), OnHead::Pass);
        assert_eq!(world.selections, selections, "{route:?} {changes}");
    }
}

#[test]
fn what_came_while_headers_waited_is_shown_and_then_they_go_on() {
    let mut world = World::default();
    let (mut driver, _) = Core::default()
        .waits_for(&["a"])
        .headers(|_| OnHeaders::Hold)
        .data(|cx| OnData::Emit(cx.emit(|out| out.write(b"DATA"))))
        .driver();
    let mut out = Vec::new();
    assert_eq!(driver.headers(Dir::Request, false, world.told()), OnHead::Wait);
    assert_eq!(driver.data(Dir::Request, false, world.told(), Piece::new(b"da", &mut out)), OnChunk::Wait);
    assert_eq!(driver.data(Dir::Request, false, world.told(), Piece::new(b"ta", &mut out)), OnChunk::Wait);
    assert_eq!(driver.trailers(Dir::Request, world.told(), Piece::new(b"", &mut out)), OnHead::Wait);
    assert_eq!(driver.unseen(Dir::Request), None);
    assert_eq!(driver.call_ended(1, answer, world.told()), Some(Dir::Request));
    assert!(!driver.may_go_on(Dir::Request), "they are held");
    assert_eq!(driver.unseen(Dir::Request), Some(Unseen::Data { end: false }));
    assert_eq!(
        driver.data(Dir::Request, false, world.told(), Piece::new(b"data", &mut out)),
        OnChunk::Release
    );
    assert_eq!(driver.unseen(Dir::Request), Some(Unseen::Trailers));
    assert_eq!(driver.trailers(Dir::Request, world.told(), Piece::new(b"", &mut out)), OnHead::Pass);
    assert_eq!(driver.unseen(Dir::Request), None);
    assert!(driver.may_go_on(Dir::Request));
    assert_eq!(out, b"DATA");
}

#[test]
fn a_reply_after_response_headers_and_every_error_then_is_a_reset() {
    let reply = || OnData::Reply(Reply::new(418, "late"));
    for (decide, held, ended) in [
        (Box::new(move |_: &mut Cx<'_>| reply()) as Decide<OnData>, true, Ended::Replied(418)),
        (Box::new(move |_: &mut Cx<'_>| reply()), false, Ended::Reset),
        (Box::new(|_: &mut Cx<'_>| OnData::Keep), true, Ended::Replied(500)),
        (Box::new(|_: &mut Cx<'_>| OnData::Keep), false, Ended::Reset),
        (Box::new(|_: &mut Cx<'_>| OnData::Reset), true, Ended::Reset),
    ] {
        let mut world = World::default();
        let mut core = Core::default().headers(|_| OnHeaders::Continue);
        core = if held { core.headers(|_| OnHeaders::Hold) } else { core };
        core.data.push_back(decide);
        let (mut driver, _) = core.driver();
        assert_eq!(driver.headers(Dir::Request, true, world.told()), OnHead::Pass);
        let head = driver.headers(Dir::Response, false, world.told());
        assert_eq!(head, if held { OnHead::Hold } else { OnHead::Pass });
        assert_eq!(
            driver.data(Dir::Response, true, world.told(), Piece::new(b"a", &mut vec![])),
            OnChunk::Over
        );
        assert_eq!(world.ended, Some(ended));
    }
}

#[test]
fn bytes_that_have_no_place_are_an_error() {
    let mut world = World::default();
    let (mut driver, _) = Core::default()
        .headers(|_| OnHeaders::Continue)
        .data(|_| OnData::Keep)
        .trailers(|cx| OnTrailers::Emit(cx.emit(|out| out.write(b"kept"))))
        .driver();
    let mut out = Vec::new();
    assert_eq!(driver.headers(Dir::Request, false, world.told()), OnHead::Pass);
    assert_eq!(driver.data(Dir::Request, false, world.told(), Piece::new(b"kept", &mut out)), OnChunk::Keep);
    let nowhere = Piece { can_emit: false, ..Piece::new(b"", &mut out) };
    assert_eq!(driver.trailers(Dir::Request, world.told(), nowhere), OnHead::Over);
    assert_eq!(world.ended, Some(Ended::Replied(500)));
}

#[test]
fn headers_that_wait_go_on_although_the_core_has_detached_itself_in_the_other_direction() {
    let mut world = World::default();
    let core = Core::default().headers(|_| OnHeaders::Continue).waits_for(&["a"]);
    let (mut driver, told) = core.data(|_| OnData::Detach).driver();
    let mut out = Vec::new();
    assert_eq!(driver.headers(Dir::Request, false, world.told()), OnHead::Pass);
    assert_eq!(driver.headers(Dir::Response, false, world.told()), OnHead::Wait);
    assert_eq!(driver.data(Dir::Request, true, world.told(), Piece::new(b"a", &mut out)), OnChunk::Release);
    assert_eq!(driver.data(Dir::Response, true, world.told(), Piece::new(b"b", &mut out)), OnChunk::Wait);
    assert_eq!(driver.call_ended(1, answer, world.told()), Some(Dir::Response));
    assert_eq!(driver.unseen(Dir::Response), None);
    assert!(driver.may_go_on(Dir::Response));
    assert_eq!(seen(&told), Vec::<u32>::new());
}

#[test]
fn until_trailers_shows_nothing_else_and_then_no_more() {
    let mut world = World::default();
    let (mut driver, _) = Core::default()
        .headers(|_| OnHeaders::UntilTrailers)
        .headers(|_| panic!("the response is not shown"))
        .data(|_| panic!("data is not shown"))
        .trailers(|cx| {
            cx.ops.set_header(Map::RequestTrailers, "x-seen", b"1");
            OnTrailers::Continue
        })
        .driver();
    let mut out = Vec::new();
    assert_eq!(driver.headers(Dir::Request, false, world.told()), OnHead::Pass);
    assert_eq!(driver.headers(Dir::Response, false, world.told()), OnHead::Pass);
    assert_eq!(driver.data(Dir::Request, false, world.told(), Piece::new(b"a", &mut out)), OnChunk::Release);
    assert_eq!(driver.trailers(Dir::Request, world.told(), Piece::new(b"", &mut out)), OnHead::Pass);
    assert_eq!(driver.trailers(Dir::Response, world.told(), Piece::new(b"", &mut out)), OnHead::Pass);
    assert_eq!(world.header(Map::RequestTrailers, "x-seen").as_deref(), Some("1"));
}

#[test]
fn who_emits_and_then_decides_otherwise_fails() {
    let emitting = |cx: &mut Cx<'_>| drop(cx.emit(|out| out.write(b"half")));
    let keeping = Core::default().headers(|_| OnHeaders::Continue).data(move |cx| {
        emitting(cx);
        OnData::Keep
    });
    let replying = Core::default().headers(move |cx| {
        emitting(cx);
        OnHeaders::Reply(Reply::new(418, "chosen"))
    });
    for core in [keeping, replying] {
        let mut world = World::default();
        let (mut driver, _) = core.driver();
        let mut out = Vec::new();
        if driver.headers(Dir::Request, false, world.told()) != OnHead::Over {
            let piece = Piece::new(b"whole", &mut out);
            assert_eq!(driver.data(Dir::Request, false, world.told(), piece), OnChunk::Over);
        }
        assert_eq!(world.ended, Some(Ended::Replied(500)));
    }
}
