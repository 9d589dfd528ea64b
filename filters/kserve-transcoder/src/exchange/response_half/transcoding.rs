//! One gRPC message of an answer, read and turned into what the client gets.

use super::headers::{self, Head};
use super::parked::Parked;
use super::{Holding, LATE_ERROR_BYTES, Terms, check_length, not_one, short_error_body};
use crate::codec::{Beginning, ResponseCodec};
use crate::compressed::{Coding, Encoding, MessageCoding, Press, inflated, write_rest};
use crate::frame::Reader;
use crate::metrics;
use crate::problem::Problem;
use crate::status::Status;
use filter_api::{Account, Charge, Chunk, Cx, Emission, Map, OnData, OnTrailers, Sink};

/// How large a message may be for its headers to be held until its trailers, where the host buffers what it holds
/// ([`Holding::Small`]), and for its trailers to become headers.
const HELD_MESSAGE_BYTES: usize = 4 * 1024;

/// From which length on a message's answer goes out while the message comes, in bytes, if its codec can do that.
/// Smaller ones are cheap to hold, and an error that comes behind them still gets its own status.
const STREAMED_MESSAGE_BYTES: usize = 64 * 1024;

/// At most so much of such a message is read before what there is of the answer is handed on, in bytes. It is also how
/// much of a chunk is checked before its first byte goes out.
const PIECE_BYTES: usize = 64 * 1024;

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Transcoding {
    reader: Reader,
    /// `None` once the answer has been made.
    codec: Option<Box<dyn ResponseCodec>>,
    /// The headers said that the call has failed. What comes is dropped; the trailers may say more.
    failure: Option<Box<Problem>>,
    /// An answer that waits for its trailers.
    parked: Option<Box<Parked>>,
    /// The host has been told to buffer what comes, so that only little can be written in the next chunk's place.
    paused: bool,
    /// An error has gone out in the answer's place; what still comes is dropped.
    refused: bool,
    /// The answer has gone out.
    written: bool,
    /// The headers said that the call has succeeded, so that no trailers need to.
    has_status: bool,
    /// The length of the JSON part of a binary answer, where it has been promised in headers that have gone out.
    promised_json_bytes: Option<usize>,
    streaming: Streaming,
    terms: Terms,
    /// As [`Head`] has it.
    of_the_message: u8,
    /// How the message is compressed if its flag says so, and what its decompressor is charged to.
    coding: Option<Box<(MessageCoding, Charge)>>,
    /// What compresses the answer; gone once all of it is written, or where it stays as it is.
    press: Option<Box<Press>>,
    /// What is charged for an answer that waits.
    account: Account,
}

/// Whether the answer goes out while the message comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streaming {
    No,
    /// As soon as its codec can begin.
    Possible,
    /// It has begun: its headers have gone out, and all that can be done about an error is to cut it off.
    Begun,
}

/// Why an answer cannot go on.
enum Stop {
    Problem(Problem),
    /// The JSON part of a binary answer is longer than was promised.
    TooLong,
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Transcoding {
    /// A message whose headers are here; they are let go unless they are held.
    pub(super) fn begin(
        codec: Box<dyn ResponseCodec>,
        has_status: bool,
        terms: Terms,
        head: Head,
        account: &Account,
        cx: &mut Cx<'_>,
    ) -> Self {
        let mut message = Self { has_status, ..Self::new(terms, account) };
        if codec.decides_content_type() {
            // Whether such bytes can be compressed is not known here.
            message.terms.encoding = Encoding::Fixed;
        }
        message.codec = Some(codec);
        message.of_the_message = head.of_the_message;
        if head.coding != MessageCoding::None {
            message.coding = Some(Box::new((head.coding, account.charge())));
        }
        if let Encoding::Compressed(plan) = message.terms.encoding {
            message.press = Some(Press::new(plan, account.charge()));
        }
        if has_status {
            for name in ["grpc-status", "grpc-message"] {
                cx.ops.remove_header(Map::ResponseHeaders, name);
            }
        }
        if message.terms.holding == Holding::No {
            message.release_headers(cx);
        }
        message
    }

    /// An answer that has failed, with this problem unless its trailers have another one. Its headers are held.
    pub(super) fn failed(problem: Problem, terms: Terms, account: &Account) -> Self {
        Self { failure: Some(Box::new(problem)), ..Self::new(terms, account) }
    }

    fn new(terms: Terms, account: &Account) -> Self {
        Self {
            reader: Reader::default(),
            codec: None,
            failure: None,
            parked: None,
            paused: false,
            refused: false,
            written: false,
            has_status: false,
            promised_json_bytes: None,
            streaming: Streaming::No,
            terms,
            of_the_message: 0,
            coding: None,
            press: None,
            account: account.clone(),
        }
    }

    /// The headers said that the call has succeeded.
    pub(super) fn has_status(&self) -> bool {
        self.has_status
    }

    /// The message's length, once it is known.
    pub(in crate::exchange) fn length(&self) -> Option<usize> {
        self.reader.length()
    }

    /// Takes the next bytes of the message.
    pub(super) fn data(&mut self, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        let verdict = self.take(chunk, cx);
        self.paused = matches!(verdict, OnData::Park);
        verdict
    }

    fn take(&mut self, chunk: Chunk<'_>, cx: &mut Cx<'_>) -> OnData {
        if self.refused {
            return dropped(cx);
        }
        if let Some(problem) = self.failure.take_if(|_| chunk.end) {
            return self.abandon(&problem, cx);
        }
        if self.failure.is_some() {
            return OnData::Park;
        }
        let held = self.terms.holding != Holding::No;
        match self.read(&chunk, cx) {
            Ok(()) => {}
            Err(Stop::Problem(problem)) => return self.abandon(&problem, cx),
            Err(Stop::TooLong) => return misfit(cx),
        }
        let failure = if chunk.end { self.failure_at_end(None) } else { None };
        if let Some(problem) = failure {
            return match self.late_error(&problem, cx) {
                Some(emission) => OnData::Emit(emission),
                None => self.abandon(&problem, cx),
            };
        }
        if self.parked.is_some() {
            return if chunk.end { self.emit_parked(cx) } else { OnData::Park };
        }
        if self.codec.is_none() {
            return dropped(cx);
        }
        let is_empty = self.reader.length() == Some(0);
        match self.terms.holding {
            Holding::Small if chunk.end => match self.park(cx) {
                OnData::Park => self.emit_parked(cx),
                verdict => verdict,
            },
            _ if chunk.end => self.emit(cx),
            _ if self.streaming == Streaming::Begun => match self.reader.is_complete() {
                true => self.emit(cx),
                false => dropped(cx),
            },
            Holding::Full => OnData::Keep,
            // An empty message may be an empty answer, or what a server sends ahead of an error. Where an answer of a
            // promised length is more than can be given later, it is given now.
            Holding::No if is_empty && self.can_wait() => OnData::Park,
            // As far as a host can hold it back, so that another message can still be told as an error.
            Holding::No if self.reader.is_complete() && self.terms.one_of_stream && self.is_small() => {
                self.park(cx)
            }
            Holding::No if self.reader.is_complete() => self.emit(cx),
            // The headers have been let go with this chunk.
            Holding::No if held => dropped(cx),
            Holding::No => OnData::Keep,
            // A codec may find too little in it, but the status behind it says more.
            Holding::Small if is_empty => OnData::Park,
            Holding::Small if self.reader.is_complete() => self.park(cx),
            Holding::Small if self.is_small() => OnData::Park,
            Holding::Small if self.decides_content_type() => match self.begin_answer(cx) {
                Ok(true) => dropped(cx),
                Ok(false) => OnData::Park,
                Err(Stop::Problem(problem)) => self.abandon(&problem, cx),
                Err(Stop::TooLong) => misfit(cx),
            },
            Holding::Small => {
                self.release_headers(cx);
                dropped(cx)
            }
        }
    }

    /// Whether the answer to an empty message can also be given in the trailers.
    fn can_wait(&self) -> bool {
        self.promised_json_bytes.is_none_or(|bytes| bytes <= LATE_ERROR_BYTES)
    }

    /// Whether the message, as far as its length is known, is one whose headers are held until its trailers.
    ///
    /// Not while a compressed one comes: what is in it may be too much for a host that buffers what it holds.
    fn is_small(&self) -> bool {
        if self.reader.is_compressed() && !self.reader.is_complete() {
            return false;
        }
        let inflated = self.codec.as_ref().map_or(0, |codec| codec.inflated_bytes());
        self.reader.length().is_none_or(|length| length.max(inflated) <= HELD_MESSAGE_BYTES)
    }

    /// As [`ResponseCodec::decides_content_type`].
    fn decides_content_type(&self) -> bool {
        self.codec.as_ref().is_some_and(|codec| codec.decides_content_type())
    }

    /// Ends the message.
    pub(super) fn trailers(mut self, cx: &mut Cx<'_>) -> OnTrailers {
        let status = Status::read(cx.view, Map::ResponseTrailers);
        let held = self.terms.holding != Holding::No;
        headers::sort_trailers(held && !self.refused && self.is_small(), cx);
        if self.refused {
            return OnTrailers::Continue;
        }
        let Some(problem) = self.failure_at_end(status) else {
            if self.codec.is_none() && self.parked.is_none() {
                return OnTrailers::Continue;
            }
            return match if self.parked.is_some() { self.emit_parked(cx) } else { self.emit(cx) } {
                OnData::Emit(emission) => OnTrailers::Emit(emission),
                OnData::Reply(reply) => OnTrailers::Reply(reply),
                _ => OnTrailers::Reset,
            };
        };
        if let Some(emission) = self.late_error(&problem, cx) {
            return OnTrailers::Emit(emission);
        }
        // Without a single chunk nothing is parked, and there is no place for a body.
        if held && !self.terms.gives_bodies && !self.reader.has_begun() {
            cx.ops.count(metrics::FAILED_ANSWERS, 1);
            return OnTrailers::Reply(headers::error_reply(&problem, &self.terms.errors, cx.view));
        }
        match self.give_up(&problem, cx) {
            OnData::Emit(emission) => OnTrailers::Emit(emission),
            _ => OnTrailers::Reset,
        }
    }

    /// What is wrong with an answer that has ended, with this status in its trailers.
    fn failure_at_end(&mut self, status: Option<Status>) -> Option<Problem> {
        let has_status = self.has_status || status.is_some();
        match status {
            Some(status) if !status.is_ok() => Some(status.problem()),
            _ if self.failure.is_some() => self.failure.take().map(|failure| *failure),
            _ if self.terms.one_of_stream && !self.reader.has_begun() => Some(not_one()),
            _ => match self.reader.problem_at_end() {
                None if !has_status => Some(self.bad_message().unwrap_or_else(Status::missing)),
                problem => problem,
            },
        }
    }

    /// What is wrong with the message of an answer that has failed anyway. What is wrong is found when it comes or at its end,
    /// as it is cut; so that it is always told, it is looked for before the answer is refused for another reason. An empty
    /// message is never wrong.
    fn bad_message(&mut self) -> Option<Problem> {
        match self.reader.length() {
            Some(0) => None,
            _ => self.codec.take()?.finish().err(),
        }
    }

    /// An error under a status of 200 that has gone out, where no answer has: an empty message is parked, or the only one of a
    /// stream.
    fn late_error(&mut self, problem: &Problem, cx: &mut Cx<'_>) -> Option<Emission> {
        let parked = self.parked.is_some() || self.codec.is_some() && self.reader.length() == Some(0);
        if self.terms.holding != Holding::No || !parked {
            return None;
        }
        Some(self.error_under_200(problem, cx))
    }

    fn error_under_200(&mut self, problem: &Problem, cx: &mut Cx<'_>) -> Emission {
        cx.ops.count(metrics::FAILED_ANSWERS, 1);
        cx.ops.count(metrics::ERRORS_UNDER_200, 1);
        let body = match self.terms.head {
            true => Vec::new(),
            false => short_error_body(problem.clone(), &self.terms.errors),
        };
        self.refused = true;
        self.write_rest(|out| out.write(&body), cx).0
    }

    fn read(&mut self, chunk: &Chunk<'_>, cx: &mut Cx<'_>) -> Result<(), Stop> {
        // Into a chunk that is buffered together with earlier ones only little can be written.
        let parked = self.paused;
        let mut unwritten = 0;
        for slice in chunk.slices {
            let begins = self.reader.length().is_none();
            let bytes = self.reader.take(slice);
            let another = self.terms.one_of_stream && self.reader.is_complete();
            let bytes = bytes.map_err(|problem| if another { not_one() } else { problem })?;
            check_length(&self.reader, self.terms.message)?;
            if begins && self.reader.is_compressed() {
                self.decompress()?;
            } else if begins {
                self.stream_if_large(parked, cx);
            }
            let Some(codec) = &mut self.codec else { continue };
            if self.streaming == Streaming::No {
                codec.write(bytes)?;
                continue;
            }
            for piece in bytes.chunks(PIECE_BYTES) {
                if let Some(codec) = &mut self.codec {
                    codec.write(piece)?;
                }
                unwritten += piece.len();
                if unwritten >= PIECE_BYTES && !parked {
                    self.flow(cx)?;
                    unwritten = 0;
                }
            }
        }
        if self.streaming == Streaming::No || parked { Ok(()) } else { self.flow(cx) }
    }

    /// The message is compressed: sees to it that its codec gets what is in it.
    fn decompress(&mut self) -> Result<(), Problem> {
        let Some(codec) = self.codec.take() else { return Ok(()) };
        let Some(coding) = self.coding.take() else { return MessageCoding::None.known().map(drop) };
        let (coding, charge) = *coding;
        self.codec = Some(inflated(codec, coding.known()?, self.terms.message, charge)?);
        Ok(())
    }

    /// The length of the message may be known now: sees to it that the answer to a large one can go out in time.
    fn stream_if_large(&mut self, parked: bool, cx: &mut Cx<'_>) {
        let (Some(length), Some(codec)) = (self.reader.length(), &mut self.codec) else { return };
        // Such an answer begins as soon as its headers can be told, as little can be written into a chunk that is buffered.
        let waits = self.terms.holding == Holding::Small && codec.decides_content_type();
        let streamed = if waits { HELD_MESSAGE_BYTES } else { STREAMED_MESSAGE_BYTES };
        if length <= streamed || self.terms.head {
            return;
        }
        codec.stream(length);
        self.streaming = Streaming::Possible;
        if self.terms.holding == Holding::Small && !parked && !waits {
            self.release_headers(cx);
        }
    }

    /// Begins the answer to a large message, if that is possible by now; says whether it has begun.
    fn begin_answer(&mut self, cx: &mut Cx<'_>) -> Result<bool, Stop> {
        let Some(codec) = &mut self.codec else { return Ok(false) };
        if self.streaming == Streaming::Possible {
            match codec.begin(self.promised_json_bytes)? {
                Beginning::NotYet => return Ok(false),
                Beginning::TooLong => return Err(Stop::TooLong),
                Beginning::Now { json_bytes } if self.terms.holding != Holding::No => {
                    self.terms.holding = Holding::No;
                    headers::of_answer(200, json_bytes, self.of_the_message, cx);
                    headers::typed(codec.content_type(), cx);
                    promise_encoding(&mut self.press, self.reader.length(), self.terms.encoding, cx);
                }
                Beginning::Now { .. } => {}
            }
            self.streaming = Streaming::Begun;
        }
        Ok(self.streaming == Streaming::Begun)
    }

    /// Hands on what there is of the answer to a large message.
    fn flow(&mut self, cx: &mut Cx<'_>) -> Result<(), Stop> {
        if !self.begin_answer(cx)? {
            return Ok(());
        }
        let Some(codec) = &mut self.codec else { return Ok(()) };
        let mut result = Ok(());
        let flow = |out: &mut dyn Sink| result = codec.flow(out);
        let _goes_on_with_the_verdict = match &mut self.press {
            None => cx.emit(flow),
            Some(press) => cx.emit(|out| press.press(flow, out)),
        };
        Ok(result?)
    }

    /// Makes the answer, which is complete, and keeps it for the trailers: if it is small enough for a host to buffer, or if
    /// the host buffers already and could not write it any more.
    fn park(&mut self, cx: &mut Cx<'_>) -> OnData {
        if !self.is_small() && (!self.paused || self.terms.head) {
            return self.emit(cx);
        }
        let Some(codec) = self.codec.take() else { return dropped(cx) };
        let (press, charge) = (self.press.take(), self.account.charge());
        let parked = codec.finish().and_then(|answer| Ok(Parked::new(answer, press, charge)?));
        match parked {
            Ok(parked) => {
                let waits = parked.is_small() || self.paused;
                self.parked = Some(Box::new(parked));
                if waits { OnData::Park } else { self.emit_parked(cx) }
            }
            Err(problem) => self.abandon(&problem, cx),
        }
    }

    fn emit_parked(&mut self, cx: &mut Cx<'_>) -> OnData {
        let Some(parked) = self.parked.take() else { return dropped(cx) };
        if self.paused && !parked.is_small() && !self.terms.head {
            return OnData::Reply(parked.reply(self.terms.encoding, cx.view));
        }
        if self.terms.holding != Holding::No {
            self.terms.holding = Holding::No;
            parked.head(self.of_the_message, self.terms.encoding, cx);
        }
        self.written = true;
        OnData::Emit(self.give(parked.body().len(), |out| out.write(parked.body()), cx))
    }

    /// Writes the answer, which is complete.
    fn emit(&mut self, cx: &mut Cx<'_>) -> OnData {
        let Some(codec) = self.codec.take() else { return dropped(cx) };
        let answer = match codec.finish() {
            Ok(answer) => answer,
            Err(problem) => return self.abandon(&problem, cx),
        };
        let status = answer.status();
        self.written = true;
        if self.terms.holding != Holding::No {
            self.terms.holding = Holding::No;
            headers::of_answer(status, answer.inference_header_length(), self.of_the_message, cx);
            headers::typed(answer.content_type(), cx);
            if self.terms.head {
                let mut length = Length(0);
                answer.render(&mut length);
                return match promise_encoding(&mut self.press, Some(length.0), self.terms.encoding, cx) {
                    None => OnData::Emit(self.give(length.0, |_| {}, cx)),
                    Some(_) => dropped(cx),
                };
            }
            let (emission, coding) = self.write_rest(|out| answer.render(out), cx);
            headers::encoded(self.terms.encoding, coding, cx);
            return OnData::Emit(emission);
        }
        match (status, self.promised_json_bytes) {
            (200, _) if self.terms.head => dropped(cx),
            (200, None) => OnData::Emit(self.write_rest(|out| answer.render(out), cx).0),
            (200, Some(bytes)) if answer.fits(bytes) => {
                OnData::Emit(self.write_rest(|out| answer.render_padded(bytes, out), cx).0)
            }
            // "Not ready" under a 200 would be read as "ready" by clients that look at the status only.
            _ => misfit(cx),
        }
    }

    /// Writes what is left of the answer, and says how all of it is encoded.
    fn write_rest(
        &mut self,
        write: impl FnOnce(&mut dyn Sink),
        cx: &mut Cx<'_>,
    ) -> (Emission, Option<Coding>) {
        let press = self.press.take();
        let mut coding = None;
        let emission = cx.emit(|out| coding = write_rest(press, write, out));
        (emission, coding)
    }

    /// Writes a body of `bytes`, or only says its length in answer to a HEAD.
    fn give(&self, bytes: usize, write: impl FnOnce(&mut dyn Sink), cx: &mut Cx<'_>) -> Emission {
        match self.terms.head {
            true => {
                cx.ops.set_header(Map::ResponseHeaders, "content-length", bytes.to_string().as_bytes());
                cx.emit(|_| {})
            }
            false => cx.emit(write),
        }
    }

    /// Lets the headers of a good answer go before the answer is known.
    fn release_headers(&mut self, cx: &mut Cx<'_>) {
        self.terms.holding = Holding::No;
        let binary = self.codec.as_ref().is_some_and(|codec| codec.wants_binary_answer());
        self.promised_json_bytes = binary.then_some(self.terms.binary_header);
        headers::of_answer(200, self.promised_json_bytes, self.of_the_message, cx);
        promise_encoding(&mut self.press, self.reader.length(), self.terms.encoding, cx);
    }

    /// There will be no answer: says so in the best way that is left.
    fn abandon(&mut self, problem: &Problem, cx: &mut Cx<'_>) -> OnData {
        if self.terms.one_of_stream && self.terms.holding == Holding::No && !self.written {
            return OnData::Emit(self.error_under_200(problem, cx));
        }
        self.give_up(problem, cx)
    }

    /// As [`abandon`](Self::abandon), where the host may be unable to write a body because no chunk was kept for it.
    fn give_up(&mut self, problem: &Problem, cx: &mut Cx<'_>) -> OnData {
        cx.ops.count(metrics::FAILED_ANSWERS, 1);
        if self.terms.holding == Holding::No {
            cx.ops.count(metrics::RESETS, 1);
            return OnData::Reset;
        }
        // Gives back what they hold.
        (self.codec, self.parked, self.press) = (None, None, None);
        self.refused = true;
        let body = problem.body_as(&self.terms.errors);
        headers::of_error(problem, body.len(), cx);
        OnData::Emit(self.give(body.len(), |out| out.write(&body), cx))
    }
}

/// The headers go out before the answer, of which `bytes` is how long it is at least, if that is known: says in them how it
/// will be encoded.
fn promise_encoding(
    press: &mut Option<Box<Press>>,
    bytes: Option<usize>,
    encoding: Encoding,
    cx: &mut Cx<'_>,
) -> Option<Coding> {
    let coding = press.as_mut().and_then(|press| press.promise(bytes));
    if coding.is_none() {
        *press = None;
    }
    headers::encoded(encoding, coding, cx);
    coding
}

/// Cuts off an answer that does not fit the headers which have gone out.
fn misfit(cx: &mut Cx<'_>) -> OnData {
    cx.ops.count(metrics::RESETS, 1);
    OnData::Reset
}

/// Has nothing take the place of what came.
fn dropped(cx: &mut Cx<'_>) -> OnData {
    OnData::Emit(cx.emit(|_| {}))
}

/// Counts what is written to it.
struct Length(usize);

impl Sink for Length {
    fn write(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}
