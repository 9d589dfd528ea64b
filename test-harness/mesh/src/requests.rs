//! Requests that every deployment of the transcoder must answer, whatever configures it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Answer, Protocol, Request, send};
use odd_server::{OddServer, wire};
use serde_json::json;

/// What a JSON client sends for an inference.
pub(crate) const INFERENCE: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1.5]}]}"#;

/// An inference as a JSON client sends it.
pub(crate) fn infer(model: &str) -> Request {
    Request::post(&format!("/v2/models/{model}/infer"), INFERENCE)
}

/// JSON over HTTP/1.1 and HTTP/2, and gRPC.
pub(crate) fn inferences(address: SocketAddr) -> Result<()> {
    for protocol in Protocol::BOTH {
        let answer = ask(protocol, address, &infer("any"))?;
        ensure!(answer.status() == 200, "{protocol:?}: {} {}", answer.status(), answer.text());
        let outputs = &answer.json()?["outputs"][0];
        let expected = json!({"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]});
        ensure!(*outputs == expected, "{protocol:?}: {outputs}");
    }
    let message = wire::Message::new().bytes(1, "any");
    let request = Request::grpc("/inference.GRPCInferenceService/ModelInfer", message.as_bytes());
    let answer = ask(Protocol::Http2, address, &request)?;
    let status = answer.trailer("grpc-status").map(<[u8]>::to_vec);
    ensure!(status.as_deref() == Some(b"0"), "gRPC: {} {status:?}", answer.status());
    Ok(())
}

/// 3 million numbers in text, which is over what a listener's buffers hold.
pub(crate) fn large_tensor(address: SocketAddr) -> Result<()> {
    const ELEMENTS: usize = 3_000_000;
    let data = vec!["1.5"; ELEMENTS].join(",");
    let body =
        format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[{ELEMENTS}],"data":[{data}]}}]}}"#);
    let request = Request::post("/v2/models/any/infer", body).patience(Duration::from_secs(60));
    let answer = ask(Protocol::Http1, address, &request)?;
    ensure!(answer.status() == 200, "{} {}", answer.status(), answer.text());
    let numbers = answer.text().matches("1.5").count();
    ensure!(numbers == ELEMENTS, "{numbers} of {ELEMENTS} numbers came back");
    Ok(())
}

/// A wrong request is answered in KServe's shape.
pub(crate) fn errors(address: SocketAddr) -> Result<()> {
    let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":["a"]}]}"#;
    let answer = ask(Protocol::Http1, address, &Request::post("/v2/models/any/infer", body))?;
    ensure!(answer.status() == 400, "a string for a number: {} {}", answer.status(), answer.text());
    let error = answer.json()?["error"].as_str().unwrap_or_default().to_owned();
    ensure!(error.contains("data"), "the error does not say where: {error:?}");
    Ok(())
}

/// What `models-are-managed-elsewhere` denies, in both shapes.
pub(crate) fn repository_calls(address: SocketAddr, servers: &[OddServer]) -> Result<()> {
    let asked = |servers: &[OddServer]| -> usize {
        servers.iter().flat_map(OddServer::requests).filter(|seen| seen.path.contains("Repository")).count()
    };
    let answer = ask(Protocol::Http1, address, &Request::post("/v2/repository/index", "{}"))?;
    ensure!(answer.status() == 403, "JSON: {} {}", answer.status(), answer.text());
    let request = Request::grpc("/inference.GRPCInferenceService/RepositoryIndex", &[]);
    let answer = ask(Protocol::Http2, address, &request)?;
    // PERMISSION_DENIED, in the head because there is no message.
    let status = answer.header_text("grpc-status");
    ensure!(status.as_deref() == Some("7"), "gRPC: {} {status:?}", answer.status());
    ensure!(asked(servers) == 0, "a model server was asked for its repository");
    Ok(())
}

/// Sends a request; the whole answer.
pub(crate) fn ask(protocol: Protocol, address: SocketAddr, request: &Request) -> Result<Answer> {
    let answer = send(protocol, address, request)?;
    answer.complete().with_context(|| format!("{} {}", request.method, request.path))
}
