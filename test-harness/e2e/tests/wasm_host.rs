//! Every verdict of `filter-api` in the proxy-wasm host, in stock Envoy: a filter does in each phase what the
//! header `x-plan` says (`test-harness/test-filters/src/verdict.rs`), and the client and the upstream show what came of it.
//!
//! Two plugin forms run side by side in one Envoy: `plain` as a `WasmPlugin` makes it, and `flagged` with
//! `allow_on_headers_stop_iteration`.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use e2e::{Answer, End, Envoy, Installed, Options, Protocol, Request, Suite, h1, send};
use odd_server::{Gate, OddServer, Recorded, Script, Step};

fn main() -> ExitCode {
    Suite::new()
        .each_envoy("headers_pass_and_change", headers_pass_and_change)
        .each_envoy("operations_out_of_phase_are_dropped_and_counted", operations_out_of_phase)
        .each_envoy("header_bytes_that_are_no_text_do_no_harm", header_bytes_that_are_no_text)
        .each_envoy("chunks_are_replaced_kept_and_dropped", chunks_are_replaced)
        .each_envoy("ten_megabytes_pass_a_32_kib_buffer_limit", ten_megabytes_pass)
        .each_envoy("what_was_parked_goes_out_in_front_of_trailers", parked_bytes)
        .each_envoy("what_was_only_kept_is_not_silently_lost", kept_bytes_and_trailers)
        .each_envoy("held_headers_change_until_data_releases_them", held_headers)
        .each_envoy("a_held_answer_can_be_replaced_whenever_it_turns_bad", held_answers)
        .each_envoy("a_held_answer_that_outgrows_the_buffer_is_an_error", held_answer_outgrows)
        .each_envoy("a_reply_reaches_the_client_from_every_request_phase", replies_to_requests)
        .each_envoy("a_reset_is_seen_by_the_client_in_every_phase", resets)
        .each_envoy("a_filter_that_detaches_sees_nothing_more", detached)
        .each_envoy("headers_wait_for_a_call", headers_wait)
        .each_envoy("a_call_that_cannot_be_made_has_ended_at_once", refused_calls)
        .each_envoy("a_wrong_configuration_is_refused_with_its_reason", wrong_configuration)
        .run()
}

const BOUND: Duration = Duration::from_secs(20);
const FORMS: [&str; 2] = ["plain", "flagged"];
const MIB: usize = 1 << 20;

/// Envoy with both forms before one upstream that echoes.
struct Bench {
    envoy: Envoy,
    upstream: OddServer,
}

impl Bench {
    fn start(installed: &Installed) -> Self {
        let upstream = OddServer::start().unwrap();
        upstream.compute_default(|request| {
            let mut script = Script::new()
                .then(Step::Headers { status: 200, headers: vec![], end: false })
                .data(request.body.clone());
            if let Some(trailers) = &request.trailers {
                script = script.then(Step::Trailers(trailers.clone()));
            } else {
                script = script.then(Step::Data { bytes: Vec::new(), end: true });
            }
            script
        });
        let envoy =
            Envoy::start(&installed.path, &bootstrap(upstream.address()), &Options::default()).unwrap();
        Self { envoy, upstream }
    }

    fn send(&self, form: &str, protocol: Protocol, plan: &str, request: Request) -> Answer {
        send(protocol, self.envoy.address(form).unwrap(), &request.header("x-plan", plan)).unwrap()
    }

    /// The whole answer, or the test fails.
    fn ask(&self, form: &str, protocol: Protocol, plan: &str, request: Request) -> Answer {
        let what = format!("{form} {protocol:?} {plan}");
        self.send(form, protocol, plan, request).complete().unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    fn last(&self) -> Recorded {
        self.upstream.requests().last().unwrap().clone()
    }

    fn dropped(&self) -> u64 {
        self.envoy.stat("wasmcustom.verdict_filter.dropped_operations").unwrap()
    }

    /// That no VM has died: an exchange of either form still works, and nothing panicked.
    fn is_well(&self) {
        for form in FORMS {
            let answer = self.ask(form, Protocol::Http1, "ph=mark", Request::post("/", "well"));
            assert_eq!((answer.status(), answer.text().as_str()), (200, "well"), "{form}");
            assert_eq!(answer.header_text("x-marked").as_deref(), Some("ph"), "{form}");
        }
        let log = self.envoy.log();
        assert!(!log.contains("panicked") && !log.contains("RuntimeError"), "{log}");
    }
}

/// Every pair of a form and a protocol.
fn columns() -> impl Iterator<Item = (&'static str, Protocol)> {
    FORMS.into_iter().flat_map(|form| Protocol::BOTH.into_iter().map(move |protocol| (form, protocol)))
}

fn post(body: impl Into<Vec<u8>>) -> Request {
    Request::post("/", body).chunked()
}

fn headers_pass_and_change(installed: &Installed) {
    let bench = Bench::start(installed);
    for (form, protocol) in columns() {
        let answer = bench.ask(form, protocol, "qh=mark+cluster ph=mark", post("hello"));
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
        assert_eq!(answer.header_text("x-marked").as_deref(), Some("ph"));
        assert_eq!(bench.last().header("x-marked"), Some(&b"qh"[..]));
        assert_eq!(bench.last().header("x-cluster"), Some(&b"upstream"[..]));
    }
    assert_eq!(bench.dropped(), 0);
    bench.is_well();
}

fn operations_out_of_phase(installed: &Installed) {
    let bench = Bench::start(installed);
    for (form, protocol) in columns() {
        let before = bench.dropped();
        let request = post("hello").header("x-echo", "yes").trailer("x-t", "1");
        let plan = "qh=echo+broken+subset q1=late+echo qt=late+mark ph=late+echo p1=late pt=late+mark";
        let answer = bench.ask(form, protocol, plan, request);
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"), "{form} {protocol:?}");
        let seen = bench.last();
        assert_eq!(seen.header("x-echoed"), Some(&b"yes"[..]));
        assert_eq!(
            (seen.header("x-late"), seen.header("x-broken"), seen.header("x-two")),
            (None, None, None)
        );
        let marked = seen.trailers.unwrap().iter().any(|(name, value)| name == "x-marked" && value == b"qt");
        assert!(marked, "trailers change in their own phase");
        assert_eq!(answer.trailer("x-marked"), Some(&b"pt"[..]));
        assert_eq!(
            answer.header_text("x-echoed").as_deref(),
            Some("none"),
            "a request header is gone by then"
        );
        // `broken`, `subset`, five times `late`, and the echo into headers that went on.
        assert_eq!(bench.dropped() - before, 8, "{form} {protocol:?}");
    }
    bench.is_well();
}

fn header_bytes_that_are_no_text(installed: &Installed) {
    let bench = Bench::start(installed);
    for (form, protocol) in columns() {
        let request = post("hello").header("x-echo", b"caf\xe9 \xff\xfe");
        let answer = bench.ask(form, protocol, "qh=echo+names ph=mark", request);
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
        assert_eq!(bench.last().header("x-echoed"), Some(&b"caf\xe9 \xff\xfe"[..]));
        let names = String::from_utf8(bench.last().header("x-names").unwrap().to_vec()).unwrap();
        assert!(names.contains(":path ") && names.contains("x-echo "), "{names}");
        let plan = b"qh=mark \xff=\xff q1=\xff".to_vec();
        let odd = send(protocol, bench.envoy.address(form).unwrap(), &post("hello").header("x-plan", plan));
        assert_eq!(odd.unwrap().complete().unwrap().text(), "hello");
    }
    // A name that is not a token (RFC 9110) never reaches a filter.
    for form in FORMS {
        let mut connection = h1::Connection::open(bench.envoy.address(form).unwrap(), BOUND).unwrap();
        connection.write(b"GET / HTTP/1.1\r\nhost: a\r\nx-plan: qh=names\r\nx-\xff: 1\r\n\r\n").unwrap();
        assert_eq!(connection.read_answer("GET").status(), 400);
    }
    bench.is_well();
}

fn chunks_are_replaced(installed: &Installed) {
    let bench = Bench::start(installed);
    let text = "abcdefghij".repeat(20_000);
    for (form, protocol) in columns() {
        let ask = |plan: &str| {
            let answer = bench.ask(form, protocol, plan, post(text.clone()).in_pieces_of(7_001));
            assert_eq!(answer.status(), 200, "{form} {protocol:?} {plan}");
            (bench.last().body, answer.body)
        };
        let (same, upper) = (text.as_bytes(), text.to_ascii_uppercase());
        let (upstream, client) = ask("q1=emit+upper qd=emit+upper");
        assert!(upstream == upper.as_bytes() && client == upper.as_bytes(), "{form} {protocol:?}");
        let (upstream, client) = ask("p1=emit+upper pd=emit+upper");
        assert!(upstream == same && client == upper.as_bytes(), "{form} {protocol:?}");
        let (upstream, client) = ask("q1=emit+nothing qd=emit+nothing");
        assert!(upstream.is_empty() && client.is_empty(), "{form} {protocol:?}");
        let (upstream, client) = ask("q1=keep qd=keep qe=emit p1=keep+upper pd=keep+upper pe=emit+upper");
        assert!(upstream == same && client == upper.as_bytes(), "{form} {protocol:?}");
    }
    assert_eq!(bench.dropped(), 0);
    bench.is_well();
}

fn ten_megabytes_pass(installed: &Installed) {
    let bench = Bench::start(installed);
    let body: Vec<u8> = (0..10 * MIB).map(|i| b'a' + (i % 23) as u8).collect();
    let upper = body.to_ascii_uppercase();
    for (form, protocol) in columns() {
        for plan in [
            "q1=emit+upper qd=emit+upper p1=emit pd=emit",
            "q1=keep qd=keep qe=emit p1=keep+upper pd=keep+upper pe=emit+upper",
            "qh=hold q1=emit+upper qd=emit+upper ph=hold p1=emit pd=emit",
            "qh=hold q1=pass qd=emit+upper ph=hold p1=emit+upper pd=emit+upper",
        ] {
            if form == "plain" && plan.contains("hold") {
                continue;
            }
            let answer = bench.ask(form, protocol, plan, post(body.clone()).in_pieces_of(60_000));
            assert_eq!(answer.status(), 200, "{form} {protocol:?} {plan}");
            assert!(answer.body == upper, "{form} {protocol:?} {plan}: {} bytes", answer.body.len());
        }
        // What goes out may be more than what came in, from the first chunk on.
        let hold = if form == "flagged" { "qh=hold ph=hold" } else { "" };
        let plan = format!("{hold} q1=emit+thrice qd=emit+thrice p1=emit+thrice pd=emit+thrice");
        let answer = bench.ask(form, protocol, &plan, post(body[..MIB].to_vec()));
        assert_eq!(answer.body.len(), 9 * MIB, "{form} {protocol:?}");
        // So does a message in one chunk, which grows beyond the limit while headers are held for it.
        let answer = bench.ask(form, protocol, &plan, post(vec![b'x'; 15_000]));
        assert_eq!(answer.body.len(), 9 * 15_000, "{form} {protocol:?}");
    }
    bench.is_well();
}

fn parked_bytes(installed: &Installed) {
    let bench = Bench::start(installed);
    for (form, protocol) in columns() {
        let request = || post("a few bytes").trailer("x-t", "1");
        let answer = bench.ask(form, protocol, "q1=park+upper qd=park+upper qt=emit", request());
        assert_eq!((bench.last().body, answer.text().as_str()), (b"A FEW BYTES".to_vec(), "A FEW BYTES"));
        assert!(bench.last().trailers.is_some());
        let answer = bench.ask(form, protocol, "p1=park+upper pd=park+upper pt=emit", request());
        assert_eq!((bench.last().body, answer.text().as_str()), (b"a few bytes".to_vec(), "A FEW BYTES"));
        assert_eq!(answer.trailer("x-t"), Some(&b"1"[..]));
    }
    bench.is_well();
}

fn kept_bytes_and_trailers(installed: &Installed) {
    let bench = Bench::start(installed);
    for (form, protocol) in columns() {
        let request = || post("a few bytes").trailer("x-t", "1");
        let answer = bench.send(form, protocol, "q1=keep qd=keep qt=emit", request());
        let why = r#"{"error":"the filter emitted only when the trailers had come"}"#;
        assert_eq!((answer.status(), answer.text().as_str()), (500, why), "{form} {protocol:?}");
        let answer = bench.send(form, protocol, "p1=keep pd=keep pt=emit", request());
        assert!(is_broken(&answer), "{form} {protocol:?}: {answer:?}");
        // Nor to the end of the message.
        let answer = bench.send(form, protocol, "q1=keep qd=keep", post("some"));
        let why = r#"{"error":"the filter kept the end of a message"}"#;
        assert_eq!((answer.status(), answer.text().as_str()), (500, why), "{form} {protocol:?}");
        let answer = bench.send(form, protocol, "p1=keep pd=keep", post("some"));
        assert!(is_broken(&answer), "{form} {protocol:?}: {answer:?}");
    }
    bench.is_well();
}

fn held_headers(installed: &Installed) {
    let bench = Bench::start(installed);
    for protocol in Protocol::BOTH {
        let plan = "qh=hold q1=keep+late qd=keep qe=emit+late ph=hold p1=keep pd=keep pe=emit";
        let answer = bench.ask("flagged", protocol, plan, post("hello").in_pieces_of(1));
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
        let late = bench.last().header("x-late").map(<[u8]>::to_vec);
        assert!(matches!(late.as_deref(), Some(b"q1" | b"qd")), "{late:?}");
        // Headers that end the message cannot be held: no data would release them.
        let answer = bench.ask("flagged", protocol, "qh=hold", Request::get("/"));
        assert_eq!(answer.status(), 500);
        // Trailers release them, too.
        let request = post("hello").trailer("x-t", "1");
        let answer = bench.ask("flagged", protocol, "qh=hold q1=park qd=park qt=emit+late", request);
        assert_eq!(answer.text(), "hello");
        assert_eq!(bench.last().header("x-late"), Some(&b"qt"[..]));
    }
    assert_eq!(bench.dropped(), 0);
    bench.is_well();
}

fn held_answers(installed: &Installed) {
    let bench = Bench::start(installed);
    bench.upstream.script("no-data", Script::error_after_headers(5, "gone"));
    bench.upstream.script("data", Script::error_after_message(b"some", 5, "gone"));
    for protocol in Protocol::BOTH {
        for (case, plan) in [
            ("data", "ph=reply"),
            ("data", "ph=hold p1=reply"),
            ("data", "ph=hold p1=keep pd=keep pt=reply"),
            ("data", "ph=hold p1=park pd=park pt=reply"),
            ("no-data", "ph=hold pt=reply"),
        ] {
            let request = post("hello").header("x-case", case);
            let answer = bench.ask("flagged", protocol, plan, request);
            assert_eq!((answer.status(), answer.text().as_str()), (418, PLANNED), "{protocol:?} {plan}");
            assert_eq!(answer.header_text("x-tag").as_deref(), Some("flagged"));
        }
    }
    bench.is_well();
}

fn held_answer_outgrows(installed: &Installed) {
    let bench = Bench::start(installed);
    let gate = Gate::new();
    let pieces = [vec![b'a'; 10_000], vec![b'b'; 10_000]];
    let mut envoy_chunks = 0;
    for protocol in Protocol::BOTH {
        for (plan, fits) in [("ph=hold p1=keep pd=emit", false), ("ph=hold p1=keep+nothing pd=emit", true)] {
            bench.upstream.script("two", Script::gated_pieces(pieces.clone(), &gate));
            let address = bench.envoy.address("flagged").unwrap();
            let request = post("hello").header("x-case", "two").header("x-plan", plan);
            let answer = std::thread::scope(|scope| {
                let asked = scope.spawn(|| send(protocol, address, &request).unwrap());
                envoy_chunks += 3;
                wait_for_chunks(&bench, envoy_chunks);
                gate.open();
                gate.open();
                asked.join().unwrap()
            });
            envoy_chunks += u64::from(fits);
            let expected = if fits { 200 } else { 500 };
            assert_eq!(answer.status(), expected, "{protocol:?} {plan}: {answer:?}");
        }
    }
    bench.is_well();
}

fn wait_for_chunks(bench: &Bench, least: u64) {
    let until = std::time::Instant::now() + BOUND;
    while bench.envoy.stat("wasmcustom.verdict_filter.chunks").unwrap() < least {
        assert!(std::time::Instant::now() < until, "fewer than {least} chunks came");
        std::thread::yield_now();
    }
}

const PLANNED: &str = r#"{"error":"as planned"}"#;

fn replies_to_requests(installed: &Installed) {
    let bench = Bench::start(installed);
    let body = "some text ".repeat(30_000);
    for (form, protocol) in columns() {
        for plan in ["qh=reply", "q1=reply", "qe=reply", "q1=keep qd=keep qe=reply", "qt=reply"] {
            let mut request = post(body.clone());
            if plan.starts_with("qt") {
                request = request.trailer("x-t", "1");
            }
            let answer = bench.ask(form, protocol, plan, request);
            assert_eq!(
                (answer.status(), answer.text().as_str()),
                (418, PLANNED),
                "{form} {protocol:?} {plan}"
            );
            assert_eq!(answer.header_text("x-tag").as_deref(), Some(form));
            assert_eq!(answer.header_text("content-type").as_deref(), Some("application/json"));
        }
        let answer = bench.ask(form, protocol, "qh=reply", Request::get("/"));
        assert_eq!(answer.status(), 418);
        // The response phase needs no flag for its headers.
        let answer = bench.ask(form, protocol, "ph=reply", post("hello"));
        assert_eq!((answer.status(), answer.text().as_str()), (418, PLANNED), "{form} {protocol:?}");
    }
    bench.is_well();
}

fn resets(installed: &Installed) {
    let bench = Bench::start(installed);
    let body = "some text ".repeat(30_000);
    for (form, protocol) in columns() {
        for plan in [
            "q1=reset", "qe=reset", "qt=reset", "p1=reset", "pd=reset", "pe=reset", "pt=reset",
            // After the answer began, a reply can only be a reset.
            "p1=reply", "pd=reply", "pt=reply",
        ] {
            let mut request = post(body.clone());
            if plan.contains("t=") {
                request = request.trailer("x-t", "1");
            }
            let answer = bench.send(form, protocol, plan, request);
            println!(
                "{form} {protocol:?} {plan}: {} {:?} {}",
                answer.status(),
                answer.end,
                answer.body.len()
            );
            assert!(is_broken(&answer), "{form} {protocol:?} {plan}: {answer:?}");
        }
    }
    bench.is_well();
}

/// Whether a client sees for certain that something went wrong.
fn is_broken(answer: &Answer) -> bool {
    match &answer.end {
        End::Closed => true,
        // NO_ERROR is what a server sends after a whole answer.
        End::Reset(code) => *code != Some(0),
        End::Complete | End::TimedOut => false,
    }
}

fn detached(installed: &Installed) {
    let bench = Bench::start(installed);
    let text = "abcdefghij".repeat(20_000);
    for (form, protocol) in columns() {
        for plan in ["qh=detach q1=reset p1=reset", "q1=detach qd=reset ph=reset", "ph=detach pd=reset"] {
            let answer = bench.ask(form, protocol, plan, post(text.clone()));
            assert!(answer.body == text.as_bytes(), "{form} {protocol:?} {plan}");
        }
    }
    bench.is_well();
}

fn headers_wait(installed: &Installed) {
    let bench = Bench::start(installed);
    let text = "abcdefghij".repeat(20_000);
    bench.upstream.script_for_path("/called", Script::message(b"me"));
    for (form, protocol) in columns() {
        let called = "7: 200 7 bytes, 1 trailers";
        let answer = bench.ask(form, protocol, "call=upstream qh=wait c=mark", Request::get("/"));
        assert_eq!(answer.status(), 200);
        assert_eq!(bench.last().header("x-called"), Some(called.as_bytes()), "{form} {protocol:?}");
        assert_eq!(bench.last().header("x-marked"), Some(&b"c"[..]), "{form} {protocol:?}");
        // A body that comes meanwhile is seen by the filter, and passes.
        for plan in [
            "call=upstream qh=wait q1=emit+upper qd=emit+upper",
            "call=upstream qh=wait q1=keep+upper qd=keep+upper qe=emit+upper",
        ] {
            let answer = bench.ask(form, protocol, plan, post("a body"));
            assert_eq!(answer.text(), "A BODY", "{form} {protocol:?} {plan}");
        }
        let request = post("a body").trailer("x-t", "1");
        let answer = bench.ask(form, protocol, "call=upstream qh=wait q1=emit+upper qt=mark", request);
        assert_eq!((answer.text().as_str(), answer.trailer("x-marked")), ("A BODY", Some(&b"qt"[..])));
        // With the flag Envoy buffers it under its limit, without it stops reading.
        let body = if form == "flagged" { "a body".into() } else { text.clone() };
        let answer = bench.ask(form, protocol, "call=upstream qh=wait c=reply", post(body));
        assert_eq!(answer.status(), 418, "{form} {protocol:?}");
        // Response headers wait in the same way.
        let answer =
            bench.ask(form, protocol, "call=upstream ph=wait p1=emit+upper pd=emit+upper", post("a body"));
        assert_eq!(
            (answer.text().as_str(), answer.header_text("x-called").as_deref()),
            ("A BODY", Some(called))
        );
        let answer = bench.ask(form, protocol, "call=upstream ph=wait c=reply", post("a body"));
        assert_eq!(answer.status(), 418, "{form} {protocol:?}");
    }
    // After the call, headers may still be held for the body.
    let answer = bench.ask(
        "flagged",
        Protocol::Http2,
        "call=upstream qh=wait c=hold q1=keep+late qd=keep+late qe=emit+late",
        post("a body"),
    );
    assert_eq!(answer.text(), "a body");
    assert!(bench.last().header("x-late").is_some());
    bench.is_well();
}

fn refused_calls(installed: &Installed) {
    let bench = Bench::start(installed);
    for (form, protocol) in columns() {
        for cluster in ["no-such-cluster", "empty"] {
            let plan = format!("call={cluster} qh=wait c=mark");
            let answer = bench.ask(form, protocol, &plan, post("hello"));
            assert_eq!(
                (answer.status(), answer.text().as_str()),
                (200, "hello"),
                "{form} {protocol:?} {plan}"
            );
            let called = bench.last().header("x-called").map(<[u8]>::to_vec).unwrap();
            println!("{plan}: {}", String::from_utf8_lossy(&called));
            // A filter that calls again and again is stopped.
            let plan = format!("call={cluster} qh=wait c=wait");
            if cluster == "no-such-cluster" {
                assert_eq!(bench.ask(form, protocol, &plan, post("hello")).status(), 500);
            }
        }
    }
    bench.is_well();
}

fn wrong_configuration(installed: &Installed) {
    let bootstrap =
        bootstrap("127.0.0.1:1".parse().unwrap()).replace("\"tag\": \"plain\"", "\"tagg\": \"plain\"");
    let error = Envoy::start(&installed.path, &bootstrap, &Options::default()).err().unwrap().to_string();
    assert!(error.contains("verdict_filter: configuration key tagg: unknown field `tagg`"), "{error}");
}

fn wasm() -> String {
    std::env::var("TEST_MODULES").unwrap_or_default() + "/verdict_filter.wasm"
}

/// Listeners `plain` and `flagged`, with small buffer limits, and a cluster without endpoints.
fn bootstrap(upstream: SocketAddr) -> String {
    let listeners: String = FORMS.iter().map(|form| listener(form, &wasm())).collect();
    format!(
        r#"
static_resources:
  listeners:{listeners}
  clusters:
  - name: upstream
    type: STATIC
    per_connection_buffer_limit_bytes: 32768
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: upstream
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}]
  - name: empty
    type: STATIC
    load_assignment: {{ cluster_name: empty }}
"#,
        port = upstream.port()
    )
}

fn listener(form: &str, wasm: &str) -> String {
    let flag = if form == "flagged" { "allow_on_headers_stop_iteration: true" } else { "" };
    format!(
        r#"
  - name: {form}
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
    per_connection_buffer_limit_bytes: 32768
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {form}
          codec_type: AUTO
          http_protocol_options: {{ enable_trailers: true }}
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: upstream, timeout: 0s }} }}] }}
          http_filters:
          - name: {form}
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: {form}
                root_id: {form}
                {flag}
                configuration:
                  "@type": type.googleapis.com/google.protobuf.StringValue
                  value: '{{"tag": "{form}"}}'
                vm_config:
                  runtime: envoy.wasm.runtime.v8
                  code: {{ local: {{ filename: "{wasm}" }} }}
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
"#
    )
}
