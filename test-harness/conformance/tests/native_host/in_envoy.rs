//! The exchanges in stock Envoy, and what only Envoy shows.

use crate::exchanges::{
    Content, EXCHANGES, Exchange, Message, REQUEST_CHUNKS, RESPONSE_CHUNKS, Trace, lines,
};
use crate::{assert_same, in_player};
use e2e::{Answer, Body, End, Envoy, Installed, Options, Protocol, Request, h2c};
use odd_server::{OddServer, Recorded, Script, Step};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

type Test = fn(&Installed, &Path);

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("every_exchange_leaves_the_same_trace_in_envoy_and_in_the_player", same_traces),
    ("the_module_loads_without_a_warning_and_survives_every_panic", no_warning),
    ("an_unknown_filter_name_refuses_the_listener_and_names_the_known_ones", unknown_filter),
    ("a_bad_configuration_refuses_the_listener_with_the_path_of_its_key", bad_configuration),
    ("ten_megabytes_pass_a_32_kib_buffer_limit_held_kept_or_in_trailers", ten_megabytes),
    ("a_retry_sends_what_the_filter_emitted", retries),
    ("a_reply_has_the_content_type_that_the_filter_gave_it", content_type),
];

fn same_traces(envoy: &Installed, module: &Path) {
    let server = server();
    let mut running = start(envoy, &bootstrap(module, "probe", "{}", &server, ""));
    let got: Vec<Answer> = EXCHANGES.iter().map(|exchange| send(&running, exchange)).collect();
    let log = drain_log(&mut running);
    let seen = server.requests();
    let trace = |(exchange, answer): (&Exchange, &Answer)| {
        let seen = seen.iter().find(|request| request.header("x-probe-id") == Some(exchange.name.as_bytes()));
        Trace {
            log: lines(&log, exchange.name),
            upstream: seen.filter(|request| request.ended).map(|request| upstream(exchange, request)),
            downstream: (answer.end == End::Complete)
                .then(|| (answer.status(), downstream(exchange, answer))),
        }
    };
    let found: Vec<Trace> = EXCHANGES.iter().zip(&got).map(trace).collect();
    assert_same(&in_player::traces(module), &found);
}

fn no_warning(envoy: &Installed, module: &Path) {
    let server = server();
    let mut running = start(envoy, &bootstrap(module, "probe", "{}", &server, ""));
    for exchange in EXCHANGES.iter().filter(|exchange| exchange.steps.contains("panic")) {
        send(&running, exchange);
    }
    let answer = send(&running, &EXCHANGES[1]);
    assert_eq!((answer.status(), answer.end), (200, End::Complete));
    let log = drain_log(&mut running);
    let warnings: Vec<&String> =
        log.iter().filter(|line| line.contains("[warning][dynamic_modules]")).collect();
    // The probe marks headers in every phase, also once they have gone on.
    let warnings: Vec<_> = warnings.into_iter().filter(|line| !line.contains("probe: dropped: ")).collect();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(log.iter().any(|line| line.contains("probe: the filter panicked")));
    assert!(log.iter().any(|line| line.contains("test_module: panicked at")));
    assert!(running.stat("dynamicmodulescustom.probe.calls").unwrap() > 10);
}

fn unknown_filter(envoy: &Installed, module: &Path) {
    let log = refused(envoy, &bootstrap(module, "nothing", "{}", &server(), ""));
    assert!(log.contains(r#"unknown filter_name "nothing"; this module has: "#), "{log}");
}

fn bad_configuration(envoy: &Installed, module: &Path) {
    let log = refused(envoy, &bootstrap(module, "probe", r#"{"panic": 1}"#, &server(), ""));
    assert!(log.contains("probe: configuration key panic: invalid type: integer"), "{log}");
}

fn ten_megabytes(envoy: &Installed, module: &Path) {
    const CHUNKS: usize = 640;
    let chunk: Vec<u8> = (0..16 * 1024).map(|i| (i % 251) as u8).collect();
    let whole = chunk.repeat(CHUNKS);
    let server = server();
    let answer = whole.clone();
    server.compute_default(move |_| {
        let headers = Step::Headers { status: 200, headers: Vec::new(), end: false };
        let script = Script::after_request().then(headers).data(answer.clone());
        script.then(Step::Trailers(vec![("x-trailer".to_owned(), b"yes".to_vec())]))
    });
    let running = start(envoy, &bootstrap(module, "probe", "{}", &server, ""));
    for (name, steps) in [
        ("passed", ""),
        ("held", "rqh=hold;rqd=keep;rqt=dump;rsh=hold;rsd=keep;rst=dump"),
        ("kept", "rqd=keep;rqt=dump;rsd=keep;rst=dump"),
        ("echoed", "rqd=echo;rsd=echo"),
    ] {
        let mut request = probe_request(name, steps).trailer("x-trailer", "yes");
        request.body = Body::Chunked(vec![chunk.clone(); CHUNKS]);
        let answer = e2e::send(Protocol::Http1, running.address("in").unwrap(), &request).unwrap();
        assert_eq!((answer.status(), &answer.end), (200, &End::Complete), "{name}");
        assert!(answer.body == whole, "{name}: the response of {} bytes is another", answer.body.len());
        let seen = server.requests().into_iter().next_back().unwrap();
        assert!(seen.body == whole, "{name}: the request of {} bytes is another", seen.body.len());
        assert!(answer.trailer("x-trailer").is_some(), "{name}: response trailers are lost");
    }
}

fn retries(envoy: &Installed, module: &Path) {
    let server = server();
    server.default_script(Script::plain(503, "text/plain", "later"));
    let retry = "retry_policy: {retry_on: 5xx, num_retries: 1}";
    let running = start(envoy, &bootstrap(module, "probe", "{}", &server, retry));
    let mut request = probe_request("retry", "rqd=emit:10;rqe=emit:20");
    request.body = Body::Chunked(REQUEST_CHUNKS.map(<[u8]>::to_vec).into());
    let answer = h2c::Connection::open(running.address("in").unwrap(), PATIENCE).unwrap().send(&request);
    assert_eq!(answer.unwrap().status(), 503);
    let bodies: Vec<Vec<u8>> = server.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [vec![b'e'; 30], vec![b'e'; 30]]);
}

fn content_type(envoy: &Installed, module: &Path) {
    let server = server();
    let running = start(envoy, &bootstrap(module, "probe", "{}", &server, ""));
    let request = probe_request("reply", "rqh=reply");
    let answer =
        h2c::Connection::open(running.address("in").unwrap(), PATIENCE).unwrap().send(&request).unwrap();
    let types: Vec<&[u8]> = answer
        .head
        .as_ref()
        .unwrap()
        .headers
        .iter()
        .filter_map(|(name, value)| (name == "content-type").then_some(value.as_slice()))
        .collect();
    assert_eq!(types, [&b"application/json"[..]]);
    assert_eq!((answer.status(), answer.text()), (418, r#"{"error":"probe"}"#.to_owned()));
}

/// A server that answers each exchange as it says.
fn server() -> OddServer {
    let server = OddServer::start().unwrap();
    let headers = |end| Step::Headers { status: 200, headers: Vec::new(), end };
    let data = |index: usize, end| Step::Data { bytes: RESPONSE_CHUNKS[index].to_vec(), end };
    let begin = Script::after_request();
    server.script("headers", begin.clone().then(headers(true)));
    server.script("data", begin.clone().then(headers(false)).then(data(0, false)).then(data(1, true)));
    let trailers = Step::Trailers(vec![("x-trailer".to_owned(), b"yes".to_vec())]);
    let script = begin.clone().then(headers(false)).then(data(0, false)).then(data(1, false));
    server.script("trailers", script.then(trailers));
    let called = Step::Data { bytes: b"called".to_vec(), end: true };
    server.script_for_path("/call", begin.then(headers(false)).then(called));
    server
}

fn bootstrap(module: &Path, filter: &str, configuration: &str, server: &OddServer, route: &str) -> String {
    include_str!("bootstrap.yaml")
        .replace("@MODULE@", &module.display().to_string())
        .replace("@FILTER@", filter)
        .replace("@CONFIGURATION@", configuration)
        .replace("@PORT@", &server.port().to_string())
        .replace("@ROUTE@", route)
}

fn start(envoy: &Installed, bootstrap: &str) -> Envoy {
    Envoy::start(&envoy.path, bootstrap, &Options::default()).unwrap()
}

fn refused(envoy: &Installed, bootstrap: &str) -> String {
    let checked = Envoy::validate(&envoy.path, bootstrap, &Options::default()).unwrap();
    checked.expect_err("the bootstrap is accepted").log
}

fn probe_request(name: &str, steps: &str) -> Request {
    Request::new("POST", "/").header("x-probe", steps).header("x-probe-id", name).patience(PATIENCE)
}

fn send(envoy: &Envoy, exchange: &Exchange) -> Answer {
    let case = match exchange.response {
        Message::Headers => "headers",
        Message::Data => "data",
        Message::Trailers => "trailers",
    };
    let mut request = probe_request(exchange.name, exchange.steps).header("x-case", case);
    if exchange.request != Message::Headers {
        request.body = Body::Chunked(REQUEST_CHUNKS.map(<[u8]>::to_vec).into());
    }
    if exchange.request == Message::Trailers {
        request = request.trailer("x-trailer", "yes");
    }
    h2c::Connection::open(envoy.address("in").unwrap(), PATIENCE).unwrap().send(&request).unwrap()
}

/// The log after everything so far has been written to it.
fn drain_log(envoy: &mut Envoy) -> Vec<String> {
    let marker =
        Exchange { name: "marker", steps: "", request: Message::Headers, response: Message::Headers };
    send(envoy, &marker);
    let log = envoy.wait_for_log("probe: marker rsh", PATIENCE).unwrap();
    log.lines().map(str::to_owned).collect()
}

fn upstream(exchange: &Exchange, request: &Recorded) -> Content {
    let headers = request.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
    Content::new(exchange, &request.body, headers, &bytes(request.trailers.as_deref().unwrap_or_default()))
}

fn downstream(exchange: &Exchange, answer: &Answer) -> Content {
    let headers = answer.head.iter().flat_map(|head| &head.headers);
    let headers = headers.map(|(name, value)| (name.as_bytes(), value.as_slice()));
    Content::new(exchange, &answer.body, headers, &bytes(&answer.trailers))
}

fn bytes(pairs: &[(String, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    pairs.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect()
}
