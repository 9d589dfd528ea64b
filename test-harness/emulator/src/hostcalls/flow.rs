//! What moves a stream: continue, close, local replies, HTTP calls, contexts.

use wasmtime::{Caller, Linker};

use super::{Outcome, outcome, read, write_u32};
use crate::abi::{Direction, Status};
use crate::calls::HttpCall;
use crate::headers::HeaderMap;
use crate::host::{Action, Host};
use crate::stream_state::{Body, Reply};

type Module<'a> = Caller<'a, Host>;

pub(super) fn register(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker
        .func_wrap("env", "proxy_continue_stream", continue_stream)?
        .func_wrap("env", "proxy_close_stream", close_stream)?
        .func_wrap("env", "proxy_send_local_response", send_local_response)?
        .func_wrap("env", "proxy_set_effective_context", set_effective_context)?
        .func_wrap("env", "proxy_done", done)?
        .func_wrap("env", "proxy_http_call", http_call)?;
    Ok(())
}

/// Request, response, downstream and upstream connection; the last two mean nothing to an HTTP filter.
const LAST_STREAM_TYPE: u32 = 3;

fn continue_stream(mut c: Module<'_>, kind: u32) -> i32 {
    let host = c.data_mut();
    let id = host.context();
    let dir = match kind {
        0 => Direction::Request,
        1 => Direction::Response,
        2 => return Status::Ok.into(),
        LAST_STREAM_TYPE => return Status::Unimplemented.into(),
        _ => return Status::BadArgument.into(),
    };
    if let Some(s) = host.stream() {
        // Whichever direction goes on, it is the request's maps and body that the module loses (context.cc).
        let request = s.half(Direction::Request);
        request.headers_open = false;
        request.trailers_open = false;
        request.body = Body::None;
        host.after_call.push_back(Action::Continue(id, dir));
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
        host.after_call.push_back(Action::Reset(id));
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
            host.after_call.push_back(Action::Reply(id, reply));
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

#[allow(clippy::too_many_arguments, reason = "the ABI's signature")]
fn http_call(
    mut c: Module<'_>,
    cluster: u32,
    cluster_len: u32,
    headers: u32,
    headers_len: u32,
    body: u32,
    body_len: u32,
    trailers: u32,
    trailers_len: u32,
    timeout_ms: i32,
    token_at: u32,
) -> Outcome {
    let mut run = || {
        let cluster = String::from_utf8_lossy(&read(&c, cluster, cluster_len)?).into_owned();
        let mut headers = HeaderMap::from_pairs(&read(&c, headers, headers_len)?);
        let body = read(&c, body, body_len)?;
        let trailers = HeaderMap::from_pairs(&read(&c, trailers, trailers_len)?);
        write_u32(&mut c, token_at, 0)?;
        let host = c.data_mut();
        let complete = [":method", ":path", ":authority"].iter().all(|name| headers.get(name).is_some());
        if timeout_ms < 0 || !host.clusters.contains(&cluster) || !complete {
            return Err(Status::BadArgument.into());
        }
        if !body.is_empty() {
            headers.set("content-length", body.len().to_string());
        }
        let token = host.next_call;
        host.next_call += 1;
        let deadline = (timeout_ms > 0).then(|| host.now + timeout_ms as u64 * 1_000_000);
        let (root, context) = (host.root(), host.context());
        host.calls.push(HttpCall { token, root, context, cluster, headers, body, trailers, deadline });
        Ok(write_u32(&mut c, token_at, token)?)
    };
    outcome(run())
}
