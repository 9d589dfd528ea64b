//! An answer of any number of gRPC messages, each of which goes on as soon as it is here.
//!
//! One message is held at a time. Headers that are held back wait for the first one, so that an error in its place is an
//! ordinary answer; in hosts that buffer what is held, no longer than for its first piece. Once a message has gone out, an
//! error behind the last one is told in one more message, where the host can still write then; anything else that goes
//! wrong, and any error on other hosts, cuts the answer off.
//!
//! Something may have to follow the last message, once the call has succeeded. A host that writes nothing in front of trailers
//! can do that to what it has parked. So there the message that is known to be the last waits for the trailers, with those that
//! came at once with it.

use super::headers::{self, Head};
use super::{Holding, Terms, check_length};
use crate::codec::{Part, ResponseCodec};
use crate::compressed::{MessageCoding, inflated};
use crate::frame::Reader;
use crate::metrics;
use crate::problem::Problem;
use crate::status::Status;
use crate::stream::StreamForm;
use filter_api::{Account, Chunk, Cx, Emission, Map, OnData, OnHeaders, OnTrailers, PARK_LIMIT_BYTES, Sink};

/// How much may wait for the trailers, in bytes. The rest of what may be written there is for what follows the last message.
const MOST_PARKED: usize = PARK_LIMIT_BYTES - 4 * 1024;

/// A longer message, in bytes, does not wait, so that it need not be held a second time.
const SHORT_MESSAGE_BYTES: usize = 64 * 1024;

/// A stream on its way.
#[derive(Debug)]
pub(crate) struct Streaming {
    /// Makes the codec of each message.
    codec: Box<dyn ResponseCodec>,
    /// The message that is being read, once its first byte is here.
    message: Option<Box<dyn ResponseCodec>>,
    reader: Reader,
    form: StreamForm,
    /// The headers have not gone out.
    held: bool,
    /// No message has gone out.
    empty: bool,
    /// The client has been told how it ended; what still comes is dropped.
    over: bool,
    /// What follows the last message has gone out.
    closed: bool,
    /// The messages of this chunk as they are written, one of which may be the last and have to wait.
    waiting: Option<Vec<u8>>,
    /// What is in there waits for the trailers.
    parked: bool,
    /// The headers said that the call has succeeded, so that no trailers need to.
    has_status: bool,
    /// The lengths of the messages so far, in bytes.
    bytes: u64,
    terms: Terms,
    /// As [`headers::Head`] has it.
    of_the_message: u8,
    /// How messages are compressed whose flag says so.
    coding: MessageCoding,
    /// What their decompressors are charged to.
    account: Account,
}

impl Streaming {
    /// A stream whose headers are here; they are let go unless they are held.
    pub(super) fn begin(
        codec: Box<dyn ResponseCodec>,
        form: StreamForm,
        has_status: bool,
        terms: Terms,
        head: Head,
        account: &Account,
        cx: &mut Cx<'_>,
    ) -> Self {
        let parks = codec.tells_last() && !terms.gives_bodies;
        let mut stream = Self {
            codec,
            message: None,
            reader: Reader::default(),
            form,
            held: true,
            empty: true,
            over: false,
            closed: false,
            waiting: parks.then(Vec::new),
            parked: false,
            has_status,
            bytes: 0,
            terms,
            of_the_message: head.of_the_message,
            coding: head.coding,
            account: account.clone(),
        };
        if has_status {
            for name in ["grpc-status", "grpc-message"] {
                cx.ops.remove_header(Map::ResponseHeaders, name);
            }
        }
        if stream.terms.holding == Holding::No {
            stream.release_headers(cx);
        }
        stream
    }

    /// The headers were all that there is: the stream has no message. An error says that it ought to have some.
    pub(super) fn ends_with_headers(mut self, cx: &mut Cx<'_>) -> Result<OnHeaders, Problem> {
        let last = self.codec.close()?;
        if self.held {
            self.release_headers(cx);
        }
        if self.terms.head || last.is_empty() && self.form.end(true).is_empty() {
            return Ok(OnHeaders::Continue);
        }
        Ok(OnHeaders::Emit(cx.emit(|out| self.write_end(last, out))))
    }

    /// The headers said that the call has succeeded.
    pub(super) fn has_status(&self) -> bool {
        self.has_status
    }

    /// The lengths of the messages so far, in bytes.
    pub(in crate::exchange) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next bytes of the stream.
    pub(super) fn data(&mut self, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        if self.over {
            return OnData::Emit(cx.emit(|_| {}));
        }
        for slice in chunk.slices {
            if let Err(problem) = self.read(slice, cx) {
                return self.stop(&problem, cx);
            }
            if self.over && self.terms.head {
                // To a HEAD, the first message is all that matters: the stream need not end.
                return OnData::Reply(headers::of_head(cx.view));
            }
        }
        if chunk.end && !self.over {
            return match self.end(None, cx) {
                Some(emission) => OnData::Emit(emission),
                None => OnData::Reset,
            };
        }
        if self.codec.had_last() && !self.over && self.waiting.is_some() {
            return self.park(cx);
        }
        self.flush(cx);
        // What is held back is buffered in some hosts, and in place of what follows it there only little can be written: not
        // the rest of a large message, nor those that come with it.
        if self.held && self.terms.holding == Holding::Small {
            self.release_headers(cx);
        }
        if self.held { OnData::Keep } else { OnData::Emit(cx.emit(|_| {})) }
    }

    /// The last message is here: keeps it for the trailers, if it is small enough for that.
    fn park(&mut self, cx: &mut Cx<'_>) -> OnData {
        if !self.closed && !cx.emits() {
            self.parked = true;
            return OnData::Park;
        }
        // Too much came with it, which has gone out; so must what follows, although the status is not known.
        if !std::mem::replace(&mut self.closed, true) {
            let last = match self.codec.close() {
                Ok(last) => last,
                Err(problem) => return self.stop(&problem, cx),
            };
            let _goes_on_with_the_verdict = cx.emit(|out| self.write_end(last, out));
        }
        OnData::Emit(cx.emit(|_| {}))
    }

    /// Hands on what has waited.
    fn flush(&mut self, cx: &mut Cx<'_>) {
        let waiting = self.waiting.as_mut().map(std::mem::take).unwrap_or_default();
        if !waiting.is_empty() {
            self.write(|out| out.write(&waiting), cx);
        }
    }

    /// Hands on messages that would not have waited if they had come in a chunk of their own.
    fn flush_unless_last(&mut self, cx: &mut Cx<'_>) {
        if !self.codec.had_last() {
            self.flush(cx);
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut dyn Sink), cx: &mut Cx<'_>) {
        if self.held {
            self.release_headers(cx);
        }
        let _goes_on_with_the_verdict = cx.emit(write);
    }

    /// Ends the stream.
    pub(super) fn trailers(mut self, cx: &mut Cx<'_>) -> OnTrailers {
        let status = Status::read(cx.view, Map::ResponseTrailers);
        headers::sort_trailers(self.held, cx);
        if self.over {
            return OnTrailers::Continue;
        }
        if !self.terms.gives_bodies {
            return self.trailers_without_a_place(status, cx);
        }
        match self.end(status, cx) {
            Some(emission) => OnTrailers::Emit(emission),
            None => OnTrailers::Reset,
        }
    }

    /// Ends the stream in a host that cannot write anything in front of trailers.
    fn trailers_without_a_place(mut self, status: Option<Status>, cx: &mut Cx<'_>) -> OnTrailers {
        let last = match self.failure(status) {
            Some(problem) => Err(problem),
            None if self.closed => Ok(Vec::new()),
            None => self.codec.close(),
        };
        match last {
            Ok(last) => {
                if self.held {
                    self.release_headers(cx);
                }
                if !self.parked {
                    return OnTrailers::Continue;
                }
                self.flush(cx);
                OnTrailers::Emit(cx.emit(|out| self.write_end(last, out)))
            }
            Err(problem) => {
                cx.ops.count(metrics::FAILED_ANSWERS, 1);
                if self.held {
                    return OnTrailers::Reply(headers::error_reply(&problem, &self.terms.errors, cx.view));
                }
                cx.ops.count(metrics::RESETS, 1);
                OnTrailers::Reset
            }
        }
    }

    /// Reads bytes of any number of messages, and hands on those that are complete.
    fn read(&mut self, mut bytes: &[u8], cx: &mut Cx<'_>) -> Result<(), Problem> {
        while !bytes.is_empty() && !self.over {
            let of_message = self.reader.take_off(&mut bytes)?;
            check_length(&self.reader, self.terms.message)?;
            if self.reader.length().is_none() {
                continue;
            }
            let codec = match &mut self.message {
                Some(codec) => codec,
                None => {
                    let one_answer = || Problem::bad_answer("the method answers with one message");
                    let mut codec = self.codec.for_message().ok_or_else(one_answer)?;
                    if self.reader.is_compressed() {
                        codec =
                            inflated(codec, self.coding.known()?, self.terms.message, self.account.charge())?;
                    }
                    self.message.insert(codec)
                }
            };
            codec.write(of_message)?;
            if self.reader.is_complete() {
                self.message_ends(cx)?;
            }
        }
        Ok(())
    }

    fn message_ends(&mut self, cx: &mut Cx<'_>) -> Result<(), Problem> {
        let length = std::mem::take(&mut self.reader).length().unwrap_or_default();
        self.bytes += length as u64;
        let Some(codec) = self.message.take() else { return Ok(()) };
        let length = length.max(codec.inflated_bytes());
        let answer = codec.finish()?;
        if self.terms.head {
            self.over = true;
            return Ok(());
        }
        match answer.part() {
            Part::Failure(problem) => {
                let is_late = self.waiting.is_some() && self.codec.had_last();
                self.flush_unless_last(cx);
                if self.held || is_late {
                    return Err(problem.clone());
                }
                self.over = true;
                cx.ops.count(metrics::FAILED_ANSWERS, 1);
                cx.ops.count(metrics::ERRORS_UNDER_200, 1);
            }
            Part::Nothing => return Ok(()),
            Part::Message => {}
        }
        let first = std::mem::take(&mut self.empty);
        let form = self.form;
        let write = |out: &mut dyn Sink| form.message(first, out, |out| answer.render(out));
        match &mut self.waiting {
            Some(waiting) if length <= SHORT_MESSAGE_BYTES && !cx.emits() => {
                write(waiting);
                if waiting.len() > MOST_PARKED {
                    self.flush(cx);
                }
            }
            _ => {
                self.flush(cx);
                self.write(write, cx);
            }
        }
        Ok(())
    }

    /// What is wrong with a stream that has ended, with this status in its trailers.
    fn failure(&self, status: Option<Status>) -> Option<Problem> {
        match status {
            Some(status) if !status.is_ok() => Some(status.problem()),
            _ if self.reader.has_begun() => self.reader.problem_at_end(),
            None if !self.has_status => Some(Status::missing()),
            _ => None,
        }
    }

    /// The stream has ended where something can be written: writes what is still to be told. `None` if the client is told
    /// by a reset.
    fn end(&mut self, status: Option<Status>, cx: &mut Cx<'_>) -> Option<Emission> {
        self.over = true;
        self.message = None;
        let last = match self.failure(status) {
            Some(problem) => Err(problem),
            None if self.closed => Ok(Vec::new()),
            None => self.codec.close(),
        };
        let problem = match last {
            Ok(last) => {
                if self.held {
                    self.release_headers(cx);
                }
                self.flush(cx);
                let head = self.terms.head;
                return Some(cx.emit(|out| {
                    if !head {
                        self.write_end(last, out);
                    }
                }));
            }
            Err(problem) => problem,
        };
        cx.ops.count(metrics::FAILED_ANSWERS, 1);
        let body = problem.body_as(&self.terms.errors);
        if self.held {
            self.held = false;
            headers::of_error(&problem, body.len(), cx);
            let body = if self.terms.head { &[][..] } else { &body[..] };
            return Some(cx.emit(|out| out.write(body)));
        }
        // A host that cannot write in trailers is not to end some streams well and others not.
        if !self.terms.gives_bodies {
            cx.ops.count(metrics::RESETS, 1);
            return None;
        }
        cx.ops.count(metrics::ERRORS_UNDER_200, 1);
        let (form, first) = (self.form, self.empty);
        Some(cx.emit(|out| {
            form.message(first, out, |out| out.write(&body));
            out.write(form.end(false));
        }))
    }

    /// What comes is not a stream of messages, or cannot be taken; it may go on for ever.
    fn stop(&mut self, problem: &Problem, cx: &mut Cx<'_>) -> OnData {
        self.over = true;
        self.message = None;
        self.flush_unless_last(cx);
        cx.ops.count(metrics::FAILED_ANSWERS, 1);
        if self.held {
            return OnData::Reply(headers::error_reply(problem, &self.terms.errors, cx.view));
        }
        cx.ops.count(metrics::RESETS, 1);
        OnData::Reset
    }

    /// Writes what follows the last message of a stream that has ended well.
    fn write_end(&self, last: Vec<Vec<u8>>, out: &mut dyn Sink) {
        let mut first = self.empty;
        for message in last {
            self.form.message(first, out, |out| out.write(&message));
            first = false;
        }
        out.write(self.form.end(first));
    }

    fn release_headers(&mut self, cx: &mut Cx<'_>) {
        self.held = false;
        headers::of_stream(self.form.content_type, self.of_the_message, cx);
    }
}
