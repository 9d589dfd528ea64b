//! Calls that headers wait for.

use crate::apply::Voice;
use crate::body::NoBody;
use crate::exchange::Exchange;
use crate::half::{Flow, Headers, Place};
use filter_api::{
    Call, CallEnd, CallFailure, CallId, CallResponse, Dir, Level, OnHeaders, Plugin, Reply, Stream,
};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType};
use std::collections::VecDeque;

/// So many calls in a row may be refused: a core that made the refused call again and again would otherwise
/// hang the worker.
const MOST_REFUSED_CALLS: usize = 16;

/// The calls of an exchange that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    under_way: Vec<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    token: u32,
    id: CallId,
    dir: Dir,
}

impl<P: Plugin> Exchange<P> {
    /// Starts the calls of a verdict. Those that cannot be started have ended at once, which makes a new
    /// verdict; what comes out is the last one, and `Wait` only while a call is under way.
    pub(crate) fn settle(&mut self, dir: Dir, verdict: OnHeaders, calls: Vec<Call>) -> OnHeaders {
        let (mut verdict, mut calls) = (verdict, calls);
        let mut refused = VecDeque::new();
        let mut told = 0;
        loop {
            if !matches!(verdict, OnHeaders::Wait) {
                self.no_calls(&calls);
                self.calls.under_way.retain(|call| call.dir != dir);
                return verdict;
            }
            for call in std::mem::take(&mut calls) {
                match self.voice.dispatch(&call) {
                    Ok(token) => self.calls.under_way.push(UnderWay { token, id: call.id, dir }),
                    Err(why) => refused.push_back((call.id, why)),
                }
            }
            let Some((id, why)) = refused.pop_front() else { break };
            told += 1;
            if told > MOST_REFUSED_CALLS {
                break;
            }
            match self.tell(id, CallEnd::Failed(why)) {
                Some(next) => (verdict, calls) = next,
                None => return OnHeaders::Continue,
            }
        }
        if told <= MOST_REFUSED_CALLS && self.calls.under_way.iter().any(|call| call.dir == dir) {
            return OnHeaders::Wait;
        }
        if told == 0 && self.waits_for_event(dir) {
            return OnHeaders::Wait;
        }
        let why = "the filter returned Wait without a pending call";
        self.voice.log(Level::Error, || format!("gave up on the {dir:?}: {why}"));
        OnHeaders::Reply(Reply::failure(500, "filter_failed", why))
    }

    /// A call has ended; without headers it failed.
    pub(crate) fn call_ended(&mut self, token: u32, headers: usize, body: usize, trailers: usize) {
        let Some(index) = self.calls.under_way.iter().position(|call| call.token == token) else { return };
        let UnderWay { id, dir, .. } = self.calls.under_way.remove(index);
        let Some((verdict, calls)) = self.tell(id, ended(&self.voice, headers, body, trailers)) else {
            return;
        };
        let verdict = self.settle(dir, verdict, calls);
        self.go_on(dir, verdict);
    }

    /// Does what a verdict on headers says that have waited.
    pub(crate) fn go_on(&mut self, dir: Dir, verdict: OnHeaders) {
        match verdict {
            OnHeaders::Continue => {
                self.half(dir).headers = Headers::Gone;
                if self.catch_up(dir) != Flow::Over {
                    self.resume(dir);
                }
            }
            OnHeaders::Hold => {
                self.half(dir).headers = Headers::Here;
                if self.catch_up(dir) == Flow::Go {
                    self.resume(dir);
                }
            }
            OnHeaders::Wait => {}
            OnHeaders::Reply(reply) => {
                self.reply(&reply);
            }
            OnHeaders::Detach => {
                self.detach();
                self.resume(dir);
            }
            OnHeaders::UntilTrailers => {
                self.show_only_trailers(dir);
                let unseen = std::mem::take(&mut self.half(dir).unseen);
                if unseen.trailers {
                    let flow = self.trailers(dir, Place::CallEnded);
                    self.detach();
                    if flow == Flow::Over {
                        return;
                    }
                }
                self.resume(dir);
            }
        }
    }

    fn tell(&mut self, id: CallId, end: CallEnd) -> Option<(OnHeaders, Vec<Call>)> {
        let mut out = NoBody::default();
        let told = self.ask(&mut out, |stream, cx| stream.call_ended(id, end, cx));
        self.no_body(&out);
        told
    }

    /// Gives the core what Envoy buffered while headers waited; Envoy itself would pass it by this filter.
    /// Stops if nothing came.
    fn catch_up(&mut self, dir: Dir) -> Flow {
        let unseen = std::mem::take(&mut self.half(dir).unseen);
        let mut flow = Flow::Stop;
        if unseen.data {
            flow = self.data(dir, unseen.size, unseen.end, Place::CallEnded);
            // Whatever the verdict: Envoy buffers until the next body callback has answered.
            self.half(dir).buffered = true;
        }
        if unseen.trailers && flow != Flow::Over {
            flow = self.trailers(dir, Place::CallEnded);
        }
        flow
    }
}

/// How a call ended whose callback is running; without headers it failed.
pub(crate) fn ended(voice: &Voice, headers: usize, body: usize, trailers: usize) -> CallEnd {
    let mut charge = crate::memory().account(usize::MAX).charge();
    let fits = charge.grow(body).is_ok();
    match headers {
        0 => CallEnd::Failed(CallFailure::Reset),
        _ if !fits => {
            voice.log(Level::Warn, || format!("no memory for the {body} bytes of an answer"));
            CallEnd::Failed(CallFailure::Reset)
        }
        _ => CallEnd::Answered(response(body, trailers)),
    }
}

fn response(body: usize, trailers: usize) -> CallResponse {
    let map = |map| {
        let pairs = hostcalls::get_map_bytes(map).unwrap_or_default();
        pairs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect()
    };
    let body = match body {
        0 => None,
        _ => hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body).ok().flatten(),
    };
    CallResponse {
        headers: map(MapType::HttpCallResponseHeaders),
        body: body.unwrap_or_default(),
        trailers: if trailers == 0 { Vec::new() } else { map(MapType::HttpCallResponseTrailers) },
    }
}
