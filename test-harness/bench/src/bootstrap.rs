//! The Envoy of a column.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Result;
use crate::column::Column;

/// The listener's name.
pub(crate) const LISTENER: &str = "bench";
/// The request header that names the cluster, so that one Envoy serves several answers.
pub(crate) const CLUSTER_HEADER: &str = "x-answer";
/// How large a body the stock transcoder may take. By default it refuses answers above 1 MiB.
const STOCK_BODY_BYTES: u32 = 256 << 20;
/// Envoy compiles the wasm module before it is ready, which takes its time on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What every Envoy of a run is made from.
pub(crate) struct Setup {
    envoy: PathBuf,
    /// What `envoy --version` prints.
    pub(crate) version: String,
    dist: PathBuf,
    descriptors: PathBuf,
}

impl Setup {
    /// Finds Envoy and the filters in `dist`. `descriptors` is a file with the service's descriptor set.
    pub(crate) fn new(dist: &Path, descriptors: PathBuf) -> Result<Self> {
        let envoy = std::env::var_os("ENVOY").filter(|value| !value.is_empty()).map(PathBuf::from);
        let envoy = envoy.ok_or("ENVOY names no Envoy: `cargo xtask bench` finds one, or gets it")?;
        let printed = std::process::Command::new(&envoy).arg("--version").output();
        let printed = printed.map_err(|e| format!("cannot run {}: {e}", envoy.display()))?;
        let version = String::from_utf8_lossy(&printed.stdout);
        let version = version.split_once("version: ").map_or("", |(_, version)| version).trim().to_owned();
        let setup = Self { envoy, version, dist: dist.to_owned(), descriptors };
        for filter in [setup.wasm(), setup.native()] {
            if !filter.is_file() {
                return Err(format!("{} is missing: `cargo xtask build` makes it", filter.display()).into());
            }
        }
        Ok(setup)
    }

    /// Starts the Envoy of `column`, one worker, in front of clusters of these names and addresses.
    pub(crate) fn start(&self, column: Column, clusters: &[(&str, SocketAddr)]) -> Result<e2e::Envoy> {
        let options = e2e::Options {
            concurrency: 1,
            log_level: "warning".into(),
            ready_within: READY_WITHIN,
            ..e2e::Options::default()
        };
        Ok(e2e::Envoy::start(&self.envoy, &self.bootstrap(column, clusters), &options)?)
    }

    fn wasm(&self) -> PathBuf {
        self.dist.join("kserve_transcoder.wasm")
    }

    fn native(&self) -> PathBuf {
        self.dist.join("libinference_filters.so")
    }

    /// Everything but the filter is Envoy's default in every column, buffer limits included.
    fn bootstrap(&self, column: Column, clusters: &[(&str, SocketAddr)]) -> String {
        let protocol = match column {
            Column::Passthrough => "http_protocol_options",
            Column::Stock | Column::Wasm | Column::Native | Column::Grpc => "http2_protocol_options",
        };
        let clusters: String = clusters.iter().map(|(name, at)| cluster(name, *at, protocol)).collect();
        format!(
            r#"static_resources:
  listeners:
  - name: {LISTENER}
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          route_config:
            virtual_hosts:
            - name: bench
              domains: ["*"]
              routes:
              - match: {{ prefix: / }}
                route: {{ cluster_header: {CLUSTER_HEADER}, timeout: 0s }}
          http_filters:
{filter}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
{clusters}"#,
            filter = self.filter(column),
        )
    }

    fn filter(&self, column: Column) -> String {
        match column {
            Column::Passthrough | Column::Grpc => String::new(),
            Column::Stock => format!(
                r#"          - name: stock
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder
              proto_descriptor: {descriptors:?}
              services: [{service}]
              convert_grpc_status: true
              print_options: {{ preserve_proto_field_names: true }}
              max_request_body_size: {STOCK_BODY_BYTES}
              max_response_body_size: {STOCK_BODY_BYTES}"#,
                descriptors = self.descriptors,
                service = kserve_proto::SERVICE,
            ),
            Column::Wasm => format!(
                r#"          - name: wasm
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: kserve-transcoder
                failure_policy: FAIL_CLOSED
                vm_config:
                  runtime: envoy.wasm.runtime.v8
                  code: {{ local: {{ filename: {module:?} }} }}
                configuration: {{ "@type": type.googleapis.com/google.protobuf.StringValue, value: "{{}}" }}"#,
                module = self.wasm(),
            ),
            Column::Native => format!(
                r#"          - name: native
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
              dynamic_module_config:
                module: {{ local: {{ filename: {module:?} }} }}
                do_not_close: true
              filter_name: kserve_transcoder
              filter_config: {{ "@type": type.googleapis.com/google.protobuf.StringValue, value: "{{}}" }}"#,
                module = self.native(),
            ),
        }
    }
}

fn cluster(name: &str, at: SocketAddr, protocol: &str) -> String {
    let (address, port) = (at.ip(), at.port());
    format!(
        r#"  - name: {name}
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ {protocol}: {{}} }}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: {address}, port_value: {port} }} }} }}
"#
    )
}
