//! Reading a message of Triton's `ModelStreamInfer`.

use super::Response;
use crate::codec::{Answer, ResponseCodec};
use crate::problem::Problem;
use filter_api::{Buffer, Sink};
use kserve_proto::wire::{Item, Reader};
use std::fmt::Display;

/// Reads a `ModelStreamInferResponse`: what went wrong, or the `ModelInferResponse` of an inference, which `A` reads.
#[derive(Debug)]
pub(crate) struct StreamResponse<A = Response> {
    wire: Reader,
    error: Buffer,
    answer: Box<A>,
    target: Target,
    /// The client gets this message alone, so that an error is no answer.
    alone: bool,
}

/// What reads the answer in a message of a stream.
pub(crate) trait InStream: ResponseCodec + Sized + 'static {
    /// A reader of the answer in another message of the same stream.
    fn sibling(&self) -> Self;

    /// A buffer that is charged as it is.
    fn buffer(&self) -> Buffer;
}

impl InStream for Response {
    fn sibling(&self) -> Self {
        self.sibling()
    }

    fn buffer(&self) -> Buffer {
        Buffer::new(self.charge.sibling())
    }
}

/// Where the bytes that come go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Error,
    Answer,
}

// Numbers of the fields.
const ERROR_MESSAGE: u32 = 1;
const INFER_RESPONSE: u32 = 2;

impl<A: InStream> StreamResponse<A> {
    /// A reader of the messages of a stream, with answers that `answer` reads.
    pub(crate) fn new(answer: A) -> Self {
        let (error, answer) = (answer.buffer(), Box::new(answer));
        Self { wire: Reader::default(), error, answer, target: Target::Error, alone: false }
    }

    /// A reader of the only message of a stream, with an answer that `answer` reads. The message does not say whose fault an
    /// error is: it is a 400, as on Triton's own HTTP port.
    pub(crate) fn alone(answer: A) -> Self {
        Self { alone: true, ..Self::new(answer) }
    }

    /// Ends the message, and gives what it wraps: an answer, or the server's words for what went wrong.
    ///
    /// # Errors
    /// It is not such a message.
    pub(crate) fn unwrapped(self) -> Result<Result<Box<A>, String>, Problem> {
        if !self.wire.is_whole() {
            return Err(malformed("it is cut"));
        }
        if self.error.is_empty() {
            return Ok(Ok(self.answer));
        }
        Ok(Err(String::from_utf8_lossy(self.error.as_slice()).trim_end().to_owned()))
    }
}

impl<A: InStream> ResponseCodec for StreamResponse<A> {
    fn for_message(&self) -> Option<Box<dyn ResponseCodec>> {
        Some(Box::new(Self::new(self.answer.sibling())))
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        while let Some(item) = self.wire.next(&mut bytes).map_err(malformed)? {
            match item {
                // The last one counts.
                Item::Length(ERROR_MESSAGE, _) => {
                    self.error.clear();
                    self.target = Target::Error;
                    self.wire.bytes();
                }
                // Several are one, whose parts they are: to join their bytes is to merge the messages.
                Item::Length(INFER_RESPONSE, _) => {
                    self.target = Target::Answer;
                    self.wire.bytes();
                }
                Item::Bytes(bytes) => match self.target {
                    Target::Error => self.error.push(bytes)?,
                    Target::Answer => self.answer.write(bytes)?,
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Answer>, Problem> {
        let alone = self.alone;
        match self.unwrapped()? {
            Ok(answer) => answer.finish(),
            Err(text) if alone => Err(Problem::new(400, text, "kserve_grpc_error")),
            Err(text) => Ok(Box::new(ErrorEvent(Problem::bad_answer(text).body()))),
        }
    }
}

/// An error in place of an answer, as `{"error": "..."}`.
#[derive(Debug)]
struct ErrorEvent(Vec<u8>);

impl Answer for ErrorEvent {
    fn render(self: Box<Self>, out: &mut dyn Sink) {
        out.write(&self.0);
    }

    fn render_padded(self: Box<Self>, _json_length: usize, out: &mut dyn Sink) {
        self.render(out);
    }
}

#[cold]
fn malformed(what: impl Display) -> Problem {
    Problem::bad_answer(format!(
        "the server's answer is not a ModelStreamInferResponse: {what} (MLServer's need stream_messages: mlserver)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::response::Wanted;
    use crate::tensor::{AnswerForm, BodyModelName, NonFinite, Options, TensorEncoding};
    use filter_api::Memory;
    use kserve_proto::wire::Message;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// What a message is printed as, cut in pieces of every small size.
    fn printed(message: &[u8]) -> Result<String, String> {
        let memory = Memory::new(1 << 20);
        let options = Options {
            encoding: TensorEncoding::Raw,
            answer_form: AnswerForm::Kserve,
            non_finite: NonFinite::Bare,
            body_model_name: BodyModelName::Refuse,
            max_request_bytes: 1000,
            max_response_bytes: 1000,
        };
        let mut results = (1..=message.len().max(1)).map(|size| {
            let charge = memory.account(usize::MAX).charge();
            let wanted = Wanted::nothing(&charge);
            let stream = StreamResponse::new(Response::new(options, wanted, charge));
            let mut codec = stream.for_message().unwrap();
            drop(stream);
            let written = message.chunks(size).try_for_each(|piece| codec.write(piece));
            let answer = written.and_then(|()| codec.finish());
            answer.map_err(|problem| problem.message.into_owned()).map(|answer| {
                let mut out = Vec::new();
                answer.render(&mut out);
                String::from_utf8(out).unwrap()
            })
        });
        let first = results.next().unwrap();
        assert!(results.all(|result| result == first), "it depends on how the message is cut");
        assert_eq!(memory.used(), 0);
        first
    }

    #[test]
    fn an_answer_is_taken_out_of_its_wrapping_and_an_error_is_an_object() {
        let answer = Message::new().bytes(1, "m").bytes(3, "7").into_bytes();
        let wrapped = Message::new().bytes(2, &answer).into_bytes();
        let expected = r#"{"id":"7","model_name":"m","outputs":[]}"#;
        assert_eq!(printed(&wrapped).unwrap(), expected);
        let around =
            Message::new().bytes(1, "").varint(9, 1).bytes(2, &answer).bytes(8, "later").into_bytes();
        assert_eq!(printed(&around).unwrap(), expected);
        let in_parts = Message::new().bytes(2, &answer[..3]).bytes(2, &answer[3..]).into_bytes();
        assert_eq!(printed(&in_parts).unwrap(), expected);
        let error = Message::new().bytes(1, "no \"room\" ").into_bytes();
        assert_eq!(printed(&error).unwrap(), r#"{"error":"no \"room\""}"#);
        let both = Message::new().bytes(2, &answer).bytes(1, "first").bytes(1, "late").into_bytes();
        assert_eq!(printed(&both).unwrap(), r#"{"error":"late"}"#);
    }

    #[test]
    fn what_is_not_such_a_message_is_refused() {
        assert!(printed(b"\x0a\x05ab").unwrap_err().contains("ModelStreamInferResponse: it is cut"));
        assert!(printed(b"\x07").unwrap_err().contains("ModelStreamInferResponse: it has a field"));
        assert!(printed(b"\x12\x02\x0a\x05").unwrap_err().contains("ModelInferResponse: it is cut"));
    }
}
