//! Stories of whole requests and answers. The messages are read and written by prost here, which shares
//! nothing with the codec.

mod answers;
mod generate;
mod message;
mod predict;
mod requests;
mod spellings;
mod splits;
mod streams;

use super::*;
use crate::codec::{Answer, RequestCodec, ResponseCodec};
use crate::problem::Problem;
use filter_api::{Charge, Memory};
use message::{ModelInferRequest, ModelInferResponse};
use prost::Message;

const OPTIONS: Options = Options {
    encoding: TensorEncoding::Raw,
    answer_form: AnswerForm::Kserve,
    non_finite: NonFinite::Bare,
    body_model_name: BodyModelName::Refuse,
    max_request_bytes: 100 << 20,
    max_response_bytes: 100 << 20,
};

fn target() -> Target {
    Target { model: "m".to_owned(), version: None }
}

fn charge() -> Charge {
    Memory::new(1 << 30).account(usize::MAX).charge()
}

/// The message of a body that comes in pieces of `step` bytes, and the reader of its answer.
fn transcode(
    options: Options,
    json_length: Option<usize>,
    body: &[u8],
    step: usize,
) -> Result<(Vec<u8>, Box<dyn ResponseCodec>), Problem> {
    let mut request = Request::new(target(), options, json_length, charge());
    for piece in body.chunks(step) {
        request.write(piece)?;
    }
    let (mut message, response) = request.finish()?;
    let mut bytes = Vec::new();
    message.drain_to(&mut bytes);
    Ok((bytes, response))
}

/// The message of a JSON body.
fn request(body: &str) -> Result<ModelInferRequest, Problem> {
    let (bytes, _) = transcode(OPTIONS, None, body.as_bytes(), usize::MAX)?;
    let message = ModelInferRequest::decode(&bytes[..]).unwrap();
    // What a decoder reads and writes again is the same only if the fields are in the order of their numbers.
    // A map of more than one entry has no order.
    if message.parameters.len() < 2 {
        assert_eq!(message.encode_to_vec(), bytes, "the message is not canonical");
    }
    Ok(message)
}

/// What is wrong with a JSON body, which must be the same however it is cut.
fn refusal(body: &str) -> String {
    let problem = transcode(OPTIONS, None, body.as_bytes(), usize::MAX).unwrap_err();
    for step in [1, 2, 3, 7] {
        assert_eq!(
            transcode(OPTIONS, None, body.as_bytes(), step).unwrap_err(),
            problem,
            "in pieces of {step}"
        );
    }
    assert_eq!(problem.status, 400, "{problem}");
    problem.message.into_owned()
}

/// A reader for the answer to a request with these parts behind its inputs.
fn response_to(parts: &str) -> Box<dyn ResponseCodec> {
    let body = format!(r#"{{"inputs":[]{parts}}}"#);
    transcode(OPTIONS, None, body.as_bytes(), usize::MAX).unwrap().1
}

/// The answer that is made of a message in pieces of `step` bytes.
fn answer_in(
    mut response: Box<dyn ResponseCodec>,
    message: &[u8],
    step: usize,
) -> Result<Box<dyn Answer>, Problem> {
    for piece in message.chunks(step) {
        response.write(piece)?;
    }
    response.finish()
}

/// The body of a JSON answer, which must be the same however the message is cut.
fn answer(message: &ModelInferResponse) -> Result<String, Problem> {
    answer_of_bytes(&message.encode_to_vec())
}

fn answer_of_bytes(message: &[u8]) -> Result<String, Problem> {
    let render = |step| {
        let mut body = Vec::new();
        answer_in(response_to(""), message, step)?.render(&mut body);
        Ok(body)
    };
    let whole: Result<Vec<u8>, Problem> = render(usize::MAX);
    for step in [1, 2, 3, 5, 64] {
        assert_eq!(render(step), whole, "in pieces of {step}");
    }
    whole.map(|body| String::from_utf8(body).unwrap())
}
