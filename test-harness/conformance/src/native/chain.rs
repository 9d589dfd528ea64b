//! Envoy's filter manager, as far as one filter can tell (`source/common/http/filter_manager.cc`), for the statuses
//! that the module returns. A status that is not modelled fails the test: Envoy has more of them, but a change that has
//! the module return one must find out first what Envoy does, and compare.
//!
//! No borrow of the state is held while a hook runs, because hooks call back.

use super::buffer::Buffer;
use super::state::{Half, Phase, State, local_reply};
use proxy_wasm_emulator::{Direction, HeaderMap};
use std::cell::RefCell;

/// The filter's hooks, in one stream.
pub(crate) trait Hooks {
    /// The exchange.
    fn state(&self) -> &RefCell<State>;
    /// Calls a headers hook and returns its status.
    fn on_headers(&self, direction: Direction, end: bool) -> u32;
    /// Calls a body hook.
    fn on_data(&self, direction: Direction, end: bool) -> u32;
    /// Calls a trailers hook.
    fn on_trailers(&self, direction: Direction) -> u32;
}

/// The sender's headers arrive.
pub(crate) fn headers(hooks: &impl Hooks, direction: Direction, headers: HeaderMap, end: bool) {
    {
        let mut state = hooks.state().borrow_mut();
        if state.over {
            return;
        }
        if direction == Direction::Request {
            state.from_grpc = headers.get("content-type").is_some_and(testkit::is_grpc);
        }
        let half = state.half(direction);
        half.headers = Some(headers);
        half.complete = end;
    }
    let status = run(hooks, direction, Phase::Headers, || hooks.on_headers(direction, end));
    let mut state = hooks.state().borrow_mut();
    if state.over {
        return;
    }
    match status {
        0 => {
            release_headers(&mut state, direction);
            release_buffered(&mut state, direction);
        }
        1 => state.half(direction).stopped = true,
        other => panic!("a headers hook returned {other}"),
    }
}

/// A piece of the sender's body arrives.
pub(crate) fn data(hooks: &impl Hooks, direction: Direction, bytes: &[u8], end: bool) {
    {
        let mut state = hooks.state().borrow_mut();
        if state.over {
            return;
        }
        let half = state.half(direction);
        half.complete |= end;
        half.received = Some(Buffer::new(bytes));
    }
    let status = run(hooks, direction, Phase::Data, || hooks.on_data(direction, end));
    let mut state = hooks.state().borrow_mut();
    let half = state.half(direction);
    let received = half.received.take().unwrap_or_default();
    after_data(&mut state, direction, status, received);
}

/// The sender's trailers arrive.
pub(crate) fn trailers(hooks: &impl Hooks, direction: Direction, trailers: HeaderMap) {
    {
        let mut state = hooks.state().borrow_mut();
        if state.over {
            return;
        }
        let half = state.half(direction);
        half.complete = true;
        half.trailers = Some(trailers);
    }
    let status = run(hooks, direction, Phase::Trailers, || hooks.on_trailers(direction));
    let mut state = hooks.state().borrow_mut();
    if state.over {
        return;
    }
    match status {
        0 if state.half(direction).stopped => release(&mut state, direction),
        0 => release_trailers(&mut state, direction),
        1 => state.half(direction).stopped = true,
        other => panic!("a trailers hook returned {other}"),
    }
}

/// The module asks to go on after a stop.
pub(crate) fn resume(hooks: &impl Hooks, direction: Direction) {
    let mut state = hooks.state().borrow_mut();
    if !state.over && state.half(direction).stopped {
        release(&mut state, direction);
    }
}

/// Bytes are appended to what Envoy buffers.
pub(crate) fn append_buffered(state: &mut State, direction: Direction, bytes: &[u8]) {
    let half = state.half(direction);
    // In a trailers hook with nothing held the next filter gets it at once, unless there is a buffer from before:
    // there it stays, and nothing sends it.
    let inline = half.phase == Some(Phase::Trailers) && !half.stopped;
    if inline && half.buffered.is_none() {
        if !bytes.is_empty() {
            half.out.chunks.push(bytes.to_vec());
        }
        return;
    }
    half.buffered.get_or_insert_default().append(bytes);
}

/// The upstream resets its stream.
pub(crate) fn upstream_reset(hooks: &impl Hooks) {
    let details = "upstream_reset_before_response_started{remote_reset}";
    let body = b"upstream connect error or disconnect/reset before headers. reset reason: remote reset";
    {
        let mut state = hooks.state().borrow_mut();
        let begun = state.half(Direction::Response).headers.is_some();
        if begun {
            // Headers that a filter holds are replaced without asking any filter.
            state.reply(503, HeaderMap::new(), body, details);
            return;
        }
        state.details = Some(details.to_owned());
    }
    headers(hooks, Direction::Response, local_reply(503, HeaderMap::new(), body), false);
    data(hooks, Direction::Response, body, true);
}

fn run(hooks: &impl Hooks, direction: Direction, phase: Phase, hook: impl FnOnce() -> u32) -> u32 {
    {
        let mut state = hooks.state().borrow_mut();
        if direction == Direction::Response && state.replied {
            return 0;
        }
        state.half(direction).phase = Some(phase);
    }
    let status = hook();
    let mut state = hooks.state().borrow_mut();
    state.half(direction).phase = None;
    status
}

fn after_data(state: &mut State, direction: Direction, status: u32, received: Buffer) {
    if state.over {
        return;
    }
    let half = state.half(direction);
    match status {
        0 if half.stopped => {
            let buffered = half.buffered.get_or_insert_default();
            received.pieces().for_each(|piece| buffered.append(piece));
            release(state, direction);
        }
        0 => {
            push(half, &received);
            end_if_complete(state, direction);
        }
        2 => {
            half.stopped = true;
            let buffered = half.buffered.get_or_insert_default();
            received.pieces().for_each(|piece| buffered.append(piece));
        }
        3 => half.stopped = true,
        other => panic!("a body hook returned {other}"),
    }
}

/// Lets everything that is held go on (`commonContinue`).
fn release(state: &mut State, direction: Direction) {
    state.half(direction).stopped = false;
    release_headers(state, direction);
    release_buffered(state, direction);
    if state.half(direction).trailers.is_some() {
        release_trailers(state, direction);
    }
}

fn release_headers(state: &mut State, direction: Direction) {
    let half = state.half(direction);
    if half.out.headers.is_none() {
        half.out.headers = half.headers.clone();
    }
    end_if_complete(state, direction);
}

fn release_buffered(state: &mut State, direction: Direction) {
    let half = state.half(direction);
    if let Some(buffered) = half.buffered.as_mut().map(std::mem::take) {
        push(half, &buffered);
    }
    end_if_complete(state, direction);
}

fn release_trailers(state: &mut State, direction: Direction) {
    let half = state.half(direction);
    half.out.trailers = half.trailers.clone();
    end_if_complete(state, direction);
}

/// Ends what came out once nothing more can come.
fn end_if_complete(state: &mut State, direction: Direction) {
    let half = state.half(direction);
    let holds = half.buffered.as_ref().is_some_and(|buffered| buffered.len() > 0);
    let trailers_wait = half.trailers.is_some() && half.out.trailers.is_none();
    half.out.ended |= half.complete && !holds && !trailers_wait;
    if direction == Direction::Response && half.out.ended {
        state.over = true;
    }
}

fn push(half: &mut Half, bytes: &Buffer) {
    let bytes = bytes.to_vec();
    if !bytes.is_empty() {
        half.out.chunks.push(bytes);
    }
}
