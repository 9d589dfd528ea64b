//! Every symptom of `docs/troubleshooting.md` in a stock Envoy: each test provokes one, and what the page quotes must be
//! in what the client, the log or the metrics then say.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

use e2e::{
    Answer, End, Envoy, Installed, Listener, Options, Protocol, Request, Suite, TokenKey, free_ports,
    gateway, gateway_to, repository, send,
};
use odd_server::{OddServer, Script, infer};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use testkit::Column;

const BOUND: Duration = Duration::from_secs(20);

/// A symptom: the section's heading, and what provokes it and returns what an operator can see.
type Symptom = (&'static str, fn(&Installed) -> String);

const SYMPTOMS: [Symptom; 11] = [
    ("Envoy refuses the configuration", refused_configuration),
    ("404 for a path that should be served", unknown_path),
    ("Every request is a 502 with \"protocol error\"", wrong_port),
    ("A `GET` is a 503 while `POST` works", get_without_subset),
    ("Every request hangs", held_without_the_flag),
    ("413, or 503 with \"memory\" in it", too_large),
    ("The client says that the transfer was cut off", cut_off),
    ("503, no healthy upstream", no_endpoint),
    ("The header with the class is missing", no_class),
    ("503 with `retry-after: 1`", not_judged),
    ("A browser reports CORS instead of the error", cors),
];

fn main() -> ExitCode {
    let mut suite = Suite::new();
    for (heading, provoke) in SYMPTOMS {
        let name = format!("what_the_page_quotes_is_seen::{heading}");
        suite = suite.newest_envoy(&name, move |envoy| assert_told(heading, &provoke(envoy)));
    }
    suite.test("every_section_says_how_it_was_provoked", every_section).run()
}

fn every_section() {
    let here: BTreeSet<_> = SYMPTOMS.iter().map(|(heading, _)| *heading).collect();
    for (heading, text) in sections(&page()) {
        let tested = here.contains(heading.as_str());
        let says = if tested { "*Provoked by a test.*" } else { "*Provoked by " };
        assert!(text.contains(says), "{heading}: how was it provoked? {text}");
        assert_eq!(tested, text.contains("*Provoked by a test.*"), "{heading}");
    }
    let there: BTreeSet<_> = sections(&page()).into_iter().map(|(heading, _)| heading).collect();
    assert!(here.iter().all(|heading| there.contains(*heading)), "{there:?}");
}

fn page() -> String {
    std::fs::read_to_string(repository().join("docs/troubleshooting.md")).unwrap()
}

/// The page's sections with their headings.
fn sections(page: &str) -> Vec<(String, String)> {
    let sections = page.split("\n## ").skip(1);
    sections
        .filter_map(|section| section.split_once('\n'))
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect()
}

/// Each line of the section's first block is in the evidence; `…` stands for anything within a line.
fn assert_told(heading: &str, evidence: &str) {
    let page = page();
    let (_, text) = sections(&page).into_iter().find(|(found, _)| found == heading).unwrap();
    let block = text.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    for quoted in block.lines() {
        let told = evidence.lines().any(|line| {
            let mut rest = Some(line);
            for part in quoted.split('…') {
                rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
            }
            rest.is_some()
        });
        assert!(told, "the page quotes\n  {quoted}\nwhich is not in\n{evidence}");
    }
}

const FORMS: [Column; 2] = [Column::Wasm, Column::Native];
const BODY: &str = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#;

fn inference() -> Request {
    Request::post("/v2/models/m/infer", BODY).patience(BOUND)
}

fn model_server() -> OddServer {
    let server = OddServer::start().unwrap();
    server.compute_default(|request| match request.messages().unwrap_or_default().first() {
        Some(message) => Script::message(&infer::echo(&message.bytes).unwrap()),
        None => Script::plain(200, "text/plain", "no call"),
    });
    server
}

/// What a client sees of an answer.
fn seen(answer: &Answer) -> String {
    let mut text = format!("status {}\n", answer.head.as_ref().map_or(0, |head| head.status));
    for (name, value) in answer.head.iter().flat_map(|head| &head.headers) {
        writeln!(text, "{name}: {}", String::from_utf8_lossy(value)).unwrap();
    }
    match &answer.end {
        End::Complete => {}
        end => writeln!(text, "{end:?}").unwrap(),
    }
    text + &answer.text() + "\n"
}

fn counters(envoy: &Envoy, pattern: &str) -> String {
    let stats = envoy.stats(pattern).unwrap();
    stats.iter().fold(String::new(), |text, (name, value)| text + &format!("{name}: {value}\n"))
}

/// One listener in each form.
fn both(make: impl Fn(Listener, Column) -> Listener) -> Vec<Listener> {
    FORMS.iter().map(|form| make(Listener::new(form.name()), *form)).collect()
}

/// Asks the listener of each form.
fn ask(envoy: &Envoy, request: &Request) -> String {
    let ask = |form: &Column| {
        let answer = send(Protocol::Http1, envoy.address(form.name()).unwrap(), request).unwrap();
        seen(&answer)
    };
    FORMS.iter().map(ask).collect()
}

fn refused_configuration(installed: &Installed) -> String {
    let mut evidence = String::new();
    for form in FORMS {
        let listener = Listener::new("gateway").transcoder(form, r#"{"max_request_byte": 1}"#);
        let bootstrap = gateway(&[listener], "127.0.0.1:1".parse().unwrap());
        let refused = Envoy::start(&installed.path, &bootstrap, &Options::default());
        evidence += &refused.err().unwrap().to_string();
    }
    evidence
}

fn unknown_path(installed: &Installed) -> String {
    let server = model_server();
    let listeners = both(|listener, form| listener.transcoder(form, "{}"));
    let envoy =
        Envoy::start(&installed.path, &gateway(&listeners, server.address()), &Options::default()).unwrap();
    ask(&envoy, &Request::post("/v2/model/m/infer", BODY)) + &counters(&envoy, "kserve_transcoder.refused")
}

/// A cluster without HTTP/2, and one that leads to a port where only HTTP/1.1 is spoken.
fn wrong_port(installed: &Installed) -> String {
    let server = model_server();
    let listeners = both(|listener, form| listener.transcoder(form, "{}"));
    let plain = cluster("model-server", "", &[server.port()], "");
    let envoy = Envoy::start(&installed.path, &gateway_to(&listeners, &plain), &Options::default()).unwrap();
    let one = ask(&envoy, &inference());
    drop(envoy);
    let http1 = e2e::Workload::start("rest").unwrap();
    let envoy =
        Envoy::start(&installed.path, &gateway(&listeners, http1.address()), &Options::default()).unwrap();
    one + &ask(&envoy, &inference()) + &counters(&envoy, "cluster.model-server.upstream_cx_protocol_error")
}

fn get_without_subset(installed: &Installed) -> String {
    let server = model_server();
    let routes = r#"[{ match: { prefix: "/" }, route: { cluster: groups, metadata_match: { filter_metadata: { envoy.lb: { version: v1 } } } } }]"#;
    let listener = Listener::new("wasm").transcoder(Column::Wasm, "{}").routes(routes);
    let subsets =
        "lb_subset_config: { fallback_policy: NO_FALLBACK, subset_selectors: [{ keys: [version] }] }";
    let groups = cluster("groups", "{}", &[server.port()], subsets);
    let envoy =
        Envoy::start(&installed.path, &gateway_to(&[listener], &groups), &Options::default()).unwrap();
    let address = envoy.address("wasm").unwrap();
    let posted = send(Protocol::Http1, address, &inference()).unwrap().complete().unwrap();
    assert_eq!(posted.status(), 200, "{}", posted.text());
    seen(&send(Protocol::Http1, address, &Request::get("/v2/models/m/ready")).unwrap())
}

fn held_without_the_flag(installed: &Installed) -> String {
    let server = model_server();
    let listener = Listener::new("wasm").transcoder(Column::Wasm, r#"{"hold_response_headers": true}"#);
    let envoy =
        Envoy::start(&installed.path, &gateway(&[listener], server.address()), &Options::default()).unwrap();
    let request = inference().patience(Duration::from_secs(3));
    let answer = send(Protocol::Http1, envoy.address("wasm").unwrap(), &request).unwrap();
    assert_eq!((&answer.head, &answer.end), (&None, &End::TimedOut));
    counters(&envoy, "kserve_transcoder.transcoded")
        + &counters(&envoy, "cluster.model-server.upstream_rq_completed")
}

fn too_large(installed: &Installed) -> String {
    let server = model_server();
    let listeners = [
        Listener::new("limit").transcoder(Column::Native, r#"{"max_request_bytes": 100}"#),
        Listener::new("budget").transcoder(Column::Native, r#"{"memory_budget_bytes": 65536}"#),
    ];
    let envoy =
        Envoy::start(&installed.path, &gateway(&listeners, server.address()), &Options::default()).unwrap();
    let numbers = vec!["1"; 50_000].join(",");
    let body =
        format!(r#"{{"inputs":[{{"name":"x","shape":[50000],"datatype":"FP32","data":[{numbers}]}}]}}"#);
    let request = Request::post("/v2/models/m/infer", body);
    ["limit", "budget"]
        .map(|name| seen(&send(Protocol::Http1, envoy.address(name).unwrap(), &request).unwrap()))
        .concat()
}

fn cut_off(installed: &Installed) -> String {
    let server = OddServer::start().unwrap();
    server.default_script(Script::error_after_headers(13, "CUDA out of memory"));
    let listener = Listener::new("wasm").transcoder(Column::Wasm, "{}");
    let envoy =
        Envoy::start(&installed.path, &gateway(&[listener], server.address()), &Options::default()).unwrap();
    let answer = send(Protocol::Http2, envoy.address("wasm").unwrap(), &inference()).unwrap();
    seen(&answer) + &counters(&envoy, "kserve_transcoder.resets")
}

fn no_endpoint(installed: &Installed) -> String {
    let server = model_server();
    let rules = r#"{"rules": [{"header": "x-version", "key": "version"}]}"#;
    let listeners = [Listener::new("native")
        .ours("dynamic_subset", Column::Native, rules)
        .transcoder(Column::Native, "{}")
        .routes(r#"[{ match: { prefix: "/" }, route: { cluster: groups } }]"#)];
    let subsets =
        "lb_subset_config: { fallback_policy: NO_FALLBACK, subset_selectors: [{ keys: [version] }] }";
    let groups = cluster("groups", "{}", &[server.port()], subsets);
    let envoy = Envoy::start(&installed.path, &gateway_to(&listeners, &groups), &Options::default()).unwrap();
    let request = inference().header("x-version", "v2");
    seen(&send(Protocol::Http1, envoy.address("native").unwrap(), &request).unwrap())
        + &counters(&envoy, "cluster.groups.lb_subsets")
        + &counters(&envoy, "dynamic_subset.matched")
}

/// `builtin`, with keys in the configuration: a token without the claim, one with another value, and one that is too old.
fn no_class(installed: &Installed) -> String {
    let key = TokenKey::new(7).unwrap();
    let keys: serde_json::Value = serde_json::from_str(&key.key_set()).unwrap();
    let config = serde_json::json!({
        "source": "builtin",
        "issuers": [{ "issuer": "https://idp.test", "audiences": ["inference"], "jwks": keys }],
        "map": [{ "header": "x-user-class", "claim": ["user_type"], "type": "string", "allow": ["premium"] }],
    });
    let server = model_server();
    let listeners = both(|listener, form| listener.ours("claim_headers", form, &config.to_string()));
    let envoy =
        Envoy::start(&installed.path, &gateway(&listeners, server.address()), &Options::default()).unwrap();
    let (past, future) = (1_000_000_000, 4_000_000_000_u64);
    for (claims, ends) in
        [("", future), (r#""user_type":"gold","#, future), (r#""user_type":"premium","#, past)]
    {
        let payload = format!(r#"{{{claims}"iss":"https://idp.test","aud":"inference","exp":{ends}}}"#);
        let token = key.sign(TokenKey::HEADER, &payload);
        ask(&envoy, &Request::get("/").header("authorization", format!("Bearer {token}")));
    }
    counters(&envoy, "claim_headers") + &envoy.log()
}

/// The issuer's port is closed.
fn not_judged(installed: &Installed) -> String {
    let key = TokenKey::new(7).unwrap();
    let config = serde_json::json!({
        "source": "builtin",
        "issuers": [{ "issuer": "https://idp.test", "audiences": ["inference"], "cluster": "idp",
            "jwks_uri": "http://idp.test/keys" }],
        "map": [{ "header": "x-user-class", "claim": ["user_type"], "type": "string" }],
    });
    let server = model_server();
    let listeners = both(|listener, form| listener.ours("claim_headers", form, &config.to_string()));
    let clusters = cluster("model-server", "{}", &[server.port()], "")
        + &cluster("idp", "", &free_ports(1).unwrap(), "");
    let envoy =
        Envoy::start(&installed.path, &gateway_to(&listeners, &clusters), &Options::default()).unwrap();
    let payload = r#"{"iss":"https://idp.test","aud":"inference","exp":4000000000}"#;
    let token = key.sign(TokenKey::HEADER, payload);
    ask(&envoy, &Request::get("/").header("authorization", format!("Bearer {token}")))
        + &counters(&envoy, "claim_headers.unjudged")
        + &envoy.log()
}

/// `cors` in front of the transcoder only: an error that wasm replies by itself does not pass it.
fn cors(installed: &Installed) -> String {
    let server = OddServer::start().unwrap();
    server.default_script(Script::trailers_only(5, "unknown model"));
    let cors = r#"{ name: envoy.filters.http.cors, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors } }"#;
    let routes = r#"[{ match: { prefix: "/" }, route: { cluster: model-server }, typed_per_filter_config: { envoy.filters.http.cors: { "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, allow_origin_string_match: [{ exact: "http://page.test" }] } } }]"#;
    let listener = |name: &str| Listener::new(name).routes(routes);
    let listeners = [
        listener("front").filter(cors).transcoder(Column::Wasm, "{}"),
        listener("both").filter(cors).transcoder(Column::Wasm, "{}").filter(cors),
    ];
    let envoy =
        Envoy::start(&installed.path, &gateway(&listeners, server.address()), &Options::default()).unwrap();
    let request = inference().header("origin", "http://page.test");
    let [front, both] =
        ["front", "both"].map(|name| send(Protocol::Http1, envoy.address(name).unwrap(), &request).unwrap());
    assert_eq!(front.header("access-control-allow-origin"), None);
    assert_eq!(both.header_text("access-control-allow-origin").as_deref(), Some("http://page.test"));
    seen(&front)
}

/// A cluster of these ports; with `http2` empty it speaks HTTP/1.1.
fn cluster(name: &str, http2: &str, ports: &[u16], more: &str) -> String {
    let endpoint = |port: &u16| {
        format!(
            "{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}, metadata: {{ filter_metadata: {{ envoy.lb: {{ version: v1 }} }} }} }}"
        )
    };
    let endpoints = ports.iter().map(endpoint).collect::<Vec<_>>().join(", ");
    let protocol = match http2 {
        "" => String::new(),
        options => format!(
            r#"
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {options} }}"#
        ),
    };
    format!(
        r#"
  - name: {name}
    connect_timeout: 5s
    {more}
    load_assignment: {{ cluster_name: {name}, endpoints: [{{ lb_endpoints: [{endpoints}] }}] }}{protocol}"#
    )
}
