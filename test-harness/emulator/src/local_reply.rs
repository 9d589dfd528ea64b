//! Responses made by the proxy: by the module, or by Envoy itself for the module's faults.

use crate::abi::Direction;
use crate::chain::{self, stream};
use crate::headers::HeaderMap;
use crate::host::Cx;
use crate::stream_state::Reply;

/// `DownstreamFilterManager::sendLocalReply`: through the filter's own response callbacks if no response has
/// begun, straight to the client if one has begun but nothing of it has left, else the stream is reset.
pub(crate) fn send(cx: &mut Cx<'_>, id: u32, reply: Reply) {
    let s = stream(cx, id);
    if s.destroyed {
        return;
    }
    if s.decoding {
        s.half(Direction::Request).aborted = true;
    } else if s.encoding {
        s.half(Direction::Response).aborted = true;
    }
    s.details = Some(reply.details.clone());
    if s.half(Direction::Response).headers.is_none() {
        if s.decoding {
            s.prepared = Some(reply);
        } else {
            through_chain(cx, id, reply);
        }
    } else if !s.response_encoded {
        directly(cx, id, &reply);
    } else {
        chain::reset(cx, id);
    }
}

/// Sends the reply through the response callbacks.
pub(crate) fn through_chain(cx: &mut Cx<'_>, id: u32, reply: Reply) {
    let (headers, body) = message(cx, id, &reply);
    let s = stream(cx, id);
    s.half(Direction::Request).aborted = true;
    chain::headers(cx, id, Direction::Response, headers, body.is_empty());
    if !body.is_empty() {
        chain::data(cx, id, Direction::Response, body, true);
    }
}

fn directly(cx: &mut Cx<'_>, id: u32, reply: &Reply) {
    let (headers, body) = message(cx, id, reply);
    let s = stream(cx, id);
    s.half(Direction::Response).headers = Some(headers.clone());
    chain::deliver_response_headers(cx, id, headers, body.is_empty());
    if !body.is_empty() {
        chain::deliver_response_data(cx, id, body, true);
    }
}

/// `Utility::prepareLocalReply`: a gRPC client gets a trailers-only response, anybody else the body.
fn message(cx: &mut Cx<'_>, id: u32, reply: &Reply) -> (HeaderMap, Vec<u8>) {
    let s = stream(cx, id);
    let mut headers = HeaderMap::from([(":status", reply.status.to_string())]);
    for (name, value) in reply.headers.iter() {
        headers.add(name, value);
    }
    if s.is_grpc {
        headers.set(":status", "200");
        headers.set("content-type", "application/grpc");
        if headers.get("grpc-status").is_none_or(<[u8]>::is_empty) {
            let status = reply.grpc_status.unwrap_or_else(|| grpc_status_of(reply.status));
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

/// The gRPC status for an HTTP one (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
fn grpc_status_of(http: u32) -> u32 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
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
