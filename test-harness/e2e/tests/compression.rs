//! Compression in real Envoy: a server of gRPC's own library that compresses its messages, and Triton's own client, which asks for
//! compressed answers.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

use e2e::{
    Envoy, Installed, Listener, Options, Process, Protocol, Request, Suite, gateway, repository, send,
};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;
use testkit::Column;

const BOUND: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    Suite::new()
        .model_server("a_server_that_compresses_with_gzip_is_read_by_every_host", |envoy, python| {
            compressed_messages(envoy, &python, "gzip");
        })
        .model_server("tritons_client_reads_compressed_answers_of_every_host", |envoy, python| {
            compressed_answers(envoy, &python);
        })
        .run()
}

/// The script of a server, and its gRPC port.
fn server(python: &Path, coding: &str) -> (Process, SocketAddr) {
    let mut command = Command::new(python);
    command.arg(script("compressing_server.py")).arg(coding);
    let mut server = Process::start("server", command, tempfile::tempdir().unwrap()).unwrap();
    let log = server.wait_for_log("is open", BOUND).unwrap();
    let port = log.split_whitespace().skip_while(|word| *word != "port").nth(1).unwrap();
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    (server, address)
}

fn script(name: &str) -> std::path::PathBuf {
    repository().join("test-harness/e2e/python").join(name)
}

/// Envoy with a listener for each column, named as it, whose transcoder has these keys.
fn start(installed: &Installed, server: SocketAddr, keys: &str) -> Envoy {
    let listeners = Column::ALL.map(|column| {
        let held = if column == Column::WasmHold { r#", "hold_response_headers": true"# } else { "" };
        Listener::new(column.name()).transcoder(column, &format!("{{{keys}{held}}}"))
    });
    Envoy::start(&installed.path, &gateway(&listeners, server), &Options::default()).unwrap()
}

/// gRPC's own library compresses whether or not the client has said that it accepts it.
fn compressed_messages(installed: &Installed, python: &Path, coding: &str) {
    let (_server, address) = server(python, coding);
    let zeros = vec!["0"; 100_000].join(",");
    let tensor = format!(r#"{{"name":"x","datatype":"FP32","shape":[100000],"data":[{zeros}]}}"#);
    let expected = format!(r#"{{"model_name":"echo","outputs":[{tensor}]}}"#)
        .replace(",0", ",0.0")
        .replace("[0,", "[0.0,");
    for accepts in [true, false] {
        let envoy = start(installed, address, &format!(r#""accept_compressed_messages": {accepts}"#));
        for column in Column::ALL {
            let to = envoy.address(column.name()).unwrap();
            let request = Request::post("/v2/models/echo/infer", format!(r#"{{"inputs":[{tensor}]}}"#));
            let answer = send(Protocol::Http1, to, &request.patience(BOUND)).unwrap().complete().unwrap();
            assert_eq!(answer.status(), 200, "{}", column.name());
            assert!(answer.text() == expected, "{}: not what was sent", column.name());
            let request = Request::get("/v2/models/echo");
            let answer = send(Protocol::Http2, to, &request).unwrap().complete().unwrap();
            assert!(answer.text().contains(&"python ".repeat(1000)), "{}: {}", column.name(), answer.text());
        }
        let received = envoy.stat("cluster.model-server.upstream_cx_rx_bytes_total").unwrap();
        // What is in the messages is 400 kB in each column.
        assert!(received < 100_000, "{received} bytes came with the key {accepts}");
    }
}

fn compressed_answers(installed: &Installed, python: &Path) {
    let (_server, address) = server(python, "deflate");
    let envoy = start(installed, address, r#""compress_answers": {}"#);
    for column in Column::ALL {
        let to = envoy.address(column.name()).unwrap();
        let mut command = Command::new(python);
        let output = e2e::output(command.arg(script("compression_client.py")).arg(to.to_string())).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: the client gave up: {complaint}", column.name());
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = found.as_object().unwrap();
        assert!(all.len() == 7 && all.values().all(|right| right == true), "{}: {found}", column.name());
        let zeros = vec!["0"; 10_000].join(",");
        let body =
            format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[10000],"data":[{zeros}]}}]}}"#);
        let request = Request::post("/v2/models/echo/infer", body).header("accept-encoding", "gzip");
        let answer = send(Protocol::Http1, to, &request).unwrap().complete().unwrap();
        assert_eq!(answer.header("content-encoding"), Some(&b"gzip"[..]), "{}", column.name());
        assert!(answer.body.len() < 1000, "{}", answer.body.len());
    }
}
