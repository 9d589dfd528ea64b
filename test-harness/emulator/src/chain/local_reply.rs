//! What a response made by the proxy looks like on the wire, and the ones that Envoy makes by itself.

use crate::state::abi::Direction;
use crate::state::grpc::status_of_http;
use crate::state::headers::HeaderMap;
use crate::state::single_entry::MapKind;
use crate::state::stream::{Reply, StreamState};

/// The body that Envoy holds back has outgrown its limit.
pub(super) fn too_large(dir: Direction) -> Reply {
    match dir {
        Direction::Request => reply(413, "Payload Too Large", "request_payload_too_large"),
        Direction::Response => reply(500, "Internal Server Error", "response_payload_too_large"),
    }
}

/// The filter has removed `:status`.
pub(super) fn bad_gateway() -> Reply {
    reply(502, "missing required header: :status", "filter_removed_required_response_headers")
}

/// No route matches the request.
pub(super) fn no_route() -> Reply {
    reply(404, "", "route_not_found")
}

fn reply(status: u32, body: &str, details: &str) -> Reply {
    Reply { status, headers: HeaderMap::new(), body: body.into(), grpc_status: None, details: details.into() }
}

/// `Utility::prepareLocalReply`: a gRPC client gets a trailers-only response, any other client the body.
pub(super) fn message(s: &StreamState, reply: &Reply) -> (HeaderMap, Vec<u8>) {
    let status = reply.status.to_string();
    let mut headers = HeaderMap::from([(":status", &status)]).into_kind(MapKind::Response);
    for (name, value) in reply.headers.iter() {
        headers.add(name, value);
    }
    headers.set(":status", status);
    if s.is_grpc {
        headers.set(":status", "200");
        headers.set("content-type", "application/grpc");
        if headers.get("grpc-status").is_none_or(<[u8]>::is_empty) {
            let status = reply.grpc_status.map_or_else(|| status_of_http(i64::from(reply.status)), i64::from);
            headers.set("grpc-status", status.to_string());
        }
        if !reply.body.is_empty() && !s.is_head {
            headers.set("grpc-message", percent_encode(&reply.body));
        }
        headers.remove("content-length");
        return (headers, Vec::new());
    }
    if reply.body.is_empty() {
        headers.remove("content-length");
        headers.remove("content-type");
    } else {
        headers.set("content-length", reply.body.len().to_string());
        if headers.get("content-type").is_none() {
            headers.set("content-type", "text/plain");
        }
    }
    let body = if s.is_head { Vec::new() } else { reply.body.clone() };
    (headers, body)
}

/// The encoding of `grpc-message` (gRPC over HTTP/2, "Status-Message").
fn percent_encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out
}
