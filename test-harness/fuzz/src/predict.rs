//! Bodies of KServe v1, read a second time: what is taken must be, for each input, the tensor that v2 has of the same text.

use crate::message::ModelInferRequest;
use crate::run::{Setup, assert_same, inference, is_refusal, run};
use prost::Message as _;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use testkit::{Chunking, frame, unframe};

/// The models of every [`Setup`], with their inputs' names and datatypes.
const MODELS: [(&str, &[(&str, &str)]); 3] = [
    ("m", &[("x", "FP32")]),
    ("named", &[("id", "INT64"), ("text", "BYTES"), ("unused", "FP32")]),
    ("deep", &[("x", "INT8")]),
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"instances":[1,-2.5,1e3,0.1]}"#,
        r#"{"instances":[{"x":1},NaN,{"x":null},"Infinity"]}"#,
        r#"{"inputs":[0.1, 16777217 ,1e-45],"signature_name":{"a":[{}]}}"#,
        r#"{"inputs":{"x":[]}}"#,
        r#"{"instances":[{"id":7,"text":["a\u00e9"]},{"text":[{"b64":"/w=="}],"id":-9223372036854775808}]}"#,
        r#"{"inputs":{"text":[["a"],["\ud83d\ude00]"]],"unused":[1],"id":[1,2,3]}}"#,
        r#"{"instances":[[[1,2],[3,4]],[[5,-128],[127,1.0]]]}"#,
        r#"{"instances":[{"x":[[1,2]]},[[3,4]]]}"#,
        "{\n \"inputs\": [\n  [\n   [1, 2],\n   [3, 4]\n  ],\n  [\n   [5, 6],\n   [7, 8]\n  ]\n ]\n}",
        r#"{"instances":[[],[]]}"#,
        r#"{"instances":[[[1,2]],[[3]]]}"#,
    ];
    // For the models that they are meant for, and for the others.
    let each = |body: &&'static str| {
        (0..3).flat_map(|model| [1, 2].map(|seed| [&[model, seed], body.as_bytes()].concat()))
    };
    bodies.iter().flat_map(each).collect()
}

pub(crate) fn check(input: &[u8]) {
    let Some((&[model, seed], body)) = input.split_first_chunk() else { return };
    let (name, inputs) = MODELS[usize::from(model) % MODELS.len()];
    let mut case = inference();
    case.request.path = format!("/v1/models/{name}:predict");
    case.request.body.bytes = body.to_vec();
    if let Some(answer) = &mut case.answer {
        answer.body.bytes = frame(&[]);
    }
    let whole = run(&case, Setup::Native, Chunking::Whole);
    let cut = run(&case, Setup::Native, Chunking::Random(seed.into()));
    assert_same(&whole, &cut, &String::from_utf8_lossy(body));
    let Some(seen) = whole.seen.as_ref().filter(|seen| !seen.body.is_empty()) else {
        assert!(is_refusal(&whole), "{whole:?}");
        return;
    };
    let message = unframe(&seen.body).expect("the server gets one message");
    let message = ModelInferRequest::decode(message).expect("prost can read the message");
    // Bare words for NaN are no JSON to the second reader, and an element that is an object is v1's alone.
    let Some(texts) = tensors(body, inputs) else { return };
    assert_eq!(texts.len(), message.inputs.len(), "{texts:?} {message:?}");
    let members: Vec<String> = texts
        .iter()
        .zip(&message.inputs)
        .map(|((name, datatype, text), input)| {
            assert_eq!((*name, *datatype), (&*input.name, &*input.datatype));
            assert_has_shape(text, &input.shape);
            let data = if input.shape.is_empty() { format!("[{text}]") } else { text.clone() };
            let shape = &input.shape;
            format!(r#"{{"name":"{name}","datatype":"{datatype}","shape":{shape:?},"data":{data}}}"#)
        })
        .collect();
    let mut v2 = inference();
    v2.request.path = format!("/v2/models/{name}/infer");
    v2.request.body.bytes = format!(r#"{{"inputs":[{}]}}"#, members.join(",")).into();
    v2.answer = case.answer;
    let other = run(&v2, Setup::Native, Chunking::Whole).seen.expect("v2 takes the same tensors");
    assert_eq!(seen.body, other.body, "{}", String::from_utf8_lossy(body));
}

/// The text of each input's tensor, in the model's order; `None` where this reader does not understand the body.
fn tensors<'m>(body: &[u8], inputs: &[(&'m str, &'m str)]) -> Option<Vec<(&'m str, &'m str, String)>> {
    if body.windows(5).any(|part| part == b"\"b64\"" || part.starts_with(b"\\u00")) {
        return None;
    }
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
    let object = |text: &str| serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text).ok();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let rows = members.get("instances");
    match rows {
        Some(rows) => {
            for row in serde_json::from_str::<Vec<&RawValue>>(rows.get()).ok()? {
                let values =
                    object(row.get()).unwrap_or_else(|| [(inputs[0].0.to_owned(), row.to_owned())].into());
                for (name, value) in values {
                    found.entry(name).or_default().push(value.get().to_owned());
                }
            }
        }
        None => {
            let whole = members.get("inputs")?;
            let values =
                object(whole.get()).unwrap_or_else(|| [(inputs[0].0.to_owned(), (*whole).to_owned())].into());
            found.extend(values.into_iter().map(|(name, value)| (name, vec![value.get().to_owned()])));
        }
    }
    let text = |values: &Vec<String>| match rows {
        Some(_) => format!("[{}]", values.join(",")),
        None => values.concat(),
    };
    let given =
        inputs.iter().filter_map(|(name, datatype)| Some((*name, *datatype, text(found.get(*name)?))));
    Some(given.collect())
}

/// Asserts that lists are as long as a shape says, at every depth.
fn assert_has_shape(text: &str, shape: &[i64]) {
    let Some((size, inner)) = shape.split_first() else {
        assert!(!text.trim_start().starts_with(['[', '{']), "{text}");
        return;
    };
    let items: Vec<&RawValue> = serde_json::from_str(text).expect("it is a list");
    assert_eq!(items.len() as i64, *size, "{text}");
    items.iter().for_each(|item| assert_has_shape(item.get(), inner));
}
