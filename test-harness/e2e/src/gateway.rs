//! A bootstrap whose listeners carry our filters, each in any of its three forms, in front of one gRPC server.

use crate::dist;
use std::net::SocketAddr;
use testkit::Column;

/// A listener of its own filters and routes.
#[derive(Clone, Debug)]
pub struct Listener {
    name: String,
    filters: Vec<String>,
    routes: String,
    buffer_limit: Option<u32>,
}

impl Listener {
    /// A listener that routes everything to the model server.
    pub fn new(name: &str) -> Self {
        let routes =
            r#"[{ match: { prefix: "/" }, route: { cluster: model-server, timeout: 10s } }]"#.to_owned();
        Self { name: name.to_owned(), filters: Vec::new(), routes, buffer_limit: None }
    }

    /// Adds the transcoder in the form of a column, with a configuration in JSON.
    #[must_use]
    pub fn transcoder(self, column: Column, config: &str) -> Self {
        self.ours("kserve_transcoder", column, config)
    }

    /// Adds the filter of a name in the form of a column, with a configuration in JSON.
    #[must_use]
    pub fn ours(self, filter: &str, column: Column, config: &str) -> Self {
        let filter = ours(filter, column, &self.name, config);
        self.filter(&filter)
    }

    /// Adds a filter, written as one YAML flow mapping.
    #[must_use]
    pub fn filter(mut self, filter: &str) -> Self {
        self.filters.push(filter.to_owned());
        self
    }

    /// Replaces the routes, written as one YAML flow sequence.
    #[must_use]
    pub fn routes(mut self, routes: &str) -> Self {
        self.routes = routes.to_owned();
        self
    }

    /// Sets `per_connection_buffer_limit_bytes`.
    #[must_use]
    pub fn buffer_limit(mut self, bytes: u32) -> Self {
        self.buffer_limit = Some(bytes);
        self
    }

    fn yaml(&self) -> String {
        let Self { name, routes, .. } = self;
        let limit = self
            .buffer_limit
            .map_or(String::new(), |bytes| format!("per_connection_buffer_limit_bytes: {bytes}"));
        let filters: String = self.filters.iter().map(|filter| format!("\n          - {filter}")).collect();
        format!(
            r#"
  - name: {name}
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
    {limit}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          http_protocol_options: {{ enable_trailers: true }}
          route_config:
            virtual_hosts:
            - {{ name: all, domains: ["*"], routes: {routes} }}
          http_filters:{filters}
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}"#
        )
    }
}

/// A bootstrap with these listeners. The cluster `model-server` leads to `server`; so does `model-server-alone`, with
/// a connection for each request; `nobody` has no endpoint.
pub fn gateway(listeners: &[Listener], server: SocketAddr) -> String {
    let cluster = |name: &str, endpoints: &str, protocol: &str| {
        format!(
            r#"
  - name: {name}
    connect_timeout: 5s
    load_assignment: {{ cluster_name: {name}, endpoints: {endpoints} }}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}{protocol}"#
        )
    };
    let (ip, port) = (server.ip(), server.port());
    let endpoint = format!(
        "[{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: {ip}, port_value: {port} }} }} }} }}] }}]"
    );
    let alone = "\n        common_http_protocol_options: { max_requests_per_connection: 1 }";
    let clusters = cluster("model-server", &endpoint, "")
        + &cluster("model-server-alone", &endpoint, alone)
        + &cluster("nobody", "[]", "");
    gateway_to(listeners, &clusters)
}

/// A bootstrap with these listeners and clusters; the clusters are written as items of a YAML sequence, each indented
/// by two.
pub fn gateway_to(listeners: &[Listener], clusters: &str) -> String {
    let listeners: String = listeners.iter().map(Listener::yaml).collect();
    format!("\nstatic_resources:\n  listeners:{listeners}\n  clusters:{clusters}\n")
}

fn ours(filter: &str, column: Column, listener: &str, config: &str) -> String {
    // A YAML flow scalar in double quotes is written as a JSON string is.
    let config = serde_json::Value::from(config);
    match column {
        Column::Native => {
            let module = dist("libinference_filters.so");
            format!(
                r#"{{ name: {filter}, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter, dynamic_module_config: {{ do_not_close: true, module: {{ local: {{ filename: {module:?} }} }} }}, filter_name: {filter}, filter_config: {{ "@type": type.googleapis.com/google.protobuf.StringValue, value: {config} }} }} }}"#
            )
        }
        Column::Wasm | Column::WasmHold => {
            let module = dist(&format!("{filter}.wasm"));
            let flag =
                if column == Column::WasmHold { "allow_on_headers_stop_iteration: true, " } else { "" };
            format!(
                r#"{{ name: {filter}, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm, config: {{ {flag}name: {filter}-{listener}, root_id: {filter}-{listener}, failure_policy: FAIL_CLOSED, vm_config: {{ runtime: envoy.wasm.runtime.v8, code: {{ local: {{ filename: {module:?} }} }} }}, configuration: {{ "@type": type.googleapis.com/google.protobuf.StringValue, value: {config} }} }} }} }}"#
            )
        }
    }
}
