//! Model servers that say their name, and an Envoy in front of clusters of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use e2e::{Envoy, Installed, Options, dist};
use odd_server::{OddServer, Script};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where Envoy's health checks ask.
const HEALTH: &str = "/healthz";

/// A server that answers everything with its name.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) odd: OddServer,
    served: Arc<AtomicU64>,
}

impl Server {
    pub(crate) fn start(name: &str) -> Self {
        let odd = OddServer::start().unwrap();
        let served = Arc::new(AtomicU64::new(0));
        let (counted, text) = (served.clone(), name.to_owned());
        odd.compute_default(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Script::plain(200, "text/plain", text.as_str())
        });
        let server = Self { name: name.into(), odd, served };
        server.recovers();
        server
    }

    /// How many requests it has got, health checks and those with scripts of their own aside.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Health checks fail from now on. Requests would be answered all the same.
    pub(crate) fn falls_ill(&self) {
        self.odd.script_for_path(HEALTH, Script::plain(500, "text/plain", "ill"));
    }

    pub(crate) fn recovers(&self) {
        self.odd.script_for_path(HEALTH, Script::plain(200, "text/plain", "well"));
    }
}

/// An endpoint whose `envoy.lb` metadata has `group`.
pub(crate) fn endpoint(server: &Server, group: &str) -> Value {
    json!({
        "metadata": {"filter_metadata": {"envoy.lb": {"group": group}}},
        "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": server.odd.port()}}},
    })
}

/// The shipped module. 1.38 loads a policy's by name only.
pub(crate) fn module() -> Value {
    json!({
        "name": "inference_filters",
        "module": {"local": {"filename": dist("libinference_filters.so")}},
        "do_not_close": true,
    })
}

/// A `load_balancing_policy`: the one under test with this configuration.
pub(crate) fn policy(config: &Value) -> Value {
    json!({"policies": [{"typed_extension_config": {
        "name": "envoy.load_balancing_policies.dynamic_modules",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.dynamic_modules.v3.DynamicModulesLoadBalancerConfig",
            "dynamic_module_config": module(),
            "lb_policy_name": "runtime-group",
            "lb_policy_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": config.to_string(),
            },
        },
    }}]})
}

/// A static cluster.
pub(crate) fn cluster(name: &str, policy: &Value, endpoints: &[Value]) -> Value {
    let mut cluster = http2_cluster(name, policy);
    cluster["type"] = json!("STATIC");
    cluster["load_assignment"] = assignment(name, endpoints);
    cluster
}

fn http2_cluster(name: &str, policy: &Value) -> Value {
    json!({
        "name": name,
        "connect_timeout": "5s",
        "load_balancing_policy": policy,
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }},
    })
}

fn assignment(name: &str, endpoints: &[Value]) -> Value {
    json!({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]})
}

/// A cluster whose endpoints come from a file that Envoy watches.
pub(crate) struct Eds(TempDir);

impl Eds {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("watched")).unwrap();
        Self(directory)
    }

    fn watched(&self) -> PathBuf {
        self.0.path().join("watched")
    }

    /// Puts another list in the place of the last one, in one step.
    pub(crate) fn write(&self, endpoints: &[Value]) {
        let mut assignment = assignment("models", endpoints);
        assignment["@type"] = json!("type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment");
        let next = self.0.path().join("next.json");
        std::fs::write(&next, json!({"resources": [assignment]}).to_string()).unwrap();
        std::fs::rename(next, self.watched().join("models.json")).unwrap();
    }

    pub(crate) fn cluster(&self, name: &str, policy: &Value) -> Value {
        let path = |path: &Path| json!(path);
        let mut cluster = http2_cluster(name, policy);
        cluster["type"] = json!("EDS");
        cluster["eds_cluster_config"] = json!({"eds_config": {
            "resource_api_version": "V3",
            "path_config_source": {
                "path": path(&self.watched().join("models.json")),
                "watched_directory": {"path": path(&self.watched())},
            },
        }});
        cluster
    }
}

/// A bootstrap: a listener `http` that routes `/NAME/` to each cluster, and perhaps one called `tcp`.
#[derive(Default)]
pub(crate) struct Groups {
    clusters: Vec<Value>,
    filters: Vec<Value>,
    tcp: Option<String>,
    workers: Option<u32>,
    modules: Option<PathBuf>,
}

impl Groups {
    pub(crate) fn cluster(mut self, cluster: Value) -> Self {
        self.clusters.push(cluster);
        self
    }

    /// Adds an HTTP filter before the router.
    pub(crate) fn filter(mut self, filter: Value) -> Self {
        self.filters.push(filter);
        self
    }

    /// Adds a listener that passes connections on to a cluster.
    pub(crate) fn tcp(self, cluster: &str) -> Self {
        Self { tcp: Some(cluster.into()), ..self }
    }

    pub(crate) fn workers(self, workers: u32) -> Self {
        Self { workers: Some(workers), ..self }
    }

    /// Where Envoy looks for modules by name; `dist/` by default.
    pub(crate) fn modules(self, directory: &Path) -> Self {
        Self { modules: Some(directory.into()), ..self }
    }

    pub(crate) fn start(&self, installed: &Installed) -> Envoy {
        Envoy::start(&installed.path, &self.bootstrap(), &self.options()).unwrap()
    }

    /// What Envoy says when it refuses the bootstrap.
    pub(crate) fn refused(&self, installed: &Installed) -> String {
        Envoy::start(&installed.path, &self.bootstrap(), &self.options()).err().unwrap().to_string()
    }

    fn options(&self) -> Options {
        let modules = self.modules.clone().unwrap_or_else(|| dist("")).display().to_string();
        Options {
            concurrency: self.workers.unwrap_or(1),
            environment: vec![("ENVOY_DYNAMIC_MODULES_SEARCH_PATH".into(), modules)],
            ..Options::default()
        }
    }

    fn bootstrap(&self) -> String {
        let mut listeners = vec![json!({
            "name": "http",
            "address": loopback(),
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": self.connection_manager(),
            }]}],
        })];
        listeners.extend(self.tcp.as_ref().map(|cluster| {
            json!({
                "name": "tcp",
                "address": loopback(),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.tcp_proxy",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                        "stat_prefix": "tcp", "cluster": cluster,
                    },
                }]}],
            })
        }));
        json!({
            "node": {"id": "test", "cluster": "test"},
            "static_resources": {"listeners": listeners, "clusters": self.clusters},
        })
        .to_string()
    }

    fn connection_manager(&self) -> Value {
        let routes: Vec<Value> = self
            .clusters
            .iter()
            .map(|cluster| {
                let name = cluster["name"].as_str().unwrap();
                json!({"match": {"prefix": format!("/{name}/")}, "route": {
                    "cluster": name,
                    "timeout": "20s",
                    "retry_policy": {
                        "retry_on": "5xx", "num_retries": 1, "host_selection_retry_max_attempts": 3,
                        "retry_host_predicate": [{
                            "name": "envoy.retry_host_predicates.previous_hosts",
                            "typed_config": {
                                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                            },
                        }],
                    },
                }})
            })
            .collect();
        let mut manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "http",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [
                {"name": "sessions", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
                    "session_state": {
                        "name": "envoy.http.stateful_session.header",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState",
                            "name": "x-session",
                        },
                    },
                }},
            ],
        });
        let router = json!({"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }});
        if let Some(filters) = manager["http_filters"].as_array_mut() {
            filters.extend(self.filters.iter().cloned().chain([router]));
        }
        manager
    }
}

fn loopback() -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}})
}
