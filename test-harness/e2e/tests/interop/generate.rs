//! Triton's `generate` and `generate_stream`: what its own HTTP port answers, and what comes of its gRPC port through the
//! filter.

use e2e::{
    Answer, Envoy, Installed, Listener, Options, Protocol, Request, Triton, gateway, output, repository, send,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testkit::Column;

const BOUND: Duration = Duration::from_secs(60);

/// The page that shows it, and the heading of the part that does.
const PAGE: &str = "docs/streams.md";
const PART: &str = "## Triton's `generate`";

/// What is said in the same JSON on both sides: model and path, body, the status on Triton's own port, and those in wasm, in wasm
/// with held headers and natively.
type Alike = (&'static str, &'static str, u16, [u16; 3]);

const GOOD: [u16; 3] = [200; 3];

/// A status that depends on the model's answer has gone out before it in wasm without held headers.
const LATE_400: [u16; 3] = [200, 400, 400];
const LATE_500: [u16; 3] = [200, 500, 500];

const ALIKE: &[Alike] = &[
    ("llm/generate", r#"{"text_input":"to be","id":"7"}"#, 200, GOOD),
    ("llm/versions/1/generate", r#"{"text_input":["to be"],"stream":false,"top":[1,2.5]}"#, 200, GOOD),
    (
        "llm/generate",
        r#"{"text_input":"a","parameters":{"n":1,"text":"\u00e9","flag":true,"x":0.5,"top":[2]},"seed":-5}"#,
        200,
        GOOD,
    ),
    ("llm/generate_stream", r#"{"text_input":"to be or","stream":true,"id":"7","seed":5}"#, 200, GOOD),
    ("llm/generate_stream", r#"{"text_input":"to be or"}"#, 200, GOOD),
    ("batch/generate", r#"{"text_input":"a","numbers":[1,2]}"#, 200, GOOD),
    ("batch/generate", r#"{"text_input":["a","b"],"numbers":[1,2,3,4]}"#, 200, GOOD),
    ("batch/generate_stream", r#"{"text_input":["a","b"],"numbers":[1,2,3,4]}"#, 200, GOOD),
    (
        "kinds/generate",
        r#"{"BOOL":true,"UINT8":255,"INT8":-5,"UINT64":18446744073709551615,"FP32":[0.5,1.25],"FP64":[0.1],"BYTES":["x",""]}"#,
        200,
        GOOD,
    ),
    ("kinds/generate", r#"{"FP32":[],"BYTES":"\u00e9\n\""}"#, 200, GOOD),
    // What is not right with the model. Of an answer of the wrong number Triton tells as a 200.
    ("llm/generate", r#"{"text_input":"fail"}"#, 400, LATE_400),
    ("llm/generate_stream", r#"{"text_input":"fail"}"#, 400, GOOD),
    ("llm/generate_stream", r#"{"text_input":"to fail","stream":true}"#, 200, GOOD),
    ("llm/generate", r#"{"text_input":"to be or","stream":true}"#, 200, LATE_500),
    ("llm/generate", r#"{"text_input":"to fail","stream":true}"#, 200, LATE_500),
    ("llm/generate_stream", r#"{"text_input":"nothing"}"#, 200, GOOD),
    // What is not right with the request, in Triton's own words.
    ("nobody/generate", r#"{"text_input":"a"}"#, 404, [404; 3]),
    ("llm/versions/9/generate_stream", r#"{"text_input":"a"}"#, 404, [404; 3]),
    ("batch/generate", r#"{"text_input":"a"}"#, 400, LATE_400),
    ("batch/generate", r#"{"text_input":["a","b"],"numbers":[1,2]}"#, 400, LATE_400),
    (
        "batch/generate",
        r#"{"text_input":["a","b","c","d","e"],"numbers":[1,2,3,4,5,6,7,8,9,10]}"#,
        400,
        LATE_400,
    ),
];

/// What the filter refuses in its own words, with a 400 in each column: model and path, body, Triton's own status, the filter's
/// words.
const IN_OTHER_WORDS: &[(&str, &str, u16, &str)] = &[
    ("llm/generate", r#"{"text_input":5}"#, 500, "text_input: expected a value of BYTES or a list of them"),
    ("llm/generate", r#"{"text_input":"a","stream":"x"}"#, 500, "stream: \"x\" is not a value of BOOL"),
    ("llm/generate", r#"{"text_input":["a","b"]}"#, 400, "text_input: 2 elements do not fit the shape [1]"),
    ("batch/generate", r#"{"text_input":"a","numbers":[1,2,3]}"#, 400, "numbers: 3 elements do not fit"),
    ("llm/generate", r#"{"text_input":"a","stop":["b"]}"#, 400, "stop: a parameter is a string"),
    ("llm/generate", r#"{"text_input":"a","parameters":1}"#, 500, "parameters must be an object"),
    ("llm/generate", r#"{"text_input":"a","text_input":"b"}"#, 400, "text_input is given twice"),
    ("llm/generate_stream", r#"{"text_input":"a","id":7}"#, 500, "id must be a string"),
    ("llm/generate_stream", r#"{"text_input":"a""#, 500, "the JSON document ends too early"),
    // Which Triton makes another number of.
    ("kinds/generate", r#"{"INT8":300}"#, 200, "INT8: 300 is out of range"),
];

pub(crate) fn on_triton(envoy: &Installed, triton_python: &Path) {
    let models = repository().join("test-harness/e2e/models/triton-generate");
    let server = Triton::start_in(triton_python, &models, &[]).unwrap();
    let listeners = Column::ALL.map(|column| {
        let hold = if column == Column::WasmHold { r#", "hold_response_headers": true"# } else { "" };
        let config = format!(r#"{{"stream_messages": "triton"{hold}}}"#);
        Listener::new(column.name()).transcoder(column, &config)
    });
    let envoy = Envoy::start(&envoy.path, &gateway(&listeners, server.grpc()), &Options::default()).unwrap();
    let addresses = Column::ALL.map(|column| envoy.address(column.name()).unwrap());
    for (path, body, own_status, statuses) in ALIKE {
        let (status, own) = ask(server.http(), path, body);
        assert_eq!(status, *own_status, "{path} {body}: {own:?}\n{}", server.log());
        for ((column, address), expected) in Column::ALL.iter().zip(addresses).zip(statuses) {
            let (status, told) = ask(address, path, body);
            assert_eq!(told, own, "{path} {body} in {}", column.name());
            assert_eq!(status, *expected, "{path} {body} in {}: {told:?}", column.name());
        }
    }
    for (path, body, own_status, words) in IN_OTHER_WORDS {
        let (status, own) = ask(server.http(), path, body);
        assert_eq!(status, *own_status, "{path} {body}: {own:?}");
        for (column, address) in Column::ALL.iter().zip(addresses) {
            let (status, told) = ask(address, path, body);
            let error = told[0]["error"].as_str().unwrap_or_default();
            assert!(
                status == 400 && error.starts_with(words),
                "{path} {body} in {}: {told:?}",
                column.name()
            );
        }
    }
    for address in addresses {
        more_than_triton(address);
    }
    the_page_is_true(envoy.address(Column::Native.name()).unwrap());
}

/// What Triton's own port refuses, and its gRPC port takes.
fn more_than_triton(address: SocketAddr) {
    let nested = ask(address, "batch/generate", r#"{"text_input":[["a"],["b"]],"numbers":[[1,2],[3,4]]}"#);
    assert_eq!((nested.0, &nested.1[0]["sum"]), (200, &json!([3, 7])));
    let half = ask(address, "kinds/generate", r#"{"FP16":0.5}"#);
    assert_eq!((half.0, &half.1[0]["FP16"]), (200, &json!(0.5)));
    // What only its gRPC knows cannot be asked for.
    let told =
        ask(address, "llm/generate", r#"{"text_input":"a","triton_enable_empty_final_response":true}"#);
    assert_eq!((told.0, &told.1[0]["text_output"]), (200, &json!("a")));
}

/// The status of an answer, and its events or its JSON.
fn ask(address: SocketAddr, path: &str, body: &str) -> (u16, Vec<Value>) {
    let request = Request::post(&format!("/v2/models/{path}"), body)
        .header("triton_grpc_error", "true")
        .patience(BOUND);
    let answer = send(Protocol::Http1, address, &request).unwrap().complete().unwrap();
    let told = items(&answer).into_iter().map(without_the_ids_double).collect();
    (answer.status(), told)
}

fn items(answer: &Answer) -> Vec<Value> {
    let text = answer.text();
    let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"));
    match answer.header_text("content-type").unwrap_or_default() {
        events if events.starts_with("text/event-stream") => {
            let events = text.split_terminator("\n\n");
            events.map(|event| json(event.strip_prefix("data: ").unwrap())).collect()
        }
        _ => vec![json(&text)],
    }
}

/// Triton's port also makes a parameter of a request's id, which is none.
fn without_the_ids_double(mut told: Value) -> Value {
    if let Some(seen) = told.get_mut("parameters_seen") {
        let mut parameters: Value = serde_json::from_str(seen.as_str().unwrap()).unwrap();
        parameters.as_object_mut().unwrap().remove("id");
        *seen = parameters;
    }
    told
}

/// Runs what the page has for a shell to ask Envoy, and compares with the answers that it shows.
fn the_page_is_true(address: SocketAddr) {
    let page = std::fs::read_to_string(repository().join(PAGE)).unwrap();
    let part = page.split(PART).nth(1).and_then(|part| part.split("\n## ").next()).unwrap();
    let blocks: Vec<&str> = part.split("\n```").skip(1).step_by(2).collect();
    let mut asked = 0;
    for pair in blocks.windows(2) {
        let Some(command) = pair[0].strip_prefix("sh\n").filter(|command| command.contains("curl ")) else {
            continue;
        };
        let command = command.replace("127.0.0.1:8080", &address.to_string());
        let found = output(Command::new("sh").args(["-c", &command])).unwrap();
        let shown = pair[1].split_once('\n').unwrap().1;
        assert_eq!(String::from_utf8_lossy(&found.stdout).trim_end(), shown.trim_end(), "{command}");
        asked += 1;
    }
    assert_eq!(asked, 3);
}
