//! The body of a request for completions, read a second time.

use crate::json::{Json, NoTree};
use crate::message::{ModelInferRequest, Requested, Tensor};
use crate::number::{fp64, integer};

pub(super) const SEEDS: [&str; 40] = [
    r#"{"model":"told","prompt":"x"}"#,
    r#"{"prompt":["a","b\n","\u00e9"],"model":"told","stream":true}"#,
    r#"{"model":"told","prompt":[1,2,3]}"#,
    r#"{"model":"told","prompt":[[1],[2,3],[4,5,6]],"max_tokens":1}"#,
    r#"{"model":"told","prompt":[[1.0],[2e1]],"max_tokens":[2]}"#,
    r#"{"model":"told","prompt":"x","max_tokens":null,"stop":"end"}"#,
    r#"{"model":"told","prompt":["x","y"],"stop":["a","bc"],"stream":false}"#,
    r#"{"model":"told","prompt":"x","stop":[],"max_tokens":[]}"#,
    r#"{"model":"told","prompt":"x","stop":[1]}"#,
    r#"{"model":"told","prompt":"x","max_tokens":2147483648}"#,
    r#"{"model":"told","prompt":"x","max_tokens":-1}"#,
    r#"{"model":"told","prompt":"x","max_tokens":1.5}"#,
    r#"{"model":"told","prompt":"x","max_tokens":"1"}"#,
    r#"{"model":"told","prompt":"x","max_tokens":{"a":1}}"#,
    r#"{"model":"told","prompt":"x","n":1,"best_of":1.0,"echo":false,"suffix":"","logprobs":null,"temperature":1e0,"top_p":1}"#,
    r#"{"model":"told","prompt":"x","presence_penalty":0,"frequency_penalty":-0.0,"user":{"a":[1]},"seed":null}"#,
    r#"{"model":"told","prompt":"x","n":2}"#,
    r#"{"model":"told","prompt":"x","echo":true}"#,
    r#"{"model":"told","prompt":"x","stream":true,"stream_options":{"include_usage":true}}"#,
    r#"{"stream_options":{"include_usage":null,"include_obfuscation":false},"model":"told","prompt":"x","stream":true}"#,
    r#"{"model":"told","prompt":"x","stream":true,"stream_options":{}}"#,
    r#"{"model":"told","prompt":"x","stream":true,"stream_options":null}"#,
    r#"{"model":"told","prompt":"x","stream":true,"stream_options":{"include_usage":{"a":1}}}"#,
    r#"{"model":"told","prompt":"x","stream":true,"stream_options":{"include_usage":true,"x":1}}"#,
    r#"{"model":"told","prompt":"x","stream":true,"stream_options":{"include_usage":true,"include_usage":false}}"#,
    r#"{"model":"told","prompt":"x","stream":true,"stream_options":[]}"#,
    r#"{"model":"told","prompt":"x","stream_options":{"include_usage":true}}"#,
    r#"{"model":"told","prompt":"x","stream":"true"}"#,
    r#"{"model":"told","prompt":"x","stream":null}"#,
    r#"{"model":"other","prompt":"x"}"#,
    r#"{"model":null,"prompt":"x"}"#,
    r#"{"model":["told"],"prompt":"x"}"#,
    r#"{"model":"told"}"#,
    r#"{"model":"told","prompt":[]}"#,
    r#"{"model":"told","prompt":[[]]}"#,
    r#"{"model":"told","prompt":["a",1]}"#,
    r#"{"model":"told","prompt":[[1],2]}"#,
    r#"{"model":"told","prompt":["a","b","c","d"]}"#,
    r#"{"model":"told","prompt":"a","prompt":"b"}"#,
    r#"["told"]"#,
];

/// What should come of a body.
#[derive(Debug)]
pub(super) enum Expected {
    /// A message, and whether the answer is to be a stream.
    Message(Box<ModelInferRequest>, bool),
    Refused,
    /// This reader cannot tell.
    Unknown,
}

/// Deeper than this, it depends on what is skipped.
const SURE_DEPTH: usize = 50;
const MAX_MEMBERS: usize = 64;
const NAME_BYTES: usize = 100;
const MAX_INPUTS: usize = 3;

pub(super) fn expected(body: &[u8]) -> Expected {
    let document = match Json::read(body) {
        Ok(document) => document,
        Err(NoTree::Invalid) => return Expected::Refused,
        Err(NoTree::Unknown) => return Expected::Unknown,
    };
    if is_odd(&document, 0) {
        return Expected::Unknown;
    }
    let Json::Object(members) = &document else { return Expected::Refused };
    match message(&document, members) {
        Some((message, stream)) => Expected::Message(Box::new(message), stream),
        None => Expected::Refused,
    }
}

/// Whether a value has what may or may not be refused, by where it stands.
fn is_odd(value: &Json, depth: usize) -> bool {
    match value {
        Json::Bare(_) => true,
        Json::Number(text) => text.len() > 2000,
        Json::Array(items) => depth > SURE_DEPTH || items.iter().any(|item| is_odd(item, depth + 1)),
        Json::Object(fields) => {
            depth > SURE_DEPTH || fields.iter().any(|(_, value)| is_odd(value, depth + 1))
        }
        _ => false,
    }
}

fn message(document: &Json, members: &[(String, Json)]) -> Option<(ModelInferRequest, bool)> {
    let named = |wanted: &str| members.iter().filter(|(name, _)| name == wanted).count();
    let fits = |(name, _): &(String, Json)| name.len() <= NAME_BYTES && named(name) == 1;
    if members.len() > MAX_MEMBERS || !members.iter().all(fits) {
        return None;
    }
    let Some(Json::Text(model, _)) = document.get("model") else { return None };
    if model != "told" {
        return None;
    }
    let stream = match document.get("stream") {
        None | Some(Json::Null) => false,
        Some(Json::Bool(wanted)) => *wanted,
        Some(_) => return None,
    };
    match document.get("stream_options") {
        None | Some(Json::Null) => {}
        Some(Json::Object(options)) if stream && are_possible(options) => {}
        Some(_) => return None,
    }
    let ours = ["model", "prompt", "stream", "stream_options", "max_tokens", "stop"];
    if !members.iter().all(|(name, value)| ours.contains(&name.as_str()) || asks_for_nothing(name, value)) {
        return None;
    }
    let mut message = ModelInferRequest { model_name: "m".into(), ..Default::default() };
    let inputs = prompts(document.get("prompt")?, &mut message)?;
    let of = |name: &str, datatype: &str, shape: Vec<i64>| Tensor {
        name: name.into(),
        datatype: datatype.into(),
        shape,
        ..Default::default()
    };
    let mut add = |tensor: Tensor, each: Vec<u8>, times: usize| {
        message.inputs.push(tensor);
        message.raw_input_contents.push(each.repeat(times));
    };
    let most = match values(document.get("max_tokens"))? {
        None => Some(16),
        Some(values) => match values[..] {
            [] => None,
            [Json::Number(text)] => {
                Some(i32::try_from(integer(text, i32::MIN.into(), i32::MAX.into())?).ok()?)
            }
            _ => return None,
        },
    };
    if let Some(most) = most {
        add(of("max", "INT32", vec![inputs as i64, 1]), most.to_le_bytes().to_vec(), inputs);
    }
    let ends = values(document.get("stop"))?.unwrap_or_default();
    if !ends.is_empty() {
        let texts = ends.iter().map(|end| match end {
            Json::Text(text, _) => Some(element(text)),
            _ => None,
        });
        let texts = texts.collect::<Option<Vec<_>>>()?.concat();
        add(of("end", "BYTES", vec![inputs as i64, ends.len() as i64]), texts, inputs);
    }
    add(of("flag", "BOOL", vec![1]), vec![1], 1);
    message.outputs = ["out", "why", "read", "written"]
        .map(|name| Requested { name: name.into(), ..Default::default() })
        .to_vec();
    Some((message, stream))
}

fn element(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Adds what the model is asked about; says how many inputs there are.
fn prompts(prompt: &Json, message: &mut ModelInferRequest) -> Option<usize> {
    let items = match prompt {
        Json::Text(..) => std::slice::from_ref(prompt),
        Json::Array(items) if !items.is_empty() => items,
        _ => return None,
    };
    let tensor = |name: &str, datatype: &str, shape: [usize; 2]| Tensor {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.map(|size| size as i64).to_vec(),
        ..Default::default()
    };
    let lists: Vec<&[Json]> = match items {
        [Json::Text(..), ..] => {
            let texts = items.iter().map(|item| match item {
                Json::Text(text, _) => Some(element(text)),
                _ => None,
            });
            let raw = texts.collect::<Option<Vec<_>>>()?.concat();
            message.inputs.push(tensor("in", "BYTES", [items.len(), 1]));
            message.raw_input_contents.push(raw);
            return (items.len() <= MAX_INPUTS).then_some(items.len());
        }
        [Json::Number(_), ..] => vec![items],
        _ => items
            .iter()
            .map(|item| match item {
                Json::Array(list) if !list.is_empty() => Some(&list[..]),
                _ => None,
            })
            .collect::<Option<_>>()?,
    };
    let longest = lists.iter().map(|list| list.len()).max()?;
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for list in &lists {
        for at in 0..longest {
            let token = match list.get(at) {
                Some(Json::Number(text)) => i32::try_from(integer(text, 0, i32::MAX.into())?).ok()?,
                Some(_) => return None,
                None => 7,
            };
            ids.extend(token.to_le_bytes());
            mask.extend(i64::from(at < list.len()).to_le_bytes());
        }
    }
    for (name, datatype, raw) in [("ids", "INT32", ids), ("mask", "INT64", mask)] {
        message.inputs.push(tensor(name, datatype, [lists.len(), longest]));
        message.raw_input_contents.push(raw);
    }
    (lists.len() <= MAX_INPUTS).then_some(lists.len())
}

/// The values of a parameter, if it is there; `None` for what cannot be one.
#[expect(clippy::option_option, reason = "what is wrong is not what is missing")]
fn values(member: Option<&Json>) -> Option<Option<Vec<&Json>>> {
    let is_scalar = |value: &Json| matches!(value, Json::Text(..) | Json::Number(_) | Json::Bool(_));
    match member {
        None | Some(Json::Null) => Some(None),
        Some(Json::Array(items)) if items.iter().all(is_scalar) => Some(Some(items.iter().collect())),
        Some(value) if is_scalar(value) => Some(Some(vec![value])),
        Some(_) => None,
    }
}

fn are_possible(options: &[(String, Json)]) -> bool {
    let is_usage = |(name, value): &&(String, Json)| name == "include_usage" && *value != Json::Null;
    let each = options.iter().all(|(name, value)| {
        name.len() <= NAME_BYTES
            && match (name.as_str(), value) {
                (_, Json::Null) | ("include_usage", Json::Bool(_)) => true,
                ("include_obfuscation", value) => *value == Json::Bool(false),
                _ => false,
            }
    });
    each && options.iter().filter(is_usage).count() <= 1
}

fn asks_for_nothing(name: &str, value: &Json) -> bool {
    let number = |wanted: f64| matches!(value, Json::Number(text) if fp64(text) == Some(wanted));
    match (name, value) {
        ("user", _) | (_, Json::Null) => true,
        ("n" | "best_of" | "temperature" | "top_p", _) => number(1.0),
        ("presence_penalty" | "frequency_penalty", _) => number(0.0),
        ("echo", value) => *value == Json::Bool(false),
        ("suffix", Json::Text(text, _)) => text.is_empty(),
        _ => false,
    }
}
