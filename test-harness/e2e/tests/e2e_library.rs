//! The library's own tests: that it shows what stock Envoy and its upstreams really did.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use e2e::{
    Answer, Body, End, Envoy, Error, Installed, MlServer, Options, Protocol, Request, Suite, h1, h2c, send,
};
use odd_server::{Gate, OddServer, Script, Step, catalogue, wire};
use serde_json::json;

const BOUND: Duration = Duration::from_secs(20);
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

fn main() -> ExitCode {
    Suite::new()
        .each_envoy("a_request_passes_and_is_counted", a_request_passes_and_is_counted)
        .each_envoy("every_odd_answer_shows_as_what_it_is", every_odd_answer_shows_as_what_it_is)
        .newest_envoy("a_silent_upstream_shows_as_a_timeout", a_silent_upstream_shows_as_a_timeout)
        .newest_envoy("request_bytes_arrive_as_they_were_sent", request_bytes_arrive_as_they_were_sent)
        .newest_envoy("a_body_waits_for_100_continue", a_body_waits_for_100_continue)
        .newest_envoy("raw_http1_writes_can_be_held_back", raw_http1_writes_can_be_held_back)
        .newest_envoy(
            "an_answer_is_seen_while_it_is_still_coming",
            an_answer_is_seen_while_it_is_still_coming,
        )
        .newest_envoy("a_client_reset_reaches_the_upstream", a_client_reset_reaches_the_upstream)
        .each_envoy("a_refused_bootstrap_shows_the_reason", a_refused_bootstrap_shows_the_reason)
        .newest_envoy("cost_is_measured", cost_is_measured)
        .model_server(
            "a_model_server_answers_over_grpc_through_envoy",
            a_model_server_answers_over_grpc_through_envoy,
        )
        .run()
}

/// A listener named `main` that passes everything to one HTTP/2 upstream.
fn passthrough(upstream: SocketAddr) -> String {
    format!(
        r#"
static_resources:
  listeners:
  - name: main
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          http_protocol_options: {{ enable_trailers: true }}
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: upstream, timeout: 0s }} }}] }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: upstream
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: upstream
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }} }}] }}]
"#,
        upstream.ip(),
        upstream.port()
    )
}

fn start(envoy: &Installed, upstream: SocketAddr) -> (Envoy, SocketAddr) {
    let envoy = Envoy::start(&envoy.path, &passthrough(upstream), &Options::default()).unwrap();
    let address = envoy.address("main").unwrap();
    (envoy, address)
}

fn with_catalogue() -> OddServer {
    let server = OddServer::start().unwrap();
    catalogue::all().into_iter().for_each(|(name, script)| server.script(name, script));
    server
}

fn a_request_passes_and_is_counted(envoy: &Installed) {
    let server = with_catalogue();
    let (mut envoy, address) = start(envoy, server.address());
    for protocol in Protocol::BOTH {
        let request = Request::grpc(INFER, b"hi").header("x-case", "whole");
        let answer = send(protocol, address, &request).unwrap().complete().unwrap();
        assert_eq!(answer.status(), 200, "{protocol:?}");
        assert_eq!(answer.body, wire::frame(&catalogue::answer()));
        assert_eq!(answer.trailer("grpc-status"), Some(&b"0"[..]));
    }
    let counted = envoy.wait_for_stat("http.main.downstream_rq_2xx", BOUND, |n| n >= 2).unwrap();
    assert_eq!(counted, 2);
    assert_eq!(envoy.stat("http.main.no_such_counter").unwrap(), 0);
    assert!(envoy.log().contains("starting main dispatch loop"));
    assert!(matches!(envoy.address("other"), Err(Error::Protocol(ref e)) if e.contains("there are: main")));
}

fn every_odd_answer_shows_as_what_it_is(envoy: &Installed) {
    let server = with_catalogue();
    let (_envoy, address) = start(envoy, server.address());
    let ask = |protocol, case: &str| -> Answer {
        send(protocol, address, &Request::grpc(INFER, b"hi").header("x-case", case)).unwrap()
    };
    let framed = wire::frame(&catalogue::answer());
    for protocol in Protocol::BOTH {
        let trailers_only = ask(protocol, "trailers-only");
        assert_eq!((trailers_only.status(), &trailers_only.end), (200, &End::Complete));
        assert_eq!(trailers_only.header("grpc-status"), Some(&b"5"[..]));

        let after_headers = ask(protocol, "error-after-headers");
        assert_eq!(after_headers.header("grpc-status"), None);
        assert_eq!(after_headers.trailer("grpc-status"), Some(&b"8"[..]));

        for cut in ["reset-mid-message", "hang-up"] {
            let answer = ask(protocol, cut);
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.body, framed[..framed.len() / 2], "{protocol:?} {cut}");
            match protocol {
                Protocol::Http1 => assert_eq!(answer.end, End::Closed),
                Protocol::Http2 => assert!(matches!(answer.end, End::Reset(Some(_))), "{:?}", answer.end),
            }
            assert!(answer.complete().is_err());
        }

        let plain = ask(protocol, "plain-503").complete().unwrap();
        assert_eq!((plain.status(), plain.text().as_str()), (503, "upstream connect error"));
    }
}

fn a_silent_upstream_shows_as_a_timeout(envoy: &Installed) {
    let server = with_catalogue();
    let (_envoy, address) = start(envoy, server.address());
    for protocol in Protocol::BOTH {
        let request = Request::grpc(INFER, b"hi").header("x-case", "never");
        let answer = send(protocol, address, &request.patience(Duration::from_millis(300))).unwrap();
        assert_eq!((answer.status(), answer.end), (0, End::TimedOut));
    }
}

fn request_bytes_arrive_as_they_were_sent(envoy: &Installed) {
    let server = OddServer::start().unwrap();
    server.default_script(Script::message(b""));
    let (_envoy, address) = start(envoy, server.address());
    let body: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    for protocol in Protocol::BOTH {
        let request = Request { body: Body::Chunked(vec![body.clone()]), ..Request::new("POST", "/x?y=%ff") };
        let request = request.in_pieces_of(1013).header("x-odd", b"\xff\xfe").trailer("x-end", b"yes\xff");
        assert_eq!(send(protocol, address, &request).unwrap().status(), 200);
    }
    let requests = server.wait_for(2, BOUND).unwrap();
    assert_eq!(requests.len(), 2);
    for got in requests {
        assert_eq!((got.method.as_str(), got.path.as_str()), ("POST", "/x?y=%ff"));
        assert_eq!(got.header("x-odd"), Some(&b"\xff\xfe"[..]));
        assert!(got.body == body);
        assert_eq!(got.trailers, Some(vec![("x-end".to_owned(), b"yes\xff".to_vec())]));
    }
    let length = send(Protocol::Http1, address, &Request::post("/z", "12345").in_pieces_of(2)).unwrap();
    assert_eq!(length.status(), 200);
    let last = server.wait_for(3, BOUND).unwrap().pop().unwrap();
    assert_eq!((last.header("content-length"), last.body.as_slice()), (Some(&b"5"[..]), &b"12345"[..]));
}

fn a_body_waits_for_100_continue(envoy: &Installed) {
    let server = OddServer::start().unwrap();
    server.default_script(Script::message(b""));
    let (_envoy, address) = start(envoy, server.address());
    let request = Request::post("/x", "body").header("expect", "100-continue");
    let answer = send(Protocol::Http1, address, &request).unwrap().complete().unwrap();
    assert_eq!(answer.interim.iter().map(|h| h.status).collect::<Vec<_>>(), [100]);
    assert_eq!(answer.status(), 200);
    assert_eq!(server.wait_for(1, BOUND).unwrap()[0].body, b"body");
}

fn raw_http1_writes_can_be_held_back(envoy: &Installed) {
    let server = OddServer::start().unwrap();
    server.default_script(Script::message(b"done"));
    let (_envoy, address) = start(envoy, server.address());
    let mut connection = h1::Connection::open(address, BOUND).unwrap();
    connection.write(b"POST /held HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc").unwrap();
    server.wait_until(BOUND, |all| all.first().is_some_and(|r| r.body == b"abc")).unwrap();
    assert!(!server.requests()[0].ended);
    connection.write(b"def").unwrap();
    assert_eq!(connection.read_answer("POST").complete().unwrap().status(), 200);
    assert_eq!(server.requests()[0].body, b"abcdef");
}

fn an_answer_is_seen_while_it_is_still_coming(envoy: &Installed) {
    let server = OddServer::start().unwrap();
    let gate = Gate::new();
    server.default_script(Script::gated_pieces([b"one".to_vec(), b"two".to_vec()], &gate));
    let (_envoy, address) = start(envoy, server.address());
    let connection = h2c::Connection::open(address, BOUND).unwrap();
    let mut stream = connection.begin(&Request::new("POST", "/slow"), true).unwrap();
    assert_eq!(stream.head().unwrap().status, 200);
    assert_eq!(stream.event(), h2c::Event::Data(b"one".to_vec()));
    assert!(!server.requests()[0].answered);
    gate.open();
    assert_eq!(stream.event(), h2c::Event::Data(b"two".to_vec()));
    gate.open();
    assert_eq!(stream.event(), h2c::Event::End(vec![("grpc-status".to_owned(), b"0".to_vec())]));
}

fn a_client_reset_reaches_the_upstream(envoy: &Installed) {
    let server = OddServer::start().unwrap();
    server.default_script(Script::new().then(Step::ReadAtLeast(1)).then(Step::Never));
    let (_envoy, address) = start(envoy, server.address());
    let connection = h2c::Connection::open(address, BOUND).unwrap();
    let mut stream = connection.begin(&Request::new("POST", "/x"), false).unwrap();
    stream.data(b"some", false).unwrap();
    server.wait_until(BOUND, |all| all.first().is_some_and(|r| r.body == b"some")).unwrap();
    stream.reset(8);
    let requests = server.wait_until(BOUND, |all| all[0].reset.is_some()).unwrap();
    assert!(!requests[0].ended);
}

fn a_refused_bootstrap_shows_the_reason(envoy: &Installed) {
    let wrong = "static_resources: { listenerz: [] }";
    let rejected = Envoy::validate(&envoy.path, wrong, &Options::default()).unwrap().unwrap_err();
    assert!(rejected.log.contains("listenerz"), "{rejected}");
    let Err(error) = Envoy::start(&envoy.path, wrong, &Options::default()) else { panic!("it started") };
    assert!(matches!(error, Error::Exited { ref log, .. } if log.contains("listenerz")), "{error}");
    let address = ([127, 0, 0, 1], 1).into();
    Envoy::validate(&envoy.path, &passthrough(address), &Options::default()).unwrap().unwrap();
}

fn cost_is_measured(envoy: &Installed) {
    let server = OddServer::start().unwrap();
    server.default_script(Script::message(b""));
    let (mut envoy, address) = start(envoy, server.address());
    let before = envoy.process().cpu_time().unwrap();
    envoy.process().reset_peak().unwrap();
    for _ in 0..200 {
        let answer = send(Protocol::Http1, address, &Request::post("/x", vec![0; 10_000])).unwrap();
        assert_eq!(answer.status(), 200);
    }
    let spent = envoy.process().cpu_time().unwrap() - before;
    assert!(spent > Duration::from_micros(200) && spent < BOUND, "{spent:?} for 200 requests");
    let memory = envoy.process().memory().unwrap();
    assert!(memory.peak >= 10 << 20 && memory.peak < 1 << 30, "{memory:?}");
    assert!(envoy.process().stop().unwrap().success());
}

fn a_model_server_answers_over_grpc_through_envoy(envoy: &Installed, python: std::path::PathBuf) {
    let server = MlServer::start(&python).unwrap();
    let (_envoy, address) = start(envoy, server.grpc());
    let tensor = |name: &str, datatype: &str, shape: &[u64]| {
        wire::Message::new().bytes(1, name).bytes(2, datatype).packed_varints(3, shape.iter().copied())
    };
    let raw = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let request = wire::Message::new()
        .bytes(1, "affine")
        .bytes(3, "affine-1")
        .message(5, &tensor("x", "FP32", &[1, 4]))
        .bytes(7, raw(&[1.0, 2.0, 3.0, 5.0]));
    let answer = send(Protocol::Http2, address, &Request::grpc(INFER, request.as_bytes())).unwrap();
    assert_eq!(answer.trailer("grpc-status"), Some(&b"0"[..]), "{answer:?}");
    let message = wire::unframe(&answer.body).unwrap().remove(0).bytes;
    let fields = wire::fields(&message).unwrap();
    let got = fields.iter().find(|f| f.number == 6).unwrap().value;
    // W x + b by hand from weights.json.
    assert_eq!(got, wire::Value::Bytes(&raw(&[4.875, -0.5, 13.5625])), "{answer:?}");

    let concat = json!({"inputs": [
        {"name": "a", "datatype": "BYTES", "shape": [2], "data": ["x", "é"]},
        {"name": "b", "datatype": "BYTES", "shape": [2], "data": ["1", "2"]},
    ]});
    let request = Request::post("/v2/models/concat/infer", concat.to_string())
        .header("content-type", "application/json");
    let answer = send(Protocol::Http1, server.http(), &request).unwrap();
    assert_eq!(answer.json().unwrap()["outputs"][0]["data"], json!(["x1", "é2"]), "{}", answer.text());

    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!((&seen[0]["model"], &seen[0]["id"]), (&json!("affine"), &json!("affine-1")));
    assert_eq!(seen[0]["inputs"][0]["data"], json!([1.0, 2.0, 3.0, 5.0]));
}
