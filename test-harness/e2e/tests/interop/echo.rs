//! Every datatype in every form through Triton's HTTP client, to servers that return what they get.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use e2e::{Envoy, Installed, Listener, MlServer, Options, Triton, gateway};
use odd_server::{OddServer, Script, infer};
use serde_json::{Map, Value, json};
use testkit::Column;

use crate::client;

/// How many exchanges `python/triton_echo.py` makes.
const EXCHANGES: usize = 129;

/// What Triton's HTTP port refuses, and its gRPC port takes.
const HALF_IN_JSON: [&str; 6] = [
    "FP16 binary to JSON",
    "FP16 JSON to binary",
    "FP16 JSON to JSON",
    "FP16 empty JSON",
    "FP16 special JSON",
    "BF16 binary to JSON",
];

/// Requests whose data do not fill their shape: the filter says so itself, in its own words.
const WRONG_SHAPES: [&str; 2] = ["wrong shape binary", "wrong shape JSON"];

const UNKNOWN_MODELS: [&str; 2] = ["unknown model binary", "unknown model JSON"];

pub(crate) fn mlserver(envoy: &Installed, python: &Path) {
    let server = MlServer::start(python).unwrap();
    let told = through_every_form(envoy, python, server.grpc(), "identity");
    // MLServer knows no BF16, and its models here have no versions.
    let unknown = ["BF16 binary to binary", "BF16 binary to JSON", "BF16 default", "BF16 empty"];
    let refused: Vec<_> = [&unknown[..], &WRONG_SHAPES, &UNKNOWN_MODELS, &["version"]].concat();
    assert_echoed(&told, &refused);
    assert_statuses(&told, &unknown, "500");
    assert_statuses(&told, &WRONG_SHAPES, "400");
    assert_statuses(&told, &UNKNOWN_MODELS, "404");

    let extensions = &told["extensions"];
    for answered in ["live", "ready", "model_ready"] {
        assert_eq!(extensions[answered], json!({ "answered": true }));
    }
    assert_eq!(extensions["nobody_ready"], json!({ "answered": false }));
    // Of Triton's extensions it has the repository.
    let index = extensions["index"]["answered"].as_array().unwrap();
    let mut names: Vec<_> = index.iter().map(|model| model["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["affine", "concat", "identity"]);
    assert_eq!(extensions["load"], json!({ "answered": null }));
    assert_eq!(extensions["load_nobody"]["status"], "404", "{extensions}");
    for absent in ["config", "statistics", "trace", "log_update", "system_shared_memory", "cuda_register"] {
        assert_eq!(extensions[absent]["status"], "501", "{absent}: {extensions}");
    }
}

pub(crate) fn odd_server(envoy: &Installed, python: &Path) {
    let server = OddServer::start().unwrap();
    server.compute_default(|request| {
        let message = request.messages().ok().and_then(|messages| messages.into_iter().next());
        let inference = message.filter(|_| request.path.ends_with("/ModelInfer"));
        match inference.map(|message| infer::echo(&message.bytes)) {
            Some(Ok(answer)) => Script::message(&answer),
            _ => Script::trailers_only(12, "an echo and nothing else"),
        }
    });
    let told = through_every_form(envoy, python, server.address(), "any");
    assert_echoed(&told, &WRONG_SHAPES);
    assert_statuses(&told, &WRONG_SHAPES, "400");
    // It also returns the request's parameters and id.
    let exchanges = &told["exchanges"];
    for (exchange, parameters) in [
        ("priority and timeout", json!({ "priority": 3, "timeout": 1000000 })),
        ("sequence of a number", json!({ "sequence_id": 42, "sequence_start": true, "sequence_end": false })),
        (
            "sequence of a text",
            json!({ "sequence_id": "s-1", "sequence_start": false, "sequence_end": true }),
        ),
        ("parameters", json!({ "text": "x", "integer": 7, "flag": true, "double": 1.5 })),
    ] {
        assert_eq!(exchanges[exchange]["parameters"], parameters, "{exchange}");
    }
    assert_eq!(exchanges["id"]["id"], "r-1");
    for (name, answer) in told["extensions"].as_object().unwrap() {
        // These the client tells by the status alone.
        if !["live", "ready", "model_ready", "nobody_ready"].contains(&name.as_str()) {
            assert_eq!(answer, &json!({ "status": "501", "message": "an echo and nothing else" }), "{name}");
        }
    }
}

pub(crate) fn triton(envoy: &Installed, python: &Path, triton_python: &Path) {
    let server = Triton::start(triton_python).unwrap();
    let own = client(python, "triton_echo.py", server.http(), &["echo"]);
    let told = through_every_form(envoy, python, server.grpc(), "echo");
    assert_echoed(&told, &[WRONG_SHAPES, UNKNOWN_MODELS].concat());
    let differing: BTreeSet<_> = differences(&own, &told, "exchanges").collect();
    let expected = [&HALF_IN_JSON[..], &WRONG_SHAPES].concat();
    assert_eq!(differing, expected.into_iter().collect(), "of the exchanges; Triton's log: {}", server.log());
    assert_statuses(&own, &HALF_IN_JSON, "400");
    assert_statuses(&told, &WRONG_SHAPES, "400");
    // Triton's HTTP port looks into the handle, its gRPC port leaves that to CUDA.
    let differing: Vec<_> = differences(&own, &told, "extensions").collect();
    assert_eq!(differing, ["cuda_register"], "{own}\n{told}");
    assert_eq!(told["extensions"]["cuda_register"]["status"], "400");
}

/// The names under `part` whose values are not the same.
fn differences<'v>(a: &'v Value, b: &'v Value, part: &'v str) -> impl Iterator<Item = &'v str> {
    let entries = a[part].as_object().unwrap().iter();
    entries.filter(move |(name, value)| b[part][name.as_str()] != **value).map(|(name, _)| name.as_str())
}

/// What the client was told through wasm, held wasm and natively, which must be the same.
fn through_every_form(envoy: &Installed, python: &Path, server: SocketAddr, model: &str) -> Value {
    let listeners = Column::ALL.map(|column| {
        let hold = if column == Column::WasmHold { r#"{"hold_response_headers": true}"# } else { "{}" };
        Listener::new(column.name()).transcoder(column, hold)
    });
    let envoy = Envoy::start(&envoy.path, &gateway(&listeners, server), &Options::default()).unwrap();
    let [wasm, held, native] = Column::ALL
        .map(|column| client(python, "triton_echo.py", envoy.listeners()[column.name()], &[model]));
    for (form, told) in [("held wasm", held), ("native", native)] {
        for part in ["exchanges", "extensions"] {
            let differing: Vec<_> = differences(&wasm, &told, part).collect();
            assert!(differing.is_empty(), "{form} and wasm differ in {differing:?}:\n{wasm}\n{told}");
        }
    }
    wasm
}

/// Asserts that all exchanges but those named brought back what was sent.
fn assert_echoed(told: &Value, refused: &[&str]) {
    let exchanges: &Map<String, Value> = told["exchanges"].as_object().unwrap();
    assert_eq!(exchanges.len(), EXCHANGES);
    for (name, exchange) in exchanges {
        if refused.contains(&name.as_str()) {
            assert!(exchange.get("got").is_none(), "{name}: {exchange}");
        } else {
            assert_eq!(exchange["got"], exchange["sent"], "{name}: {exchange}");
        }
    }
    // A tensor comes back in the form that was asked for.
    let form = |name: &str| exchanges[name].get("binary").cloned().unwrap_or_default();
    assert_eq!(form("FP32 binary to JSON"), json!([]));
    assert_eq!(form("FP32 JSON to binary"), json!(["FP32"]));
    assert_eq!(form("FP32 default"), json!(["FP32"]));
    assert_eq!(form("mixed"), json!(["BYTES", "UINT8"]));
}

fn assert_statuses(told: &Value, names: &[&str], status: &str) {
    for name in names {
        assert_eq!(told["exchanges"][*name]["status"], status, "{name}: {}", told["exchanges"][*name]);
    }
}
