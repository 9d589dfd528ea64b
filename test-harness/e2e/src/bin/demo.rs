//! `cargo xtask demo`: real KServe v2 REST requests through stock Envoy to a model server that gets gRPC, once
//! through the wasm filter and once through the native module, with what went in, what the server got and what
//! came back.
//!
//! `--once` checks the answers against numbers computed here and ends; otherwise everything keeps running.

use e2e::{
    Answer, Envoy, Error, MlServer, Protocol, Request, models_python, repository, send, start_shipped,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let once = std::env::args().any(|argument| argument == "--once");
    match run(once) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            println!("\n{failed} checks failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo; returns how many checks failed.
fn run(once: bool) -> Result<usize, Error> {
    let need =
        |what: &str| Error::Protocol(format!("{what} is missing: run this through `cargo xtask demo`"));
    let binary = std::env::var_os("ENVOY").map(PathBuf::from).ok_or_else(|| need("ENVOY"))?;
    let python = models_python().ok_or_else(|| need("MODELS_PYTHON"))?;

    println!("Starting MLServer with three models that speak gRPC ...");
    let server = MlServer::start(&python)?;
    println!(
        "Starting Envoy twice, with envoy/kserve-transcoder.yaml and envoy/kserve-transcoder.native.yaml ..."
    );
    let wasm = start_shipped(&binary, "kserve-transcoder.yaml", server.grpc())?;
    let native = start_shipped(&binary, "kserve-transcoder.native.yaml", server.grpc())?;

    let mut checks = Checks::default();
    for (host, envoy) in [("the wasm filter", &wasm), ("the native module", &native)] {
        let address = address(envoy)?;
        println!("\n=== through {host}, http://{address}");
        checks.show("the server is ready", address, &Request::get("/v2/health/ready"), &server, |answer| {
            equal(answer, 200, &json!({"ready": true}))
        });
        checks.show(
            "what the model takes and gives",
            address,
            &Request::get("/v2/models/affine"),
            &server,
            |answer| {
                let metadata = answer.json().map_err(|error| error.to_string())?;
                same(&metadata["inputs"], &json!([{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]))
            },
        );
        let rows = [[1.0, 2.0, 3.0, 4.0], [0.5, -1.5, 0.0, 1e3]];
        checks.show("an inference", address, &infer("affine", &affine_request(&rows)), &server, |answer| {
            let answered = answer.json().map_err(|error| error.to_string())?;
            same(&answered["outputs"][0]["data"], &affine(&rows)?)
        });
        let words = json!({"inputs": [
            {"name": "a", "shape": [2], "datatype": "BYTES", "data": ["gr", "h\u{e9}"]},
            {"name": "b", "shape": [2], "datatype": "BYTES", "data": ["pc", "llo \u{1f600}"]},
        ]});
        checks.show("an inference on strings", address, &infer("concat", &words), &server, |answer| {
            let answered = answer.json().map_err(|error| error.to_string())?;
            same(&answered["outputs"][0]["data"], &json!(["grpc", "h\u{e9}llo \u{1f600}"]))
        });
        let wrong =
            json!({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3]}]});
        checks.show(
            "a request that does not add up",
            address,
            &infer("affine", &wrong),
            &server,
            error_with(400),
        );
        checks.show(
            "a model that nobody serves",
            address,
            &infer("nobody", &affine_request(&rows)),
            &server,
            error_with(404),
        );
    }
    println!("\n{} passed, {} failed", checks.passed, checks.failed);
    if !once && checks.failed == 0 {
        wait_for_interrupt(&[("wasm", address(&wasm)?), ("native", address(&native)?)])?;
    }
    Ok(checks.failed)
}

fn address(envoy: &Envoy) -> Result<SocketAddr, Error> {
    envoy.listeners().values().next().copied().ok_or_else(|| Error::Protocol("Envoy has no listener".into()))
}

fn infer(model: &str, body: &Value) -> Request {
    Request::post(&format!("/v2/models/{model}/infer"), body.to_string())
        .header("content-type", "application/json")
}

fn affine_request(rows: &[[f64; 4]]) -> Value {
    json!({"id": "demo", "inputs": [{"name": "x", "shape": [rows.len(), 4], "datatype": "FP32", "data": rows}]})
}

/// What the model must answer: y = W x + b, computed here from the same numbers.
fn affine(rows: &[[f64; 4]]) -> Result<Value, String> {
    let path = repository().join("test-harness/e2e/models/mlserver/affine/weights.json");
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let weights: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
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

/// Compares JSON, numbers by value: 8 and 8.0 are the same.
fn same(found: &Value, expected: &Value) -> Result<(), String> {
    let equal = match (found, expected) {
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            found.iter().zip(expected).all(|(found, expected)| same(found, expected).is_ok())
        }
        (Value::Number(found), Value::Number(expected)) => found.as_f64() == expected.as_f64(),
        _ => found == expected,
    };
    if equal { Ok(()) } else { Err(format!("expected {expected}, got {found}")) }
}

fn equal(answer: &Answer, status: u16, body: &Value) -> Result<(), String> {
    match answer.status() == status {
        true => same(&answer.json().map_err(|error| error.to_string())?, body),
        false => Err(format!("expected status {status}, got {}", answer.status())),
    }
}

fn error_with(status: u16) -> impl Fn(&Answer) -> Result<(), String> {
    move |answer| {
        let body = answer.json().map_err(|error| error.to_string())?;
        match (answer.status() == status, body["error"].is_string()) {
            (true, true) => Ok(()),
            _ => Err(format!("expected status {status} with an error, got {} {body}", answer.status())),
        }
    }
}

#[derive(Default)]
struct Checks {
    passed: usize,
    failed: usize,
}

impl Checks {
    /// Sends a request, prints all three sides of it, and checks the answer.
    fn show(
        &mut self,
        what: &str,
        address: SocketAddr,
        request: &Request,
        server: &MlServer,
        check: impl Fn(&Answer) -> Result<(), String>,
    ) {
        let seen_before = server.seen().len();
        let body = match &request.body {
            e2e::Body::Length(pieces) => String::from_utf8_lossy(&pieces.concat()).into_owned(),
            _ => String::new(),
        };
        println!("\n{what}\n  in   {} {} {body}", request.method, request.path);
        let checked = match send(Protocol::Http1, address, request).and_then(Answer::complete) {
            Ok(answer) => {
                for got in server.seen().iter().skip(seen_before) {
                    println!("  gRPC {}: {}", got["model"].as_str().unwrap_or_default(), got["inputs"]);
                }
                println!("  out  {} {}", answer.status(), answer.text());
                check(&answer)
            }
            Err(error) => Err(error.to_string()),
        };
        match checked {
            Ok(()) => self.passed += 1,
            Err(reason) => {
                self.failed += 1;
                println!("  FAILED: {reason}");
            }
        }
    }
}

/// Prints what to try and keeps everything running until Ctrl-C or SIGTERM; the servers end with their values.
fn wait_for_interrupt(urls: &[(&str, SocketAddr)]) -> Result<(), Error> {
    println!("\nRunning until Ctrl-C. To try:");
    for (host, address) in urls {
        println!("  # {host}");
        println!("  curl -s http://{address}/v2/models/affine");
        println!(
            "  curl -s http://{address}/v2/models/affine/infer -d '{}'",
            affine_request(&[[1.0, 2.0, 3.0, 4.0]])
        );
    }
    let failed = |error: std::io::Error| Error::Protocol(format!("cannot wait for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        println!("\nEnding Envoy and MLServer.");
        Ok(())
    })
}
