//! What only real Envoy can show of the transcoder: buffer limits, placement, routes, and Envoy's own errors.
//! `limits` has what is large or hostile.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

#[path = "transcoder/other_filters.rs"]
mod other_filters;

use e2e::{Answer, End, Envoy, Installed, Listener, Options, Protocol, Request, Suite, gateway, send};
use odd_server::{OddServer, Script, Step, infer, wire};
use std::process::ExitCode;
use std::time::Duration;
use testkit::Column;

const INFER: &str = "/v2/models/m/infer";
const RPC: &str = "/inference.GRPCInferenceService/ModelInfer";
const SMALL: &str = r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1.5,2.5]}]}"#;
const SMALL_ANSWER: &str =
    r#"{"model_name":"m","outputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1.5,2.5]}]}"#;
const BOUND: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    Suite::new()
        .each_envoy("ten_megabytes_each_way_pass_a_buffer_limit_of_32_kib", ten_megabytes)
        .each_envoy("an_unauthorised_get_and_post_reach_no_server", unauthorised)
        .each_envoy("plugins_with_and_without_the_flag_keep_apart", both_forms)
        .each_envoy("a_route_for_one_model_serves_only_that_model", one_model_routes)
        .each_envoy("a_page_can_read_errors_behind_a_cors_filter_in_front", other_filters::in_front)
        .each_envoy("a_page_can_read_errors_before_a_cors_filter_on_every_host", other_filters::behind)
        .each_envoy("a_page_can_read_everything_between_two_cors_filters", other_filters::in_both_places)
        .each_envoy("what_a_route_adds_is_twice_on_an_error_that_is_a_reply", other_filters::of_the_route)
        .each_envoy("envoys_own_errors_have_the_protocols_shape", envoys_own_errors)
        .each_envoy("a_configuration_that_is_not_understood_does_not_load", refused_configurations)
        .each_envoy("a_thousand_answers_cut_off_leave_envoy_alive", cut_answers)
        .each_envoy("requests_on_several_workers_at_once_do_not_mix", several_workers)
        .run()
}

/// Starts Envoy with one listener per column, each named as its column.
fn start(
    installed: &Installed,
    server: &OddServer,
    listener: impl Fn(Column, Listener) -> Listener,
) -> Envoy {
    let listeners = Column::ALL.map(|column| listener(column, Listener::new(column.name())));
    Envoy::start(&installed.path, &gateway(&listeners, server.address()), &Options::default()).unwrap()
}

fn config(column: Column) -> &'static str {
    if column == Column::WasmHold { r#"{"hold_response_headers": true}"# } else { "{}" }
}

fn echo_server() -> OddServer {
    let server = OddServer::start().unwrap();
    server.compute_default(|request| match (request.path.as_str(), request.messages()) {
        (RPC, Ok(messages)) if messages.len() == 1 => infer::echo(&messages[0].bytes)
            .map_or_else(|_| Script::trailers_only(3, "no echo"), |m| Script::message(&m)),
        ("/inference.GRPCInferenceService/ServerReady", _) => Script::message(b"\x08\x01"),
        _ => Script::trailers_only(12, "not here"),
    });
    server
}

fn ask(envoy: &Envoy, column: Column, protocol: Protocol, request: &Request) -> Answer {
    send(protocol, envoy.address(column.name()).unwrap(), request).unwrap()
}

fn ten_megabytes(installed: &Installed) {
    let server = echo_server();
    let envoy = start(installed, &server, |column, listener| {
        listener.transcoder(column, config(column)).buffer_limit(32 * 1024)
    });
    // Numbers of seven digits, so that the answer is as long as the request.
    let values: Vec<String> = (0..1_300_000_u32).map(|i| format!("{}.5", 100_000 + i % 800_000)).collect();
    let data = values.join(",");
    let tensor = format!(r#"{{"name":"x","datatype":"FP32","shape":[{}],"data":[{data}]}}"#, values.len());
    let request = format!(r#"{{"inputs":[{tensor}]}}"#);
    assert!(request.len() > 10 << 20, "{}", request.len());
    let expected = format!(r#"{{"model_name":"m","outputs":[{tensor}]}}"#);
    for column in Column::ALL {
        for protocol in Protocol::BOTH {
            let request = Request::post(INFER, request.clone()).in_pieces_of(100_000).patience(BOUND);
            let answer = ask(&envoy, column, protocol, &request).complete().unwrap();
            assert_eq!(answer.status(), 200, "{} {protocol:?}", column.name());
            let body = answer.text();
            assert_eq!(body.len(), expected.len(), "{} {protocol:?}", column.name());
            assert!(
                body == expected,
                "{} {protocol:?}: the numbers are not those that were sent",
                column.name()
            );
        }
    }
}

fn unauthorised(installed: &Installed) {
    let server = echo_server();
    let deny = r#"{ name: envoy.filters.http.rbac, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: { action: ALLOW, policies: { known: { permissions: [{ any: true }], principals: [{ header: { name: x-user, string_match: { exact: known } } }] } } } } }"#;
    let envoy = start(installed, &server, |column, listener| {
        listener.filter(deny).transcoder(column, config(column))
    });
    let requests = [Request::get("/v2/health/ready"), Request::post(INFER, SMALL)];
    for column in Column::ALL {
        for request in &requests {
            assert_eq!(ask(&envoy, column, Protocol::Http1, request).status(), 403, "{}", column.name());
        }
    }
    assert!(server.requests().is_empty(), "{:?}", server.requests());
    // The control: with the header both pass.
    for column in Column::ALL {
        for request in requests.clone().map(|request| request.header("x-user", "known")) {
            let answer = ask(&envoy, column, Protocol::Http1, &request).complete().unwrap();
            assert_eq!(answer.status(), 200, "{}: {}", column.name(), answer.text());
        }
    }
    assert_eq!(server.wait_for(6, BOUND).unwrap().len(), 6);
}

fn both_forms(installed: &Installed) {
    let server = OddServer::start().unwrap();
    server.default_script(Script::error_after_headers(8, "out of memory"));
    let envoy = start(installed, &server, |column, listener| listener.transcoder(column, config(column)));
    // Turn by turn, so that one form's flag would show in the other.
    for _ in 0..3 {
        for protocol in Protocol::BOTH {
            let cut = ask(&envoy, Column::Wasm, protocol, &Request::post(INFER, SMALL));
            assert!(matches!(cut.end, End::Closed | End::Reset(_)), "{protocol:?}: {cut:?}");
            for column in [Column::WasmHold, Column::Native] {
                let answer = ask(&envoy, column, protocol, &Request::post(INFER, SMALL)).complete().unwrap();
                assert_eq!(
                    (answer.status(), answer.text()),
                    (429, r#"{"error":"out of memory"}"#.to_owned())
                );
            }
        }
    }
}

/// Closing a stream from within its own callbacks is where a proxy may trip over its own feet.
fn cut_answers(installed: &Installed) {
    let server = OddServer::start().unwrap();
    server.script("headers", Script::error_after_headers(8, "late"));
    server.script("message", Script::error_after_message(b"\x0a\x01m", 8, "late"));
    server.script("within", Script::error_mid_message(b"\0\0\0\0\x09\x0a\x01m".as_slice(), 8, "late"));
    server.script("too-much", Script::pieces([wire::frame(b"\x0a\x01m"), wire::frame(b"")]));
    let mut envoy = start(installed, &server, |column, listener| listener.transcoder(column, config(column)));
    for column in Column::ALL {
        for round in 0..84_u32 {
            for case in ["headers", "message", "within", "too-much"] {
                let request = Request::post(INFER, SMALL).header("x-case", case);
                // Over HTTP/1.1 Envoy takes a second (`delayed_close_timeout`) to close a connection that it cuts.
                let protocol = Protocol::BOTH[usize::from(round > 3)];
                let answer = ask(&envoy, column, protocol, &request);
                let told = answer.end == End::Complete && answer.status() >= 400;
                let cut = matches!(answer.end, End::Closed | End::Reset(_));
                assert!(told || cut, "{} {case} {protocol:?}: {answer:?}", column.name());
            }
        }
        assert!(
            envoy.process().exited().is_none(),
            "{}: Envoy died:\n{}",
            column.name(),
            envoy.process().last_lines()
        );
    }
}

fn one_model_routes(installed: &Installed) {
    const PATHS: [&str; 3] =
        [INFER, "/v2/models/m/infer?q=1&path=/v2/models/secret/infer", "/v2/models/m/infer?"];
    let server = echo_server();
    // Only model `m` has a route; the route itself makes the gRPC path of it.
    let own = r#"{ match: { prefix: "/v2/models/m/" }, route: { cluster: model-server, timeout: 10s, regex_rewrite: { pattern: { regex: "^/v2/models/m/infer$" }, substitution: "/inference.GRPCInferenceService/ModelInfer" } } }"#;
    let other = r#"{ match: { prefix: "/" }, direct_response: { status: 403, body: { inline_string: "not this model" } } }"#;
    let routes = format!("[{own}, {other}]");
    let by_route = |column: Column| match column {
        Column::WasmHold => r#"{"path": "route", "hold_response_headers": true}"#,
        Column::Wasm | Column::Native => r#"{"path": "route"}"#,
    };
    let mut listeners: Vec<Listener> = Column::ALL
        .iter()
        .map(|&column| Listener::new(column.name()).transcoder(column, by_route(column)).routes(&routes))
        .collect();
    // Natively the route can also be kept while the filter rewrites the path.
    let kept = r#"[{ match: { prefix: "/v2/models/m/" }, route: { cluster: model-server, timeout: 10s } }]"#;
    listeners
        .push(Listener::new("kept").transcoder(Column::Native, r#"{"reselect_route": false}"#).routes(kept));
    let bootstrap = gateway(&listeners, server.address());
    // Where a route rewrites the path, Envoy's router writes the path that it was given into the header, unless it is
    // told to write no headers of its own.
    let suppressing = bootstrap.replace("v3.Router }", "v3.Router, suppress_envoy_headers: true }");
    assert_ne!(suppressing, bootstrap);
    for (bootstrap, keeps_queries) in [(bootstrap, false), (suppressing, true)] {
        let envoy = Envoy::start(&installed.path, &bootstrap, &Options::default()).unwrap();
        for listener in ["wasm", "wasm-hold", "native", "kept"] {
            let address = envoy.address(listener).unwrap();
            for path in PATHS {
                let own =
                    send(Protocol::Http1, address, &Request::post(path, SMALL)).unwrap().complete().unwrap();
                assert_eq!((own.status(), own.text().as_str()), (200, SMALL_ANSWER), "{listener} {path}");
                let seen = server.requests().pop().unwrap();
                let original = if keeps_queries || listener == "kept" { path } else { INFER };
                assert_eq!(seen.path, RPC);
                assert_eq!(seen.header("x-envoy-original-path"), Some(original.as_bytes()), "{listener}");
            }
            let before = server.requests().len();
            let other = Request::post("/v2/models/secret/infer", SMALL);
            let other = send(Protocol::Http1, address, &other).unwrap().complete().unwrap();
            assert!(matches!(other.status(), 403 | 404), "{listener}: {} {}", other.status(), other.text());
            assert!(
                other.header("content-type").is_some_and(|value| value == b"application/json")
                    || listener == "kept"
            );
            assert_eq!(server.requests().len(), before);
        }
    }
}

fn envoys_own_errors(installed: &Installed) {
    let server = OddServer::start().unwrap();
    server.script("reset", Script::reset_after(b"".as_slice(), 2));
    server.script("reset-before-headers", Script::after_request().then(Step::Reset(2)));
    server.script("never", Script::never());
    let routes = r#"[{ match: { prefix: "/", headers: [{ name: x-nobody, present_match: true }] }, route: { cluster: nobody } }, { match: { prefix: "/" }, route: { cluster: model-server, timeout: 0.3s } }]"#;
    let envoy = start(installed, &server, |column, listener| {
        listener.transcoder(column, config(column)).routes(routes)
    });
    for column in Column::ALL {
        for request in [Request::post(INFER, SMALL), Request::get("/v2/health/ready")] {
            let what = |case: &str| format!("{} {} {case}", column.name(), request.method);
            for (case, status) in [("x-nobody", 503), ("reset-before-headers", 503), ("never", 504)] {
                if case == "never" && request.method == "GET" && column != Column::Native {
                    continue; // A call beside the route has a timeout of its own, longer than this test is worth.
                }
                let request = match case {
                    "x-nobody" => request.clone().header("x-nobody", "1"),
                    case => request.clone().header("x-case", case),
                };
                let answer = ask(&envoy, column, Protocol::Http1, &request).complete().unwrap();
                assert_eq!(answer.status(), status, "{}: {}", what(case), answer.text());
                assert_eq!(
                    answer.header("content-type"),
                    Some(b"application/json".as_slice()),
                    "{}",
                    what(case)
                );
                let error = answer.json().unwrap()["error"].as_str().unwrap_or_default().to_owned();
                assert!(!error.is_empty(), "{}: {}", what(case), answer.text());
                let beside_the_route = request.method == "GET" && column != Column::Native;
                let explained = error.contains("such a call finds no subset");
                assert_eq!(explained, beside_the_route && case == "x-nobody", "{}: {error}", what(case));
            }
        }
        // After the headers: the right status while they are held, in Envoy's own words, because Envoy then leaves
        // out the filters; a cut stream otherwise.
        let answer =
            ask(&envoy, column, Protocol::Http1, &Request::post(INFER, SMALL).header("x-case", "reset"));
        match answer.end {
            End::Complete => assert_eq!(answer.status(), 503, "{}: {}", column.name(), answer.text()),
            End::Closed | End::Reset(_) => {}
            End::TimedOut => panic!("{}: the answer hangs", column.name()),
        }
    }
}

fn refused_configurations(installed: &Installed) {
    let server = OddServer::start().unwrap();
    for (config, path, reason) in [
        (r#"{"max_request_bytez": 1}"#, "max_request_bytez", "unknown field"),
        (r#"{"path": 3}"#, "path", "invalid type"),
        (r#"{"memory_budget_bytes": 1}"#, "memory_budget_bytes", "at least 65536"),
        (r#"{"descriptor_sets": ["*"]}"#, "descriptor_sets[0]", "not base64"),
        ("nonsense", ".", "JSON object"),
    ] {
        for column in [Column::Wasm, Column::Native] {
            let listener = Listener::new("refused").transcoder(column, config);
            let bootstrap = gateway(&[listener], server.address());
            let Err(error) = Envoy::start(&installed.path, &bootstrap, &Options::default()) else {
                panic!("{} starts with {config}", column.name());
            };
            let log = error.to_string();
            let named = format!("configuration key {path}: ");
            assert!(log.contains(&named) && log.contains(reason), "{} {config}:\n{log}", column.name());
        }
    }
}

fn several_workers(installed: &Installed) {
    let server = echo_server();
    let listeners = Column::ALL.map(|column| Listener::new(column.name()).transcoder(column, config(column)));
    let options = Options { concurrency: 2, ..Options::default() };
    let envoy = Envoy::start(&installed.path, &gateway(&listeners, server.address()), &options).unwrap();
    for column in Column::ALL {
        let address = envoy.address(column.name()).unwrap();
        let clients: Vec<_> = (0..8_u32)
            .map(|client| {
                std::thread::spawn(move || {
                    for round in 0..25_u32 {
                        let value = client * 1000 + round;
                        let body = format!(r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"UINT32","data":[{value}]}}]}}"#);
                        let answer = send(Protocol::Http1, address, &Request::post(INFER, body)).unwrap().complete().unwrap();
                        assert_eq!(answer.json().unwrap()["outputs"][0]["data"][0], value);
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
    }
    let messages: usize =
        server.requests().iter().map(|request| wire::unframe(&request.body).unwrap().len()).sum();
    assert_eq!(messages, 600);
}
