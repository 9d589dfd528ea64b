//! The loops that the cost of a large tensor is made of: reading numbers and printing them, through the whole
//! codec. Criterion's throughput is in elements, so its time per element is the number to watch.
//!
//! `cargo bench -p kserve-transcoder`, then for one group `-- request`.

// The codec is private to its crate; the bench is compiled with its sources, and uses only a part of them.
// Criterion's macro makes a public function without documentation.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]

#[path = "../src/codec.rs"]
mod codec;
#[path = "../src/problem.rs"]
mod problem;
#[path = "../src/tensor/mod.rs"]
mod tensor;

use codec::{RequestCodec, ResponseCodec};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use filter_api::{Charge, Memory, Sink};
use std::hint::black_box;
use std::time::Duration;
use tensor::{AnswerForm, BodyModelName, NonFinite, Options, Request, Target, TensorEncoding};

/// The values of a 1x3x128x128 image.
const ELEMENTS: usize = 3 * 128 * 128;

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

fn body(datatype: &str, texts: impl Iterator<Item = String>, separator: &str) -> Vec<u8> {
    let data = texts.collect::<Vec<_>>().join(separator);
    let head = format!(r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[1,3,128,128],"#);
    format!(r#"{head}"data":[{data}]}}]}}"#).into_bytes()
}

fn read(body: &[u8]) -> (usize, Box<dyn ResponseCodec>) {
    let target = Target { model: "m".to_owned(), version: None };
    let mut request = Request::new(target, OPTIONS, None, charge());
    for chunk in body.chunks(CHUNK_BYTES) {
        request.write(chunk).expect("the body is good");
    }
    let (mut message, response) = request.finish().expect("the body is whole");
    let mut count = Count(0);
    message.drain_to(&mut count);
    (count.0, response)
}

fn requests(criterion: &mut Criterion) {
    let cases = [
        ("fp32_3_digits", body("FP32", uniform().map(|value| format!("{value:.3}")), ",")),
        ("fp32_9_digits", body("FP32", uniform().map(|value| (value as f32).to_string()), ",")),
        ("fp32_9_digits_blanks", body("FP32", uniform().map(|value| (value as f32).to_string()), ", ")),
        ("fp32_17_digits", body("FP32", uniform().map(|value| f64::from(value as f32).to_string()), ",")),
        ("fp64_17_digits", body("FP64", uniform().map(|value| value.to_string()), ",")),
        ("uint8", body("UINT8", uniform().map(|value| ((value * 256.0) as u8).to_string()), ",")),
        ("int64", body("INT64", uniform().map(|value| ((value * 1e12) as i64).to_string()), ",")),
        ("bool", body("BOOL", uniform().map(|value| (value < 0.5).to_string()), ",")),
        ("bytes", body("BYTES", uniform().map(|value| format!("\"{value}\"")), ",")),
    ];
    let mut group = criterion.benchmark_group("request");
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    for (name, body) in cases {
        group.bench_function(name, |bencher| bencher.iter(|| read(black_box(&body)).0));
    }
    group.finish();
}

/// A `ModelInferResponse` with one output.
fn message(datatype: &str, raw: &[u8]) -> Vec<u8> {
    let mut output = b"\x0a\x01y\x12".to_vec();
    output.push(datatype.len() as u8);
    output.extend_from_slice(datatype.as_bytes());
    output.extend_from_slice(b"\x1a\x06\x01\x03\x80\x01\x80\x01");
    let mut message = b"\x0a\x01m\x2a".to_vec();
    message.push(output.len() as u8);
    message.extend_from_slice(&output);
    message.push(0x32);
    let mut len = raw.len();
    while len >= 0x80 {
        message.push(len as u8 | 0x80);
        len >>= 7;
    }
    message.push(len as u8);
    message.extend_from_slice(raw);
    message
}

fn print(message: &[u8]) -> usize {
    let mut response = read(br#"{"inputs":[]}"#).1;
    for chunk in message.chunks(CHUNK_BYTES) {
        response.write(chunk).expect("the message is good");
    }
    let mut count = Count(0);
    response.finish().expect("the message is whole").render(&mut count);
    count.0
}

fn answers(criterion: &mut Criterion) {
    let raw32 =
        |values: &mut dyn Iterator<Item = f32>| values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    let cases = [
        ("fp32_3_digits", message("FP32", &raw32(&mut uniform().map(|v| (v * 1e3).round() as f32 / 1e3)))),
        ("fp32_full", message("FP32", &raw32(&mut uniform().map(|v| v as f32)))),
        ("fp32_full_wide", message("FP32", &raw32(&mut uniform().map(|v| (v * 20.0 - 10.0) as f32)))),
        ("fp32_whole", message("FP32", &raw32(&mut uniform().map(|v| (v * 256.0).floor() as f32)))),
        ("fp64_full", message("FP64", &uniform().flat_map(f64::to_le_bytes).collect::<Vec<u8>>())),
        ("uint8", message("UINT8", &uniform().map(|v| (v * 256.0) as u8).collect::<Vec<u8>>())),
        (
            "int64",
            message("INT64", &uniform().flat_map(|v| ((v * 1e12) as i64).to_le_bytes()).collect::<Vec<u8>>()),
        ),
    ];
    let mut group = criterion.benchmark_group("answer");
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    for (name, message) in cases {
        group.bench_function(name, |bencher| bencher.iter(|| print(black_box(&message))));
    }
    group.finish();
}

fn tiny(criterion: &mut Criterion) {
    let body = br#"{"inputs":[{"name":"INPUT0","shape":[1,4],"datatype":"FP32","data":[1,2.5,3,4]}]}"#;
    criterion.bench_function("tiny_request", |bencher| bencher.iter(|| read(black_box(body)).0));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    targets = requests, answers, tiny
}
criterion_main!(benches);
