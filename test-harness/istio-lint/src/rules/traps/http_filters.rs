//! HTTP filters that Istio's Envoy does not have.
//!
//! The lists are of Envoy 1.40 without its contributed filters, and of istio/proxy's `extensions_build_config.bzl`.

use serde_json::Value;

use super::at;
use crate::Problem;
use crate::embedded::TYPE_PREFIX;
use crate::resource::{Resource, text};

/// Where the types of HTTP filters are.
const PACKAGE: &str = "envoy.extensions.filters.http.";
/// Envoy has them and istio/proxy leaves them out.
const LEFT_OUT: [&str; 4] =
    ["api_key_auth", "custom_response", "file_system_buffer", "proto_message_extraction"];
const KNOWN: [&str; 67] = [
    "a2a",
    "adaptive_concurrency",
    "admission_control",
    "ai_protocol_manager",
    "alternate_protocols_cache",
    "aws_eventstream_parser",
    "aws_lambda",
    "aws_request_signing",
    "bandwidth_limit",
    "bandwidth_share",
    "basic_auth",
    "body_size_limit",
    "buffer",
    "cache",
    "cache_v2",
    "cdn_loop",
    "composite",
    "compressor",
    "connect_grpc_bridge",
    "cors",
    "credential_injector",
    "csrf",
    "decompressor",
    "dynamic_forward_proxy",
    "dynamic_modules",
    "ext_authz",
    "ext_proc",
    "fault",
    "file_server",
    "filter_chain",
    "gcp_authn",
    "geoip",
    "grpc_field_extraction",
    "grpc_http1_bridge",
    "grpc_http1_reverse_bridge",
    "grpc_json_reverse_transcoder",
    "grpc_json_transcoder",
    "grpc_stats",
    "grpc_web",
    "header_mutation",
    "header_to_metadata",
    "health_check",
    "ip_tagging",
    "json_to_metadata",
    "jwt_authn",
    "local_ratelimit",
    "lua",
    "mcp",
    "mcp_json_rest_bridge",
    "mcp_router",
    "oauth2",
    "on_demand",
    "original_src",
    "proto_api_scrubber",
    "rate_limit_quota",
    "ratelimit",
    "rbac",
    "router",
    "set_filter_state",
    "set_metadata",
    "sse_to_metadata",
    "stateful_session",
    "tap",
    "thrift_to_metadata",
    "transform",
    "upstream_codec",
    "wasm",
];

/// The filters in a patch's value that are not there, at any depth.
pub(super) fn check(filter: &Resource, value: &Value, place: &str) -> Vec<Problem> {
    let mut problems: Vec<_> = missing(filter, value, place).into_iter().collect();
    match value {
        Value::Object(fields) => {
            for (name, below) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                problems.extend(check(filter, below, &format!("{place}/{name}")));
            }
        }
        Value::Array(items) => {
            for (index, below) in items.iter().enumerate() {
                problems.extend(check(filter, below, &format!("{place}/{index}")));
            }
        }
        _ => {}
    }
    problems
}

fn missing(filter: &Resource, value: &Value, place: &str) -> Option<Problem> {
    let of = text(value, "/@type").strip_prefix(TYPE_PREFIX)?.strip_prefix(PACKAGE)?;
    let name = of.split('.').next()?;
    let pointer = format!("{place}/@type");
    if LEFT_OUT.contains(&name) {
        let reason =
            format!("Istio's Envoy is built without the HTTP filter {name}, and rejects the whole listener");
        return Some(at(filter, "absent-filter", pointer, reason));
    }
    (!KNOWN.contains(&name)).then(|| {
        let reason = format!("Envoy 1.40 has no HTTP filter {name}: istiod refuses a type that it does not know, and Envoy the listener");
        at(filter, "unknown-filter", pointer, reason)
    })
}
