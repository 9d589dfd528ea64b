//! What a module reads with `proxy_get_property`: what the test gave, Envoy's attributes, and filter state.

use super::abi::{Direction, Status};
use super::connection::ConnectionState;
use super::grpc;
use super::headers::HeaderMap;
use super::metadata;
use super::options::PluginOptions;
use super::properties::Properties;
use super::stream::StreamState;
use super::value::PropertyValue;

/// Addresses of a connection of which the test says nothing.
const CLIENT: (&str, i64) = ("127.0.0.1:50000", 50000);
const LISTENER: (&str, i64) = ("127.0.0.1:8080", 8080);

/// Attributes that have others below them, and no value of their own.
const GROUPS: [&[u8]; 8] =
    [b"request", b"response", b"connection", b"source", b"destination", b"upstream", b"xds", b"filter_state"];

/// Attributes for which the ABI has no form where the upstream says nothing of itself, once it is chosen.
const OF_UPSTREAM: [&[&[u8]]; 3] = [
    &[b"upstream_filter_state"],
    &[b"xds", b"upstream_host_metadata"],
    &[b"xds", b"upstream_host_locality_metadata"],
];

/// What properties follow from: the context that asks, and what it belongs to.
pub(crate) struct Facts<'a> {
    pub(crate) context: u32,
    pub(crate) stream: Option<&'a StreamState>,
    pub(crate) connection: Option<&'a ConnectionState>,
    pub(crate) plugin: Option<&'a PluginOptions>,
    pub(crate) vm_id: &'a str,
    /// What the test gave for every context of the VM.
    pub(crate) vm: &'a Properties,
}

/// Reads a property. `path` is its parts joined by zero bytes.
pub(crate) fn get(facts: &Facts<'_>, path: &[u8]) -> Result<Vec<u8>, Status> {
    if path.is_empty() {
        return Err(Status::SerializationFailure);
    }
    let parts: Vec<&[u8]> = path.strip_suffix(b"\0").unwrap_or(path).split(|b| *b == 0).collect();
    let own = facts.stream.map(|s| &s.properties).or(facts.connection.map(|c| &c.properties));
    if let Some(value) = own.and_then(|own| own.find(&parts)).or_else(|| facts.vm.find(&parts)) {
        return Ok(value);
    }
    if let [b"metadata", rest @ ..] = parts.as_slice() {
        return facts.stream.map_or(Err(Status::NotFound), |s| metadata::get(&s.metadata, rest));
    }
    let asked = facts.stream.is_some_and(|s| s.half_ref(Direction::Request).out.headers.is_some());
    if asked && OF_UPSTREAM.contains(&parts.as_slice()) {
        return Err(Status::SerializationFailure);
    }
    let in_stream = facts.stream.is_some() || facts.connection.is_some();
    if in_stream
        && let [name] = parts.as_slice()
        && GROUPS.contains(name)
    {
        // A map whose names cannot be listed.
        return Err(Status::SerializationFailure);
    }
    built_in(facts, &parts).map(|value| value.to_bytes()).ok_or(Status::NotFound)
}

/// Whether Envoy has an attribute of this path in some exchanges, of which the emulator knows nothing unless a test says
/// so.
pub(crate) fn may_be_known_to_envoy(path: &[u8]) -> bool {
    let mut parts = path.split(|b| *b == 0);
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match first {
        b"connection" | b"upstream" | b"xds" => true,
        b"response" => second == b"backend_latency",
        b"request" => second == b"duration",
        _ => false,
    }
}

fn built_in(facts: &Facts<'_>, parts: &[&[u8]]) -> Option<PropertyValue> {
    let plugin = facts.plugin;
    match parts {
        [b"plugin_name"] => return plugin.map(|p| p.name.as_str().into()),
        [b"plugin_root_id"] => return plugin.map(|p| p.root_id.as_str().into()),
        [b"plugin_vm_id"] => return Some(facts.vm_id.into()),
        [b"xds", b"node", b"id" | b"cluster"] => return Some("".into()),
        _ => {}
    }
    let state = facts.stream.map(|s| &s.filter_state).or(facts.connection.map(|c| &c.filter_state))?;
    match parts {
        [b"xds", name] => xds(facts, name),
        [b"request", rest @ ..] => facts.stream.and_then(|s| request(s, rest)),
        [b"response", rest @ ..] => facts.stream.and_then(|s| response(s, rest)),
        [b"connection", b"id"] | [b"connection_id"] => Some(u64::from(facts.context).into()),
        [b"connection", b"mtls"] => Some(false.into()),
        [b"connection", b"requested_server_name"] => Some("".into()),
        [b"source", what] => peer(CLIENT, what),
        [b"destination", what] => peer(LISTENER, what),
        [b"upstream", name] => facts.stream.and_then(|s| upstream(s, name)),
        [b"filter_state", name] => state.get(name).map(Into::into),
        [name] => state.of_module(name).map(Into::into),
        _ => None,
    }
}

fn peer((address, port): (&str, i64), what: &[u8]) -> Option<PropertyValue> {
    match what {
        b"address" => Some(address.into()),
        b"port" => Some(port.into()),
        _ => None,
    }
}

/// Attributes of the upstream, which the emulator does not have: those that a filter can rely on.
fn upstream(s: &StreamState, name: &[u8]) -> Option<PropertyValue> {
    let asked = s.half_ref(Direction::Request).out.headers.is_some();
    match name {
        b"request_attempt_count" => Some(u64::from(asked).into()),
        b"transport_failure_reason" => asked.then(|| "".into()),
        _ => None,
    }
}

fn xds(facts: &Facts<'_>, name: &[u8]) -> Option<PropertyValue> {
    match name {
        b"cluster_name" => facts.stream?.selected_cluster.as_deref().map(Into::into),
        b"route_name" => facts.stream.map(|_| "".into()),
        b"filter_chain_name" => Some("".into()),
        b"listener_direction" => Some(0_i64.into()),
        _ => None,
    }
}

/// Headers and trailers can be read as properties exactly when the header functions can read them.
fn readable<'a>(s: &StreamState, open: bool, map: Option<&'a HeaderMap>) -> Option<&'a HeaderMap> {
    if open || s.log_phase { map } else { None }
}

/// All values of a header, joined by commas.
fn joined(map: &HeaderMap, name: &[u8]) -> Option<PropertyValue> {
    let values: Vec<&[u8]> = map.all(name).collect();
    (!values.is_empty()).then(|| values.join(&b',').into())
}

/// All headers, with the values of one name joined; none where they cannot be read now.
fn all_of(map: Option<&HeaderMap>) -> PropertyValue {
    let mut members: Vec<(Vec<u8>, PropertyValue)> = Vec::new();
    for (name, _) in map.iter().flat_map(|map| map.iter()) {
        if members.iter().all(|(known, _)| known != name) {
            members.extend(map.and_then(|map| joined(map, name)).map(|value| (name.to_vec(), value)));
        }
    }
    PropertyValue::Map(members)
}

fn number(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Envoy's `request` attributes (`docs/root/intro/arch_overview/advanced/attributes.rst`).
fn request(s: &StreamState, parts: &[&[u8]]) -> Option<PropertyValue> {
    let half = s.half_ref(Direction::Request);
    let headers = readable(s, half.headers_open, half.headers.as_ref());
    let bytes = headers.map_or(0, |map| map.byte_size() as i64);
    match parts {
        [b"time"] => return Some((s.started as i64).into()),
        [b"protocol"] => return Some("HTTP/1.1".into()),
        [b"total_size"] => return Some((half.received as i64 + bytes).into()),
        [b"headers_bytes"] => return Some(bytes.into()),
        [b"headers"] => return Some(all_of(headers)),
        [b"size"] => {
            return match headers.and_then(|map| map.get("content-length")) {
                Some(length) => number(length).map(Into::into),
                None => Some((half.received as i64).into()),
            };
        }
        _ => {}
    }
    let headers = headers?;
    let path = || headers.get(":path");
    let query = |path: &'_ [u8]| -> Vec<u8> {
        let query = path.splitn(2, |b| *b == b'?').nth(1).unwrap_or_default();
        query.split(|b| *b == b'#').next().unwrap_or_default().to_vec()
    };
    let header = match parts {
        [b"path"] => path(),
        [b"url_path"] => path()?.split(|b| *b == b'?').next(),
        [b"query"] => return Some(query(path()?).into()),
        [b"host"] => headers.get(":authority"),
        [b"scheme"] => headers.get(":scheme"),
        [b"method"] => headers.get(":method"),
        [b"referer"] => headers.get("referer"),
        [b"useragent"] => headers.get("user-agent"),
        [b"id"] => headers.get("x-request-id"),
        [b"headers", name] => return joined(headers, name),
        _ => None,
    };
    header.map(Into::into)
}

/// Envoy's `response` attributes that follow from headers and trailers.
fn response(s: &StreamState, parts: &[&[u8]]) -> Option<PropertyValue> {
    let half = s.half_ref(Direction::Response);
    let headers = readable(s, half.headers_open, half.headers.as_ref());
    let trailers = readable(s, half.trailers_open, half.trailers.as_ref());
    let sent = || half.out.chunks.iter().map(Vec::len).sum::<usize>() as i64;
    let bytes = |map: Option<&HeaderMap>| map.map_or(0, |map| map.byte_size() as i64);
    match parts {
        [b"code"] => number(half.headers.as_ref()?.get(":status")?).map(Into::into),
        [b"code_details"] => {
            let arrived = half.headers.as_ref().map(|_| "via_upstream");
            s.details.as_deref().or(arrived).map(Into::into)
        }
        [b"flags"] => Some(0_i64.into()),
        [b"size"] => Some(sent().into()),
        [b"headers_bytes"] => Some(bytes(headers).into()),
        [b"total_size"] => Some((sent() + bytes(headers) + bytes(trailers)).into()),
        [b"grpc_status"] => {
            let trailers = half.trailers.as_ref().and_then(|map| map.get("grpc-status"));
            let given = trailers.or_else(|| half.headers.as_ref()?.get("grpc-status"));
            let of_http = || number(half.headers.as_ref()?.get(":status")?).map(grpc::status_of_http);
            given.map_or_else(of_http, number).map(Into::into)
        }
        [b"headers"] => Some(all_of(headers)),
        [b"trailers"] => Some(all_of(trailers)),
        [b"headers", name] => joined(headers?, name),
        [b"trailers", name] => joined(trailers?, name),
        _ => None,
    }
}
