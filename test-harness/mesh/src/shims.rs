//! What stock Envoy needs to be taken for istio-proxy: all of it is here, each with its reason.
//!
//! Istio's own Envoy build has a few filters of Istio's for telemetry. None of them decides where a request goes.
//! `control_plane` sets two variables of istiod (`PILOT_ENABLE_METADATA_EXCHANGE`, `PILOT_ENABLE_ALPN_FILTER`) and
//! leaves metrics providers out of the mesh's configuration, for the filters `istio.metadata_exchange`, `istio.alpn` and
//! `istio.stats`. That is all that a gateway needs. A waypoint needs the rest.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// The bootstrap template that the agent fills for a waypoint: Istio's own, without the extension
/// `istio.workload.BootstrapExtension`, which Envoy would end for.
///
/// # Errors
/// If the template is not there or has no such place.
pub fn waypoint_bootstrap(istio: &Path) -> Result<String> {
    const CONDITION: &str = "{{- if .metadata_discovery }}";
    let path = istio.join("tools/packaging/common/envoy_bootstrap.json");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    ensure!(text.contains(CONDITION), "{} does not ask for metadata_discovery", path.display());
    Ok(text.replacen(CONDITION, "{{- if false }}", 1))
}

/// The `EnvoyFilter` for the waypoint `gateway`:
///
/// - the two filters that exchange the peers' metadata for telemetry are removed;
/// - `connect_authority` is set in the filter state by Envoy's own class of strings instead of Istio's, under the
///   same names and with the same values, so that policies see the same principals;
/// - the listener for several networks (`inner_connect_originate`) is removed.
pub fn waypoint_filter(namespace: &str, gateway: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "stock-envoy", "namespace": namespace},
        "spec": {
            "priority": 1000,
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway}],
            "configPatches": [
                http_filter("connect_terminate", "waypoint_downstream_peer_metadata", json!({"operation": "REMOVE"})),
                http_filter("main_internal", "waypoint_upstream_peer_metadata", json!({"operation": "REMOVE"})),
                http_filter("connect_terminate", "connect_authority", json!({
                    "operation": "REPLACE",
                    "value": {"name": "connect_authority", "typed_config": connect_authority()},
                })),
                {
                    "applyTo": "LISTENER",
                    "match": {"context": "SIDECAR_INBOUND", "listener": {"name": "inner_connect_originate"}},
                    "patch": {"operation": "REMOVE"},
                },
            ],
        },
    })
}

fn http_filter(listener: &str, filter: &str, patch: Value) -> Value {
    json!({
        "applyTo": "HTTP_FILTER",
        "match": {
            "context": "SIDECAR_INBOUND",
            "listener": {
                "name": listener,
                "filterChain": {"filter": {
                    "name": "envoy.filters.network.http_connection_manager",
                    "subFilter": {"name": filter},
                }},
            },
        },
        "patch": patch,
    })
}

fn connect_authority() -> Value {
    let entry = |key: &str, text: &str, factory: Option<&str>| {
        let mut entry = json!({
            "object_key": key,
            "format_string": {"text_format_source": {"inline_string": text}},
            "shared_with_upstream": "ONCE",
        });
        if let Some(factory) = factory {
            entry["factory_key"] = json!(factory);
        }
        entry
    };
    let string = Some("envoy.hashable_string");
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
        "on_request_headers": [
            entry("envoy.filters.listener.original_dst.local_ip", "%REQ(:AUTHORITY)%", None),
            entry("io.istio.connect_authority", "%REQ(:AUTHORITY)%", string),
            entry("envoy.filters.listener.original_dst.remote_ip", "%DOWNSTREAM_REMOTE_ADDRESS%", None),
            entry("io.istio.peer_principal", "%DOWNSTREAM_PEER_URI_SAN%", string),
            entry("io.istio.local_principal", "%DOWNSTREAM_LOCAL_URI_SAN%", string),
        ],
    })
}
