//! Every shape that tensor data comes in, each with the fast one of its kind that it is held against.

mod answers;
mod requests;

use crate::codec::{RequestCodec, ResponseCodec};
use crate::tensor::{AnswerForm, BodyModelName, NonFinite, Options, Request, Target, TensorEncoding};
use filter_api::{Charge, Memory, Sink};
use std::hint::black_box;

pub use answers::answers;
pub use requests::requests;

/// The values of a 1x3x128x128 image.
pub const ELEMENTS: usize = 3 * 128 * 128;

/// How much of a body Envoy gives at a time.
const CHUNK_BYTES: usize = 16 * 1024;

const OPTIONS: Options = Options {
    encoding: TensorEncoding::Raw,
    answer_form: AnswerForm::Kserve,
    non_finite: NonFinite::Bare,
    body_model_name: BodyModelName::Refuse,
    max_request_bytes: usize::MAX,
    max_response_bytes: usize::MAX,
};

/// A shape of a request or an answer with [`ELEMENTS`] elements.
pub struct Lane {
    pub name: String,
    /// The lane that it may cost one and a half times as much as; the lane itself if it is the fast one of its kind.
    pub beside: String,
    options: Options,
    work: Work,
}

enum Work {
    Request { body: Vec<u8>, json_length: Option<usize> },
    Answer(Vec<u8>),
}

impl Lane {
    fn request(name: &str, beside: &str, body: impl Into<Vec<u8>>) -> Self {
        let work = Work::Request { body: body.into(), json_length: None };
        Self { name: name.to_owned(), beside: beside.to_owned(), options: OPTIONS, work }
    }

    fn answer(name: &str, beside: &str, message: Vec<u8>) -> Self {
        let work = Work::Answer(message);
        Self { name: name.to_owned(), beside: beside.to_owned(), options: OPTIONS, work }
    }

    /// With a binary part behind the JSON.
    fn with_tail(mut self, tail: &[u8]) -> Self {
        if let Work::Request { body, json_length } = &mut self.work {
            *json_length = Some(body.len());
            body.extend_from_slice(tail);
        }
        self
    }

    fn encoding(mut self, encoding: TensorEncoding) -> Self {
        self.options.encoding = encoding;
        self
    }

    fn form(mut self, form: AnswerForm) -> Self {
        self.options.answer_form = form;
        self
    }

    /// Does the work once, from the first byte to the last; says how many bytes came out.
    pub fn run(&self) -> usize {
        match &self.work {
            Work::Request { body, json_length } => read(black_box(body), *json_length, self.options).0,
            Work::Answer(message) => {
                let mut response = read(br#"{"inputs":[]}"#, None, self.options).1;
                for chunk in black_box(message).chunks(CHUNK_BYTES) {
                    response.write(chunk).expect("the message is good");
                }
                let mut count = Count(0);
                response.finish().expect("the message is whole").render(&mut count);
                count.0
            }
        }
    }
}

/// A request of four elements.
pub fn tiny() -> Lane {
    let body = r#"{"inputs":[{"name":"INPUT0","shape":[1,4],"datatype":"FP32","data":[1,2.5,3,4]}]}"#;
    Lane::request("tiny", "tiny", body)
}

fn read(body: &[u8], json_length: Option<usize>, options: Options) -> (usize, Box<dyn ResponseCodec>) {
    let target = Target { model: "m".to_owned(), version: None };
    let mut request = Request::new(target, options, json_length, charge());
    for chunk in body.chunks(CHUNK_BYTES) {
        request.write(chunk).expect("the body is good");
    }
    let (mut message, response) = request.finish().expect("the body is whole");
    let mut count = Count(0);
    message.drain_to(&mut count);
    (count.0, response)
}

/// Counts what is written, as a host would take it.
struct Count(usize);

impl Sink for Count {
    fn write(&mut self, bytes: &[u8]) {
        self.0 += black_box(bytes).len();
    }
}

fn charge() -> Charge {
    Memory::new(1 << 30).account(usize::MAX).charge()
}

/// Uniform values from 0 to 1; always the same ones.
fn uniform() -> impl Iterator<Item = f64> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some((state >> 11) as f64 / (1_u64 << 53) as f64)
    })
    .take(ELEMENTS)
}

/// Whole numbers that fit into every integer datatype.
fn small() -> impl Iterator<Item = u8> {
    uniform().map(|value| (value * 128.0) as u8)
}

/// Whole numbers of eleven and twelve digits.
fn wide() -> impl Iterator<Item = i64> {
    uniform().map(|value| (value * 1e12) as i64)
}

/// Whole numbers, half of them negative.
fn signed() -> impl Iterator<Item = i64> {
    uniform().map(|value| (value * 256.0) as i64 - 128)
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = BASE64[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
