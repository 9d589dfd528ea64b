//! One HTTP exchange: the state machine that hosts drive.
//!
//! The request half ([`request_half`]) matches a row, reads the body through a codec and emits one gRPC message as soon
//! as the body is complete (never later: a proxy-wasm host cannot add a body once the request has trailers). The
//! response half ([`response_half`]) reads one gRPC message and its status and makes the answer.

mod request_half;
mod request_headers;
mod response_half;

use crate::metrics;
use crate::settings::Settings;
use filter_api::{
    Account, CallEnd, CallId, Caps, Chunk, ConfigError, Cx, Dir, Memory, Metric, OnData, OnHeaders,
    OnTrailers, Plugin, Stream,
};
use request_half::Reading;
use response_half::{Holding, ResponseHalf, Terms};
use std::sync::Arc;

/// The filter: KServe v2 JSON over HTTP in, gRPC out, and back.
#[derive(Debug)]
pub struct KserveTranscoder {
    settings: Settings,
    caps: Caps,
    account: Account,
}

impl Plugin for KserveTranscoder {
    type Stream = Exchange;

    const NAME: &'static str = "kserve_transcoder";

    const METRICS: &'static [Metric] = metrics::ALL;

    fn configure(json: &[u8], caps: Caps, memory: Arc<Memory>) -> Result<Self, ConfigError> {
        let settings = Settings::read(json, caps)?;
        Ok(Self { account: memory.account(settings.memory_budget_bytes), settings, caps })
    }

    fn open(self: &Arc<Self>) -> Exchange {
        Exchange {
            plugin: self.clone(),
            reading: Reading::Nothing,
            taken: 0,
            sent: false,
            head: false,
            response: ResponseHalf::Done,
        }
    }
}

/// The state of one exchange.
#[derive(Debug)]
pub struct Exchange {
    plugin: Arc<KserveTranscoder>,
    reading: Reading,
    /// How much of the request's body has been read, in bytes.
    taken: usize,
    /// The message has gone out, and is counted as transcoded.
    sent: bool,
    /// The request is a HEAD, which is answered without a body.
    head: bool,
    response: ResponseHalf,
}

impl Stream for Exchange {
    fn headers(&mut self, dir: Dir, end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        match dir {
            Dir::Request => self.request_headers(end, cx),
            Dir::Response => self.response_headers(end, cx),
        }
    }

    fn data(&mut self, dir: Dir, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        match dir {
            Dir::Request => self.request_data(chunk, cx),
            Dir::Response => self.response.data(chunk, cx),
        }
    }

    fn trailers(&mut self, dir: Dir, cx: &mut Cx<'_>) -> OnTrailers {
        match dir {
            Dir::Request => self.request_trailers(cx),
            Dir::Response => self.response.trailers(cx),
        }
    }

    fn call_ended(&mut self, _id: CallId, end: CallEnd, cx: &mut Cx<'_>) -> OnHeaders {
        let ResponseHalf::Expected(Some(codec)) = std::mem::replace(&mut self.response, ResponseHalf::Done)
        else {
            return OnHeaders::Continue;
        };
        let answer = response_half::of_call(codec, end, self.plugin.settings.codec.max_response_bytes);
        if answer.is_err() {
            cx.ops.count(metrics::FAILED_ANSWERS, 1);
        }
        OnHeaders::Reply(answer.unwrap_or_else(|error| error))
    }
}

impl Exchange {
    fn response_headers(&mut self, end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        let (settings, caps) = (&self.plugin.settings, self.plugin.caps);
        let terms = Terms {
            holding: Holding::of(settings.holds_response_headers, caps),
            gives_bodies: caps.body_on_header_only && caps.emit_in_trailers,
            head: self.head,
            message: settings.codec.max_response_bytes,
            binary_header: settings.binary_header_bytes,
        };
        match std::mem::replace(&mut self.reading, Reading::Ignored) {
            // What the server says to a request that was never sent in full is not what the client has to mend.
            Reading::Failed { problem, .. } if matches!(self.response, ResponseHalf::Expected(_)) => {
                self.count_refused(cx);
                return self.response.replace(&problem, end, false, terms, cx);
            }
            // The server has answered without waiting for the rest of the body, which no longer matters.
            Reading::Failed { .. } | Reading::Body(_) => {}
            before => self.reading = before,
        }
        self.response.headers(end, terms, cx)
    }

    /// A request whose message had gone out before its end turned out to be bad has been counted.
    fn count_refused(&self, cx: &mut Cx<'_>) {
        if !self.sent {
            cx.ops.count(metrics::REFUSED, 1);
        }
    }
}
