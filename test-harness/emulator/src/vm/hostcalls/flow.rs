//! What moves a stream or a connection: continue, close, local replies, contexts.

use wasmtime::Caller;

use super::functions::Functions;
use super::{Outcome, outcome, read};
use crate::chain;
use crate::state::abi::{Abi, Direction, Status};
use crate::state::connection::Peer;
use crate::state::headers::HeaderMap;
use crate::state::stream::{Body, Reply};
use crate::vm::host::Host;
use crate::vm::network;

type Module<'a> = Caller<'a, Host>;

pub(super) fn register(functions: &mut Functions<'_>, abi: Abi) -> wasmtime::Result<()> {
    functions
        .add("env", "proxy_send_local_response", send_local_response)?
        .add("env", "proxy_set_effective_context", set_effective_context)?
        .add("env", "proxy_done", done)?;
    if abi == Abi::V0_1_0 {
        functions
            .add("env", "proxy_continue_request", |c: Module<'_>| continue_stream(c, 0))?
            .add("env", "proxy_continue_response", |c: Module<'_>| continue_stream(c, 1))?
            .add("env", "proxy_clear_route_cache", clear_route_cache)?;
    } else {
        functions.add("env", "proxy_continue_stream", continue_stream)?.add(
            "env",
            "proxy_close_stream",
            close_stream,
        )?;
    }
    Ok(())
}

/// In later versions of the ABI, the foreign function of this name.
fn clear_route_cache(mut c: Module<'_>) -> i32 {
    if let Some(stream) = c.data_mut().stream() {
        stream.route.clears += 1;
    }
    Status::Ok.into()
}

/// Request, response, downstream and upstream connection; HTTP filters have the first two, network filters the others.
const LAST_STREAM_TYPE: u32 = 3;

fn continue_stream(mut c: Module<'_>, kind: u32) -> i32 {
    let host = c.data_mut();
    let id = host.context();
    let dir = match kind {
        0 => Direction::Request,
        1 => Direction::Response,
        2 => {
            if host.connection().is_some() {
                host.defer(move |cx| network::continue_reading(cx, id));
            }
            return Status::Ok.into();
        }
        LAST_STREAM_TYPE => return Status::Unimplemented.into(),
        _ => return Status::BadArgument.into(),
    };
    if let Some(s) = host.stream() {
        // Whichever direction goes on, it is the request's maps and body that the module loses (context.cc).
        let request = s.half(Direction::Request);
        request.headers_open = false;
        request.trailers_open = false;
        request.body = Body::None;
        host.defer(move |cx| chain::continue_stream(cx, id, dir));
    }
    Status::Ok.into()
}

fn close_stream(mut c: Module<'_>, kind: u32) -> i32 {
    let host = c.data_mut();
    let id = host.context();
    if kind > LAST_STREAM_TYPE {
        return Status::BadArgument.into();
    }
    if kind < 2
        && let Some(s) = host.stream()
    {
        s.details.get_or_insert_with(|| "wasm_close_stream".to_owned());
        let in_trailers = s.encoding && s.half(Direction::Response).trailers_open;
        if in_trailers {
            host.hazard(format!("stream {id}: closed the response in its trailers callback"));
        }
        host.defer(move |cx| chain::reset(cx, id));
    }
    if kind >= 2 && host.connection().is_some() {
        // Both sides of a network filter are the connection to the client.
        host.defer(move |cx| network::close(cx, id, Peer::Local));
    }
    Status::Ok.into()
}

#[allow(clippy::too_many_arguments, reason = "the ABI's signature")]
fn send_local_response(
    mut c: Module<'_>,
    status: u32,
    details: u32,
    details_len: u32,
    body: u32,
    body_len: u32,
    headers: u32,
    headers_len: u32,
    grpc_status: i32,
) -> Outcome {
    let mut run = || {
        let details = read(&c, details, details_len)?;
        let body = read(&c, body, body_len)?;
        let headers = HeaderMap::from_pairs(&read(&c, headers, headers_len)?);
        let details = String::from_utf8_lossy(&details).replace(char::is_whitespace, "_");
        let grpc_status = u32::try_from(grpc_status).ok().filter(|code| *code <= 16);
        let host = c.data_mut();
        let id = host.context();
        if host.streams.get(&id).is_some_and(|s| s.log_phase) {
            host.hazard(format!("stream {id}: local response from the access log"));
        } else if host.streams.contains_key(&id) {
            let reply = Reply { status, headers, body, grpc_status, details };
            host.defer(move |cx| chain::send_local_reply(cx, id, reply));
        }
        host.stop_next = true;
        Ok(())
    };
    outcome(run())
}

fn set_effective_context(mut c: Module<'_>, id: u32) -> i32 {
    let host = c.data_mut();
    if !host.is_context(id) {
        return Status::BadArgument.into();
    }
    host.effective = id;
    Status::Ok.into()
}

/// Only a context whose `proxy_on_done` returned false may call this; the emulator ends them at once.
fn done(_: Module<'_>) -> i32 {
    Status::NotFound.into()
}
