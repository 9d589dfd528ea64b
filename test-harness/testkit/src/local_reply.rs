//! How Envoy turns a local reply, its own or a filter's, into an answer to a gRPC request
//! (`Utility::prepareLocalReply`).

use crate::headers::Headers;

/// Whether a request with this content type is a gRPC request (`Grpc::Common::hasGrpcContentType`).
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    matches!(content_type.strip_prefix(b"application/grpc"), Some([] | [b'+', ..]))
}

/// The gRPC status of an HTTP one
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
#[must_use]
pub fn grpc_status_of(http: u16) -> u16 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The headers of a local reply to a gRPC request, which has nothing else: `headers` are the reply's own, and `status`
/// the gRPC status if they have none.
#[must_use]
pub fn grpc_local_reply(mut headers: Headers, body: &[u8], status: u16) -> Headers {
    const REPLACED: [&[u8]; 3] = [b":status", b"content-type", b"content-length"];
    headers.retain(|(name, _)| !REPLACED.contains(&name.as_slice()));
    headers.insert(0, (b":status".to_vec(), b"200".to_vec()));
    headers.push((b"content-type".to_vec(), b"application/grpc".to_vec()));
    if !headers.iter().any(|(name, value)| name == b"grpc-status" && !value.is_empty()) {
        headers.push((b"grpc-status".to_vec(), status.to_string().into_bytes()));
    }
    if !body.is_empty() {
        headers.push((b"grpc-message".to_vec(), percent_encoded(body)));
    }
    headers
}

/// The encoding of `grpc-message` (gRPC over HTTP/2, "Status-Message").
fn percent_encoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'%' => out.extend_from_slice(b"%25"),
            0x20..0x7f => out.push(byte),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    out
}
