//! Two groups of two model servers, each of which says in every answer who it is.

use std::net::{Ipv4Addr, SocketAddr};

use odd_server::{OddServer, Recorded, Script, Step, infer, wire};

use crate::{Answer, Error, Request};

/// The servers: their group and their version.
pub const NAMES: [&str; 4] = ["tensorflow-v1", "tensorflow-v2", "pytorch-v1", "pytorch-v2"];

/// Starts all of them, in the order of [`NAMES`], on loopback.
///
/// # Errors
/// If a port cannot be bound.
pub fn start() -> Result<Vec<OddServer>, Error> {
    NAMES.into_iter().map(|name| start_on(name, (Ipv4Addr::LOCALHOST, 0).into())).collect()
}

/// Starts the server of that name at an address.
///
/// # Errors
/// If the address cannot be bound.
pub fn start_on(name: &'static str, address: SocketAddr) -> Result<OddServer, Error> {
    let server = OddServer::start_on(address).map_err(Error::io(format!("listen on {address}")))?;
    server.compute_default(move |request| {
        let message = answer(request).unwrap_or_default();
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let headers = vec![header("content-type", "application/grpc"), header("x-endpoint", name)];
        Script::after_request()
            .then(Step::Headers { status: 200, headers, end: false })
            .data(wire::frame(&message))
            .grpc_trailers(0, "")
    });
    Ok(server)
}

/// The server is live, it and models are ready, and an inference gives its inputs back.
fn answer(request: &Recorded) -> Option<Vec<u8>> {
    if ["Live", "Ready"].iter().any(|end| request.path.ends_with(end)) {
        return Some(wire::Message::new().varint(1, 1).into_bytes());
    }
    infer::echo(&request.messages().ok()?.first()?.bytes).ok()
}

/// Which server an answer is from; else its status.
pub fn who(answer: &Answer) -> String {
    match answer.header_text("x-endpoint") {
        Some(name) if answer.status() == 200 => name,
        _ => answer.status().to_string(),
    }
}

/// Requests to the groups as `istio/dynamic-subset` configures them, and the beginning of the names of those that may
/// answer. `reads_bodies` says whether the form in use finds the model in a gRPC message.
pub fn cases(reads_bodies: bool) -> Vec<(Request, &'static str)> {
    let tensorflow = |request: Request| request.header("x-model-format-tensorflow", "true");
    let pytorch = |request: Request| request.header("x-model-format-pytorch", "true");
    let infer = |model: &str| {
        let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1.5]}]}"#;
        Request::post(&format!("/v2/models/{model}/infer"), body)
    };
    let ready = |model: &str| Request::get(&format!("/v2/models/{model}/ready"));
    let grpc = |model: &str| {
        let message = wire::Message::new().bytes(1, model);
        Request::grpc("/inference.GRPCInferenceService/ModelInfer", message.as_bytes())
    };
    let forged = |request: Request| {
        let request = request.header("x-subset-runtime", "triton-2-x");
        request.header("x-subset-model.format.tensorflow", "true")
    };
    let in_body = |group| if reads_bodies { group } else { "" };
    vec![
        (tensorflow(infer("any")), "tensorflow-"),
        (pytorch(infer("any")), "pytorch-"),
        (infer("tf-style-transfer"), "tensorflow-"),
        (infer("pt-style-transfer/versions/1"), "pytorch-"),
        (ready("tf-style-transfer"), "tensorflow-"),
        (ready("pt-style-transfer"), "pytorch-"),
        (pytorch(Request::get("/v2/health/ready")), "pytorch-"),
        (tensorflow(grpc("any")), "tensorflow-"),
        (grpc("any").header("mm-model-id", "pt-style-transfer"), "pytorch-"),
        (grpc("tf-style-transfer"), in_body("tensorflow-")),
        (grpc("pt-style-transfer"), in_body("pytorch-")),
        (infer("any"), ""),
        (forged(pytorch(infer("any"))), "pytorch-"),
        (forged(infer("pt-style-transfer")), "pytorch-"),
    ]
}
