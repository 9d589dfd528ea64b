//! The exchanges in the player, and what only the player shows.

use crate::assert_same;
use crate::exchanges::{
    Content, EXCHANGES, Exchange, Message, REQUEST_CHUNKS, RESPONSE_CHUNKS, Trace, lines,
};
use conformance::native::{Module, Plugin, Stream, StreamOptions};
use libtest_mimic::Trial;
use proxy_wasm_emulator::{Delivered, HeaderMap, HttpResponse};
use std::path::Path;

type Test = fn(&Module);

const TESTS: &[(&str, Test)] = &[
    ("the_module_announces_the_abi_of_a_host_without_newer_functions", version),
    ("an_unknown_filter_name_is_refused_and_the_known_ones_are_told", unknown_filter),
    ("a_filter_is_found_by_its_name_with_hyphens_and_with_underscores", spellings),
    ("a_bad_configuration_is_refused_with_the_path_of_its_key", bad_configuration),
    ("a_panic_while_a_configuration_is_read_refuses_it", panic_in_configure),
    ("a_panic_while_a_stream_is_opened_is_a_500_for_that_stream", panic_in_open),
    ("metrics_are_counted_under_the_filters_name", metrics),
    ("a_changed_path_selects_the_route_again_unless_the_filter_says_keep", routes),
    ("an_upstream_reset_is_answered_past_held_headers_and_cuts_what_has_begun", upstream_reset),
    ("a_call_may_end_before_or_after_the_rest_of_the_message_has_come", calls),
    ("a_body_in_many_pieces_is_seen_whole_and_goes_on_in_its_order", pieces),
    ("a_header_value_with_a_line_break_is_left_out_and_logged", line_break),
    ("header_bytes_that_are_no_text_pass", header_bytes),
];

pub(crate) fn trials(module: Option<&Path>) -> Vec<Trial> {
    let trial = |(name, test): &(&str, Test)| {
        let module = module.map(Path::to_owned);
        let (test, ignored) = (*test, module.is_none());
        let run = move || {
            if let Some(module) = module {
                test(&Module::load(&module).unwrap());
            }
            Ok(())
        };
        Trial::test(*name, run).with_ignored_flag(ignored)
    };
    TESTS.iter().map(trial).collect()
}

/// When calls are answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// As soon as they are made.
    AtOnce,
    /// After the whole message.
    Late,
}

/// Every exchange's trace in the player.
pub(crate) fn traces(module: &Path) -> Vec<Trace> {
    traces_with(&Module::load(module).unwrap(), Calls::AtOnce)
}

fn traces_with(module: &Module, calls: Calls) -> Vec<Trace> {
    let plugin = module.plugin("probe", b"{}").unwrap();
    EXCHANGES.iter().map(|exchange| trace(&plugin, exchange, calls)).collect()
}

fn trace(plugin: &Plugin, exchange: &Exchange, calls: Calls) -> Trace {
    plugin.take_log();
    let stream = plugin.open(options());
    send_request(&stream, exchange, calls);
    // A server answers once it has seen the request.
    if stream.upstream().ended && !stream.is_over() {
        send_response(&stream, exchange, calls);
    }
    let (upstream, downstream) = (stream.upstream(), stream.downstream());
    drop(stream);
    Trace {
        log: lines(&plugin.take_log(), exchange.name),
        upstream: upstream.ended.then(|| content(exchange, &upstream)),
        downstream: downstream.ended.then(|| (downstream.status().unwrap(), content(exchange, &downstream))),
    }
}

fn options() -> StreamOptions {
    let properties = [("xds.cluster_name", "upstream"), ("xds.route_name", "main"), ("request.path", "/")];
    StreamOptions {
        properties: properties.map(|(path, value)| (path.to_owned(), value.as_bytes().to_vec())).into(),
        unknown_clusters: vec!["nowhere".to_owned()],
        ..StreamOptions::default()
    }
}

fn send_request(stream: &Stream<'_>, exchange: &Exchange, calls: Calls) {
    let headers = [
        (":method", "POST"),
        (":path", "/"),
        (":scheme", "http"),
        (":authority", "test.local"),
        ("x-probe", exchange.steps),
        ("x-probe-id", exchange.name),
    ];
    stream.request_headers(headers, exchange.request == Message::Headers);
    if calls == Calls::AtOnce {
        answer_calls(stream);
    }
    if exchange.request != Message::Headers {
        let end = exchange.request == Message::Data;
        stream.request_data(REQUEST_CHUNKS[0], false);
        stream.request_data(REQUEST_CHUNKS[1], end);
    }
    if exchange.request == Message::Trailers {
        stream.request_trailers([("x-trailer", "yes")]);
    }
    answer_calls(stream);
}

fn send_response(stream: &Stream<'_>, exchange: &Exchange, calls: Calls) {
    stream.response_headers([(":status", "200")], exchange.response == Message::Headers);
    if calls == Calls::AtOnce {
        answer_calls(stream);
    }
    if exchange.response != Message::Headers {
        let end = exchange.response == Message::Data;
        stream.response_data(RESPONSE_CHUNKS[0], false);
        stream.response_data(RESPONSE_CHUNKS[1], end);
    }
    if exchange.response == Message::Trailers {
        stream.response_trailers([("x-trailer", "yes")]);
    }
    answer_calls(stream);
}

fn answer_calls(stream: &Stream<'_>) {
    while let Some(call) = stream.calls().first().cloned() {
        stream.answer(call.id, &HttpResponse::new(200, "called"));
    }
}

fn content(exchange: &Exchange, delivered: &Delivered) -> Content {
    let headers = delivered.headers.clone().unwrap_or_default();
    let trailers = delivered.trailers.clone().unwrap_or_default();
    let trailers: Vec<_> = trailers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    Content::new(exchange, &delivered.body(), headers.iter(), &trailers)
}

fn request(steps: &str) -> HeaderMap {
    HeaderMap::from([(":method", "GET"), (":path", "/"), ("x-probe", steps), ("x-probe-id", "id")])
}

fn version(module: &Module) {
    assert_eq!(module.version(), "v0.1.0");
}

fn unknown_filter(module: &Module) {
    let refused = module.plugin("prob", b"{}").err().unwrap().log;
    let expected = r#"test_module: unknown filter_name "prob"; this module has: "#;
    assert!(refused.len() == 1 && refused[0].starts_with(expected), "{refused:?}");
    assert!(refused[0].ends_with("probe"), "{refused:?}");
}

fn spellings(module: &Module) {
    for name in ["sample_filter", "sample-filter"] {
        let plugin = module.plugin(name, br#"{"header": "x-tenant"}"#).unwrap();
        let stream = plugin.open(options());
        stream.request_headers(request(""), true);
        // What it counts and logs has one name.
        assert_eq!(plugin.counter("sample_filter.refused"), Some(1), "{name}");
    }
}

fn bad_configuration(module: &Module) {
    let refused = |json: &[u8]| module.plugin("probe", json).err().unwrap().log.join("\n");
    assert!(refused(br#"{"panic": 1}"#).contains("probe: configuration key panic: invalid type: integer"));
    assert!(refused(br#"{"panik": true}"#).contains("configuration key panik: unknown field"));
    assert!(refused(b"\xff").contains("configuration key .:"));
}

fn panic_in_configure(module: &Module) {
    let refused = module.plugin("probe", br#"{"panic": true}"#).err().unwrap().log;
    assert!(
        refused[0].contains("panicked at") && refused[0].contains("a panic was asked for"),
        "{refused:?}"
    );
    assert_eq!(refused[1], "test_module: the filter panicked while it was configured");
}

fn panic_in_open(module: &Module) {
    let plugin = module.plugin("probe", br#"{"panic_on_open": true}"#).unwrap();
    let stream = plugin.open(options());
    stream.request_headers(request(""), true);
    assert_eq!(stream.downstream().status(), Some(500));
    assert_eq!(stream.details().as_deref(), Some("filter_failed"));
    assert_eq!(stream.downstream().body(), br#"{"error":"the filter could not be opened"}"#);
    assert!(stream.upstream().headers.is_none());
}

fn metrics(module: &Module) {
    let plugin = module.plugin("probe", b"").unwrap();
    let stream = plugin.open(options());
    stream.request_headers(request(""), false);
    stream.request_data(b"12345", false);
    stream.request_data(b"123", true);
    assert_eq!(plugin.counter("probe.calls"), Some(3));
    assert_eq!(plugin.histogram("probe.chunk_bytes"), Some(vec![5, 3]));
    assert_eq!(plugin.counter("calls"), None);
}

fn routes(module: &Module) {
    let plugin = module.plugin("probe", b"{}").unwrap();
    let selections = |steps: &str| {
        let stream = plugin.open(options());
        stream.request_headers(request(steps), true);
        let path = stream.upstream().headers.unwrap().text(":path").unwrap();
        (path, stream.route_selections())
    };
    assert_eq!(selections("path=/new;route=keep"), ("/new".to_owned(), 0));
    assert_eq!(selections("path=/new;route=reselect"), ("/new".to_owned(), 1));
    assert_eq!(selections("path=/new"), ("/new".to_owned(), 1));
}

fn upstream_reset(module: &Module) {
    let plugin = module.plugin("probe", b"{}").unwrap();
    let begin = |steps: &str| {
        let stream = plugin.open(options());
        stream.request_headers(request(steps), true);
        stream.response_headers([(":status", "200")], false);
        stream.upstream_reset();
        stream
    };
    assert_eq!(begin("rsh=hold").downstream().status(), Some(503));
    let cut = begin("").downstream();
    assert!(cut.reset && !cut.ended && cut.status() == Some(200), "{cut:?}");
}

fn calls(module: &Module) {
    let late = traces_with(module, Calls::Late);
    assert_same(&traces_with(module, Calls::AtOnce), &late);
    let waited = late.iter().filter(|trace| trace.log.iter().any(|line| line.contains("call=0"))).count();
    assert!(waited > 10, "only {waited} exchanges made a call");
}

fn pieces(module: &Module) {
    let plugin = module.plugin("probe", b"{}").unwrap();
    let letters = |count: usize| (0..count).map(|at| b'a' + (at % 26) as u8).collect::<Vec<u8>>();
    let one_by_one = [1; 20];
    for lengths in [&one_by_one[..], &[100, 5000, 3000, 2000, 4096, 10]] {
        let body = letters(lengths.iter().sum());
        for steps in ["rqh=wait;rqd=keep;rqe=dump", "rqh=wait;rqd=echo;rqe=echo"] {
            let stream = plugin.open(options());
            stream.request_headers(request(steps), false);
            let mut at = 0;
            for length in lengths {
                stream.request_data(&body[at..at + length], at + length == body.len());
                at += length;
            }
            answer_calls(&stream);
            let sent = stream.upstream();
            assert!(
                sent.ended && sent.body() == body,
                "{steps}: {} of {} bytes",
                sent.body().len(),
                body.len()
            );
        }
    }
}

fn line_break(module: &Module) {
    let plugin = module.plugin("probe", b"{}").unwrap();
    let stream = plugin.open(options());
    let mut headers = request("value=injected");
    headers.add("x-probe-value", "kept");
    stream.request_headers(headers, true);
    let sent = stream.upstream().headers.unwrap();
    assert_eq!(sent.all("x-probe-value").collect::<Vec<_>>(), [b"kept"]);
    let log = plugin.take_log();
    assert!(
        log.iter()
            .any(|line| line.contains("x-probe-value of RequestHeaders: its value has a line break or NUL")),
        "{log:?}"
    );
}

fn header_bytes(module: &Module) {
    let plugin = module.plugin("probe", b"{}").unwrap();
    let stream = plugin.open(options());
    let mut headers = request("rqh=hold;rqd=keep;rqe=dump");
    headers.add("x-bytes", b"\xff\xfe");
    headers.set("x-probe-id", b"\xf0\x28");
    stream.request_headers(headers, false);
    stream.request_data(b"\xff", true);
    let upstream = stream.upstream();
    assert_eq!(upstream.headers.as_ref().unwrap().get("x-bytes"), Some(&b"\xff\xfe"[..]));
    assert_eq!((upstream.body(), upstream.ended), (b"\xff".to_vec(), true));
}
