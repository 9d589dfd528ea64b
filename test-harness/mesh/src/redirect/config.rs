//! Envoy's configuration.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Pod, Pods};

/// Of the statistics on listeners' updates.
pub(super) const LDS: &str = "listener_manager.lds";
/// Of the statistics on clusters' updates.
pub(super) const CDS: &str = "cluster_manager.cds";

/// Who called whom: the pod, the authority, the caller's identity and its address.
const LINE: &str = "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%\t%REQ(:AUTHORITY)%\t%DOWNSTREAM_PEER_URI_SAN%\t\
                    %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\n";

/// Where the access log is.
pub(super) fn access_log(directory: &Path) -> PathBuf {
    directory.join("access.log")
}

/// The files that Envoy follows, each in a directory of its own, which Envoy watches for files moved there.
pub(super) struct Files {
    listeners: PathBuf,
    clusters: PathBuf,
    access_log: PathBuf,
}

impl Files {
    pub(super) fn new(directory: &Path) -> Result<Self> {
        let of = |name: &str| {
            let directory = directory.join(name);
            fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
            anyhow::Ok(directory.join("resources.json"))
        };
        Ok(Self { listeners: of("listeners")?, clusters: of("clusters")?, access_log: access_log(directory) })
    }

    /// What Envoy is started with.
    pub(super) fn bootstrap(&self) -> String {
        let source = |path: &Path| {
            let watched = json!({"path": path.parent()});
            json!({
                "resource_api_version": "V3",
                "path_config_source": {"path": path, "watched_directory": watched},
            })
        };
        json!({
            "node": {"id": "redirect", "cluster": "redirect"},
            "dynamic_resources": {"lds_config": source(&self.listeners), "cds_config": source(&self.clusters)},
        })
        .to_string()
    }

    pub(super) fn write_listeners(&self, version: u64, port: u16, pods: &Pods) -> Result<()> {
        let listeners = pods.values().map(|pod| self.listener(pod, port)).collect();
        write(&self.listeners, version, listeners)
    }

    pub(super) fn write_clusters(&self, version: u64, targets: &BTreeSet<SocketAddr>) -> Result<()> {
        write(&self.clusters, version, targets.iter().map(cluster).collect())
    }

    fn listener(&self, pod: &Pod, port: u16) -> Value {
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "hbone",
            "codec_type": "HTTP2",
            "http2_protocol_options": {"allow_connect": true},
            "upgrade_configs": [{"upgrade_type": "CONNECT"}],
            // A tunnel may be silent for as long as its ends like.
            "stream_idle_timeout": "0s",
            "route_config": {"virtual_hosts": virtual_hosts(pod)},
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }],
            // Streams are long: what is written is their beginning.
            "access_log_options": {"flush_access_log_on_new_request": true},
            "access_log": [{
                "name": "envoy.access_loggers.file",
                "filter": {"log_type_filter": {"types": ["DownstreamStart"]}},
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": self.access_log,
                    "log_format": {"text_format_source": {"inline_string": LINE}},
                },
            }],
        });
        json!({
            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
            "name": format!("hbone {}", pod.ip),
            "address": address(pod.ip, port),
            // A waypoint of this machine has the same port of every address.
            "enable_reuse_port": true,
            "filter_chains": [{
                "transport_socket": tls(pod),
                "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
            }],
        })
    }
}

fn virtual_hosts(pod: &Pod) -> Vec<Value> {
    let host = |&port: &u16| {
        let target = SocketAddr::new(pod.ip, port).to_string();
        json!({
            "name": target,
            "domains": [target],
            "routes": [{
                "match": {"connect_matcher": {}},
                "route": {
                    "cluster": target,
                    // Else a caller that has said all has 15 s for the answer.
                    "timeout": "0s",
                    "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
                },
            }],
        })
    };
    pod.ports.iter().map(host).collect()
}

fn tls(pod: &Pod) -> Value {
    let pem = |text: &str| json!({"inline_string": text});
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": true,
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_certificates": [{
                    "certificate_chain": pem(pod.identity.chain_pem()),
                    "private_key": pem(pod.identity.key_pem()),
                }],
                "validation_context": {"trusted_ca": pem(pod.identity.roots_pem())},
            },
        },
    })
}

fn cluster(target: &SocketAddr) -> Value {
    let endpoint = json!({"endpoint": {"address": address(target.ip(), target.port())}});
    json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": target.to_string(),
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": target.to_string(),
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    })
}

fn address(ip: IpAddr, port: u16) -> Value {
    json!({"socket_address": {"address": ip.to_string(), "port_value": port}})
}

/// Puts a whole new file into a place: Envoy never sees half of one.
fn write(path: &Path, version: u64, resources: Vec<Value>) -> Result<()> {
    let next = path.with_extension("next");
    let text = json!({"version_info": version.to_string(), "resources": resources}).to_string();
    fs::write(&next, text).with_context(|| format!("write {}", next.display()))?;
    fs::rename(&next, path).with_context(|| format!("replace {}", path.display()))
}
