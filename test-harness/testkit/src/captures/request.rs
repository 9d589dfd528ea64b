//! The gRPC message that a captured request stands for.

use super::{Capture, base64, element, from_json, method};
use prost_reflect::DynamicMessage;
use serde_json::{Map, Value, json};

/// The gRPC method's name, and the message.
pub(crate) fn message(capture: &Capture) -> Result<(&'static str, DynamicMessage), String> {
    let (rpc, mut fields) = call(capture)?;
    let (body, tail) = capture.request.parts()?;
    match (rpc, &body) {
        ("ModelInfer", body) => add_inference(body, &tail, &mut fields)?,
        ("RepositoryModelLoad" | "RepositoryModelUnload", Value::Object(body)) => {
            if let Some(Value::Object(parameters)) = body.get("parameters") {
                let file = |name: &str| name.starts_with("file:").then_some("bytes_param");
                fields.insert("parameters".into(), typed(parameters, "int64_param", file)?);
            }
        }
        ("TraceSetting", Value::Object(body)) => {
            let lists = body.iter().map(|(name, value)| {
                let list = match value {
                    Value::Array(items) => items.clone(),
                    single => vec![single.clone()],
                };
                (name.clone(), json!({ "value": list }))
            });
            fields.insert("settings".into(), lists.collect());
        }
        ("LogSettings", Value::Object(body)) => {
            fields.insert("settings".into(), typed(body, "uint32_param", |_| None)?);
        }
        (_, Value::Object(body)) => {
            for (name, value) in body {
                let value = value.get("b64").unwrap_or(value);
                fields.insert(name.clone(), value.clone());
            }
        }
        _ => {}
    }
    Ok((rpc, from_json(method(rpc)?.input(), Value::Object(fields))?))
}

/// The gRPC method of a request, and the fields that its path names.
pub(crate) fn call(capture: &Capture) -> Result<(&'static str, Map<String, Value>), String> {
    let (http_method, path) = capture.request.method_and_path()?;
    let path = path.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').skip(1).collect();
    // The segments after the model: what is asked of it, and perhaps of a version.
    let (of_model, version, what) = match segments[..] {
        ["models", "stats"] => ("", "", "stats"),
        ["models", model, "versions", version] => (model, version, ""),
        ["models", model, "versions", version, what] => (model, version, what),
        ["models", model] => (model, "", ""),
        ["models", model, what] => (model, "", what),
        _ => ("", "", ""),
    };
    let named = || json!({ "name": of_model, "version": version });
    let (rpc, fields) = match (http_method, &segments[..]) {
        ("GET", ["health", "live"]) => ("ServerLive", json!({})),
        ("GET", ["health", "ready"]) => ("ServerReady", json!({})),
        ("GET", []) => ("ServerMetadata", json!({})),
        ("GET" | "POST", ["models", model, "trace", "setting"]) => {
            ("TraceSetting", json!({ "model_name": model }))
        }
        ("GET" | "POST", ["trace", "setting"]) => ("TraceSetting", json!({})),
        ("GET" | "POST", ["logging"]) => ("LogSettings", json!({})),
        ("POST", ["models", ..]) if what == "infer" => {
            ("ModelInfer", json!({ "model_name": of_model, "model_version": version }))
        }
        ("GET", ["models", ..]) if what.is_empty() => ("ModelMetadata", named()),
        ("GET", ["models", ..]) if what == "ready" => ("ModelReady", named()),
        ("GET", ["models", ..]) if what == "config" => ("ModelConfig", named()),
        ("GET", ["models", ..]) if what == "stats" => ("ModelStatistics", named()),
        ("POST", ["repository", "index"]) => ("RepositoryIndex", json!({})),
        ("POST", ["repository", "models", model, "load"]) => {
            ("RepositoryModelLoad", json!({ "model_name": model }))
        }
        ("POST", ["repository", "models", model, "unload"]) => {
            ("RepositoryModelUnload", json!({ "model_name": model }))
        }
        ("GET", ["systemsharedmemory", "status"]) => ("SystemSharedMemoryStatus", json!({})),
        ("GET", ["systemsharedmemory", "region", name, "status"]) => {
            ("SystemSharedMemoryStatus", json!({ "name": name }))
        }
        ("POST", ["systemsharedmemory", "region", name, "register"]) => {
            ("SystemSharedMemoryRegister", json!({ "name": name }))
        }
        ("POST", ["systemsharedmemory", "unregister"]) => ("SystemSharedMemoryUnregister", json!({})),
        ("POST", ["systemsharedmemory", "region", name, "unregister"]) => {
            ("SystemSharedMemoryUnregister", json!({ "name": name }))
        }
        ("GET", ["cudasharedmemory", "status"]) => ("CudaSharedMemoryStatus", json!({})),
        ("GET", ["cudasharedmemory", "region", name, "status"]) => {
            ("CudaSharedMemoryStatus", json!({ "name": name }))
        }
        ("POST", ["cudasharedmemory", "region", name, "register"]) => {
            ("CudaSharedMemoryRegister", json!({ "name": name }))
        }
        ("POST", ["cudasharedmemory", "unregister"]) => ("CudaSharedMemoryUnregister", json!({})),
        ("POST", ["cudasharedmemory", "region", name, "unregister"]) => {
            ("CudaSharedMemoryUnregister", json!({ "name": name }))
        }
        _ => return Err(format!("unknown call {http_method} {path}")),
    };
    match fields {
        Value::Object(fields) => Ok((rpc, fields)),
        _ => Err("fields that are no object".into()),
    }
}

/// The fields of a `ModelInferRequest` that the body has.
fn add_inference(body: &Value, mut tail: &[u8], fields: &mut Map<String, Value>) -> Result<(), String> {
    if let Some(id) = body.get("id") {
        fields.insert("id".into(), id.clone());
    }
    fields.insert("parameters".into(), parameters(body, "binary_data_output")?);
    let (mut inputs, mut raw) = (Vec::new(), Vec::new());
    for input in array(body, "inputs") {
        let datatype = input["datatype"].as_str().unwrap_or_default();
        if let Some(data) = input.get("data") {
            raw.push(base64(&element::raw(datatype, data)?));
        } else if let Some(size) = input["parameters"].get("binary_data_size").and_then(Value::as_u64) {
            let (mine, rest) = tail.split_at_checked(size as usize).ok_or("the binary part is too short")?;
            raw.push(base64(mine));
            tail = rest;
        }
        inputs.push(json!({
            "name": input["name"], "datatype": input["datatype"], "shape": input["shape"],
            "parameters": parameters(input, "binary_data_size")?,
        }));
    }
    if !tail.is_empty() {
        return Err(format!("{} bytes of the binary part belong to no input", tail.len()));
    }
    let outputs = array(body, "outputs").iter().map(|output| {
        let parameters = parameters(output, "binary_data")?;
        Ok(json!({ "name": output["name"], "parameters": parameters }))
    });
    fields.insert("outputs".into(), outputs.collect::<Result<_, String>>()?);
    fields.insert("inputs".into(), inputs.into());
    fields.insert("raw_input_contents".into(), raw.into());
    Ok(())
}

/// The parameters of an object but the one that belongs to the binary tensor data extension.
fn parameters(of: &Value, extension: &str) -> Result<Value, String> {
    let mut plain = of.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    plain.remove(extension);
    typed(&plain, "int64_param", |_| None)
}

/// Plain values in the fields of their types.
fn typed(
    plain: &Map<String, Value>,
    integer: &str,
    text: impl Fn(&str) -> Option<&'static str>,
) -> Result<Value, String> {
    let typed = plain.iter().map(|(name, value)| {
        let field = match value {
            Value::Bool(_) => "bool_param",
            Value::Number(number) if number.is_f64() => "double_param",
            Value::Number(_) => integer,
            Value::String(_) => text(name).unwrap_or("string_param"),
            _ => return Err(format!("parameter {name} is {value}")),
        };
        Ok((name.clone(), json!({ field: value })))
    });
    typed.collect()
}

fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
