//! OpenAI's own client in front of models that speak KServe v2: the style of a picture as an embedding, and a model that says
//! again what it is told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{
    Envoy, Installed, Listener, MlServer, Options, Protocol, Request, gateway, repository, send,
    start_shipped,
};
use serde_json::{Value, json};
use testkit::Column;

const PAGE: &str = "docs/openai.md";
const SAMPLES: &str = "examples/ai-application/services/page/samples";

/// `OPENAI_PYTHON`, which `cargo xtask` sets: the Python of the environment that has OpenAI's client.
pub(crate) fn python() -> Option<PathBuf> {
    std::env::var_os("OPENAI_PYTHON").filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn config(column: Column) -> String {
    let tensor = |parameter: &str, datatype: &str| json!({ "parameter": parameter, "name": parameter, "datatype": datatype });
    let mut max_tokens = tensor("max_tokens", "INT32");
    max_tokens["default"] = 16.into();
    let models = json!([
        {
            "id": "magenta-style", "model": "style-vector", "owned_by": "magenta",
            "embeddings": { "text": { "name": "picture" }, "output": "vector" },
        },
        {
            "id": "writer", "model": "writer",
            "completions": {
                "text": { "name": "text_input" }, "output": "text_output", "finish_reason": "finish_reason",
                "prompt_tokens": "prompt_tokens", "completion_tokens": "completion_tokens",
                "parameters": [max_tokens, tensor("temperature", "FP32")],
            },
        },
    ]);
    let mut config = json!({ "openai": { "models": models } });
    if column == Column::WasmHold {
        config["hold_response_headers"] = true.into();
    }
    config.to_string()
}

pub(crate) fn on_mlserver(installed: &Installed, models_python: &Path, python: &Path) {
    let models = repository().join("test-harness/e2e/models/openai");
    let server = MlServer::start_in(models_python, &models, &models).unwrap();
    let samples = ["style-waves.jpg", "style-mosaic.jpg"].map(|name| repository().join(SAMPLES).join(name));
    let vectors = samples.each_ref().map(|sample| vector(&server, sample));
    assert_ne!(vectors[0], vectors[1]);
    let listeners =
        Column::ALL.map(|column| Listener::new(column.name()).transcoder(column, &config(column)));
    let envoy =
        Envoy::start(&installed.path, &gateway(&listeners, server.grpc()), &Options::default()).unwrap();
    for column in Column::ALL {
        let address = envoy.address(column.name()).unwrap();
        let pictures = samples.each_ref().map(|sample| sample.to_str().unwrap());
        let got = super::client(python, "openai_client.py", address, &pictures);
        assert_answers(&got, &vectors, column);
    }
    drop(envoy);
    let envoy = start_shipped(&installed.path, "kserve-transcoder.openai.yaml", &[server.grpc()]).unwrap();
    the_page_is_true(envoy.address("inference").unwrap());
}

/// Runs what the page has for a shell to ask Envoy, and compares with the answers that it shows.
fn the_page_is_true(address: SocketAddr) {
    let page = std::fs::read_to_string(repository().join(PAGE)).unwrap();
    let blocks: Vec<(&str, &str)> =
        page.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n')).collect();
    let mut asked = 0;
    for (at, (_, command)) in blocks.iter().enumerate().filter(|(_, block)| block.1.contains("curl ")) {
        let command = command.replace("127.0.0.1:8080", &address.to_string());
        let output =
            e2e::output(Command::new("sh").args(["-c", &command]).current_dir(repository())).unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert!(answer.is_object(), "{command}: {output:?}");
        match blocks.get(at + 1) {
            Some(("json", shown)) => {
                let shown: Value = serde_json::from_str(shown).unwrap();
                assert_eq!(timeless(answer), timeless(shown), "{command}");
            }
            _ => assert_eq!(numbers(&answer["data"][0]["embedding"]).len(), 100, "{command}: {answer}"),
        }
        asked += 1;
    }
    assert_eq!(asked, 4);
}

/// An answer without what is different each time.
fn timeless(mut answer: Value) -> Value {
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("id");
        answer.remove("created");
    }
    answer
}

/// The style of a picture, by the model server's own REST port.
fn vector(server: &MlServer, sample: &Path) -> Vec<f32> {
    use base64::Engine as _;
    let picture = base64::engine::general_purpose::STANDARD.encode(std::fs::read(sample).unwrap());
    let body =
        json!({ "inputs": [{ "name": "picture", "datatype": "BYTES", "shape": [1, 1], "data": [picture] }] });
    let request = Request::post("/v2/models/style-vector/infer", body.to_string());
    let answer = send(Protocol::Http1, server.http(), &request).unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    numbers(&answer["outputs"][0]["data"])
}

fn numbers(list: &Value) -> Vec<f32> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn assert_answers(got: &Value, vectors: &[Vec<f32>; 2], column: Column) {
    let name = column.name();
    let raised = |call: &str, kind: &str, status: u16, code: Value, param: Value| {
        let error = &got[call];
        let found = json!([error["raised"], error["status"], error["code"], error["param"]]);
        assert_eq!(found, json!([kind, status, code, param]), "{name}, {call}: {error}");
    };
    assert_eq!(got["models"], json!(["magenta-style", "writer"]), "{name}");
    assert_eq!(got["model"]["owned_by"], "magenta", "{name}: {}", got["model"]);
    raised("no_model", "NotFoundError", 404, json!("model_not_found"), json!("model"));
    raised("unknown_model", "NotFoundError", 404, json!("model_not_found"), json!("model"));

    for (index, vector) in vectors.iter().enumerate() {
        assert_eq!(&numbers(&got["default"]["data"][index]["embedding"]), vector, "{name}");
    }
    assert_eq!(numbers(&got["float"]["data"][0]["embedding"]), vectors[0], "{name}");
    assert_eq!(got["float"]["model"], "magenta-style");
    raised("tokens", "BadRequestError", 400, json!("invalid_value"), json!("input"));

    let completions = &got["completions"];
    let choices: Vec<Value> = completions["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| json!([choice["index"], choice["text"], choice["finish_reason"]]))
        .collect();
    assert_eq!(
        choices,
        [json!([0, "ONE TWO", "length"]), json!([1, "FOUR", "stop"])],
        "{name}: {completions}"
    );
    let usage = &completions["usage"];
    let usage = json!([usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]]);
    assert_eq!(usage, json!([4, 3, 7]), "{name}: {completions}");
    assert!(completions["id"].as_str().unwrap().starts_with("cmpl-"), "{name}: {completions}");
    assert!(completions["created"].as_u64().unwrap() > 1_700_000_000, "{name}: {completions}");
    assert_eq!(got["short"]["choices"][0]["text"], "FIVE SIX", "{name}");
    raised("two_of_each", "BadRequestError", 400, json!("unsupported_parameter"), json!("n"));
    raised("stream", "BadRequestError", 400, json!("unsupported_parameter"), json!("stream"));
    raised("chat", "NotFoundError", 404, json!("unknown_url"), Value::Null);

    // What the model server says comes in its own words.
    for (call, message) in [("not_a_picture", "not a picture"), ("too_hot", "temperature: too hot")] {
        raised(call, "BadRequestError", 400, Value::Null, Value::Null);
        let said = got[call]["message"].as_str().unwrap();
        assert!(said.contains(message), "{name}, {call}: {said}");
    }
}
