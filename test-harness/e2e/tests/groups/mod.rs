//! Two groups of two model servers, each of which says in every answer who it is.

use e2e::Answer;
use odd_server::{OddServer, Recorded, Script, Step, infer, wire};

/// The servers: their group and their version.
pub(crate) const NAMES: [&str; 4] = ["tensorflow-v1", "tensorflow-v2", "pytorch-v1", "pytorch-v2"];

/// Starts all of them, in the order of [`NAMES`].
pub(crate) fn start() -> Vec<OddServer> {
    NAMES.map(server).into()
}

fn server(name: &'static str) -> OddServer {
    let server = OddServer::start().unwrap();
    server.compute_default(move |request| {
        let message = answer(request).unwrap_or_default();
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let headers = vec![header("content-type", "application/grpc"), header("x-endpoint", name)];
        Script::after_request()
            .then(Step::Headers { status: 200, headers, end: false })
            .data(wire::frame(&message))
            .grpc_trailers(0, "")
    });
    server
}

/// Server and models are ready, and an inference gives its inputs back.
fn answer(request: &Recorded) -> Option<Vec<u8>> {
    if request.path.ends_with("Ready") {
        return Some(wire::Message::new().varint(1, 1).into_bytes());
    }
    infer::echo(&request.messages().ok()?.first()?.bytes).ok()
}

/// Which server an answer is from; else its status.
pub(crate) fn who(answer: &Answer) -> String {
    match answer.header_text("x-endpoint") {
        Some(name) if answer.status() == 200 => name,
        _ => answer.status().to_string(),
    }
}
