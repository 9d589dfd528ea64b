//! The Envoy of a column.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Result;
use crate::claims::{self, Claims};
use crate::column::Column;
use crate::exchange::{SUBSET_HEADER, SUBSET_KEY};
use crate::row::Row;

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
        let modules = ["kserve_transcoder", "dynamic_subset", "claim_headers"].map(|name| setup.wasm(name));
        for filter in modules.into_iter().chain([setup.native()]) {
            if !filter.is_file() {
                return Err(format!("{} is missing: `cargo xtask build` makes it", filter.display()).into());
            }
        }
        Ok(setup)
    }

    /// Starts the Envoy of `column`, one worker, in front of clusters of these names and addresses.
    pub(crate) fn start(
        &self,
        row: Row,
        column: Column,
        clusters: &[(&str, SocketAddr)],
    ) -> Result<e2e::Envoy> {
        let options = e2e::Options {
            concurrency: 1,
            log_level: "warning".into(),
            ready_within: READY_WITHIN,
            ..e2e::Options::default()
        };
        Ok(e2e::Envoy::start(&self.envoy, &self.bootstrap(row, column, clusters), &options)?)
    }

    fn wasm(&self, filter: &str) -> PathBuf {
        self.dist.join(format!("{filter}.wasm"))
    }

    fn native(&self) -> PathBuf {
        self.dist.join("libinference_filters.so")
    }

    /// Everything but the filter is Envoy's default in every column, buffer limits included.
    fn bootstrap(&self, row: Row, column: Column, clusters: &[(&str, SocketAddr)]) -> String {
        let protocol = match row.speaks_as(column) {
            Column::Passthrough => "http_protocol_options",
            Column::Stock | Column::Wasm | Column::Native | Column::Grpc => "http2_protocol_options",
        };
        // Only a request whose key came through has an endpoint.
        let fallback = match (row, column) {
            (Row::Subset, Column::Passthrough) => Some("ANY_ENDPOINT"),
            (Row::Subset, _) => Some("NO_FALLBACK"),
            _ => None,
        };
        let clusters: String =
            clusters.iter().map(|(name, at)| cluster(name, *at, protocol, fallback)).collect();
        let filters = match row {
            Row::Subset => self.subset_filters(column),
            Row::Claims(claims) => self.claims_filters(claims, column),
            _ => self.transcoder(column),
        };
        // Only a request whose claim came through has a route to a cluster.
        let condition = match (row, column) {
            (Row::Claims(_), Column::Stock | Column::Wasm | Column::Native) => {
                let (header, value) = (claims::HEADER, claims::VALUE);
                format!(", headers: [{{ name: {header}, string_match: {{ exact: {value} }} }}]")
            }
            _ => String::new(),
        };
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
              - match: {{ prefix: /{condition} }}
                route: {{ cluster_header: {CLUSTER_HEADER}, timeout: 0s }}
              - match: {{ prefix: / }}
                direct_response: {{ status: 403 }}
          http_filters:{filters}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
{clusters}"#
        )
    }

    fn transcoder(&self, column: Column) -> String {
        match column {
            Column::Passthrough | Column::Grpc => String::new(),
            Column::Stock => format!(
                r#"
          - name: stock
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
            Column::Wasm => self.wasm_filter("kserve_transcoder", "{}"),
            Column::Native => self.native_filter("kserve_transcoder", "{}"),
        }
    }

    /// Each but passthrough puts the header's value into the load balancer's metadata, and takes the header away.
    fn subset_filters(&self, column: Column) -> String {
        let to_metadata = |header: &str| {
            format!(
                r#"
          - name: envoy.filters.http.header_to_metadata
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config
              request_rules:
              - header: {header}
                on_header_present: {{ metadata_namespace: envoy.lb, key: {SUBSET_KEY} }}
                remove: true"#
            )
        };
        let rule = format!(r#"{{"header": "{SUBSET_HEADER}", "key": "{SUBSET_KEY}"}}"#);
        match column {
            Column::Passthrough | Column::Grpc => String::new(),
            Column::Stock => to_metadata(SUBSET_HEADER),
            Column::Wasm => {
                let ours = self.wasm_filter("dynamic_subset", &format!(r#"{{"rules": [{rule}]}}"#));
                ours + &to_metadata(&format!("x-subset-{SUBSET_KEY}"))
            }
            Column::Native => {
                let config = format!(r#"{{"rules": [{rule}], "emit_headers": false}}"#);
                self.native_filter("dynamic_subset", &config)
            }
        }
    }

    /// Each but passthrough makes a header of the token's claim, and takes the token away.
    fn claims_filters(&self, claims: Claims, column: Column) -> String {
        let ours = || match column {
            Column::Wasm => self.wasm_filter("claim_headers", &claims.ours(column)),
            _ => self.native_filter("claim_headers", &claims.ours(column)),
        };
        match (claims, column) {
            (_, Column::Passthrough | Column::Grpc) => String::new(),
            (_, Column::Stock) => claims.jwt_authn(column),
            (Claims::Metadata, Column::Wasm) => claims.jwt_authn(column) + &ours(),
            (Claims::Metadata, Column::Native) => {
                self.native_filter("claim_headers", &Claims::guard()) + &claims.jwt_authn(column) + &ours()
            }
            (_, Column::Wasm | Column::Native) => ours(),
        }
    }

    fn wasm_filter(&self, filter: &str, config: &str) -> String {
        format!(
            r#"
          - name: wasm
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: {filter}
                failure_policy: FAIL_CLOSED
                vm_config:
                  runtime: envoy.wasm.runtime.v8
                  code: {{ local: {{ filename: {module:?} }} }}
                configuration: {{ "@type": type.googleapis.com/google.protobuf.StringValue, value: {config:?} }}"#,
            module = self.wasm(filter),
        )
    }

    fn native_filter(&self, filter: &str, config: &str) -> String {
        format!(
            r#"
          - name: native
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
              dynamic_module_config:
                module: {{ local: {{ filename: {module:?} }} }}
                do_not_close: true
              filter_name: {filter}
              filter_config: {{ "@type": type.googleapis.com/google.protobuf.StringValue, value: {config:?} }}"#,
            module = self.native(),
        )
    }
}

fn cluster(name: &str, at: SocketAddr, protocol: &str, fallback: Option<&str>) -> String {
    let (address, port) = (at.ip(), at.port());
    let subsets = fallback.map_or(String::new(), |fallback| {
        format!(
            "    lb_subset_config: {{ fallback_policy: {fallback}, subset_selectors: [{{ keys: [{SUBSET_KEY}] }}] }}\n"
        )
    });
    format!(
        r#"  - name: {name}
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ {protocol}: {{}} }}
{subsets}    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: {address}, port_value: {port} }} }} }}
          metadata: {{ filter_metadata: {{ envoy.lb: {{ {SUBSET_KEY}: "true" }} }} }}
"#
    )
}
