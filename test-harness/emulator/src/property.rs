//! Properties: what the test gave, what follows from the exchange, and filter state.

use crate::abi::{Direction, Status};
use crate::headers::HeaderMap;
use crate::host::Host;
use crate::metadata;
use crate::stream_state::StreamState;

/// Reads a property. `path` is its parts joined by zero bytes.
pub(crate) fn get(host: &Host, path: &[u8]) -> Result<Vec<u8>, Status> {
    let context = host.context();
    let stream = host.streams.get(&context);
    let parts: Vec<&[u8]> = path.strip_suffix(b"\0").unwrap_or(path).split(|b| *b == 0).collect();
    if let Some(value) = stream.and_then(|s| s.properties.get(&parts.join(&0))) {
        return Ok(value.clone());
    }
    let plugin = stream.map(|s| s.plugin).or_else(|| host.plugin_of_root(context));
    let found = match parts.as_slice() {
        [b"plugin_name"] => plugin.map(|p| host.plugins[p].options.name.clone().into_bytes()),
        [b"plugin_root_id"] => plugin.map(|p| host.plugins[p].options.root_id.clone().into_bytes()),
        [b"plugin_vm_id"] => Some(host.vm_id.clone().into_bytes()),
        [b"xds", b"cluster_name"] | [b"cluster_name"] => {
            stream.and_then(|s| s.selected_cluster.clone()).map(String::into_bytes)
        }
        [b"metadata", rest @ ..] => {
            return stream.map_or(Err(Status::NotFound), |s| metadata::get(&s.metadata, rest));
        }
        [b"request", rest @ ..] => stream.and_then(|s| request(s, rest)),
        [b"response", rest @ ..] => stream.and_then(|s| response(s, rest)),
        [b"filter_state", key] => {
            stream.and_then(|s| s.filter_state.get(key.strip_prefix(b"wasm.")?).cloned())
        }
        [name] => stream.and_then(|s| s.filter_state.get(*name).cloned()),
        _ => None,
    };
    found.ok_or(Status::NotFound)
}

/// Headers and trailers can be had by property exactly when the header functions can have them.
fn readable<'a>(s: &StreamState, open: bool, map: Option<&'a HeaderMap>) -> Option<&'a HeaderMap> {
    if open || s.log_phase { map } else { None }
}

/// Envoy's `request` attributes that follow from the headers
/// (`docs/root/intro/arch_overview/advanced/attributes.rst`).
fn request(s: &StreamState, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let half = s.half_ref(Direction::Request);
    let headers = readable(s, half.headers_open, half.headers.as_ref())?;
    let path = || headers.get(":path");
    let header = match parts {
        [b"path"] => path(),
        [b"url_path"] => path()?.split(|b| *b == b'?').next(),
        [b"query"] => path()?.splitn(2, |b| *b == b'?').nth(1).or(Some(b"")),
        [b"host"] => headers.get(":authority"),
        [b"scheme"] => headers.get(":scheme"),
        [b"method"] => headers.get(":method"),
        [b"referer"] => headers.get("referer"),
        [b"useragent"] => headers.get("user-agent"),
        [b"id"] => headers.get("x-request-id"),
        [b"headers", name] => headers.get(name),
        _ => None,
    };
    header.map(<[u8]>::to_vec)
}

/// Envoy's `response` attributes that follow from headers and trailers. Numbers are 64-bit little-endian.
fn response(s: &StreamState, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let half = s.half_ref(Direction::Response);
    let number = |bytes: &[u8]| -> Option<Vec<u8>> {
        Some(std::str::from_utf8(bytes).ok()?.parse::<i64>().ok()?.to_le_bytes().to_vec())
    };
    match parts {
        [b"code"] => number(half.headers.as_ref()?.get(":status")?),
        [b"code_details"] => s.details.clone().map(String::into_bytes),
        [b"grpc_status"] => number(
            half.trailers
                .as_ref()
                .and_then(|t| t.get("grpc-status"))
                .or_else(|| half.headers.as_ref()?.get("grpc-status"))?,
        ),
        [b"headers", name] => {
            readable(s, half.headers_open, half.headers.as_ref())?.get(name).map(<[u8]>::to_vec)
        }
        [b"trailers", name] => {
            readable(s, half.trailers_open, half.trailers.as_ref())?.get(name).map(<[u8]>::to_vec)
        }
        _ => None,
    }
}
