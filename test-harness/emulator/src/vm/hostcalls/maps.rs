//! Header maps and buffers.

use wasmtime::{AsContextMut, Caller};

use super::functions::Functions;
use super::{Outcome, hand_over, outcome, read, write_u32};
use crate::chain;
use crate::state::abi::{Abi, BufferType, Direction, MapType, Status};
use crate::state::headers::HeaderMap;
use crate::state::single_entry::MapKind;
use crate::state::stream::{Body, StreamState};
use crate::vm::host::Host;

type Module<'a> = Caller<'a, Host>;

pub(super) fn register(functions: &mut Functions<'_>) -> wasmtime::Result<()> {
    functions
        .add("env", "proxy_get_header_map_value", get_value)?
        .add("env", "proxy_get_header_map_pairs", get_pairs)?
        .add("env", "proxy_get_header_map_size", get_size)?
        .add("env", "proxy_add_header_map_value", add_value)?
        .add("env", "proxy_replace_header_map_value", replace_value)?
        .add("env", "proxy_remove_header_map_value", remove_value)?
        .add("env", "proxy_set_header_map_pairs", set_pairs)?
        .add("env", "proxy_get_buffer_bytes", get_buffer)?
        .add("env", "proxy_get_buffer_status", get_buffer_status)?
        .add("env", "proxy_set_buffer_bytes", set_buffer)?;
    Ok(())
}

fn map_type(number: u32) -> Result<MapType, Status> {
    MapType::from_abi(number).ok_or(Status::BadArgument)
}

/// The map that the module may read now. The access-log callback cannot read request trailers.
fn readable(host: &mut Host, kind: MapType) -> Option<HeaderMap> {
    match kind {
        MapType::GrpcInitialMetadata => host.received.initial.clone(),
        MapType::GrpcTrailingMetadata => host.received.trailing.clone(),
        MapType::CallHeaders => host.call_response.as_ref().map(|r| r.headers.clone()),
        MapType::CallTrailers => host.call_response.as_ref().and_then(|r| r.trailers.clone()),
        MapType::Headers(dir) => {
            let s = host.stream()?;
            if s.log_phase || s.half(dir).headers_open { s.half(dir).headers.clone() } else { None }
        }
        MapType::Trailers(dir) => {
            let s = host.stream()?;
            if s.log_phase {
                return if dir == Direction::Response { s.half(dir).trailers.clone() } else { None };
            }
            if s.half(dir).trailers_open { s.half(dir).trailers.clone() } else { None }
        }
    }
}

/// Changes a map; a changed request header makes Envoy forget the route.
fn change(host: &mut Host, kind: MapType, f: impl FnOnce(&mut HeaderMap)) -> Result<(), Status> {
    let s = host.stream().ok_or(Status::BadArgument)?;
    f(changeable(s, kind).ok_or(Status::BadArgument)?);
    if kind == MapType::Headers(Direction::Request) {
        s.route.clears += 1;
    }
    Ok(())
}

/// The map that the module may change now. Trailers come into being with the last piece of body.
fn changeable(s: &mut StreamState, kind: MapType) -> Option<&mut HeaderMap> {
    let end_of_stream = s.end_of_stream;
    match kind {
        MapType::Headers(dir) => {
            let h = s.half(dir);
            if h.headers_open { h.headers.as_mut() } else { None }
        }
        MapType::Trailers(dir) => {
            let h = s.half(dir);
            if !h.trailers_open && h.body != Body::None && end_of_stream {
                let kind = match dir {
                    Direction::Request => MapKind::RequestTrailers,
                    Direction::Response => MapKind::ResponseTrailers,
                };
                h.trailers.get_or_insert_with(|| HeaderMap::new().into_kind(kind));
                h.trailers_open = true;
            }
            if h.trailers_open { h.trailers.as_mut() } else { None }
        }
        _ => None,
    }
}

fn get_value(mut c: Module<'_>, kind: u32, key: u32, key_len: u32, value: u32, value_len: u32) -> Outcome {
    let mut run = || {
        let kind = map_type(kind)?;
        let key = read(&c, key, key_len)?;
        let in_log = c.data_mut().stream().is_some_and(|s| s.log_phase);
        let missing = if in_log { Status::NotFound } else { Status::BadArgument };
        let map = readable(c.data_mut(), kind).ok_or(missing)?;
        let found = match map.get(&key) {
            Some(found) => found,
            // The first version of the ABI does not tell a missing header from an empty one.
            None if c.data().abi == Abi::V0_1_0 => &[],
            None => return Err(Status::NotFound.into()),
        };
        hand_over(&mut c, found, value, value_len)
    };
    outcome(run())
}

fn get_pairs(mut c: Module<'_>, kind: u32, pairs: u32, pairs_len: u32) -> Outcome {
    let mut run = || {
        let map = readable(c.data_mut(), map_type(kind)?).unwrap_or_default();
        let bytes = if map.is_empty() { Vec::new() } else { map.to_pairs() };
        hand_over(&mut c, &bytes, pairs, pairs_len)
    };
    outcome(run())
}

fn get_size(mut c: Module<'_>, kind: u32, size: u32) -> Outcome {
    let mut run = || {
        let kind = map_type(kind)?;
        // Envoy asks for the map that may be changed, which makes trailers where they can be made.
        let stream = c.data_mut().stream().ok_or(Status::BadArgument)?;
        let map = changeable(stream, kind).ok_or(Status::BadArgument)?;
        let bytes = map.byte_size() as u32;
        Ok(write_u32(&mut c, size, bytes)?)
    };
    outcome(run())
}

fn add_value(mut c: Module<'_>, kind: u32, key: u32, key_len: u32, value: u32, value_len: u32) -> Outcome {
    let mut run = || {
        let (key, value) = (read(&c, key, key_len)?, read(&c, value, value_len)?);
        Ok(change(c.data_mut(), map_type(kind)?, |map| map.add(key, value))?)
    };
    outcome(run())
}

fn replace_value(
    mut c: Module<'_>,
    kind: u32,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
) -> Outcome {
    let mut run = || {
        let (key, value) = (read(&c, key, key_len)?, read(&c, value, value_len)?);
        Ok(change(c.data_mut(), map_type(kind)?, |map| map.set(key, value))?)
    };
    outcome(run())
}

fn remove_value(mut c: Module<'_>, kind: u32, key: u32, key_len: u32) -> Outcome {
    let mut run = || {
        let key = read(&c, key, key_len)?;
        Ok(change(c.data_mut(), map_type(kind)?, |map| map.remove(key))?)
    };
    outcome(run())
}

fn set_pairs(mut c: Module<'_>, kind: u32, pairs: u32, pairs_len: u32) -> Outcome {
    let mut run = || {
        let pairs = HeaderMap::from_pairs(&read(&c, pairs, pairs_len)?);
        Ok(change(c.data_mut(), map_type(kind)?, |map| *map = pairs.into_kind(map.kind()))?)
    };
    outcome(run())
}

fn buffer_type(number: u32) -> Result<BufferType, Status> {
    BufferType::from_abi(number).ok_or(Status::BadArgument)
}

/// Looks at a buffer. A body that is not there now reads as empty.
fn view<T>(host: &mut Host, kind: BufferType, f: impl FnOnce(&[u8]) -> T) -> Result<T, Status> {
    match kind {
        BufferType::Body(dir) => {
            let buffer = host.stream().and_then(|s| s.half(dir).filter_buffer());
            Ok(f(buffer.map_or(&[], |b| b.as_slice())))
        }
        BufferType::CallBody => {
            let response = host.call_response.as_ref().ok_or(Status::NotFound)?;
            Ok(f(&response.body))
        }
        BufferType::Network(dir) => {
            let open = host.connection().map(|c| c.flow(dir)).filter(|flow| flow.open);
            Ok(f(open.map_or(&[], |flow| flow.held.as_slice())))
        }
        BufferType::GrpcMessage => Ok(f(&host.received.message)),
        BufferType::VmConfiguration => Ok(f(&host.vm_configuration)),
        BufferType::PluginConfiguration => Ok(f(host.configuring.as_ref().ok_or(Status::NotFound)?)),
        BufferType::CallData => Ok(f(&[])),
    }
}

fn get_buffer(mut c: Module<'_>, kind: u32, start: u32, len: u32, data: u32, data_len: u32) -> Outcome {
    let mut run = || {
        // Envoy adds them up in 64 bits: nothing is too long, and what is not there is left out.
        let end = start as usize + len as usize;
        let bytes = view(c.data_mut(), buffer_type(kind)?, |b| {
            let end = end.min(b.len());
            b[(start as usize).min(end)..end].to_vec()
        })?;
        // Envoy leaves pointer and length alone when there is nothing to give.
        if bytes.is_empty() { Ok(()) } else { hand_over(&mut c, &bytes, data, data_len) }
    };
    outcome(run())
}

fn get_buffer_status(mut c: Module<'_>, kind: u32, len: u32, flags: u32) -> Outcome {
    let mut run = || {
        let size = view(c.data_mut(), buffer_type(kind)?, <[u8]>::len)?;
        write_u32(&mut c, len, size as u32)?;
        Ok(write_u32(&mut c, flags, 0)?)
    };
    outcome(run())
}

fn set_buffer(mut c: Module<'_>, kind: u32, start: u32, len: u32, data: u32, data_len: u32) -> Outcome {
    let mut run = || {
        let data = read(&c, data, data_len)?;
        let (start, len) = (start as usize, len as usize);
        let dir = match buffer_type(kind)? {
            BufferType::Body(dir) => dir,
            BufferType::Network(dir) => {
                let open = c.data_mut().connection().map(|c| c.flow(dir)).filter(|flow| flow.open);
                return Ok(copy_from(&mut open.ok_or(Status::BadArgument)?.held, start, len, &data)?);
            }
            _ => return Err(Status::BadArgument.into()),
        };
        let id = c.data().context();
        let s = c.data_mut().stream().ok_or(Status::BadArgument)?;
        let calling = if dir == Direction::Request { s.decoding } else { s.encoding };
        let h = s.half(dir);
        let gone = h.body == Body::Chunk && !h.buffering && (!calling || h.trailers_open);
        copy_from(h.filter_buffer().ok_or(Status::BadArgument)?, start, len, &data)?;
        if gone {
            c.data_mut().hazard(format!("stream {id}: wrote to a {dir:?} body that has been passed on"));
        }
        chain::check_limit(&mut c.as_context_mut(), id, dir);
        Ok(())
    };
    outcome(run())
}

/// `Buffer::copyFrom` of Envoy's wasm context: replaces bytes at the start (none: prepends; all: replaces the
/// whole), or appends after the end; nothing in between.
fn copy_from(buffer: &mut Vec<u8>, start: usize, len: usize, data: &[u8]) -> Result<(), Status> {
    if start == 0 {
        buffer.splice(..len.min(buffer.len()), data.iter().copied());
    } else if start >= buffer.len() {
        buffer.extend_from_slice(data);
    } else {
        return Err(Status::BadArgument);
    }
    Ok(())
}
