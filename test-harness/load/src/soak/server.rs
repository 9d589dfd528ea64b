//! The model server: it echoes, or fails in the way that a request's header `x-case` asks for.

use std::time::Duration;

use e2e::uploads::tensor;
use odd_server::infer::{self, Response, Style, Tensor, Values};
use odd_server::wire::{Message, frame, frame_with};
use odd_server::{OddServer, Script, Step};

use crate::Result;

/// How long a slow server takes between two pieces of its answer.
const SLOW: Duration = Duration::from_millis(20);

/// The size of the answer that clients leave, as JSON.
const LARGE_BYTES: usize = 2 << 20;

/// Starts the server.
pub(crate) fn start() -> Result<OddServer> {
    let server = OddServer::start_forgetful()?;
    server.compute_default(|request| match request.messages().as_deref() {
        Ok([message]) => infer::echo(&message.bytes)
            .map_or_else(|_| Script::trailers_only(3, "no echo"), |answer| Script::message(&answer)),
        _ => Script::trailers_only(3, "not one message"),
    });
    let method = |name: &str| format!("/inference.GRPCInferenceService/{name}");
    server.script_for_path(&method("ServerReady"), Script::message(b"\x08\x01"));
    let metadata = Message::new().bytes(1, "m").bytes(3, "odd").into_bytes();
    server.script_for_path(&method("ModelMetadata"), Script::message(&metadata));

    let answer = Response::new("m").output(Tensor::raw_fp32("y", &[2], &[0.5, 1.5])).encode(Style::default());
    let (half, rest) = answer.split_at(answer.len() / 2);
    let part = [&frame(&answer)[..5], half].concat();
    let failed = "the server failed as it was asked to";
    let cases = [
        ("trailers-only", Script::trailers_only(5, failed)),
        ("after-headers", Script::error_after_headers(8, failed)),
        ("after-message", Script::error_after_message(&answer, 8, failed)),
        ("empty-message", Script::error_after_empty_message(8, failed)),
        ("within-message", Script::error_mid_message(part.clone(), 8, failed)),
        ("no-trailers", Script::missing_trailers(&answer)),
        ("reset-before-headers", Script::after_request().then(Step::Reset(2))),
        ("reset-after-headers", Script::after_request().grpc_headers().then(Step::Reset(2))),
        ("reset-within-message", Script::reset_after(part.clone(), 2)),
        ("hang-up", Script::hang_up_after(part.clone())),
        ("never", Script::never()),
        (
            "slow",
            Script::after_request()
                .then(Step::Pause(SLOW))
                .grpc_headers()
                .data(part)
                .then(Step::Pause(SLOW))
                .data(rest)
                .grpc_trailers(0, ""),
        ),
        ("bad-flag", Script::pieces([frame_with(7, 3, b"odd")])),
        ("bad-length", Script::wrong_length(1000, &answer)),
        ("two-messages", Script::pieces([frame(&answer), frame(&answer)])),
        ("no-protobuf", Script::message(&[0xff; 40])),
        ("wrong-tensor", Script::message(&wrong())),
        ("plain-503", Script::plain(503, "text/plain", "no capacity")),
        ("html", Script::plain(200, "text/html", "<p>hello</p>")),
        ("large", Script::message(&large())),
    ];
    for (case, script) in cases {
        server.script(case, script);
    }
    Ok(server)
}

/// Raw contents that are not what the shape says.
fn wrong() -> Vec<u8> {
    Response::new("m")
        .output(Tensor::new("y", "FP32", &[3], Values::Raw(vec![0; 8])))
        .encode(Style::default())
}

fn large() -> Vec<u8> {
    let (raw, _) = tensor(LARGE_BYTES);
    let elements = i64::try_from(raw.len() / 4).unwrap_or(i64::MAX);
    Response::new("m")
        .output(Tensor::new("y", "FP32", &[elements], Values::Raw(raw)))
        .encode(Style::default())
}
