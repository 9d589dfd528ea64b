//! The model that all demonstrations ask: y = W x + b, computed here from the same numbers.

use e2e::{Error, Request, repository};
use serde_json::{Value, json};

/// A request to `model` for these rows.
pub(crate) fn infer(model: &str, rows: &[[f64; 4]]) -> Request {
    post(model, &body(rows))
}

/// A request to `model` with this body.
pub(crate) fn post(model: &str, body: &Value) -> Request {
    Request::post(&format!("/v2/models/{model}/infer"), body.to_string())
        .header("content-type", "application/json")
}

/// The body of a request for these rows.
pub(crate) fn body(rows: &[[f64; 4]]) -> Value {
    json!({"id": "demo", "inputs": [{"name": "x", "shape": [rows.len(), 4], "datatype": "FP32", "data": rows}]})
}

/// What the model must answer.
pub(crate) fn answer(rows: &[[f64; 4]]) -> Result<Value, Error> {
    let path = repository().join("test-harness/e2e/models/mlserver/affine/weights.json");
    let unreadable = |why: String| Error::Protocol(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
    let weights: Value = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let outputs = weights["W"].as_array().map_or(0, Vec::len);
    let y = rows.iter().flat_map(|row| {
        let weights = &weights;
        (0..outputs).map(move |i| {
            let products = row.iter().enumerate().map(|(j, x)| number(&weights["W"][i][j]) * x);
            products.sum::<f64>() + number(&weights["b"][i])
        })
    });
    Ok(y.collect())
}
