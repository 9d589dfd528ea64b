//! One HTTP exchange: the state machine that hosts drive.
//!
//! The request half ([`request_half`]) matches a row, reads the body through a codec and emits one gRPC message as soon
//! as the body is complete (never later: a proxy-wasm host cannot add a body once the request has trailers). The
//! response half ([`response_half`]) reads one gRPC message and its status and makes the answer.

mod openai;
mod request_half;
mod request_headers;
mod response_half;

use crate::compressed::Encoding;
use crate::error_form::ErrorForm;
use crate::generic::Statuses;
use crate::metrics;
use crate::models::{Ending, Inference, Models};
use crate::settings::Settings;
use crate::status::{self, Status};
use crate::stream::StreamForm;
use filter_api::{
    Account, CallEnd, CallId, Caps, Chunk, ConfigError, Cx, Dir, Event, EventCx, Map, Memory, Metric, OnData,
    OnHeaders, OnTrailers, Plugin, Stream,
};
use request_half::{Awaiting, METADATA, Reading, metadata_of};
use response_half::{Holding, ResponseHalf, Terms};
use std::sync::Arc;
use std::time::Duration;

/// The filter: KServe v2 JSON over HTTP in, gRPC out, and back.
#[derive(Debug)]
pub struct KserveTranscoder {
    settings: Settings,
    caps: Caps,
    account: Account,
    models: Models,
    /// What prints the statuses of servers, where they are answered as such.
    statuses: Option<Arc<Statuses>>,
}

impl Plugin for KserveTranscoder {
    type Stream = Exchange;

    const NAME: &'static str = "kserve_transcoder";

    const METRICS: &'static [Metric] = metrics::ALL;

    fn configure(json: &[u8], caps: Caps, memory: Arc<Memory>) -> Result<Self, ConfigError> {
        let settings = Settings::read(json, caps)?;
        let account = memory.account(settings.memory_budget_bytes);
        let statuses = || {
            let pools = settings.rows.users_pools();
            Statuses::new(pools, settings.generic.print, account.clone()).map(Arc::new)
        };
        let statuses = settings.convert_grpc_status.then(statuses).transpose()?;
        Ok(Self { account, models: Models::new(settings.max_models), statuses, settings, caps })
    }

    /// Streams that wait for the same model's metadata look after it so often.
    fn tick(&self) -> Option<Duration> {
        self.settings.signatures.as_ref().map(|_| Duration::from_millis(50))
    }

    /// Asks for models' metadata in the place of exchanges that have ended.
    fn event(&self, event: Event, cx: &mut EventCx<'_>) {
        let Some(signatures) = &self.settings.signatures else { return };
        match event {
            Event::Tick => signatures.take_orphans().into_iter().for_each(|call| cx.ops.call(call)),
            Event::CallEnded(id, end) => {
                let Some(model) = signatures.model_of(id) else { return };
                let most = self.settings.codec.max_response_bytes;
                let answer = metadata_of(&model, &end, most, &self.account);
                signatures.call_ended(id, answer.as_deref().map_err(Clone::clone), cx.now);
            }
        }
    }

    fn open(self: &Arc<Self>) -> Exchange {
        Exchange {
            plugin: self.clone(),
            reading: Reading::Nothing,
            awaiting: None,
            taken: 0,
            sent: false,
            head: false,
            stream: None,
            one_of_stream: false,
            chooses_rpc: false,
            errors: ErrorForm::Kserve,
            inference: None,
            encoding: Encoding::Fixed,
            response: ResponseHalf::Done,
        }
    }
}

impl KserveTranscoder {
    /// Says which model an inference is for.
    fn describe(&self, name: &str, version: Option<&str>, cx: &mut Cx<'_>) {
        cx.ops.describe("model", name);
        if let Some(version) = version {
            cx.ops.describe("version", version);
        }
        // In proxy-wasm it would not have this name, which Envoy's own filters for AI give it.
        if self.caps.lb_metadata && cx.view.property(&[MODEL_REQUEST]).is_none() {
            cx.ops.set_property(MODEL_REQUEST, name.as_bytes());
        }
    }
}

/// The filter state in which Envoy's own `ai_protocol_manager` has a request's model.
const MODEL_REQUEST: &str = "envoy.ai.model.request";

/// The state of one exchange.
#[derive(Debug)]
pub struct Exchange {
    plugin: Arc<KserveTranscoder>,
    reading: Reading,
    /// What the request's headers wait for, before its body is read.
    awaiting: Option<Box<Awaiting>>,
    /// How much of the request's body has been read, in bytes.
    taken: usize,
    /// The message has gone out, and is counted as transcoded.
    sent: bool,
    /// The request is a HEAD, which is answered without a body.
    head: bool,
    /// The method answers with a stream of messages, which look like this.
    stream: Option<StreamForm>,
    /// The method answers with a stream, of which there must be one message: the answer.
    one_of_stream: bool,
    /// The request's headers wait until its body says which method it goes to.
    chooses_rpc: bool,
    /// In which form the client is told of errors.
    errors: ErrorForm,
    /// What is measured of an inference; taken once it has ended.
    inference: Option<Inference>,
    /// How the answer may be encoded.
    encoding: Encoding,
    response: ResponseHalf,
}

impl Stream for Exchange {
    fn headers(&mut self, dir: Dir, end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        match dir {
            Dir::Request => self.request_headers(end, cx),
            Dir::Response => {
                let verdict = self.response_headers(end, cx);
                self.measure_headers(end, cx);
                verdict
            }
        }
    }

    fn data(&mut self, dir: Dir, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        match dir {
            Dir::Request => self.request_data(chunk, cx),
            Dir::Response => {
                let lacks_status = chunk.end && self.response.lacks_status();
                let verdict = self.response.data(chunk, cx);
                self.measure_data(chunk.end, lacks_status, cx);
                verdict
            }
        }
    }

    fn trailers(&mut self, dir: Dir, cx: &mut Cx<'_>) -> OnTrailers {
        match dir {
            Dir::Request => self.request_trailers(cx),
            Dir::Response => {
                let lacks_status = self.response.lacks_status();
                let verdict = self.response.trailers(cx);
                self.measure_trailers(lacks_status, cx);
                verdict
            }
        }
    }

    fn call_ended(&mut self, id: CallId, end: CallEnd, cx: &mut Cx<'_>) -> OnHeaders {
        if id == METADATA {
            return self.metadata_ended(&end, cx);
        }
        let ResponseHalf::Expected(Some(codec)) = std::mem::replace(&mut self.response, ResponseHalf::Done)
        else {
            return OnHeaders::Continue;
        };
        let max_bytes = self.plugin.settings.codec.max_response_bytes;
        let answer =
            response_half::of_call(codec, end, max_bytes, self.encoding, &self.errors, &self.plugin.account);
        if answer.is_err() {
            cx.ops.count(metrics::FAILED_ANSWERS, 1);
        }
        OnHeaders::Reply(answer.unwrap_or_else(|error| error))
    }

    fn woken(&mut self, cx: &mut Cx<'_>) -> OnHeaders {
        self.look_for_metadata(cx)
    }

    fn ended(&mut self, cx: &mut Cx<'_>) {
        if self.add_unfinished() {
            // A server that hangs may be seen by nothing else.
            self.plugin.models.tell(cx.view.now(), cx.ops);
        }
    }
}

impl Exchange {
    fn response_headers(&mut self, end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        let (settings, caps) = (&self.plugin.settings, self.plugin.caps);
        let terms = Terms {
            holding: Holding::of(settings.holds_response_headers, caps),
            gives_bodies: caps.body_on_header_only && caps.emit_in_trailers,
            head: self.head,
            errors: self.errors.clone(),
            message: settings.codec.max_response_bytes,
            binary_header: settings.binary_header_bytes,
            encoding: self.encoding,
            stream: self.stream,
            one_of_stream: self.one_of_stream,
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
        self.response.headers(end, terms, &self.plugin.account, cx)
    }

    /// The answer's headers have been dealt with: it has begun, or ended as an error.
    fn measure_headers(&mut self, end: bool, cx: &mut Cx<'_>) {
        let Some(inference) = &mut self.inference else { return };
        inference.first_byte(cx.view.now());
        if self.response.message_bytes().is_some() {
            return;
        }
        let code = response_half::ending_in_headers(end, cx.view);
        self.measured(Ending::Status(code), cx);
    }

    /// `lacks_status`: the answer ends with this chunk, and has said nothing of how the call ended.
    fn measure_data(&mut self, end: bool, lacks_status: bool, cx: &mut Cx<'_>) {
        let Some(inference) = &mut self.inference else { return };
        if let Some(bytes) = self.response.message_bytes() {
            inference.answer_bytes = bytes;
        }
        if has_failed(cx) {
            let code = match lacks_status {
                true => response_half::ending_in_headers(true, cx.view),
                false => status::INTERNAL,
            };
            self.measured(Ending::Status(code), cx);
        } else if end {
            self.measured(Ending::Status(status::OK), cx);
        }
    }

    fn measure_trailers(&mut self, lacks_status: bool, cx: &mut Cx<'_>) {
        if self.inference.is_none() {
            return;
        }
        let code = match Status::read(cx.view, Map::ResponseTrailers) {
            Some(status) if !status.is_ok() => status.code(),
            None if has_failed(cx) && lacks_status => response_half::ending_in_headers(true, cx.view),
            _ if has_failed(cx) => status::INTERNAL,
            _ => status::OK,
        };
        self.measured(Ending::Status(code), cx);
    }

    fn measured(&mut self, ending: Ending, cx: &mut Cx<'_>) {
        let Some(inference) = self.inference.take() else { return };
        if let (Ending::Status(code), true) = (ending, self.plugin.settings.describes) {
            cx.ops.describe("grpc_status", &code.to_string());
        }
        let now = cx.view.now();
        self.plugin.models.add(inference, ending, now);
        self.plugin.models.tell(now, cx.ops);
    }

    /// Adds an inference whose answer is not complete, if there is one.
    fn add_unfinished(&mut self) -> bool {
        let inference = self.inference.take_if(|_| self.sent);
        inference.map(|inference| self.plugin.models.add_unfinished(inference)).is_some()
    }

    /// A request whose message had gone out before its end turned out to be bad has been counted.
    fn count_refused(&self, cx: &mut Cx<'_>) {
        if !self.sent {
            cx.ops.count(metrics::REFUSED, 1);
        }
    }
}

/// An exchange that this filter has cut off itself is dropped without a last call.
impl Drop for Exchange {
    fn drop(&mut self) {
        self.add_unfinished();
    }
}

/// Whether the answer turned out in this call to be none: whatever says so counts it.
fn has_failed(cx: &Cx<'_>) -> bool {
    cx.ops.counted(metrics::FAILED_ANSWERS) + cx.ops.counted(metrics::RESETS) > 0
}
