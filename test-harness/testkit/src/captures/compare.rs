//! What a model server and a client got, compared with the capture.

use super::{Capture, Difference, element, http, method, request};
use crate::{Column, Got, Seen, unframe};
use base64::Engine as _;
use prost_reflect::DynamicMessage;
use serde_json::{Map, Value, json};

/// Compares what the model server saw with what the request says.
pub(crate) fn request(capture: &Capture, seen: &Seen) -> Result<(), String> {
    let (rpc, expected) = request::message(capture)?;
    let header = |wanted: &str| {
        let mut values = seen.headers.iter().filter(|(name, _)| name == wanted.as_bytes());
        values.next().map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    let path = format!("/{}/{rpc}", kserve_proto::SERVICE);
    if header(":path").as_deref() != Some(&path) {
        return Err(format!("the path must be {path}, not {:?}", header(":path")));
    }
    for name in ["user-agent", "x-foo"] {
        if header(name).as_deref() != capture.request.header(name) {
            return Err(format!("header {name} must arrive as it is, not {:?}", header(name)));
        }
    }
    // A host that sends the message in a call of its own says how long it is.
    let length = seen.body.len().to_string();
    for name in ["content-length", "content-encoding", "inference-header-content-length"] {
        if let Some(value) = header(name).filter(|value| name != "content-length" || *value != length) {
            return Err(format!("header {name} says nothing of the message, but arrives as {value}"));
        }
    }
    let message = unframe(&seen.body).ok_or("not one gRPC message")?;
    let found = DynamicMessage::decode(method(rpc)?.input(), message).map_err(|why| why.to_string())?;
    // Printed, a list that is there and empty is like one that is not there.
    let print = |message: &DynamicMessage| serde_json::to_value(message).map_err(|why| why.to_string());
    same("what the server sees", &print(&expected)?, &print(&found)?)
}

/// Compares what the client got with what Triton's HTTP port gave it.
pub(crate) fn answer(capture: &Capture, column: Column, got: &Got) -> Result<(), String> {
    if got.reset {
        return Err("the answer was cut".to_owned());
    }
    let status = match (capture.difference, capture.answer.status()) {
        (Some(Difference::HalfInJson), _) => 200,
        (Some(Difference::NotReady), _) => 503,
        (_, status) => status,
    };
    let body = || String::from_utf8_lossy(&got.body).into_owned();
    if got.status != status {
        return Err(format!("the status must be {status}, not {}: {}", got.status, body()));
    }
    let header = |wanted: &str| {
        let mut values = got.headers.iter().filter(|(name, _)| name == wanted.as_bytes());
        values.next().map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    let (rpc, fields) = request::call(capture)?;
    if capture.expected_error().is_some() {
        // Triton ends some texts with a space.
        let expected = json!({ "error": capture.answer_error().trim_end() });
        return same("the error", &expected, &http::json(&got.body)?);
    }
    if rpc != "ModelInfer" {
        let (mut expected, _) = capture.answer.parts()?;
        if matches!(capture.difference, Some(Difference::FlagInBody | Difference::NotReady)) {
            let flag = if rpc == "ServerLive" { "live" } else { "ready" };
            expected = json!({ flag: status == 200 });
            let named = fields.into_iter().filter(|(_, value)| value != "");
            expected.as_object_mut().ok_or("no object")?.extend(named);
        }
        // Envoy takes the type from a reply of a filter's own that has no body.
        if !got.body.is_empty() || header("content-type").is_some() {
            same_text("content-type", "application/json", header("content-type").as_deref())?;
        }
        return same("the body", &expected, &http::json(&got.body)?);
    }
    let length = header("inference-header-content-length").map(|value| value.parse::<usize>());
    let length = length.transpose().map_err(|_| "a length that is not a number")?;
    let expected = Tensors::expected(capture)?;
    let binary = expected.outputs.iter().any(|tensor| tensor.is_binary);
    let content_type = if binary { "application/octet-stream" } else { "application/json" };
    same_text("content-type", content_type, header("content-type").as_deref())?;
    let by_triton = capture.answer.header("content-type") == Some(content_type);
    if !by_triton && !matches!(capture.difference, Some(Difference::HalfInJson | Difference::EmptyTail)) {
        return Err(format!("the content-type {content_type} is not Triton's"));
    }
    if binary != length.is_some() {
        return Err(format!("inference-header-content-length is {length:?}"));
    }
    let exact = length.is_none_or(|length| got.body.get(length - 1) == Some(&b'}'));
    if !exact && column != Column::Wasm {
        return Err("the JSON part is padded where its length can be known".to_owned());
    }
    let (json, tail) = http::parts(&got.body, length)?;
    let found = Tensors::read(&json, &tail)?;
    same("the answer's head", &expected.rest, &found.rest)?;
    if expected.outputs == found.outputs {
        return Ok(());
    }
    Err(format!("the outputs must be {:?}\n not {:?}", expected.outputs, found.outputs))
}

/// An inference's answer, taken apart.
#[derive(Debug)]
pub(crate) struct Tensors {
    /// Everything but the outputs.
    pub(crate) rest: Value,
    pub(crate) outputs: Vec<Tensor>,
}

/// An output.
#[derive(Debug, PartialEq)]
pub(crate) struct Tensor {
    /// Everything but its elements.
    pub(crate) head: Value,
    pub(crate) raw: Vec<u8>,
    pub(crate) is_binary: bool,
}

impl Tensors {
    /// What Triton answered, or would have answered if its HTTP port could.
    pub(crate) fn expected(capture: &Capture) -> Result<Self, String> {
        match capture.difference {
            Some(Difference::HalfInJson | Difference::NotUtf8) => Self::echo(capture),
            _ => {
                let (json, tail) = capture.answer.parts()?;
                Self::read(&json, &tail)
            }
        }
    }

    /// What a model that returns its only input answers.
    fn echo(capture: &Capture) -> Result<Self, String> {
        let (request, tail) = capture.request.parts()?;
        let (input, output) = (&request["inputs"][0], &request["outputs"][0]);
        let raw = match input.get("data") {
            Some(data) => element::raw(input["datatype"].as_str().unwrap_or_default(), data)?,
            None => tail,
        };
        let head = json!({ "name": output["name"], "datatype": input["datatype"], "shape": input["shape"] });
        let is_binary = output["parameters"]["binary_data"] == true;
        Ok(Self {
            rest: json!({ "model_name": "alltypes", "model_version": "1" }),
            outputs: vec![Tensor { head, raw, is_binary }],
        })
    }

    /// Reads an answer.
    fn read(json: &Value, mut tail: &[u8]) -> Result<Self, String> {
        let mut rest = json.as_object().ok_or_else(|| format!("no object: {json}"))?.clone();
        let mut outputs = Vec::new();
        for output in rest.remove("outputs").unwrap_or_default().as_array().ok_or("no outputs")? {
            let mut head = output.as_object().ok_or("an output that is not an object")?.clone();
            let datatype = output["datatype"].as_str().unwrap_or_default();
            let mut parameters = match head.remove("parameters") {
                Some(Value::Object(parameters)) => parameters,
                _ => Map::new(),
            };
            let size = parameters.remove("binary_data_size").and_then(|size| size.as_u64());
            let is_base64 = parameters.remove("content_type") == Some("base64".into());
            let raw = match (head.remove("data"), size) {
                (Some(data), None) if is_base64 => decoded(&data)?,
                (Some(data), None) => element::raw(datatype, &data)?,
                (None, Some(size)) => {
                    let (mine, after) =
                        tail.split_at_checked(size as usize).ok_or("the tail is too short")?;
                    tail = after;
                    mine.to_vec()
                }
                (data, size) => return Err(format!("data {data:?} and size {size:?}")),
            };
            if !parameters.is_empty() {
                head.insert("parameters".into(), parameters.into());
            }
            outputs.push(Tensor { head: head.into(), raw, is_binary: size.is_some() });
        }
        match tail.is_empty() {
            true => Ok(Self { rest: rest.into(), outputs }),
            false => Err(format!("{} bytes follow the last tensor", tail.len())),
        }
    }
}

/// Elements in base64, as raw contents of BYTES.
fn decoded(data: &Value) -> Result<Vec<u8>, String> {
    let mut raw = Vec::new();
    for item in data.as_array().ok_or("data that is not an array")? {
        let text = item.as_str().ok_or("an element that is not a string")?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|why| why.to_string())?;
        raw.extend((bytes.len() as u32).to_le_bytes());
        raw.extend(bytes);
    }
    Ok(raw)
}

fn same(what: &str, expected: &Value, found: &Value) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{what} must be {expected}\n not {found}")) }
}

fn same_text(what: &str, expected: &str, found: Option<&str>) -> Result<(), String> {
    if found == Some(expected) { Ok(()) } else { Err(format!("{what} must be {expected}, not {found:?}")) }
}
