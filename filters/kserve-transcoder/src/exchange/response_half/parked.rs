//! An answer that has been made while its headers are held, and waits for its trailers.
//!
//! proxy-wasm buffers what comes while headers are held, under the connection's limit, so that no more than
//! [`PARK_LIMIT_BYTES`] may be written there. The answer to a message of which nothing could be told before its last
//! chunk may be longer: it becomes the filter's own reply.

use super::headers;
use crate::codec::Answer;
use crate::compressed::{Coding, Encoding, Press, write_rest};
use filter_api::{Buffer, Charge, Cx, OverBudget, PARK_LIMIT_BYTES, Reply, Sink, View};

/// An answer as it is sent.
#[derive(Debug)]
pub(super) struct Parked {
    status: u16,
    json_bytes: Option<usize>,
    content_type: Option<String>,
    body: Buffer,
    /// How the body is encoded.
    coding: Option<Coding>,
}

impl Parked {
    /// Prints an answer, compressed if there is a press.
    ///
    /// # Errors
    /// The budget has no room for it.
    pub(super) fn new(
        answer: Box<dyn Answer>,
        press: Option<Box<Press>>,
        charge: Charge,
    ) -> Result<Self, OverBudget> {
        let (status, json_bytes) = (answer.status(), answer.inference_header_length());
        let content_type = answer.content_type().map(str::to_owned);
        let mut body = Bounded { body: Buffer::new(charge), result: Ok(()) };
        let coding = write_rest(press, |out| answer.render(out), &mut body);
        body.result?;
        Ok(Self { status, json_bytes, content_type, body: body.body, coding })
    }

    /// The body.
    pub(super) fn body(&self) -> &[u8] {
        self.body.as_slice()
    }

    /// Whether a host can still write it when its trailers have come.
    pub(super) fn is_small(&self) -> bool {
        self.body.len() <= PARK_LIMIT_BYTES
    }

    /// Makes the headers, which are held, those of the answer.
    pub(super) fn head(&self, of_the_message: u8, encoding: Encoding, cx: &mut Cx<'_>) {
        headers::of_answer(self.status, self.json_bytes, of_the_message, cx);
        headers::typed(self.content_type.as_deref(), cx);
        headers::encoded(encoding, self.coding, cx);
    }

    /// The answer as the filter's own.
    pub(super) fn reply(self, encoding: Encoding, view: &dyn View) -> Reply {
        let content_type = self.content_type.as_deref();
        let mut reply = headers::reply_of_answer(self.status, self.json_bytes, content_type, view);
        headers::encoded_reply(encoding, self.coding, &mut reply);
        reply.body(self.body.into_bytes())
    }
}

/// Keeps what is written to it, as far as the budget goes.
struct Bounded {
    body: Buffer,
    result: Result<(), OverBudget>,
}

impl Sink for Bounded {
    fn write(&mut self, bytes: &[u8]) {
        if self.result.is_ok() {
            self.result = self.body.push(bytes);
        }
    }
}
