//! KServe v1 in front of model servers that speak v2's gRPC, in real Envoy on every host.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

use e2e::{Answer, Envoy, Installed, Listener, MlServer, Options, Protocol, Request, Suite, gateway, send};
use odd_server::wire::{self, Message};
use odd_server::{Gate, OddServer, Recorded, Script, infer};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use testkit::Column;

const PREDICT: &str = "/v1/models/m:predict";
const METADATA: &str = "/inference.GRPCInferenceService/ModelMetadata";
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const BOUND: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    Suite::new()
        .in_turn()
        .each_envoy("requests_that_come_at_once_wait_for_one_question_about_their_model", at_once)
        .each_envoy("a_body_of_megabytes_waits_for_its_models_metadata_behind_a_small_buffer", large)
        .each_envoy("a_model_server_that_cannot_be_asked_is_a_503_and_one_without_the_model_a_404", refused)
        .model_server("mlserver_is_a_kserve_v1_server_in_every_column", mlserver)
        .run()
}

fn config(column: Column) -> &'static str {
    match column {
        Column::WasmHold => r#"{"kserve_v1": {}, "hold_response_headers": true}"#,
        Column::Wasm | Column::Native => r#"{"kserve_v1": {}}"#,
    }
}

fn start(installed: &Installed, server: std::net::SocketAddr, buffer: Option<u32>) -> Envoy {
    let listeners = Column::ALL.map(|column| {
        let listener = Listener::new(column.name()).transcoder(column, config(column));
        buffer.into_iter().fold(listener, Listener::buffer_limit)
    });
    Envoy::start(&installed.path, &gateway(&listeners, server), &Options::default()).unwrap()
}

fn ask(envoy: &Envoy, column: Column, protocol: Protocol, request: &Request) -> Answer {
    send(protocol, envoy.address(column.name()).unwrap(), request).unwrap().complete().unwrap()
}

/// A server of a model with one input, `x`, FP32 of shape [-1, 4], that gives it back. It says so once the gate is open.
fn echo_server(gate: &Gate) -> OddServer {
    let server = OddServer::start().unwrap();
    let gate = gate.clone();
    server.compute_default(move |request| match (request.path.as_str(), request.messages()) {
        (METADATA, _) => {
            let input = Message::new().bytes(1, "x").bytes(2, "FP32").packed_varints(3, [u64::MAX, 4]);
            let message = Message::new().bytes(1, "m").message(4, &input).into_bytes();
            Script::after_request()
                .wait(&gate)
                .grpc_headers()
                .data(wire::frame(&message))
                .grpc_trailers(0, "")
        }
        (INFER, Ok(messages)) if messages.len() == 1 => infer::echo(&messages[0].bytes)
            .map_or_else(|_| Script::trailers_only(3, "no echo"), |message| Script::message(&message)),
        _ => Script::trailers_only(12, "not here"),
    });
    server
}

fn asked(requests: &[Recorded]) -> usize {
    requests.iter().filter(|request| request.path == METADATA).count()
}

fn at_once(installed: &Installed) {
    const AT_ONCE: u64 = 8;
    let gate = Gate::new();
    let server = echo_server(&gate);
    let mut envoy = start(installed, server.address(), None);
    for (before, column) in Column::ALL.into_iter().enumerate() {
        let address = envoy.address(column.name()).unwrap();
        let answers: Vec<Answer> = thread::scope(|scope| {
            let request = |number: u64| {
                let body = json!({"instances": [[number, 0.5, -1, 1e3]]}).to_string();
                let request = Request::post(PREDICT, body).patience(BOUND);
                scope.spawn(move || send(Protocol::Http1, address, &request).unwrap().complete().unwrap())
            };
            let requests: Vec<_> = (0..AT_ONCE).map(request).collect();
            let active = format!("http.{}.downstream_rq_active", column.name());
            envoy.wait_for_stat(&active, BOUND, |value| value == AT_ONCE).unwrap();
            server.wait_until(BOUND, |requests| asked(requests) == before + 1).unwrap();
            gate.open();
            requests.into_iter().map(|request| request.join().unwrap()).collect()
        });
        for (number, answer) in answers.iter().enumerate() {
            assert_eq!(answer.status(), 200, "{}: {}", column.name(), answer.text());
            let row = json!({"predictions": [[number as f64, 0.5, -1.0, 1000.0]]});
            assert_eq!(answer.json().unwrap(), row, "{}", column.name());
        }
        assert_eq!(asked(&server.requests()), before + 1, "{}", column.name());
    }
}

fn large(installed: &Installed) {
    let rows: Vec<Value> = (0..150_000).map(|row| json!([row, 0.5, -1.25, 100_000.5])).collect();
    let body = json!({ "instances": rows }).to_string();
    assert!(body.len() > 4_000_000, "{}", body.len());
    let gate = Gate::new();
    let server = echo_server(&gate);
    let envoy = start(installed, server.address(), Some(32 * 1024));
    let mut before = 0;
    // With the flag Envoy buffers what comes while headers wait, under its limit.
    for column in [Column::Wasm, Column::Native] {
        for protocol in Protocol::BOTH {
            // Each is another model to the filter.
            let path = format!("/v1/models/{protocol:?}:predict");
            let request = Request::post(&path, body.clone()).in_pieces_of(50_000).patience(BOUND);
            let answer = thread::scope(|scope| {
                let sending = scope.spawn(|| ask(&envoy, column, protocol, &request));
                server.wait_until(BOUND, |requests| asked(requests) == before + 1).unwrap();
                gate.open();
                sending.join().unwrap()
            });
            before += 1;
            assert_eq!(answer.status(), 200, "{} {protocol:?}: {}", column.name(), short(&answer));
            let found = answer.json().unwrap();
            let found = found["predictions"].as_array().unwrap();
            assert_eq!(found.len(), rows.len(), "{} {protocol:?}", column.name());
            let numbers = |row: &Value| -> Vec<Option<f64>> {
                row.as_array().unwrap().iter().map(Value::as_f64).collect()
            };
            let same = found.iter().zip(&rows).all(|(found, row)| numbers(found) == numbers(row));
            assert!(same, "{} {protocol:?}: the numbers are not those that were sent", column.name());
        }
    }
}

fn short(answer: &Answer) -> String {
    answer.text().chars().take(200).collect()
}

fn refused(installed: &Installed) {
    let server = OddServer::start().unwrap();
    server.script("unknown", Script::trailers_only(5, "no model of this name"));
    server.script("broken", Script::reset_after(b"\0\0".as_slice(), 2));
    server.script("not-json", Script::trailers_only(12, "no metadata"));
    let envoy = start(installed, server.address(), None);
    let cases = [
        ("unknown", 404, "no model of this name"),
        ("broken", 503, "the inputs of model m cannot be known: "),
        ("not-json", 503, "the inputs of model m cannot be known: no metadata"),
    ];
    for column in Column::ALL {
        for protocol in Protocol::BOTH {
            for (case, status, told) in cases {
                let request =
                    Request::post(PREDICT, r#"{"instances":[[1]]}"#).header("x-case", case).patience(BOUND);
                let answer = ask(&envoy, column, protocol, &request);
                let what = format!("{} {protocol:?} {case}: {}", column.name(), answer.text());
                assert_eq!(answer.status(), status, "{what}");
                assert!(answer.json().unwrap()["error"].as_str().unwrap().starts_with(told), "{what}");
            }
        }
    }
    let inferred = |request: &Recorded| request.path == INFER;
    assert!(!server.requests().iter().any(inferred), "no model is asked to predict");
}

fn mlserver(installed: &Installed, python: PathBuf) {
    let server = MlServer::start(&python).unwrap();
    let envoy = start(installed, server.grpc(), None);
    let rows = json!([[1, 2, 3, 5], [0.5, -1.5, 0, 1000]]);
    let affine = json!([[4.875, -0.5, 13.5625], [127.375, -503.625, 1002.03125]]);
    let words = json!([{"a": "gr", "b": "pc"}, {"a": "h\u{e9}", "b": "llo \u{1f600}"}]);
    for column in Column::ALL {
        let post = |model: &str, body: Value| {
            let request = Request::post(&format!("/v1/models/{model}:predict"), body.to_string());
            ask(&envoy, column, Protocol::Http1, &request.patience(BOUND))
        };
        let good = |answer: Answer| {
            assert_eq!(answer.status(), 200, "{}: {}", column.name(), answer.text());
            answer.json().unwrap()
        };
        assert_eq!(good(post("affine", json!({"instances": rows}))), json!({"predictions": affine}));
        assert_eq!(good(post("affine", json!({"inputs": rows}))), json!({"outputs": affine}));
        let concatenated = json!({"predictions": ["grpc", "h\u{e9}llo \u{1f600}"]});
        assert_eq!(good(post("concat", json!({"instances": words}))), concatenated);
        let get = |path: &str| ask(&envoy, column, Protocol::Http1, &Request::get(path).patience(BOUND));
        assert_eq!(good(get("/v1/models/affine")), json!({"name": "affine", "ready": true}));
        let models = good(get("/v1/models"));
        assert!(models["models"].as_array().unwrap().contains(&json!("affine")), "{models}");
        assert_eq!(post("nobody", json!({"instances": [1]})).status(), 404, "{}", column.name());
        assert_eq!(post("affine", json!({"instances": [[1, 2]]})).status(), 400, "{}", column.name());
        // MLServer knows nothing of this model's inputs.
        let silent = post("identity", json!({"instances": [1]}));
        assert_eq!(silent.status(), 503, "{}: {}", column.name(), silent.text());
    }
}
