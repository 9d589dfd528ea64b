//! What the transcoder does with large bodies and with hostile requests: bodies of 100 MB, limits, uploads at
//! once that do not fit into the VM together, answers that are not read, and hostile requests. Whatever it is, the next request is answered.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

mod answers;
mod uploads;

use e2e::hostile::Hostile;
use e2e::uploads::{Form, Upload, tensor};
use e2e::{Answer, End, Envoy, Installed, Listener, Options, Protocol, Request, Suite, gateway, send};
use odd_server::infer::{Contents, Order, Response, Style, Tensor, Values};
use odd_server::wire::{self, Value};
use odd_server::{OddServer, Recorded, Script};
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;
use testkit::Column;

const INFER: &str = "/v2/models/m/infer";
const SMALL: &str = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[0.5]}]}"#;
/// How long an answer may take from the first byte of its request on: twelve uploads share two workers.
const BOUND: Duration = Duration::from_secs(180);
const MIB: usize = 1 << 20;
/// The default of `max_request_bytes`, which the largest bodies just do not reach: 104 MB.
const LARGE: usize = 100 * MIB;

/// 100 MiB of JSON, made once.
static LARGE_UPLOAD: LazyLock<Upload> =
    LazyLock::new(|| patient(Upload::new(Form::DatatypeFirst, INFER, LARGE)));

fn main() -> ExitCode {
    Suite::new()
        .in_turn()
        .on(
            &["1.38", "1.40"],
            "a_hundred_megabytes_each_way_pass_a_buffer_limit_of_32_kib",
            hundred_megabytes,
        )
        .on(&["1.38", "1.40"], "what_is_over_a_limit_is_told_and_the_next_request_is_answered", over_limits)
        .newest_envoy(
            "twelve_large_uploads_at_once_each_get_an_answer_and_so_does_the_next",
            uploads::at_once,
        )
        .newest_envoy("twelve_clients_that_do_not_read_cost_little_more_than_a_passthrough", answers::unread)
        .on(
            &["1.38", "1.40"],
            "the_first_byte_of_a_large_answer_comes_with_the_first_chunk",
            answers::first_byte,
        )
        .each_envoy("three_thousand_hostile_requests_each_get_a_4xx_and_the_filter_lives", hostile)
        .run()
}

fn patient(upload: Upload) -> Upload {
    Upload { request: upload.request.patience(BOUND), ..upload }
}

/// A listener with these keys in the transcoder's configuration, as JSON with a comma behind each.
fn listener(name: &str, column: Column, keys: &str) -> Listener {
    let hold = column != Column::Wasm;
    let config = format!(r#"{{{keys} "hold_response_headers": {hold}}}"#);
    let routes = r#"[{ match: { prefix: "/" }, route: { cluster: model-server, timeout: 180s } }]"#;
    Listener::new(name).transcoder(column, &config).routes(routes).buffer_limit(32 * 1024)
}

/// Starts Envoy with a listener for each column, named as it.
fn start(installed: &Installed, server: &OddServer, columns: &[Column], workers: u32, keys: &str) -> Envoy {
    let listeners: Vec<_> = columns.iter().map(|&column| listener(column.name(), column, keys)).collect();
    let options = Options { concurrency: workers, ..Options::default() };
    Envoy::start(&installed.path, &gateway(&listeners, server.address()), &options).unwrap()
}

/// A server that answers an [`Upload`] with the number of its elements, once it has checked every one.
fn counting_server() -> OddServer {
    let server = OddServer::start_forgetful().unwrap();
    server.compute_default(|request| match count(request) {
        Ok(count) => {
            let count = Tensor::typed("count", "INT64", &[1], Contents::Int64(vec![count]));
            Script::message(&Response::new("m").output(count).encode(Style::default()))
        }
        Err(why) => Script::trailers_only(3, &why),
    });
    server
}

/// How many elements the request's tensor has.
fn count(request: &Recorded) -> Result<i64, String> {
    let messages = request.messages().map_err(|error| error.to_string())?;
    let [message] = messages.as_slice() else { return Err(format!("{} messages", messages.len())) };
    let fields = wire::fields(&message.bytes).map_err(|error| error.to_string())?;
    let raw = fields.iter().find_map(|field| match field.value {
        Value::Bytes(bytes) if field.number == 7 => Some(bytes),
        _ => None,
    });
    let raw =
        raw.filter(|raw| e2e::uploads::is_upload(raw)).ok_or("these are not the values that were sent")?;
    i64::try_from(raw.len() / 4).map_err(|error| error.to_string())
}

fn counted(elements: usize) -> String {
    format!(
        r#"{{"model_name":"m","outputs":[{{"name":"count","datatype":"INT64","shape":[1],"data":[{elements}]}}]}}"#
    )
}

/// Asserts that the next small requests are answered: as many as reach every worker.
fn assert_alive(envoy: &Envoy, listener: &str) {
    let address = envoy.address(listener).unwrap();
    for _ in 0..8 {
        let answer =
            send(Protocol::Http1, address, &Request::post(INFER, SMALL)).unwrap().complete().unwrap();
        assert_eq!((answer.status(), answer.text()), (200, counted(1)), "{listener}");
    }
}

/// How many VMs there have been, and how many there are. A VM that dies is counted out, and a new one in.
fn vms(envoy: &Envoy) -> Vec<(String, u64)> {
    let stats = envoy.stats("^wasm\\.envoy\\.wasm\\.runtime\\.v8\\.").unwrap();
    assert!(stats.values().all(|count| *count > 0) && stats.len() == 2, "{stats:?}");
    stats.into_iter().collect()
}

/// The text of an `{"error"}` body.
fn error_of(answer: &Answer) -> String {
    answer.json().unwrap_or_default()["error"].as_str().unwrap_or_default().to_owned()
}

fn hundred_megabytes(installed: &Installed) {
    let server = counting_server();
    let (raw, text) = tensor(LARGE);
    let shape = [i64::try_from(raw.len() / 4).unwrap()];
    let answer = Response::new("m").output(Tensor::new("y", "FP32", &shape, Values::Raw(raw)));
    server.script("large", Script::message(&answer.encode(Style::default())));
    let head =
        format!(r#"{{"model_name":"m","outputs":[{{"name":"y","datatype":"FP32","shape":{shape:?},"data":["#);
    let expected = [&head, text.as_str(), "]}]}"].concat();
    assert!(expected.len() > 100_000_000 && LARGE_UPLOAD.body_bytes() > 100_000_000);
    let envoy = start(installed, &server, &Column::ALL, 1, "");
    for column in Column::ALL {
        let address = envoy.address(column.name()).unwrap();
        for protocol in Protocol::BOTH {
            let what = format!("{} {protocol:?}", column.name());
            let sent = send(protocol, address, &LARGE_UPLOAD.request).unwrap().complete().unwrap();
            assert_eq!((sent.status(), sent.text()), (200, counted(LARGE_UPLOAD.elements)), "{what}");
            let request = Request::post(INFER, SMALL).header("x-case", "large").patience(BOUND);
            let got = send(protocol, address, &request).unwrap().complete().unwrap();
            assert_eq!((got.status(), got.body.len()), (200, expected.len()), "{what}");
            assert!(
                got.body == expected.as_bytes(),
                "{what}: the numbers are not those that the server sent"
            );
        }
    }
}

/// Asserts that the client sees an error of an answer over a limit, or a cut stream where its headers have gone out.
fn assert_told_or_cut(answer: &Answer, told: bool, says: &str, what: &str) {
    if !told {
        assert!(matches!(answer.end, End::Closed | End::Reset(_)), "{what}: {:?}", answer.end);
        return;
    }
    assert_eq!((&answer.end, answer.status()), (&End::Complete, 503), "{what}");
    let error = error_of(answer);
    assert!(error.contains(says), "{what}: {error}");
}

const LIMITS: [(&str, &str); 3] = [
    ("request", r#""max_request_bytes": 1000000,"#),
    ("response", r#""max_response_bytes": 1000000,"#),
    ("budget", r#""memory_budget_bytes": 1000000,"#),
];
const OVER_BUDGET: &str = "the memory budget of 1000000 bytes is used up";

fn over_limits(installed: &Installed) {
    let server = counting_server();
    let (raw, _) = tensor(3 * MIB);
    let shape = [i64::try_from(raw.len() / 4).unwrap()];
    let answer = Response::new("m").output(Tensor::new("y", "FP32", &shape, Values::Raw(raw)));
    server.script("large", Script::message(&answer.encode(Style::default())));
    // In this order it has to be held.
    let style = Style { order: Order::Reversed, ..Style::default() };
    server.script("held", Script::message(&answer.encode(style)));
    let name = |limit: &str, column: Column| format!("{limit}-{}", column.name());
    let listeners: Vec<_> = LIMITS
        .iter()
        .flat_map(|(limit, key)| Column::ALL.map(|column| listener(&name(limit, column), column, key)))
        .collect();
    let bootstrap = gateway(&listeners, server.address());
    let envoy = Envoy::start(&installed.path, &bootstrap, &Options::default()).unwrap();
    let uploads = Form::ALL.map(|form| Upload::new(form, INFER, 3 * MIB));
    for (column, protocol) in Column::ALL.into_iter().flat_map(|column| Protocol::BOTH.map(|p| (column, p))) {
        let ask = |limit: &str, request: &Request, check: &dyn Fn(Answer, &str)| {
            let name = name(limit, column);
            check(
                send(protocol, envoy.address(&name).unwrap(), request).unwrap(),
                &format!("{name} {protocol:?}"),
            );
            assert_alive(&envoy, &name);
        };
        let refused = |limit: &str, request: &Request, status: u16, says: &str| {
            ask(limit, request, &|answer, what| {
                let answer = answer.complete().unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!((answer.status(), error_of(&answer).as_str()), (status, says), "{what}");
            });
        };
        for upload in &uploads {
            refused("request", &upload.request, 413, "the body is larger than 1000000 bytes");
            refused("budget", &upload.request, 503, OVER_BUDGET);
        }
        let request = Request::post(INFER, SMALL).header("x-case", "large");
        // The length of the message comes first, so that it is known while headers are held.
        let says = "is larger than max_response_bytes (1000000)";
        ask("response", &request, &|answer, what| {
            assert_told_or_cut(&answer, column != Column::Wasm, says, what);
        });
        // In wasm the headers of a message that has outgrown "small" have gone out by then.
        let told = column == Column::Native;
        let request = Request::post(INFER, SMALL).header("x-case", "held");
        ask("budget", &request, &|answer, what| {
            assert_told_or_cut(&answer, told, OVER_BUDGET, what);
        });
    }
}

fn hostile(installed: &Installed) {
    const LIMIT: usize = 64 * 1024;
    let rounds = if installed.version == "1.40" { 3000 } else { 500 };
    let server = counting_server();
    let mut envoy = start(installed, &server, &Column::ALL, 1, &format!(r#""max_request_bytes": {LIMIT},"#));
    let before = vms(&envoy);
    let mut answered = 0;
    for column in Column::ALL {
        let address = envoy.address(column.name()).unwrap();
        for round in 0..rounds {
            let hostile = Hostile::new(round, LIMIT);
            let protocol = Protocol::BOTH[usize::from(round % 4 == 3)];
            let what = format!("{} {protocol:?}, round {round}: {}", column.name(), hostile.kind);
            let Some(answer) = hostile.send(protocol, address).unwrap() else { continue };
            let answer = answer.complete().unwrap_or_else(|error| panic!("{what}: {error}"));
            let (status, error) = (answer.status(), error_of(&answer));
            assert!((400..500).contains(&status) && !error.is_empty(), "{what}: {status} {}", answer.text());
            answered += 1;
        }
    }
    // It was the filter that refused each, and not Envoy. One whose message had gone out before the rest turned out to be
    // wrong is counted as transcoded, and not twice.
    let judged = envoy.stats("kserve_transcoder\\.(refused|transcoded)").unwrap();
    assert_eq!(judged.values().sum::<u64>(), answered, "{judged:?}");
    for column in Column::ALL {
        assert_alive(&envoy, column.name());
    }
    assert_eq!(vms(&envoy), before);
    assert!(envoy.process().exited().is_none());
}
