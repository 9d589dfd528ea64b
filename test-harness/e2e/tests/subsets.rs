//! `dynamic-subset` in stock Envoy, in front of two groups of two model servers: default wasm with
//! `header_to_metadata`, flagged wasm with Lua, and native, each alone and in one chain with `kserve-transcoder`.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

use e2e::groups::{self, NAMES, who};
use e2e::{
    Answer, Envoy, Installed, Listener, Options, Protocol, Request, Suite, gateway, gateway_to, h2c, send,
};
use odd_server::{OddServer, wire};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;
use testkit::Column;

const BOUND: Duration = Duration::from_secs(20);
const VERSIONS: [&str; 2] = ["1.38", "1.40"];
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const READY: &str = "/inference.GRPCInferenceService/ModelReady";

fn main() -> ExitCode {
    let mut suite = Suite::new();
    for column in Column::ALL {
        let name = |story: &str| format!("{story}::{}", column.name());
        suite = suite
            .on(&VERSIONS, &name("a_mixed_load_lands_in_the_right_groups"), move |envoy| {
                mixed_load(envoy, column);
            })
            .on(&VERSIONS, &name("a_dead_endpoints_group_takes_over_and_no_other_does"), move |envoy| {
                dead_endpoints(envoy, column);
            })
            .on(&VERSIONS, &name("the_fallback_policy_decides_where_no_endpoint_fits"), move |envoy| {
                fallbacks(envoy, column);
            })
            .on(&VERSIONS, &name("no_client_picks_by_a_header_of_the_filters"), move |envoy| {
                spoofed_headers(envoy, column);
            })
            .on(&VERSIONS, &name("a_path_that_a_server_may_read_otherwise_names_no_model"), move |envoy| {
                unclear_paths(envoy, column);
            });
    }
    for column in [Column::WasmHold, Column::Native] {
        let name = format!("a_message_that_names_a_second_model_reaches_neither_group::{}", column.name());
        suite = suite.on(&VERSIONS, &name, move |envoy| second_names(envoy, column));
    }
    suite
        .on(&VERSIONS, "after_the_transcoder_the_path_of_a_rest_call_names_no_model", behind_the_transcoder)
        .on(&VERSIONS, "a_plain_wasm_plugin_that_is_to_read_bodies_is_refused_with_the_reason", refused)
        .run()
}

/// A header names the format, else the model's name does.
const RULES: &str = r#""rules": [
    {"header_prefix": "x-model-format-", "key": "model.format"},
    {"model": ["tf-*"], "key": "model.format", "value": "tensorflow"},
    {"model": ["pt-*"], "key": "model.format", "value": "pytorch"},
    {"header": "x-version", "key": "version"}
]"#;

/// One Envoy with both groups behind it, in one column. The listener `alone` has the subset filter only, `chain` has
/// the transcoder behind it.
struct Mesh {
    envoy: Envoy,
    servers: Vec<Option<OddServer>>,
}

impl Mesh {
    fn start(installed: &Installed, column: Column) -> Self {
        let alone = to_the_load_balancer(subset(Listener::new("alone"), column), column);
        let mut chain = to_the_load_balancer(subset(Listener::new("chain"), column), column);
        if column != Column::Native {
            chain = chain.filter(&lua(BODY_FOR_GET));
        }
        let transcoder = if column == Column::WasmHold { r#"{"hold_response_headers": true}"# } else { "{}" };
        let chain = chain.transcoder(column, transcoder);
        Self::with(installed, &[alone, chain])
    }

    fn with(installed: &Installed, listeners: &[Listener]) -> Self {
        let servers = groups::start().unwrap();
        let ports: Vec<u16> = servers.iter().map(OddServer::port).collect();
        // The client says which cluster, so that every fallback policy can be tried with every listener.
        let routes = r#"[{ match: { prefix: "/" }, route: { cluster_header: x-cluster, timeout: 10s } }]"#;
        let listeners: Vec<Listener> =
            listeners.iter().map(|listener| listener.clone().routes(routes)).collect();
        let clusters = [
            cluster("any", "fallback_policy: ANY_ENDPOINT", &ports),
            cluster("none", "fallback_policy: NO_FALLBACK", &ports),
            cluster("default", "fallback_policy: DEFAULT_SUBSET, default_subset: { version: v1 }", &ports),
        ];
        let bootstrap = gateway_to(&listeners, &clusters.concat());
        let envoy = Envoy::start(&installed.path, &bootstrap, &Options::default()).unwrap();
        Self { envoy, servers: servers.into_iter().map(Some).collect() }
    }

    /// Who answers a request over HTTP/1.1.
    fn ask(&self, listener: &str, cluster: &str, request: Request) -> String {
        let address = self.envoy.address(listener).unwrap();
        let answer = send(Protocol::Http1, address, &request.header("x-cluster", cluster)).unwrap();
        who(&answer.complete().unwrap())
    }

    /// Ends a server, and waits until every cluster knows it.
    fn kill(&mut self, name: &str, healthy: u64) {
        let at = NAMES.iter().position(|known| *known == name).unwrap();
        self.servers[at] = None;
        for cluster in ["any", "none", "default"] {
            let stat = format!("cluster.{cluster}.membership_healthy");
            self.envoy.wait_for_stat(&stat, BOUND, |count| count == healthy).unwrap();
        }
    }

    /// That each server has only seen requests that were meant for it, by their header `x-for`; and how many.
    fn every_request_was_meant_for_its_server(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for (name, server) in NAMES.into_iter().zip(&self.servers) {
            let Some(server) = server else { continue };
            let requests = server.requests();
            for request in &requests {
                let meant_for = String::from_utf8_lossy(request.header("x-for").unwrap()).into_owned();
                assert!(name.starts_with(&meant_for), "{name} saw a request for {meant_for}: {request:?}");
                let told = request.headers.iter().find(|(name, _)| name.starts_with("x-subset-"));
                assert_eq!(told, None, "{name}: this header is for the load balancer only");
            }
            counts.insert(name, requests.len());
        }
        counts
    }
}

fn subset(listener: Listener, column: Column) -> Listener {
    let more = match column {
        // `header_to_metadata` reads headers, Lua the property, and natively none of them is needed.
        Column::Wasm => "",
        Column::WasmHold => r#""hold_request_headers": true, "emit_headers": false, "#,
        Column::Native => r#""emit_headers": false, "#,
    };
    listener.ours("dynamic_subset", column, &format!("{{{more}{RULES}}}"))
}

/// The stock filter by which a wasm module's pairs reach the load balancer.
fn to_the_load_balancer(listener: Listener, column: Column) -> Listener {
    let rule = |key: &str| {
        format!(
            "{{ header: x-subset-{key}, on_header_present: {{ metadata_namespace: envoy.lb, key: {key} }}, remove: true }}"
        )
    };
    match column {
        Column::Wasm => listener.filter(&format!(
            r#"{{ name: to-metadata, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, request_rules: [{}, {}] }} }}"#,
            rule("model.format"),
            rule("version")
        )),
        Column::WasmHold => listener.filter(&lua(PAIRS_TO_METADATA)),
        Column::Native => listener,
    }
}

const PAIRS_TO_METADATA: &str = r#"
function envoy_on_request(request)
  local info = request:streamInfo()
  local all = info:filterState():get("wasm.dynamic_subset") or ""
  for key, value in all:gmatch("([^=;]+)=([^;]+)") do
    info:dynamicMetadata():set("envoy.lb", key, value)
  end
end"#;

const BODY_FOR_GET: &str = r#"
function envoy_on_request(request)
  if request:headers():get(":method") == "GET" then
    request:body(true):setBytes(" ")
  end
end"#;

fn lua(code: &str) -> String {
    let code = serde_json::Value::from(code);
    format!(
        r#"{{ name: lua, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, default_source_code: {{ inline_string: {code} }} }} }}"#
    )
}

fn cluster(name: &str, fallback: &str, ports: &[u16]) -> String {
    let endpoint = |(server, port): (&str, &u16)| {
        let (format, version) = server.split_once('-').unwrap();
        format!(
            r#"
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}
          metadata: {{ filter_metadata: {{ envoy.lb: {{ model.format: {format}, version: {version} }} }} }}"#
        )
    };
    let endpoints: String = NAMES.into_iter().zip(ports).map(endpoint).collect();
    format!(
        r#"
  - name: {name}
    connect_timeout: 5s
    common_lb_config: {{ healthy_panic_threshold: {{ value: 0 }} }}
    lb_subset_config: {{ {fallback}, subset_selectors: [{{ keys: [model.format] }}, {{ keys: [version] }}, {{ keys: [model.format, version] }}] }}
    health_checks:
    - {{ timeout: 5s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 2, healthy_threshold: 1, tcp_health_check: {{}} }}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: {name}
      endpoints:{endpoints}"#
    )
}

/// A REST inference.
fn rest(model: &str) -> Request {
    let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1.5,-2.0]}]}"#;
    Request::post(&format!("/v2/models/{model}/infer"), body)
}

fn ready(model: &str) -> Request {
    Request::get(&format!("/v2/models/{model}/ready"))
}

/// A gRPC inference whose message names a model, behind another field.
fn grpc(model: &str) -> Request {
    let raw = wire::Message::new().bytes(99, "unknown").bytes(1, model).bytes(7, [7; 3000]);
    Request::grpc(INFER, raw.as_bytes())
}

/// A gRPC inference whose message names no model.
fn unnamed() -> Request {
    Request::grpc(INFER, wire::Message::new().bytes(3, "id").bytes(7, [7; 3000]).as_bytes())
}

/// A kind of request, and the beginning of the names of those that may answer it.
type Kind = (fn() -> Request, &'static str);

/// What every column can do.
const KINDS: [Kind; 19] = [
    (|| rest("any").header("x-model-format-tensorflow", "true"), "tensorflow-"),
    (|| rest("any").header("x-model-format-pytorch", "true"), "pytorch-"),
    (|| rest("tf-style-transfer"), "tensorflow-"),
    (|| rest("pt-style-transfer/versions/2"), "pytorch-"),
    (|| ready("tf-style-transfer"), "tensorflow-"),
    (|| ready("pt-style-transfer"), "pytorch-"),
    (|| rest("tf-1").header("x-model-format-pytorch", "true"), "pytorch-"),
    (|| rest("pt-1").header("x-model-format-tensorflow", ""), "tensorflow-"),
    (|| rest("tf-1").header("x-version", "v2"), "tensorflow-v2"),
    (|| ready("pt-1").header("x-version", "v1"), "pytorch-v1"),
    (|| grpc("any").header("x-model-format-pytorch", "true"), "pytorch-"),
    (|| grpc("any").header("x-model-format-tensorflow", "1").header("x-version", "v1"), "tensorflow-v1"),
    (|| grpc("pt-1").header("mm-model-id", "tf-1"), "tensorflow-"),
    (|| grpc("any").header("mm-model-id", "pt-1").in_pieces_of(50), "pytorch-"),
    (|| unnamed().header("mm-vmodel-id", "tf-1"), "tensorflow-"),
    (|| unnamed().header("mm-model-id", "tf-1").header("mm-vmodel-id-bin", "cHQtMQ"), "pytorch-"),
    (|| unnamed().header("mm-model-id-bin", "cHQtMQ==, cHQtMQ").in_pieces_of(100), "pytorch-"),
    (|| unnamed().header("tas-model-id", "tf-1"), "tensorflow-"),
    (|| rest("any"), ""),
];

/// What needs held headers.
const BY_BODY: [Kind; 7] = [
    (|| grpc("tf-1"), "tensorflow-"),
    (|| grpc("pt-1").in_pieces_of(3), "pytorch-"),
    (|| grpc("tf-1").in_pieces_of(1).header("x-version", "v2"), "tensorflow-v2"),
    (|| Request::grpc(READY, wire::Message::new().bytes(1, "pt-1").as_bytes()), "pytorch-"),
    (|| grpc("any").in_pieces_of(7), ""),
    (|| named_twice("pt-1", 0, "tf-1"), "tensorflow-"),
    (|| named_twice("tf-1", 30_000, "tf-1"), "tensorflow-"),
];

/// A gRPC inference whose message names a model, and another one behind so many bytes.
fn named_twice(first: &str, between: usize, second: &str) -> Request {
    let first = wire::Message::new().bytes(1, first).bytes(7, vec![7; between]);
    Request::grpc(INFER, first.bytes(1, second).bytes(7, [7; 100]).as_bytes())
}

fn mixed_load(installed: &Installed, column: Column) {
    const REQUESTS: usize = 2000;
    let mesh = Mesh::start(installed, column);
    let mut kinds = KINDS.to_vec();
    if column != Column::Wasm {
        kinds.extend(BY_BODY);
    }
    let address = mesh.envoy.address("chain").unwrap();
    let connection = h2c::Connection::open(address, BOUND).unwrap();
    let mut answered: BTreeMap<String, usize> = BTreeMap::new();
    // A generator of its own, so that a failure comes again.
    let mut state = 7u64;
    for run in 0..REQUESTS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let kind = (state >> 33) as usize % kinds.len();
        let (request, meant_for) = kinds[kind];
        let cluster = if meant_for.is_empty() || run % 2 == 0 { "any" } else { "none" };
        let request = request().header("x-for", meant_for).header("x-cluster", cluster);
        let grpc = request.path.starts_with("/inference");
        let answer = if grpc || run % 3 == 0 {
            connection.send(&request)
        } else {
            send(Protocol::Http1, address, &request)
        };
        let answer: Answer = answer.unwrap().complete().unwrap();
        let name = who(&answer);
        let right = NAMES.contains(&name.as_str()) && name.starts_with(meant_for);
        assert!(
            right,
            "request {run} of kind {kind} for {meant_for:?} was answered by {name}: {}",
            answer.text()
        );
        if grpc {
            assert_eq!(answer.trailer("grpc-status"), Some(&b"0"[..]));
        } else if request.method == "GET" {
            assert_eq!(answer.json().unwrap()["ready"], true);
        } else {
            assert_eq!(answer.json().unwrap()["outputs"][0]["data"], serde_json::json!([1.5, -2.0]));
        }
        *answered.entry(name).or_default() += 1;
    }
    let seen = mesh.every_request_was_meant_for_its_server();
    assert_eq!(seen.values().sum::<usize>(), REQUESTS);
    for name in NAMES {
        assert!(answered[name] > REQUESTS / 10, "the load reaches every endpoint: {answered:?}");
    }
}

fn dead_endpoints(installed: &Installed, column: Column) {
    let mut mesh = Mesh::start(installed, column);
    let request = |for_whom: &str, model: &str| rest(model).header("x-for", for_whom);
    // Both work before one dies.
    let before: Vec<String> =
        (0..40).map(|_| mesh.ask("chain", "none", request("tensorflow-", "tf-1"))).collect();
    assert!(NAMES[..2].iter().all(|name| before.iter().any(|who| who == name)), "{before:?}");

    mesh.kill("tensorflow-v1", 3);
    for _ in 0..100 {
        for cluster in ["any", "none"] {
            assert_eq!(mesh.ask("chain", cluster, request("tensorflow-", "tf-1")), "tensorflow-v2");
            assert!(mesh.ask("chain", cluster, request("pytorch-", "pt-1")).starts_with("pytorch-"));
        }
    }
    // A subset whose one endpoint is dead does not fall back to another.
    assert_eq!(mesh.ask("chain", "none", request("tensorflow-v1", "tf-1").header("x-version", "v1")), "503");

    mesh.kill("tensorflow-v2", 2);
    for _ in 0..50 {
        assert_eq!(mesh.ask("chain", "none", request("tensorflow-", "tf-1")), "503");
        assert!(mesh.ask("chain", "none", request("pytorch-", "pt-1")).starts_with("pytorch-"));
    }
    let seen = mesh.every_request_was_meant_for_its_server();
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), ["pytorch-v1", "pytorch-v2"]);
}

/// What is odd about a request, and the request, made with an absurdly long value.
type Odd = (&'static str, fn(&str) -> Request);

fn fallbacks(installed: &Installed, column: Column) {
    let mesh = Mesh::start(installed, column);
    let long = "v".repeat(50_000);
    let requests: [Odd; 8] = [
        ("nothing is named", |_| rest("any")),
        ("an unknown format", |_| rest("any").header("x-model-format-onnx", "true")),
        ("two formats at once", |_| {
            rest("any").header("x-model-format-tensorflow", "1").header("x-model-format-pytorch", "1")
        }),
        ("an empty value", |_| rest("any").header("x-version", "")),
        ("an absurdly long value", |long| rest("any").header("x-version", long)),
        ("two values", |_| rest("any").header("x-version", "v1").header("x-version", "v2")),
        ("two values in one", |_| rest("any").header("x-version", "v1,v2")),
        ("no text", |_| rest("any").header("x-version", b"v\xff")),
    ];
    for (what, request) in requests {
        for listener in ["alone", "chain"] {
            let any = mesh.ask(listener, "any", request(&long));
            assert!(NAMES.contains(&any.as_str()), "{listener}: {what}: {any}");
            assert_eq!(mesh.ask(listener, "none", request(&long)), "503", "{listener}: {what}");
            let default = mesh.ask(listener, "default", request(&long));
            assert!(default.ends_with("-v1"), "{listener}: {what}: {default}");
        }
    }
    // Copies that agree are one.
    let twice = rest("tf-1").header("x-version", "v2").header("x-version", "v2");
    assert_eq!(mesh.ask("chain", "none", twice), "tensorflow-v2");

    let prefix = if column == Column::Native { "dynamicmodulescustom" } else { "wasmcustom" };
    let count = |name: &str| mesh.envoy.stat(&format!("{prefix}.dynamic_subset.{name}")).unwrap();
    // Two formats, too long, twice, joined, and no text: five kinds of six requests each.
    assert_eq!((count("bad_values"), count("bad_bodies")), (30, 0));
    assert_eq!((count("matched"), count("unmatched")), (7, 42));
}

fn unclear_paths(installed: &Installed, column: Column) {
    let mesh = Mesh::start(installed, column);
    for model in ["t%66-1", "tf-%2531", "tf-1;x=1", "tf-1%5Cx", "tf-1%2F..%2Fsecret"] {
        assert_eq!(mesh.ask("alone", "none", rest(model)), "503", "{model}");
        let any = mesh.ask("alone", "any", rest(model));
        assert!(NAMES.contains(&any.as_str()), "{model}: {any}");
        // The transcoder answers for these paths, and refuses them.
        let request = rest(model).header("x-cluster", "any");
        let answer = send(Protocol::Http1, mesh.envoy.address("chain").unwrap(), &request).unwrap();
        assert_eq!(answer.status(), 400, "{model}: {}", answer.text());
        assert!(answer.json().unwrap()["error"].as_str().unwrap().starts_with("path: in model_name, "));
    }
    let prefix = if column == Column::Native { "dynamicmodulescustom" } else { "wasmcustom" };
    assert_eq!(mesh.envoy.stat(&format!("{prefix}.dynamic_subset.bad_values")).unwrap(), 15);
}

fn second_names(installed: &Installed, column: Column) {
    let mesh = Mesh::start(installed, column);
    let connection = h2c::Connection::open(mesh.envoy.address("alone").unwrap(), BOUND).unwrap();
    for second in ["pt-1", "", "tf-2"] {
        let request = named_twice("tf-1", 30_000, second).header("x-cluster", "none");
        for request in [request.clone(), request.in_pieces_of(1000)] {
            let answer = connection.send(&request).unwrap();
            let status = answer.header("grpc-status").or_else(|| answer.trailer("grpc-status"));
            assert_eq!(status, Some(&b"3"[..]), "{second}: {answer:?}");
        }
    }
    assert!(mesh.servers.iter().flatten().all(|server| server.requests().iter().all(|seen| !seen.ended)));
    let prefix = if column == Column::Native { "dynamicmodulescustom" } else { "wasmcustom" };
    assert_eq!(mesh.envoy.stat(&format!("{prefix}.dynamic_subset.contradictions")).unwrap(), 6);
}

fn spoofed_headers(installed: &Installed, column: Column) {
    let mesh = Mesh::start(installed, column);
    let spoofed = |request: Request| {
        request
            .header("X-Subset-Model.Format", "tensorflow")
            .header("x_subset_model.format", "tensorflow")
            .header("x-subset_version", "v2")
            .header("x-subset-version", "v1")
    };
    for listener in ["alone", "chain"] {
        for _ in 0..10 {
            assert_eq!(mesh.ask(listener, "none", spoofed(rest("any")).header("x-for", "nobody")), "503");
            let own = mesh.ask(listener, "none", spoofed(rest("pt-1")).header("x-for", "pytorch-"));
            assert!(own.starts_with("pytorch-"), "{listener}: {own}");
        }
        let version = spoofed(rest("pt-1")).header("x-version", "v2").header("x-for", "pytorch-v2");
        assert_eq!(mesh.ask(listener, "none", version), "pytorch-v2");
    }
    for (name, server) in NAMES.into_iter().zip(&mesh.servers) {
        for request in server.as_ref().unwrap().requests() {
            let looks_like_ours =
                |(name, _): &&(String, Vec<u8>)| name.replace('_', "-").starts_with("x-subset-");
            assert_eq!(request.headers.iter().find(looks_like_ours), None, "{name}");
        }
    }
    mesh.every_request_was_meant_for_its_server();
}

fn behind_the_transcoder(installed: &Installed) {
    let wrong = subset(Listener::new("wrong").transcoder(Column::Wasm, "{}"), Column::Wasm);
    let mesh = Mesh::with(installed, &[to_the_load_balancer(wrong, Column::Wasm)]);
    assert_eq!(mesh.ask("wrong", "none", rest("tf-1")), "503");
    // A header is there in any order.
    let header = rest("tf-1").header("x-model-format-pytorch", "1");
    assert!(mesh.ask("wrong", "none", header).starts_with("pytorch-"));
}

fn refused(installed: &Installed) {
    let config = format!(r#"{{"model_from": ["path", "body"], {RULES}}}"#);
    let listener = Listener::new("plain").ours("dynamic_subset", Column::Wasm, &config);
    let bootstrap = gateway(&[listener], "127.0.0.1:1".parse().unwrap());
    let error = Envoy::start(&installed.path, &bootstrap, &Options::default()).err().unwrap().to_string();
    let said = "dynamic_subset: configuration key model_from[1]: the body can be read only while the request's headers";
    assert!(error.contains(said), "{error}");
}
