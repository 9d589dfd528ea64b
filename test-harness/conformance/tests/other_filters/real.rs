//! Scenarios in a real Envoy, each behind a listener and in VMs of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::h2c::Connection;
use e2e::{Answer, Envoy, Options, Request};
use libtest_mimic::Failed;
use odd_server::{OddServer, Recorded, Script, Step};

use crate::scenario::{Exchange, Observed, Scenario, Sent, answer, relevant, said};

/// How long anything may take that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often something is looked at that has to come.
const POLL: Duration = Duration::from_millis(5);

pub(crate) fn run(envoy: &Path, module: &Path, scenarios: &[Scenario]) -> Result<Vec<Observed>, Failed> {
    let upstream = OddServer::start()?;
    upstream.compute_default(|request| {
        let path = request.header(":path").or(Some(request.path.as_bytes())).map(String::from_utf8_lossy);
        let (status, body) = answer(&path.unwrap_or_default());
        let headers = vec![("x-upstream".to_owned(), b"yes".to_vec())];
        Script::after_request()
            .then(Step::Headers { status, headers, end: false })
            .then(Step::Data { bytes: body.into_bytes(), end: true })
    });
    let bootstrap = bootstrap(module, upstream.port(), scenarios);
    let envoy = Envoy::start(envoy, &bootstrap, &Options::default()).map_err(|e| e.to_string())?;
    scenarios.iter().map(|scenario| observe(&envoy, &upstream, scenario)).collect()
}

fn observe(envoy: &Envoy, upstream: &OddServer, scenario: &Scenario) -> Result<Observed, Failed> {
    let address = envoy.address(scenario.name).map_err(|e| e.to_string())?;
    let mut exchanges = Vec::new();
    for sent in &scenario.requests {
        let connection = Connection::open(address, PATIENCE).map_err(|e| e.to_string())?;
        let before = upstream.requests().len();
        let answer = send(&connection, sent)?;
        let mine = |request: &&Recorded| request.path == sent.path && request.ended;
        let seen = upstream.requests().into_iter().skip(before).collect::<Vec<_>>();
        exchanges.push(Exchange {
            status: answer.head.as_ref().map(|head| head.status).unwrap_or_default(),
            headers: kept(answer.head.iter().flat_map(|head| &head.headers)),
            body: String::from_utf8_lossy(&answer.body).into_owned(),
            upstream: seen.iter().find(mine).map(|request| {
                (kept(request.headers.iter()), String::from_utf8_lossy(&request.body).into_owned())
            }),
        });
    }
    Ok(Observed { exchanges, said: settled(envoy, scenario) })
}

fn send(connection: &Connection, sent: &Sent) -> Result<Answer, Failed> {
    let mut request = Request::new(sent.method(), sent.path);
    for (name, value) in sent.headers {
        request = request.header(name, value);
    }
    let mut stream = connection.begin(&request, sent.pieces.is_empty()).map_err(|e| e.to_string())?;
    for (i, piece) in sent.pieces.iter().enumerate() {
        // An early answer may have closed the stream: it is read below.
        if stream.data(piece.as_bytes(), i + 1 == sent.pieces.len()).is_err() {
            break;
        }
        // The emulator's filter sees each piece by itself, and so must Envoy's.
        std::thread::sleep(POLL);
    }
    Ok(stream.answer())
}

fn kept<'h>(headers: impl Iterator<Item = &'h (String, Vec<u8>)>) -> Vec<(String, String)> {
    relevant(headers.map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned())))
}

/// What the filter has said, once nothing more comes.
fn settled(envoy: &Envoy, scenario: &Scenario) -> Vec<String> {
    let prefix = format!("wasm log {}", scenario.name);
    let lines = || -> Vec<String> {
        let log = envoy.log();
        let mine = log
            .lines()
            .filter(|line| line.split_once(&prefix).is_some_and(|(_, rest)| rest.starts_with([' ', ':'])));
        mine.filter_map(said).collect()
    };
    let (deadline, mut found) = (Instant::now() + PATIENCE, lines());
    loop {
        std::thread::sleep(POLL * 40);
        let now = lines();
        if now.len() == found.len() || Instant::now() > deadline {
            return now;
        }
        found = now;
    }
}

fn bootstrap(module: &Path, upstream: u16, scenarios: &[Scenario]) -> String {
    let listeners: String = scenarios.iter().map(|scenario| listener(module, scenario)).collect();
    format!(
        r#"
static_resources:
  listeners:{listeners}
  clusters:
  - name: upstream
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: upstream
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]
"#
    )
}

fn listener(module: &Path, scenario: &Scenario) -> String {
    let Scenario { name, root_id, configuration, .. } = scenario;
    let module = module.display();
    format!(
        r#"
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: other
          codec_type: HTTP2
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, route: {{cluster: upstream, timeout: 0s}}}}]
          http_filters:
          - name: wasm
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: "{name}"
                root_id: "{root_id}"
                configuration: {{"@type": type.googleapis.com/google.protobuf.StringValue, value: "{configuration}"}}
                vm_config: {{vm_id: "{name}", runtime: envoy.wasm.runtime.v8, code: {{local: {{filename: "{module}"}}}}}}
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true"#
    )
}
