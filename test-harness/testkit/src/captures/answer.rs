//! The gRPC message that a captured answer stands for.

use super::compare::Tensors;
use super::{Capture, Difference, base64, from_json, method, request};
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

/// The message that Triton's gRPC port answers where its HTTP port answers this.
pub(crate) fn message(capture: &Capture) -> Result<DynamicMessage, String> {
    let (rpc, _) = request::call(capture)?;
    let output = method(rpc)?.output();
    if rpc == "ModelInfer" {
        let Tensors { rest, outputs } = Tensors::expected(capture)?;
        let heads = outputs.iter().map(|tensor| tensor.head.clone()).collect::<Value>();
        let raw = outputs.iter().map(|tensor| base64(&tensor.raw)).collect::<Value>();
        let mut fields = rest;
        fields["outputs"] = heads;
        fields["raw_output_contents"] = raw;
        return from_json(output, fields);
    }
    let (body, _) = capture.answer.parts()?;
    let entries = || body.as_object().into_iter().flatten();
    let json = match rpc {
        "ServerLive" => json!({ "live": true }),
        "ServerReady" | "ModelReady" => json!({ "ready": capture.difference != Some(Difference::NotReady) }),
        "RepositoryIndex" => json!({ "models": body }),
        "ModelConfig" => json!({ "config": body }),
        "TraceSetting" => {
            let list = |value: &Value| match value {
                Value::Array(items) => items.clone(),
                single => vec![single.clone()],
            };
            let settings = entries().map(|(name, value)| (name.clone(), json!({ "value": list(value) })));
            json!({ "settings": settings.collect::<Value>() })
        }
        "LogSettings" => {
            let typed = |value: &Value| match value {
                Value::Bool(_) => json!({ "bool_param": value }),
                Value::Number(_) => json!({ "uint32_param": value }),
                _ => json!({ "string_param": value }),
            };
            let settings = entries().map(|(name, value)| (name.clone(), typed(value)));
            json!({ "settings": settings.collect::<Value>() })
        }
        "SystemSharedMemoryStatus" | "CudaSharedMemoryStatus" => {
            let regions = body.as_array().into_iter().flatten();
            let regions =
                regions.map(|region| (region["name"].as_str().unwrap_or_default().to_owned(), region));
            json!({ "regions": regions.collect::<std::collections::BTreeMap<_, _>>() })
        }
        _ if body.is_null() => json!({}),
        _ => body,
    };
    from_json(output, json)
}
