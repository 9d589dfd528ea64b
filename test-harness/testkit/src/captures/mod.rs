//! What a real client and a real server said to each other over HTTP, as cases.
//!
//! See `captures/README.md` in this crate for what is in a capture and what is compared.

mod answer;
mod compare;
mod difference;
mod element;
mod http;
mod request;

use difference::Difference;

use crate::case::Judge;
use crate::{Answer, Body, Case, Column, Expect, Outcome, Pairs, Request};
use base64::Engine as _;
use http::Http;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::Value;
use std::sync::{Arc, LazyLock};

/// One request of `tritonclient.http` and the answer of Triton's HTTP port to it.
#[derive(Clone, Debug)]
struct Capture {
    /// What may differ from Triton's answer, and why.
    difference: Option<Difference>,
    request: Http,
    answer: Http,
}

/// Every capture in which the client sent something, as a case of the transcoder's, in the order of their names. What the
/// server must see is what the request says, and what the client must get is what Triton answered.
///
/// # Errors
/// A capture is not HTTP, or one without a request is not known for it.
pub fn cases() -> Result<Vec<Case>, String> {
    const FILES: &[(&str, &[u8], &[u8])] = include!(concat!(env!("OUT_DIR"), "/captures.rs"));
    let mut cases = Vec::new();
    for (name, request, answer) in FILES {
        let difference = Difference::of(name);
        if request.is_empty() != (difference == Some(Difference::NothingSent)) {
            return Err(format!("{name}: a request that was not sent, or was sent against expectation"));
        }
        if !request.is_empty() {
            let read = |bytes| Http::read(bytes).map_err(|why| format!("{name}: {why}"));
            let (request, answer) = (read(request)?, read(answer)?);
            let capture = Capture { difference, request, answer };
            cases.push(capture.case(name).map_err(|why| format!("{name}: {why}"))?);
        }
    }
    Ok(cases)
}

impl Capture {
    fn case(self, name: &str) -> Result<Case, String> {
        let capture = Arc::new(self);
        let judge = capture.clone();
        let judge = Judge(Arc::new(move |column, outcome| judge.check(column, outcome)));
        let (method, path) = capture.request.method_and_path()?;
        let answer = match capture.expected_error() {
            Some((status, text)) => Answer {
                http_status: 200,
                headers: pairs(&[
                    ("content-type", "application/grpc"),
                    ("grpc-status", status),
                    ("grpc-message", &text),
                ]),
                message: None,
                message_hex: None,
                messages: Vec::new(),
                messages_hex: Vec::new(),
                wrapped: false,
                whole: false,
                body: Body::default(),
                trailers: Some(Vec::new()),
                reset: false,
            },
            None => Answer {
                http_status: 200,
                headers: pairs(&[("content-type", "application/grpc")]),
                message: None,
                message_hex: Some(hex(&answer::message(&capture)?.encode_to_vec())),
                messages: Vec::new(),
                messages_hex: Vec::new(),
                wrapped: false,
                whole: false,
                body: Body::default(),
                trailers: None,
                reset: false,
            },
        };
        Ok(Case {
            name: format!("captures/{name}"),
            story: format!("tritonclient.http and Triton: {name}"),
            filter: "kserve_transcoder".to_owned(),
            config: "{}".to_owned(),
            columns: Column::ALL.to_vec(),
            left_out_because: None,
            request: Request {
                method: method.to_owned(),
                path: path.to_owned(),
                headers: capture.request.headers_without(&["host", "content-length"]),
                body: Body { bytes: capture.request.body.clone(), ..Body::default() },
                trailers: Vec::new(),
            },
            upstream: None,
            asked_or_not: false,
            call: None,
            answer: Some(answer),
            expect: Expect::default(),
            expect_wasm: None,
            expect_wasm_hold: None,
            expect_native: None,
            judge: Some(judge),
        })
    }

    /// Compares an outcome with what the request says and with what Triton answered.
    fn check(&self, column: Column, outcome: &Outcome) -> Result<(), String> {
        let seen = outcome.seen.as_ref().ok_or("the model server was not asked")?;
        compare::request(self, seen)?;
        compare::answer(self, column, &outcome.got)
    }

    /// The gRPC status and message of an error, if Triton answered one that comes from its core and not from its
    /// HTTP port.
    fn expected_error(&self) -> Option<(&'static str, String)> {
        let status = match (self.answer.status(), self.difference) {
            (200, _) | (_, Some(Difference::HalfInJson | Difference::NotReady)) => return None,
            (400, _) => "3",
            (404, _) => "5",
            _ => "13",
        };
        Some((status, self.answer_error()))
    }

    /// The text of Triton's error.
    fn answer_error(&self) -> String {
        let json = http::json(&self.answer.body).unwrap_or_default();
        json["error"].as_str().unwrap_or_default().to_owned()
    }
}

/// The gRPC method of a name, in the protocol or in Triton's extensions of it.
fn method(name: &str) -> Result<MethodDescriptor, String> {
    static POOLS: LazyLock<Vec<DescriptorPool>> = LazyLock::new(|| {
        let sets = [kserve_proto::DESCRIPTOR_SET, kserve_proto::TRITON_DESCRIPTOR_SET];
        sets.into_iter().filter_map(|set| DescriptorPool::decode(set).ok()).collect()
    });
    let services = POOLS.iter().filter_map(|pool| pool.get_service_by_name(kserve_proto::SERVICE));
    let mut methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.find(|method| method.name() == name).ok_or_else(|| format!("no method {name}"))
}

/// A message from protobuf's own JSON.
fn from_json(descriptor: MessageDescriptor, json: Value) -> Result<DynamicMessage, String> {
    DynamicMessage::deserialize(descriptor, json).map_err(|why| why.to_string())
}

fn base64(bytes: &[u8]) -> Value {
    base64::engine::general_purpose::STANDARD.encode(bytes).into()
}

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
