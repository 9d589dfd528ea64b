//! Bodies of Triton's `generate`, read a second time: what is taken must be the request that v2 has of the same tensors and
//! parameters, each of the shape that is worked out here.

use crate::message::ModelInferRequest;
use crate::run::{Setup, assert_same, inference, is_refusal, run};
use prost::Message as _;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use testkit::{Chunking, frame, unframe};

/// The inputs of the model `llm` of every [`Setup`]: names, datatypes, and the shape of so many elements.
type Shape = fn(usize) -> Vec<usize>;
const INPUTS: [(&str, &str, Shape); 3] = [
    ("text_input", "BYTES", |count| vec![count, 1]),
    ("n", "INT32", |_| vec![1]),
    ("top", "FP32", |count| vec![count / 2, 2]),
];

const PATHS: [&str; 2] = ["generate", "generate_stream"];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"text_input":"a\u00e9\n","n":5,"id":"7"}"#,
        r#"{"text_input":["a",["b","]["]],"top":[[1,-2.5],[1e3,0.1]],"parameters":{"n":[16],"temperature":0.5}}"#,
        r#"{"seed":18446744073709551615,"user":"u","echo":true,"parameters":{"id":"p","top":[],"stop":null}}"#,
        r#"{ "parameters" : { } , "n" : 1.0 , "triton_enable_empty_final_response" : true }"#,
        r#"{"top":[NaN,"Infinity"],"n":-2147483648}"#,
        r#"{"n":[[[7]]],"n\u0061me":"x","binary_data_output":false}"#,
        r#"{"n":[1,2]}"#,
        r#"{"text_input":{"a":1}}"#,
        r#"{"a":1,"parameters":{"a":1}}"#,
        r#"{"text_input":[],"top":[[],[]],"id":""}"#,
        r#"{"text_input":"\ud83d\ude00\u0000","parameters":{"text":"\"\\"}}"#,
        "{\n  \"top\": [\n    [0.5, 1e-45],\n    [null, 16777217]\n  ],\n  \"n\": 3\n}",
        r#"{"parameters":{"parameters":1,"text_input":"a"},"model_name":"x"}"#,
        r#"{"top":[1,2,3]}"#,
    ];
    let each =
        |body: &&'static str| (0..4).map(|flags: u8| [&[flags / 2, flags % 2], body.as_bytes()].concat());
    bodies.iter().flat_map(each).collect()
}

pub(crate) fn check(input: &[u8]) {
    let Some((&[path, seed], body)) = input.split_first_chunk() else { return };
    let mut case = inference();
    case.request.path = format!("/v2/models/llm/{}", PATHS[usize::from(path) % PATHS.len()]);
    case.request.body.bytes = body.to_vec();
    if let Some(answer) = &mut case.answer {
        answer.body.bytes = frame(&[]);
    }
    let whole = run(&case, Setup::StreamTriton, Chunking::Whole);
    let cut = run(&case, Setup::StreamTriton, Chunking::Random(seed.into()));
    assert_same(&whole, &cut, &String::from_utf8_lossy(body));
    let Some(seen) = whole.seen.as_ref().filter(|seen| !seen.body.is_empty()) else {
        assert!(is_refusal(&whole), "{whole:?}");
        return;
    };
    // Bare words for NaN are no JSON to the second reader.
    let Some(v2) = in_v2(body) else { return };
    let mut other = inference();
    other.request.path = "/v2/models/llm/infer_stream".to_owned();
    other.request.body.bytes = v2.clone().into();
    other.answer = case.answer;
    let other = run(&other, Setup::StreamTriton, Chunking::Whole);
    let Some(expected) = other.seen else { panic!("v2 does not take {v2}: {:?}", other.got) };
    assert_eq!(message(&seen.body), message(&expected.body), "{v2}");
}

fn message(framed: &[u8]) -> ModelInferRequest {
    let message = unframe(framed).expect("the server gets one message");
    ModelInferRequest::decode(message).expect("prost can read the message")
}

/// The same request as v2 has it; `None` where this reader does not understand the body.
fn in_v2(body: &[u8]) -> Option<String> {
    let Members(top) = serde_json::from_slice(body).ok()?;
    let mut tensors = vec![None; INPUTS.len()];
    let (mut id, mut parameters) = (String::new(), Vec::new());
    let mut take = |name: &str, value: &RawValue| match INPUTS.iter().position(|input| input.0 == name) {
        Some(index) => {
            let before = tensors[index].replace(tensor(index, value.get()));
            assert!(before.is_none(), "{name} is taken twice");
        }
        None if name == "triton_enable_empty_final_response" => {}
        None => parameters.push(format!("{}:{}", serde_json::json!(name), value.get())),
    };
    for (name, value) in &top {
        match name.as_str() {
            "id" => id = format!(r#""id":{},"#, value.get()),
            "parameters" => {
                let Members(within) = serde_json::from_str(value.get()).expect("it is an object");
                within.iter().for_each(|(name, value)| take(name, value));
            }
            name => take(name, value),
        }
    }
    let inputs: Vec<String> = tensors.into_iter().flatten().collect();
    let (inputs, parameters) = (inputs.join(","), parameters.join(","));
    Some(format!(r#"{{{id}"inputs":[{inputs}],"parameters":{{{parameters}}}}}"#))
}

fn tensor(index: usize, value: &str) -> String {
    let (name, datatype, shape) = INPUTS[index];
    let shape = shape(elements(value));
    let data = if value.trim_start().starts_with('[') { value.to_owned() } else { format!("[{value}]") };
    format!(r#"{{"name":"{name}","datatype":"{datatype}","shape":{shape:?},"data":{data}}}"#)
}

/// How many elements a value has.
fn elements(value: &str) -> usize {
    match serde_json::from_str::<Vec<&RawValue>>(value) {
        Ok(items) => items.iter().map(|item| elements(item.get())).sum(),
        Err(_) => 1,
    }
}

/// The members of an object in their order, with their repeated keys.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
