//! OpenAI's own client in front of models that speak KServe v2: the style of a picture as an embedding, and a model that says
//! again what it is told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::{
    Envoy, Installed, Listener, MlServer, Options, Protocol, Request, gateway, repository, send, shipped_on,
    start_shipped,
};
use serde_json::{Value, json};
use testkit::Column;

const PAGE: &str = "docs/openai.md";
const BOUND: Duration = Duration::from_secs(60);
const SAMPLES: &str = "examples/ai-application/services/page/samples";

/// `OPENAI_PYTHON`, which `cargo xtask` sets: the Python of the environment that has OpenAI's client.
pub(crate) fn python() -> Option<PathBuf> {
    std::env::var_os("OPENAI_PYTHON").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The mapping of the models. `stream` says whether the writer's texts come in pieces.
fn config(column: Column, stream: Option<&str>) -> String {
    let tensor = |parameter: &str, datatype: &str| json!({ "parameter": parameter, "name": parameter, "datatype": datatype });
    let mut max_tokens = tensor("max_tokens", "INT32");
    max_tokens["default"] = 16.into();
    let mut models = json!([
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
    if let Some(stream) = stream {
        models[1]["completions"]["stream"] = stream.into();
    }
    let mut config = json!({ "openai": { "models": models } });
    if stream.is_some() {
        config["stream_messages"] = "mlserver".into();
    }
    if column == Column::WasmHold {
        config["hold_response_headers"] = true.into();
        config["hold_request_headers"] = true.into();
    }
    config.to_string()
}

pub(crate) fn on_mlserver(installed: &Installed, models_python: &Path, python: &Path) {
    let models = repository().join("test-harness/e2e/models/openai");
    let server = MlServer::start_in(models_python, &models, &models).unwrap();
    let samples = ["style-waves.jpg", "style-mosaic.jpg"].map(|name| repository().join(SAMPLES).join(name));
    let vectors = samples.each_ref().map(|sample| vector(&server, sample));
    assert_ne!(vectors[0], vectors[1]);
    let of_streams = |column: Column| format!("{}-streams", column.name());
    let listeners: Vec<Listener> = Column::ALL
        .into_iter()
        .flat_map(|column| {
            // Without held headers all completions go to one method.
            let stream = if column == Column::Wasm { "required" } else { "optional" };
            [
                Listener::new(column.name()).transcoder(column, &config(column, None)),
                Listener::new(&of_streams(column)).transcoder(column, &config(column, Some(stream))),
            ]
        })
        .collect();
    let mut envoy =
        Envoy::start(&installed.path, &gateway(&listeners, server.grpc()), &Options::default()).unwrap();
    for column in Column::ALL {
        let address = envoy.address(column.name()).unwrap();
        let pictures = samples.each_ref().map(|sample| sample.to_str().unwrap());
        let got = super::client(python, "openai_client.py", address, &pictures);
        assert_answers(&got, &vectors, column);
        let address = envoy.address(&of_streams(column)).unwrap();
        let got = super::client(python, "openai_stream_client.py", address, &[]);
        assert_streams(&got, column);
        // One of its clients has left in the middle of an answer.
        envoy.wait_for_stat("cluster.model-server.upstream_rq_active", BOUND, |active| active == 0).unwrap();
    }
    drop(envoy);
    let envoy = start_shipped(&installed.path, "kserve-transcoder.openai.yaml", &[server.grpc()]).unwrap();
    let page = Page::read();
    let streams = start_with_streams(installed, &page, server.grpc());
    page.is_true(envoy.address("inference").unwrap(), streams.address("inference").unwrap());
}

/// The native bootstrap with the configuration that the page has for streams.
fn start_with_streams(installed: &Installed, page: &Page, server: SocketAddr) -> Envoy {
    let ports = [(8080, 0), (9901, 0), (8081, server.port())];
    let bootstrap = shipped_on("kserve-transcoder.native.yaml", &ports).unwrap();
    let own = page.blocks.iter().find(|(kind, block)| *kind == "json" && block.contains("stream_messages"));
    let config: Value = serde_json::from_str(&own.unwrap().1).unwrap();
    let changed = bootstrap.replace(r#"{ "max_request_bytes": 104857600 }"#, &config.to_string());
    assert_ne!(changed, bootstrap);
    Envoy::start(&installed.path, &changed, &Options::default()).unwrap()
}

/// What the page shows, each block with its kind.
struct Page {
    blocks: Vec<(String, String)>,
}

impl Page {
    fn read() -> Self {
        let page = std::fs::read_to_string(repository().join(PAGE)).unwrap();
        let blocks = page.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
        Self { blocks: blocks.map(|(kind, block)| (kind.to_owned(), block.to_owned())).collect() }
    }

    /// Runs what it has for a shell to ask Envoy, and compares with the answers that it shows. Those with events are from the
    /// Envoy at `streams`.
    fn is_true(&self, address: SocketAddr, streams: SocketAddr) {
        let mut asked = 0;
        for (at, (_, command)) in
            self.blocks.iter().enumerate().filter(|(_, block)| block.1.contains("curl "))
        {
            let shown = self.blocks.get(at + 1).map(|(kind, block)| (kind.as_str(), block));
            let run = |address: SocketAddr| {
                let command = command.replace("127.0.0.1:8080", &address.to_string());
                let output =
                    e2e::output(Command::new("sh").args(["-c", &command]).current_dir(repository())).unwrap();
                String::from_utf8(output.stdout).unwrap()
            };
            match shown {
                Some(("json", shown)) => assert_eq!(timeless(&run(address)), timeless(shown), "{command}"),
                Some(("text", shown)) => {
                    let events = |text: &str| -> Vec<Value> {
                        text.trim()
                            .split("\n\n")
                            .map(|event| timeless(event.strip_prefix("data: ").unwrap()))
                            .collect()
                    };
                    assert_eq!(events(&run(streams)), events(shown), "{command}");
                }
                _ => {
                    let answer: Value = serde_json::from_str(&run(address)).unwrap();
                    assert_eq!(numbers(&answer["data"][0]["embedding"]).len(), 100, "{command}: {answer}");
                }
            }
            asked += 1;
        }
        assert_eq!(asked, 6);
    }
}

/// An answer without what is different each time.
fn timeless(answer: &str) -> Value {
    let mut answer = match serde_json::from_str(answer) {
        Ok(answer) => answer,
        Err(_) => Value::from(answer),
    };
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

/// What OpenAI's client got of completions in pieces.
fn assert_streams(got: &Value, column: Column) {
    let name = column.name();
    let texts = |call: &str| -> Vec<Value> {
        let of_chunk = |chunk: &Value| {
            let choice = &chunk["choices"][0];
            json!([choice["text"], choice["finish_reason"]])
        };
        got[call]["chunks"].as_array().unwrap().iter().map(of_chunk).collect()
    };
    let plain = &got["plain"];
    assert_eq!(
        texts("plain"),
        [json!(["TO", null]), json!([" BE", null]), json!([" OR", "stop"])],
        "{name}: {plain}"
    );
    let chunks = plain["chunks"].as_array().unwrap();
    for chunk in chunks {
        let stamp = |chunk: &Value| (chunk["id"].clone(), chunk["created"].clone(), chunk["model"].clone());
        assert_eq!((stamp(chunk), &chunk["usage"]), (stamp(&chunks[0]), &Value::Null), "{name}: {plain}");
    }
    assert!(chunks[0]["id"].as_str().unwrap().starts_with("cmpl-"), "{name}: {plain}");
    assert!(chunks[0]["created"].as_u64().unwrap() > 1_700_000_000, "{name}: {plain}");
    assert_eq!(texts("short"), [json!(["A", null]), json!([" B", "length"])], "{name}");

    // Behind the texts comes a chunk that has only the tokens.
    let counted = got["usage"]["chunks"].as_array().unwrap();
    assert_eq!(counted.len(), 3, "{name}: {counted:?}");
    let usage = &counted[2]["usage"];
    let usage = json!([
        counted[2]["choices"],
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["total_tokens"]
    ]);
    assert_eq!(usage, json!([[], 2, 2, 4]), "{name}: {counted:?}");

    // The model waits for a second in front of its last word.
    let at = |index: usize| got["slow"]["times"][index].as_f64().unwrap();
    assert_eq!(texts("slow").len(), 2, "{name}: {}", got["slow"]);
    assert!(at(1) - at(0) > 0.5, "{name}: {}", got["slow"]);

    // What goes wrong on the way is an error to the client, of whatever kind.
    assert_eq!(texts("fails"), [json!(["TO", null])], "{name}");
    let raised = &got["fails"]["raised"];
    match column {
        Column::Native => assert_eq!(*raised, json!(["APIError", "the model lost its thread"])),
        _ => assert_eq!(raised[0], "APIConnectionError", "{name}"),
    }
    assert_eq!(got["left"]["chunks"].as_array().unwrap().len(), 1, "{name}");
    let refused = |call: &str| json!([got[call]["raised"][0], got[call]["param"], got[call]["code"]]);
    assert_eq!(refused("two"), json!(["BadRequestError", "n", "unsupported_parameter"]), "{name}");
    let whole = &got["whole"];
    match column {
        Column::Wasm => assert_eq!(refused("whole"), json!(["BadRequestError", "stream", "invalid_value"])),
        _ => assert_eq!(whole["answer"]["choices"][0]["text"], "TO BE", "{name}: {whole}"),
    }
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
