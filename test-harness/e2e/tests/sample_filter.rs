//! The filter that the checklist in `filters/README.md` makes works in both hosts.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use e2e::{Envoy, Installed, Options, Protocol, Request, Suite, send};
use odd_server::{OddServer, Script};

fn main() -> ExitCode {
    Suite::new()
        .each_envoy("a_sample_filter_refuses_marks_and_counts_in_both_hosts", refuses_marks_and_counts)
        .each_envoy("a_sample_filter_that_is_misconfigured_is_not_loaded", is_not_loaded)
        .run()
}

/// The hosts, by the names of their listeners.
const HOSTS: [(&str, &str); 2] = [("wasm", "wasmcustom."), ("native", "")];

fn refuses_marks_and_counts(installed: &Installed) {
    let upstream = OddServer::start().unwrap();
    upstream.default_script(Script::plain(200, "text/plain", "hello, blue"));
    let bootstrap = bootstrap(upstream.address(), "x-tenant");
    let envoy = Envoy::start(&installed.path, &bootstrap, &Options::default()).unwrap();
    for (seen, (host, prefix)) in HOSTS.into_iter().enumerate() {
        let address = envoy.address(host).unwrap();
        let ask = |request: &Request| send(Protocol::Http1, address, request).unwrap().complete().unwrap();
        let refused = ask(&Request::post("/hello", "hello"));
        assert_eq!((refused.status(), refused.text().as_str()), (400, "which tenant?"), "{host}");
        assert_eq!(upstream.requests().len(), seen, "{host}: refused requests go nowhere");

        let served = ask(&Request::post("/hello", "hello").header("x-tenant", "blue"));
        assert_eq!((served.status(), served.text().as_str()), (200, "hello, blue"), "{host}");
        let request = upstream.requests().pop().unwrap();
        assert_eq!(request.header("x-served"), Some(&b"yes"[..]), "{host}");
        assert_eq!(request.body, b"hello", "{host}");

        let counted: u64 = envoy
            .stats("sample_filter")
            .unwrap()
            .into_iter()
            .filter(|(name, _)| {
                let wasm = name.starts_with("wasmcustom.");
                wasm != prefix.is_empty() && (name.ends_with(".served") || name.ends_with(".refused"))
            })
            .map(|(_, value)| value)
            .sum();
        assert_eq!(counted, 2, "{host}: {:?}", envoy.stats("sample_filter"));
    }
}

fn is_not_loaded(installed: &Installed) {
    for (host, _) in HOSTS {
        let whole = bootstrap("127.0.0.1:1".parse().unwrap(), "x-tenant");
        let of_host = whole.find(&format!("- name: {host}")).unwrap();
        let key = of_host + whole[of_host..].find("x-tenant").unwrap();
        let wrong = format!("{}X-Tenant{}", &whole[..key], &whole[key + "x-tenant".len()..]);
        let error = Envoy::start(&installed.path, &wrong, &Options::default()).err().unwrap().to_string();
        let reason = "sample_filter: configuration key header: must be a header's name in lower case";
        assert!(error.contains(reason), "{host}: {error}");
    }
}

/// A listener for each host.
fn bootstrap(upstream: SocketAddr, header: &str) -> String {
    let modules = PathBuf::from(std::env::var_os("TEST_MODULES").unwrap_or_default());
    let wasm = format!(
        r#"
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: sample
                configuration: {{ "@type": type.googleapis.com/google.protobuf.StringValue, value: '{{"header": "{header}"}}' }}
                vm_config: {{ runtime: envoy.wasm.runtime.v8, code: {{ local: {{ filename: {module:?} }} }} }}"#,
        module = modules.join("sample_filter.wasm")
    );
    let native = format!(
        r#"
              "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
              dynamic_module_config: {{ do_not_close: true, module: {{ local: {{ filename: {module:?} }} }} }}
              filter_name: sample_filter
              filter_config: {{ "@type": type.googleapis.com/google.protobuf.StringValue, value: '{{"header": "{header}"}}' }}"#,
        module = modules.join("libtest_module.so")
    );
    let listeners =
        [("wasm", wasm), ("native", native)].map(|(host, filter)| listener(host, &filter)).concat();
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
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: upstream
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}]
"#,
        port = upstream.port()
    )
}

fn listener(host: &str, filter: &str) -> String {
    format!(
        r#"
  - name: {host}
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {host}
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: upstream }} }}] }}
          http_filters:
          - name: sample
            typed_config: {filter}
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
"#
    )
}
