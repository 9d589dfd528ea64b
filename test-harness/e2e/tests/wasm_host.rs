//! Every verdict of `filter-api` in the proxy-wasm host, in stock Envoy: a filter does in each phase what the
//! header `x-plan` says (`test-harness/verdict-filter`), and the client and the upstream show what came of it.
//!
//! Two plugin forms run side by side in one Envoy: `plain` as a `WasmPlugin` makes it, and `flagged` with
//! `allow_on_headers_stop_iteration`.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use e2e::{Answer, End, Envoy, Installed, Options, Protocol, Request, Suite, send};
use odd_server::{OddServer, Recorded, Script, Step};

fn main() -> ExitCode {
    Suite::new()
        .each_envoy("headers_pass_and_change", headers_pass_and_change)
        .run()
}

const BOUND: Duration = Duration::from_secs(20);
const FORMS: [&str; 2] = ["plain", "flagged"];

/// Envoy with both forms before one upstream.
struct Bench {
    envoy: Envoy,
    upstream: OddServer,
}

impl Bench {
    fn start(installed: &Installed) -> Self {
        let upstream = OddServer::start().unwrap();
        upstream.compute_default(|request| {
            Script::new()
                .then(Step::Headers { status: 200, headers: vec![], end: false })
                .then(Step::Data { bytes: request.body.clone(), end: true })
        });
        let options = Options { log_level: "info".into(), ..Options::default() };
        let envoy = Envoy::start(&installed.path, &bootstrap(upstream.address()), &options).unwrap();
        Self { envoy, upstream }
    }

    fn send(&self, form: &str, protocol: Protocol, plan: &str, request: Request) -> Answer {
        let request = request.header("x-plan", plan);
        send(protocol, self.envoy.address(form).unwrap(), &request).unwrap()
    }

    fn last(&self) -> Recorded {
        self.upstream.requests().last().unwrap().clone()
    }
}

fn headers_pass_and_change(installed: &Installed) {
    let bench = Bench::start(installed);
    for form in FORMS {
        for protocol in Protocol::BOTH {
            let answer = bench.send(form, protocol, "qh=mark ph=mark", Request::post("/", "hello"));
            assert_eq!((answer.status(), answer.text().as_str(), &answer.end), (200, "hello", &End::Complete));
            assert_eq!(answer.header("x-marked"), Some(&b"ph"[..]));
            assert_eq!(bench.last().header("x-marked"), Some(&b"qh"[..]));
        }
    }
}

fn wasm() -> String {
    std::env::var("TEST_MODULES").unwrap_or_default() + "/verdict_filter.wasm"
}

/// Listeners `plain` and `flagged`, with small buffer limits, and a cluster that nobody serves.
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
