//! Inferences that real servers answer with a stream.

use e2e::{
    Envoy, Installed, Listener, MlServer, Options, Protocol, Request, Triton, gateway, repository, send,
};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use testkit::Column;

const BOUND: Duration = Duration::from_secs(60);

/// The events of an answer, as JSON without what is null, and without what MLServer would send as headers and then forgets to
/// take out of the event.
fn events(answer: &str) -> Vec<Value> {
    let events = answer.split_terminator("\n\n");
    events
        .map(|event| without_null(serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()))
        .collect()
}

fn without_null(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(without_null).collect(),
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(name, value)| {
                !value.is_null() && value.get("headers").is_none() && name != "headers"
            });
            kept.map(|(name, value)| (name, without_null(value))).collect()
        }
        other => other,
    }
}

pub(crate) fn mlserver(envoy: &Installed, python: &Path) {
    let server = MlServer::start_with(python, "streams").unwrap();
    let listeners = Column::ALL.map(|column| {
        let hold = if column == Column::WasmHold { r#", "hold_response_headers": true"# } else { "" };
        let config = format!(r#"{{"stream_messages": "mlserver"{hold}}}"#);
        Listener::new(column.name()).transcoder(column, &config)
    });
    let envoy = Envoy::start(&envoy.path, &gateway(&listeners, server.grpc()), &Options::default()).unwrap();
    let ask = |address, path: &str, text: &str| {
        let input = json!({"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]});
        let body = json!({"id": "7", "inputs": [input]}).to_string();
        let request = Request::post(&format!("/v2/models/words/{path}"), body)
            .header("content-type", "application/json")
            .patience(BOUND);
        send(Protocol::Http1, address, &request).unwrap()
    };
    for path in ["infer_stream", "generate_stream"] {
        let own = ask(server.http(), path, "one two thr\u{e9}e").complete().unwrap();
        let expected = events(&own.text());
        assert_eq!(expected.len(), 3);
        for column in Column::ALL {
            let ours = ask(envoy.address(column.name()).unwrap(), path, "one two thr\u{e9}e");
            let ours = ours.complete().unwrap();
            assert_eq!(ours.header("content-type").unwrap(), b"text/event-stream");
            assert_eq!(events(&ours.text()), expected, "{} {path}", column.name());
        }
    }
    for column in Column::ALL {
        let address = envoy.address(column.name()).unwrap();
        let all = ask(address, "generate", "one two").complete().unwrap().json().unwrap();
        assert_eq!(all["outputs"][0]["data"], json!(["one", "two"]), "{}", column.name());
        let failed = ask(address, "infer_stream", "one fail two");
        match column {
            Column::Native => {
                let events = events(&failed.complete().unwrap().text());
                assert_eq!(events.len(), 2, "{events:?}");
                assert_eq!(events[1], json!({"error": "the model lost its thread"}));
            }
            _ => assert!(failed.complete().is_err(), "{}", column.name()),
        }
        let unknown = ask(address, "infer_stream", "fail");
        assert!(column == Column::Wasm || unknown.status() >= 400, "{}: {unknown:?}", column.name());
    }
}

pub(crate) fn triton(envoy: &Installed, triton_python: &Path) {
    let models = repository().join("test-harness/e2e/models/triton-streams");
    let server = Triton::start_in(triton_python, &models, &[]).unwrap();
    let listeners = Column::ALL.map(|column| {
        let hold = if column == Column::WasmHold { r#", "hold_response_headers": true"# } else { "" };
        let config = format!(r#"{{"stream_messages": "triton"{hold}}}"#);
        Listener::new(column.name()).transcoder(column, &config)
    });
    let envoy = Envoy::start(&envoy.path, &gateway(&listeners, server.grpc()), &Options::default()).unwrap();
    let ask = |column: Column, model: &str, text: &str| {
        let input = json!({"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]});
        let body = json!({"id": "7", "inputs": [input]}).to_string();
        let request = Request::post(&format!("/v2/models/{model}/infer_stream"), body).patience(BOUND);
        send(Protocol::Http1, envoy.address(column.name()).unwrap(), &request).unwrap()
    };
    let word = |word: &str| {
        let output = json!({"name": "word", "datatype": "BYTES", "shape": [1], "data": [word]});
        json!({"id": "7", "model_name": "words", "model_version": "1", "outputs": [output],
               "parameters": {"triton_final_response": false}})
    };
    for column in Column::ALL {
        let told = |text: &str| events(&ask(column, "words", text).complete().unwrap().text());
        assert_eq!(told("to be or"), [word("to"), word("be"), word("or")], "{}", column.name());
        // Triton tells errors in its messages, and ends its streams well.
        assert_eq!(told("to fail"), [word("to"), json!({"error": "the model lost its thread"})]);
        let unknown = events(&ask(column, "unknown", "to").complete().unwrap().text());
        let error = unknown[0]["error"].as_str().unwrap();
        assert!(unknown.len() == 1 && error.contains("unknown model"), "{}: {unknown:?}", column.name());
    }
}
