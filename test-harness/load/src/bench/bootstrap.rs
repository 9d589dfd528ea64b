//! The Envoy of a column.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::Result;
use crate::claims::{self, Claims};
use crate::column::Column;
use crate::descriptors;
use crate::exchange::{SUBSET_HEADER, SUBSET_KEY};
use crate::least::{self, Least};
use crate::nothing::Nothing;
use crate::row::{Callbacks, Job, Megabytes, Row};

/// The listener's name.
pub(crate) const LISTENER: &str = "bench";
/// The request header that names the cluster, so that one Envoy serves several answers.
pub(crate) const CLUSTER_HEADER: &str = "x-answer";
/// How large a body the stock transcoder may take. By default it refuses answers above 1 MiB.
const STOCK_BODY_BYTES: u32 = 256 << 20;
/// More requests and connections than any row has at once.
const MANY: u32 = 1_000_000;
/// Envoy compiles the wasm module before it is ready, which takes its time on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What every Envoy of a run is made from.
pub(crate) struct Setup {
    envoy: PathBuf,
    /// What `envoy --version` prints.
    pub(crate) version: String,
    dist: PathBuf,
    /// Where what only a run needs is written.
    scratch: PathBuf,
    nothing: Nothing,
    least: Least,
    /// The native module of filters that do the least, where it is built.
    least_native: Option<PathBuf>,
}

impl Setup {
    /// Finds Envoy and the filters in `dist`. What only the run needs is written to the directory `scratch`.
    pub(crate) fn new(dist: &Path, scratch: PathBuf) -> Result<Self> {
        let envoy = std::env::var_os("ENVOY").filter(|value| !value.is_empty()).map(PathBuf::from);
        let envoy = envoy.ok_or("ENVOY names no Envoy: `cargo xtask bench` finds one, or gets it")?;
        let printed = std::process::Command::new(&envoy).arg("--version").output();
        let printed = printed.map_err(|e| format!("cannot run {}: {e}", envoy.display()))?;
        let version = String::from_utf8_lossy(&printed.stdout);
        let version = version.split_once("version: ").map_or("", |(_, version)| version).trim().to_owned();
        let (nothing, least) = (Nothing::new(&scratch)?, Least::new(&scratch)?);
        let least_native = least::native(&scratch);
        let setup = Self { envoy, version, dist: dist.to_owned(), nothing, least, least_native, scratch };
        let modules = ["kserve_transcoder", "dynamic_subset", "claim_headers"].map(|name| setup.wasm(name));
        for filter in modules.into_iter().chain([setup.native()]) {
            if !filter.is_file() {
                return Err(format!("{} is missing: `cargo xtask build` makes it", filter.display()).into());
            }
        }
        Ok(setup)
    }

    /// Why there is no such column in `row`, if nothing else is against it.
    pub(crate) fn misses(&self, row: Row, column: Column) -> Option<&'static str> {
        let needed = column == Column::Native && matches!(row, Row::Nothing(_) | Row::Least(Job::Subset));
        (needed && self.least_native.is_none()).then_some("it is not built: `cargo xtask bench` does that")
    }

    /// Starts the Envoy of `column` in front of clusters of these names and addresses.
    pub(crate) fn start(
        &self,
        row: Row,
        column: Column,
        clusters: &[(&str, SocketAddr)],
    ) -> Result<e2e::Envoy> {
        let options = e2e::Options {
            concurrency: row.workers(),
            log_level: "warning".into(),
            ready_within: READY_WITHIN,
            ..e2e::Options::default()
        };
        Ok(e2e::Envoy::start(&self.envoy, &self.bootstrap(row, column, clusters)?.to_string(), &options)?)
    }

    fn wasm(&self, filter: &str) -> PathBuf {
        self.dist.join(format!("{filter}.wasm"))
    }

    fn native(&self) -> PathBuf {
        self.dist.join("libinference_filters.so")
    }

    /// Everything but the filter is Envoy's default in every column, buffer limits included; circuit breakers are not where
    /// many requests stand still.
    fn bootstrap(&self, row: Row, column: Column, clusters: &[(&str, SocketAddr)]) -> Result<Value> {
        let protocol = match row.speaks_as(column) {
            Column::Passthrough => "http_protocol_options",
            Column::Stock | Column::Wasm | Column::Native | Column::Grpc => "http2_protocol_options",
        };
        // Only a request whose key came through has an endpoint.
        let fallback = match (row.exchange(), column) {
            (Row::Subset, Column::Passthrough) => Some("ANY_ENDPOINT"),
            (Row::Subset, _) => Some("NO_FALLBACK"),
            _ => None,
        };
        let many = matches!(row, Row::Idle(_) | Row::Streams(_));
        let clusters: Vec<Value> =
            clusters.iter().map(|(name, at)| cluster(name, *at, protocol, fallback, many)).collect();
        let mut filters = match (row, row.exchange()) {
            (Row::Rules(rules), _) => self.subset_filters(column, rules),
            (Row::Least(Job::Subset), _) => self.least_subset_filters(column),
            (Row::Least(job), _) if column == Column::Wasm => {
                vec![wasm(self.least.wasm(job), "least", &json!({}))]
            }
            (_, Row::Subset) => self.subset_filters(column, 1),
            (_, Row::Claims(claims)) => self.claims_filters(claims, column),
            (_, Row::Nothing(callbacks)) => self.nothing_filters(callbacks, column),
            // A filter that keeps a request back until it is whole, as the others do.
            (Row::Idle(_), _) if column == Column::Passthrough => vec![json!({
                "name": "envoy.filters.http.buffer",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
                    "max_request_bytes": STOCK_BODY_BYTES,
                },
            })],
            (Row::Descriptors(rows), _) => self.transcoder(column, rows, false)?,
            (Row::Streams(_), _) => self.transcoder(column, 0, true)?,
            (
                Row::GrowingRequest(Megabytes::TwoFiftySix) | Row::GrowingResponse(Megabytes::TwoFiftySix),
                _,
            ) if matches!(column, Column::Wasm | Column::Native) => {
                let ours = if column == Column::Wasm { Self::wasm_filter } else { Self::native_filter };
                vec![ours(self, "kserve_transcoder", &more_than_the_default())]
            }
            _ => self.transcoder(column, 0, false)?,
        };
        filters.push(json!({
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }));
        // Only a request whose claim came through has a route to a cluster.
        let condition = match (row.exchange(), column) {
            (Row::Claims(_), Column::Stock | Column::Wasm | Column::Native) => {
                json!([{"name": claims::HEADER, "string_match": {"exact": claims::VALUE}}])
            }
            _ => json!([]),
        };
        let routes = json!([
            {
                "match": {"prefix": "/", "headers": condition},
                "route": {"cluster_header": CLUSTER_HEADER, "timeout": "0s"},
            },
            {"match": {"prefix": "/"}, "direct_response": {"status": 403}},
        ]);
        let mut manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "bench",
            "route_config": {"virtual_hosts": [{"name": "bench", "domains": ["*"], "routes": routes}]},
            "http_filters": filters,
        });
        if let Row::Streams(_) = row {
            // Each event is a frame, and a client may be slower than Envoy.
            manager["http2_protocol_options"] = json!({"max_outbound_frames": MANY});
        }
        let listener = json!({
            "name": LISTENER,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
            ]}],
        });
        Ok(json!({"static_resources": {"listeners": [listener], "clusters": clusters}}))
    }

    /// `rows` are those of a descriptor set beside the protocol's, of which one more answers with a stream where `streams`.
    fn transcoder(&self, column: Column, rows: u32, streams: bool) -> Result<Vec<Value>> {
        let set = descriptors::set(rows, streams);
        let name = if streams { "streams".to_owned() } else { format!("descriptors_{rows}") };
        let file = self.scratch.join(format!("{name}.binpb"));
        std::fs::write(&file, &set).map_err(|e| format!("write {}: {e}", file.display()))?;
        let services = [kserve_proto::SERVICE, descriptors::SERVICE];
        let has_own = rows > 0 || streams;
        let config = match has_own {
            false => json!({}),
            true => {
                json!({"descriptor_sets": [BASE64_STANDARD.encode(&set)], "services": [descriptors::SERVICE]})
            }
        };
        Ok(match column {
            Column::Passthrough | Column::Grpc => Vec::new(),
            Column::Stock => vec![json!({
                "name": "stock",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
                    "proto_descriptor": file,
                    "services": &services[..if has_own { 2 } else { 1 }],
                    "convert_grpc_status": true,
                    "print_options": {"preserve_proto_field_names": true, "stream_newline_delimited": streams},
                    "max_request_body_size": STOCK_BODY_BYTES,
                    "max_response_body_size": STOCK_BODY_BYTES,
                },
            })],
            Column::Wasm => vec![self.wasm_filter("kserve_transcoder", &config)],
            Column::Native => vec![self.native_filter("kserve_transcoder", &config)],
        })
    }

    fn nothing_filters(&self, callbacks: Callbacks, column: Column) -> Vec<Value> {
        match (column, &self.least_native) {
            (Column::Wasm, _) => vec![wasm(self.nothing.wasm(callbacks), "nothing", &json!({}))],
            (Column::Native, Some(module)) => vec![native(module, "nothing", &json!({}))],
            _ => Vec::new(),
        }
    }

    /// Each but passthrough puts the header's value into the load balancer's metadata; stock also takes the header away.
    /// Of the rules only the last finds its header.
    fn subset_filters(&self, column: Column, rules: u32) -> Vec<Value> {
        let others = || (1..rules).map(|rule| (format!("x-other-{rule}"), format!("other.{rule}")));
        let all = || others().chain([(SUBSET_HEADER.to_owned(), SUBSET_KEY.to_owned())]);
        let rules: Vec<Value> = all().map(|(header, key)| json!({"header": header, "key": key})).collect();
        match column {
            Column::Passthrough | Column::Grpc => Vec::new(),
            Column::Stock => vec![to_metadata(all())],
            Column::Wasm => {
                vec![self.wasm_filter("dynamic_subset", &json!({"rules": rules})), behind_wasm()]
            }
            Column::Native => {
                vec![self.native_filter("dynamic_subset", &json!({"rules": rules, "emit_headers": false}))]
            }
        }
    }

    /// As [`Self::subset_filters`], with the filters of the fewest calls for ours.
    fn least_subset_filters(&self, column: Column) -> Vec<Value> {
        match (column, &self.least_native) {
            (Column::Wasm, _) => {
                vec![wasm(self.least.wasm(Job::Subset), "least", &json!({})), behind_wasm()]
            }
            (Column::Native, Some(module)) => {
                vec![native(module, "least_subset", &json!(format!("{SUBSET_HEADER} {SUBSET_KEY}")))]
            }
            _ => self.subset_filters(column, 1),
        }
    }

    /// Each but passthrough makes a header of the token's claim, and takes the token away.
    fn claims_filters(&self, claims: Claims, column: Column) -> Vec<Value> {
        let ours = || match column {
            Column::Wasm => self.wasm_filter("claim_headers", &claims.ours(column)),
            _ => self.native_filter("claim_headers", &claims.ours(column)),
        };
        match (claims, column) {
            (_, Column::Passthrough | Column::Grpc) => Vec::new(),
            (_, Column::Stock) => vec![claims.jwt_authn(column)],
            (Claims::Metadata, Column::Wasm) => vec![claims.jwt_authn(column), ours()],
            (Claims::Metadata, Column::Native) => {
                let guard = self.native_filter("claim_headers", &Claims::guard());
                vec![guard, claims.jwt_authn(column), ours()]
            }
            (_, Column::Wasm | Column::Native) => vec![ours()],
        }
    }

    fn wasm_filter(&self, filter: &str, config: &Value) -> Value {
        wasm(&self.wasm(filter), filter, config)
    }

    fn native_filter(&self, filter: &str, config: &Value) -> Value {
        native(&self.native(), filter, config)
    }
}

/// What our transcoder needs for bodies of 256 MB: by default it takes 100 MiB.
fn more_than_the_default() -> Value {
    json!({
        "max_request_bytes": STOCK_BODY_BYTES,
        "max_response_bytes": STOCK_BODY_BYTES,
    })
}

/// A `header_to_metadata` that puts each header into the load balancer's metadata, under its key, and takes it away.
fn to_metadata(rules: impl Iterator<Item = (String, String)>) -> Value {
    let rule = |(header, key)| {
        json!({
            "header": header,
            "on_header_present": {"metadata_namespace": "envoy.lb", "key": key},
            "remove": true,
        })
    };
    json!({
        "name": "envoy.filters.http.header_to_metadata",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config",
            "request_rules": rules.map(rule).collect::<Vec<Value>>(),
        },
    })
}

/// What stands behind a filter in wasm, which can only set a header.
fn behind_wasm() -> Value {
    to_metadata([(format!("x-subset-{SUBSET_KEY}"), SUBSET_KEY.to_owned())].into_iter())
}

fn wasm(module: &Path, filter: &str, config: &Value) -> Value {
    json!({
        "name": "wasm",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": filter,
                "failure_policy": "FAIL_CLOSED",
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": module}},
                },
                "configuration": text(config),
            },
        },
    })
}

fn native(module: &Path, filter: &str, config: &Value) -> Value {
    json!({
        "name": "native",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {
                "module": {"local": {"filename": module}},
                "do_not_close": true,
            },
            "filter_name": filter,
            "filter_config": text(config),
        },
    })
}

/// A filter's configuration in the form in which Envoy passes it on: as JSON, or a text as it is.
fn text(config: &Value) -> Value {
    let text = config.as_str().map_or_else(|| config.to_string(), str::to_owned);
    json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text})
}

fn cluster(name: &str, at: SocketAddr, protocol: &str, fallback: Option<&str>, many: bool) -> Value {
    let endpoint = json!({
        "endpoint": {"address": {"socket_address": {"address": at.ip(), "port_value": at.port()}}},
        "metadata": {"filter_metadata": {"envoy.lb": {SUBSET_KEY: "true"}}},
    });
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {protocol: {}},
            },
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    });
    if many {
        let limits = json!({"max_connections": MANY, "max_pending_requests": MANY, "max_requests": MANY});
        cluster["circuit_breakers"] = json!({"thresholds": [limits]});
    }
    if let Some(fallback) = fallback {
        cluster["lb_subset_config"] =
            json!({"fallback_policy": fallback, "subset_selectors": [{"keys": [SUBSET_KEY]}]});
    }
    cluster
}
