//! Any sequence of callbacks and verdicts, between a simulated proxy and a core that keeps its own promises: it never
//! lets bytes go that it has kept.
//!
//! What must hold: nothing is done after a reply or a reset, and the core is gone then; every kept byte is emitted, in
//! order, or the exchange ends with an error; every wait ends; operations reach only maps that are in the core's hands.

mod world;

use filter_api::{
    CallEnd, CallId, CallResponse, Chunk, Cx, Dir, Map, OnData, OnHeaders, OnTrailers, Reply, Stream,
};
use host_driver::{Driver, OnChunk, OnHead, Unseen};
use proptest::prelude::*;
use std::sync::Arc;
use world::{Ended, Piece, World, call};

const DIRS: [Dir; 2] = [Dir::Request, Dir::Response];

/// Decides by bytes; when they are used up it lets everything pass.
struct Core {
    choices: std::vec::IntoIter<u8>,
    kept: [Vec<u8>; 2],
    calls: u32,
    _alive: Arc<()>,
}

impl Core {
    fn choose(&mut self) -> u8 {
        self.choices.next().unwrap_or(0)
    }

    fn decide(&mut self, cx: &mut Cx<'_>) -> OnHeaders {
        let choice = self.choose();
        operations(choice, cx);
        let holds_bytes = self.kept.iter().any(|kept| !kept.is_empty());
        match choice % 9 {
            1 => OnHeaders::Hold,
            2..=4 => {
                for cluster in ["a", "unknown", "a"]
                    .iter()
                    .cycle()
                    .skip(usize::from(choice))
                    .take(usize::from(choice % 3))
                {
                    cx.ops.call(call(self.calls, cluster));
                    self.calls += 1;
                }
                OnHeaders::Wait
            }
            5 if choice > 200 => OnHeaders::Reply(Reply::new(418, "chosen")),
            6 if !holds_bytes => OnHeaders::Detach,
            7 if !holds_bytes => OnHeaders::UntilTrailers,
            _ => OnHeaders::Continue,
        }
    }
}

/// Some of these are always out of phase.
fn operations(choice: u8, cx: &mut Cx<'_>) {
    for (bit, map) in [Map::RequestHeaders, Map::RequestTrailers, Map::ResponseHeaders, Map::ResponseTrailers]
        .iter()
        .enumerate()
    {
        if choice >> bit & 1 == 1 {
            cx.ops.set_header(*map, "x-a", b"1");
            cx.ops.set_lb_metadata("a", "1");
        }
    }
}

impl Stream for Core {
    fn headers(&mut self, _dir: Dir, _end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        self.decide(cx)
    }

    fn data(&mut self, dir: Dir, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        let choice = self.choose();
        operations(choice, cx);
        let holds_bytes = self.kept.iter().any(|kept| !kept.is_empty());
        let kept = &mut self.kept[dir as usize];
        match choice % 9 {
            1 | 2 => {
                kept.extend(chunk.slices.concat());
                OnData::Keep
            }
            3 => {
                kept.extend(chunk.slices.concat());
                OnData::Park
            }
            4 if choice > 200 => OnData::Reply(Reply::new(418, "chosen")),
            5 if choice > 200 => OnData::Reset,
            6 if !holds_bytes => OnData::Detach,
            7 if kept.is_empty() => OnData::Pass,
            _ => OnData::Emit(cx.emit(|out| {
                out.write(&std::mem::take(kept));
                chunk.slices.iter().for_each(|slice| out.write(slice));
            })),
        }
    }

    fn trailers(&mut self, dir: Dir, cx: &mut Cx<'_>) -> OnTrailers {
        let choice = self.choose();
        operations(choice, cx);
        let kept = &mut self.kept[dir as usize];
        match choice % 9 {
            1 if choice > 200 => OnTrailers::Reply(Reply::new(418, "chosen")),
            2 if choice > 200 => OnTrailers::Reset,
            _ if kept.is_empty() => OnTrailers::Continue,
            _ => OnTrailers::Emit(cx.emit(|out| out.write(&std::mem::take(kept)))),
        }
    }

    fn call_ended(&mut self, _id: CallId, _end: CallEnd, cx: &mut Cx<'_>) -> OnHeaders {
        self.decide(cx)
    }

    fn woken(&mut self, cx: &mut Cx<'_>) -> OnHeaders {
        self.decide(cx)
    }
}

/// A message on its way: what has still to come of it, and what came of it.
#[derive(Clone, Debug)]
struct Message {
    headers_only: bool,
    chunks: Vec<Vec<u8>>,
    trailers: bool,
}

#[derive(Default)]
struct Way {
    arrived: usize,
    /// What the proxy holds because headers wait.
    buffer: Vec<u8>,
    parked: bool,
    /// What went on.
    headers_out: bool,
    out: Vec<u8>,
    finished: bool,
}

struct Simulation {
    world: World,
    driver: Driver<Core, u32>,
    alive: Arc<()>,
    messages: [Message; 2],
    ways: [Way; 2],
    emits_in_trailers: bool,
}

impl Simulation {
    fn new(choices: Vec<u8>, messages: [Message; 2], events: bool, emits_in_trailers: bool) -> Self {
        let alive = Arc::new(());
        let choices = choices.into_iter();
        let core = Core { choices, kept: Default::default(), calls: 0, _alive: alive.clone() };
        let world = World { events, ..World::default() };
        Self {
            world,
            driver: Driver::new(core),
            alive,
            messages,
            ways: Default::default(),
            emits_in_trailers,
        }
    }

    /// The next thing of a message arrives; `false` if there is nothing left, or nothing can come.
    fn arrives(&mut self, dir: Dir) -> bool {
        let (message, index) = (self.messages[dir as usize].clone(), self.ways[dir as usize].arrived);
        let chunks = if message.headers_only { 0 } else { message.chunks.len() };
        let trailers = usize::from(message.trailers && !message.headers_only);
        let request_begun = dir == Dir::Request || self.ways[0].arrived > 0;
        if self.world.ended.is_some() || index > chunks + trailers || !request_begun {
            return false;
        }
        self.ways[dir as usize].arrived += 1;
        match index {
            0 => {
                let step = self.driver.headers(dir, chunks + trailers == 0, self.world.told());
                self.head(dir, step, chunks + trailers == 0);
            }
            _ if index <= chunks => self.chunk(dir, &message.chunks[index - 1], index == chunks + trailers),
            _ => self.trailers(dir),
        }
        true
    }

    fn head(&mut self, dir: Dir, step: OnHead, last: bool) {
        if step == OnHead::Pass {
            self.goes_on(dir);
            self.ways[dir as usize].finished = last;
        }
    }

    fn chunk(&mut self, dir: Dir, bytes: &[u8], end: bool) {
        let mut left = bytes.to_vec();
        let piece = Piece { in_place: true, ..Piece::new(bytes, &mut left) };
        let step = self.driver.data(dir, end, self.world.told(), piece);
        match step {
            OnChunk::Wait => self.ways[dir as usize].buffer.extend_from_slice(bytes),
            OnChunk::Release => {
                self.goes_on(dir);
                self.ways[dir as usize].out.extend(left);
                self.ways[dir as usize].finished = end;
            }
            OnChunk::Keep | OnChunk::Park | OnChunk::Over => {}
        }
        self.ways[dir as usize].parked = step == OnChunk::Park;
    }

    fn trailers(&mut self, dir: Dir) {
        let mut left = Vec::new();
        let can_emit = self.emits_in_trailers || self.ways[dir as usize].parked;
        let piece = Piece { can_emit, ..Piece::new(b"", &mut left) };
        if self.driver.trailers(dir, self.world.told(), piece) == OnHead::Pass {
            self.goes_on(dir);
            self.ways[dir as usize].out.extend(left);
            self.ways[dir as usize].finished = true;
        }
    }

    fn goes_on(&mut self, dir: Dir) {
        self.ways[dir as usize].headers_out = true;
        self.world.answering |= dir == Dir::Response;
    }

    fn call_ends(&mut self, which: usize) -> bool {
        if self.world.ended.is_some() || self.world.calls.is_empty() {
            return false;
        }
        let (call, _) = self.world.calls.swap_remove(which % self.world.calls.len());
        let end = || CallEnd::Answered(CallResponse::default());
        if let Some(dir) = self.driver.call_ended(call, end, self.world.told()) {
            self.catch_up(dir);
        }
        true
    }

    fn event(&mut self) -> bool {
        let waiting = std::mem::take(&mut self.world.waiting);
        let any = !waiting.is_empty();
        for dir in waiting {
            if self.world.ended.is_none() && self.driver.woken(dir, self.world.told()) {
                self.catch_up(dir);
            }
        }
        any
    }

    fn catch_up(&mut self, dir: Dir) {
        while let Some(unseen) = self.driver.unseen(dir) {
            let mut left = Vec::new();
            match unseen {
                Unseen::Data { end } => {
                    let bytes = std::mem::take(&mut self.ways[dir as usize].buffer);
                    let step = self.driver.data(dir, end, self.world.told(), Piece::new(&bytes, &mut left));
                    self.ways[dir as usize].parked = step == OnChunk::Park;
                }
                Unseen::Trailers => {
                    // What is emitted goes to the buffer.
                    let piece = Piece::new(b"", &mut left);
                    let _either_way = self.driver.trailers(dir, self.world.told(), piece);
                }
            }
            self.ways[dir as usize].buffer.extend(left);
        }
        if self.driver.may_go_on(dir) {
            self.goes_on(dir);
            let way = &mut self.ways[dir as usize];
            let buffer = std::mem::take(&mut way.buffer);
            way.out.extend(buffer);
            let message = &self.messages[dir as usize];
            let parts = if message.headers_only {
                1
            } else {
                1 + message.chunks.len() + usize::from(message.trailers)
            };
            way.finished = way.arrived == parts;
        }
    }

    fn check(&self) {
        let core_is_gone = Arc::strong_count(&self.alive) == 1;
        for dir in DIRS {
            let (message, way) = (&self.messages[dir as usize], &self.ways[dir as usize]);
            let whole = if message.headers_only { Vec::new() } else { message.chunks.concat() };
            assert!(whole.starts_with(&way.out), "{dir:?}: other bytes came out: {:?}", way.out);
            if self.world.ended.is_none() {
                assert!(way.headers_out, "{dir:?}: the headers never went on");
                assert!(way.finished, "{dir:?}: the message never ended");
                assert_eq!(way.out, whole, "{dir:?}: bytes are lost");
                assert!(!self.driver.holds_headers(dir), "{dir:?}: the driver still holds the headers");
            }
        }
        match &self.world.ended {
            Some(Ended::Replied(_)) => assert!(!self.world.answering),
            Some(Ended::Reset) | None => {}
        }
        assert!(self.world.ended.is_none() || core_is_gone, "the core outlived the exchange");
        let lines = self.world.log.iter().filter(|line| line.starts_with("Warn dropped")).count();
        assert_eq!(lines, self.world.dropped, "what is dropped is logged and counted");
    }
}

fn message() -> impl Strategy<Value = Message> {
    let chunk = proptest::collection::vec(any::<u8>(), 0..4);
    (any::<bool>(), proptest::collection::vec(chunk, 1..5), any::<bool>())
        .prop_map(|(headers_only, chunks, trailers)| Message { headers_only, chunks, trailers })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_callbacks_and_verdicts_ends_well(
        choices in proptest::collection::vec(any::<u8>(), 0..24),
        request in message(),
        response in message(),
        happenings in proptest::collection::vec(any::<u8>(), 0..24),
        events: bool,
        emits_in_trailers: bool,
    ) {
        let mut simulation = Simulation::new(choices, [request, response], events, emits_in_trailers);
        for happening in happenings {
            match happening % 4 {
                0 => simulation.arrives(Dir::Request),
                1 => simulation.arrives(Dir::Response),
                2 => simulation.call_ends(usize::from(happening)),
                _ => simulation.event(),
            };
        }
        // Everything that can still happen does.
        let mut rounds = 0;
        while simulation.arrives(Dir::Request)
            || simulation.arrives(Dir::Response)
            || simulation.call_ends(0)
            || simulation.event()
        {
            rounds += 1;
            assert!(rounds < 1000, "it never ends");
        }
        simulation.check();
    }
}
