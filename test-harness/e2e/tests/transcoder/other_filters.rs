//! Errors together with what other filters say about an answer.

use super::{BOUND, INFER, SMALL, ask};
use e2e::{End, Envoy, Installed, Listener, Options, Protocol, Request, gateway};
use odd_server::{OddServer, Script, Step, wire};
use testkit::Column;

const ORIGIN: &str = "https://page.test";
const CORS: &str = r#"{ name: envoy.filters.http.cors, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors } }"#;
const ROUTES: &str = r#"[{ match: { prefix: "/" }, route: { cluster: model-server, timeout: 10s }, typed_per_filter_config: { envoy.filters.http.cors: { "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, allow_origin_string_match: [{ exact: "https://page.test" }], expose_headers: "x-node" } } }]"#;

/// Ways to fail: the script's name, the status, and whether it can only be told while headers are held.
const FAILURES: [(&str, u16, bool); 6] = [
    ("trailers-only", 404, false),
    ("not-grpc", 502, false),
    ("after-headers", 429, true),
    ("within", 429, true),
    ("two-messages", 502, true),
    ("too-large", 503, true),
];

fn failing_server() -> OddServer {
    let server = OddServer::start().unwrap();
    server.script("trailers-only", Script::trailers_only(5, "unknown model"));
    server.script("after-headers", Script::error_after_headers(8, "late"));
    server.script("within", Script::error_mid_message(b"\0\0\0\0\x09\x0a\x01m".as_slice(), 8, "late"));
    server.script("two-messages", Script::pieces([wire::frame(b"\x0a\x01m"), wire::frame(b"")]));
    server.script("too-large", Script::message(&vec![0; 100_000]));
    let html = Step::Headers {
        status: 200,
        headers: vec![("content-type".into(), b"text/html".to_vec())],
        end: false,
    };
    let page = Step::Data { bytes: b"<html>welcome</html>".to_vec(), end: true };
    server.script("not-grpc", Script::after_request().then(html).then(page));
    server
}

/// Where the CORS filter stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cors {
    InFront,
    Behind,
    Both,
}

/// Starts Envoy with the CORS filter in its place, for each column.
fn start(installed: &Installed, server: &OddServer, cors: Cors) -> Envoy {
    let config = |column| match column {
        Column::WasmHold => r#"{"hold_response_headers": true, "max_response_bytes": 50000}"#,
        Column::Wasm | Column::Native => r#"{"max_response_bytes": 50000}"#,
    };
    let listeners = Column::ALL.map(|column| {
        let listener = Listener::new(column.name()).routes(ROUTES);
        let listener = if cors == Cors::Behind { listener } else { listener.filter(CORS) };
        let listener = listener.transcoder(column, config(column));
        if cors == Cors::InFront { listener } else { listener.filter(CORS) }
    });
    Envoy::start(&installed.path, &gateway(&listeners, server.address()), &Options::default()).unwrap()
}

/// Whether a browser's page may read the error, by protocol; `None` where the answer is cut off.
fn readable(envoy: &Envoy, column: Column, failure: &str, status: u16) -> Option<bool> {
    let mut readable = Vec::new();
    for protocol in Protocol::BOTH {
        let request =
            Request::post(INFER, SMALL).header("x-case", failure).header("origin", ORIGIN).patience(BOUND);
        let answer = ask(envoy, column, protocol, &request);
        if answer.end != End::Complete {
            assert!(
                matches!(answer.end, End::Closed | End::Reset(_)),
                "{} {failure}: {answer:?}",
                column.name()
            );
            readable.push(None);
            continue;
        }
        let text = answer.text();
        assert_eq!(answer.status(), status, "{} {failure} {protocol:?}: {text}", column.name());
        assert!(
            answer.json().unwrap()["error"].is_string(),
            "{} {failure} {protocol:?}: {text}",
            column.name()
        );
        assert_eq!(answer.header("content-type"), Some(&b"application/json"[..]));
        assert_eq!(answer.header("grpc-status"), None);
        let allowed = answer.header("access-control-allow-origin");
        assert!(allowed.is_none_or(|origin| origin == ORIGIN.as_bytes()), "{allowed:?}");
        readable.push(Some(allowed.is_some()));
    }
    assert_eq!(readable[0], readable[1], "{} {failure}", column.name());
    readable[0]
}

pub(crate) fn in_front(installed: &Installed) {
    let server = failing_server();
    let envoy = start(installed, &server, Cors::InFront);
    for (failure, status, held_only) in FAILURES {
        assert_eq!(readable(&envoy, Column::Native, failure, status), Some(true), "native {failure}");
        // In wasm a body can be given only in place of data, so that some errors are replies of the filter's, which go
        // past the filters in front.
        let replied = matches!(failure, "trailers-only" | "after-headers");
        assert_eq!(
            readable(&envoy, Column::WasmHold, failure, status),
            Some(!replied),
            "wasm-hold {failure}"
        );
        let expected = (!held_only).then_some(!replied);
        assert_eq!(readable(&envoy, Column::Wasm, failure, status), expected, "wasm {failure}");
    }
}

pub(crate) fn behind(installed: &Installed) {
    let server = failing_server();
    let envoy = start(installed, &server, Cors::Behind);
    for (failure, status, held_only) in FAILURES {
        for column in Column::ALL {
            let cut = column == Column::Wasm && held_only;
            let expected = (!cut).then_some(true);
            assert_eq!(readable(&envoy, column, failure, status), expected, "{} {failure}", column.name());
        }
    }
}

pub(crate) fn in_both_places(installed: &Installed) {
    let server = failing_server();
    server.script("ready", Script::message(b"\x08\x01"));
    let envoy = start(installed, &server, Cors::Both);
    for column in Column::ALL {
        for (failure, status, held_only) in FAILURES {
            let cut = column == Column::Wasm && held_only;
            let expected = (!cut).then_some(true);
            assert_eq!(readable(&envoy, column, failure, status), expected, "{} {failure}", column.name());
        }
        // In wasm the filter answers it before a filter behind has seen the request.
        for (case, status) in [("ready", 200), ("trailers-only", 404)] {
            let request = Request::get("/v2/health/ready").header("x-case", case).header("origin", ORIGIN);
            let answer = ask(&envoy, column, Protocol::Http1, &request).complete().unwrap();
            assert_eq!(answer.status(), status, "{} {case}: {}", column.name(), answer.text());
            let head = answer.head.as_ref().unwrap();
            let of_origin = head.headers.iter().filter(|(name, _)| name == "access-control-allow-origin");
            let allowed: Vec<_> = of_origin.map(|(_, value)| value.as_slice()).collect();
            assert_eq!(allowed, [ORIGIN.as_bytes()], "{} {case}", column.name());
        }
    }
}

/// Envoy adds a route's headers to the server's answer, where a filter cannot tell them from the server's own, and also to a
/// filter's reply in its place, before the headers that the filter keeps.
pub(crate) fn of_the_route(installed: &Installed) {
    let server = failing_server();
    let route = r#"{ match: { prefix: "/" }, route: { cluster: model-server, timeout: 10s }, response_headers_to_add: [{ header: { key: x-added, value: a } }, { header: { key: x-set, value: b }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }] }"#;
    let listeners = Column::ALL
        .map(|column| Listener::new(column.name()).routes(&format!("[{route}]")).transcoder(column, "{}"));
    let envoy =
        Envoy::start(&installed.path, &gateway(&listeners, server.address()), &Options::default()).unwrap();
    for column in Column::ALL {
        for (failure, status, replied) in [("trailers-only", 404, true), ("not-grpc", 502, false)] {
            let request = Request::post(INFER, SMALL).header("x-case", failure).patience(BOUND);
            let answer = ask(&envoy, column, Protocol::Http1, &request).complete().unwrap();
            assert_eq!(answer.status(), status, "{} {failure}: {}", column.name(), answer.text());
            let head = answer.head.as_ref().unwrap();
            let times = |wanted: &str| head.headers.iter().filter(|(name, _)| name == wanted).count();
            let expected = if replied && column != Column::Native { 2 } else { 1 };
            let found = (times("x-added"), times("x-set"));
            assert_eq!(found, (expected, expected), "{} {failure}", column.name());
        }
    }
}
