//! Calls that the module makes to clusters, over HTTP and gRPC.

use wasmtime::Caller;

use super::functions::Functions;
use super::{Outcome, hand_over, outcome, read, write_u32};
use crate::state::abi::Status;
use crate::state::calls::HttpCall;
use crate::state::grpc::{self, GrpcCall, Target};
use crate::state::headers::HeaderMap;
use crate::state::single_entry::MapKind;
use crate::vm::events;
use crate::vm::host::Host;

type Module<'a> = Caller<'a, Host>;

pub(super) fn register(functions: &mut Functions<'_>) -> wasmtime::Result<()> {
    functions
        .add("env", "proxy_http_call", http_call)?
        .add("env", "proxy_grpc_call", grpc_call)?
        .add("env", "proxy_grpc_stream", grpc_stream)?
        .add("env", "proxy_grpc_send", grpc_send)?
        .add("env", "proxy_grpc_cancel", grpc_cancel)?
        .add("env", "proxy_grpc_close", grpc_close)?
        .add("env", "proxy_get_status", get_status)?;
    Ok(())
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
        let mut headers = HeaderMap::from_pairs(&read(&c, headers, headers_len)?).into_kind(MapKind::Request);
        let body = read(&c, body, body_len)?;
        let trailers =
            HeaderMap::from_pairs(&read(&c, trailers, trailers_len)?).into_kind(MapKind::RequestTrailers);
        write_u32(&mut c, token_at, 0)?;
        let host = c.data_mut();
        if let Some(why) = refusal(host, &cluster, &headers, timeout_ms) {
            host.hint(format!("proxy_http_call refused: {why}"));
            return Err(Status::BadArgument.into());
        }
        if !body.is_empty() {
            headers.set("content-length", body.len().to_string());
        }
        let token = host.next_call;
        host.next_call += grpc::TOKEN_STEP;
        let deadline = (timeout_ms > 0).then(|| host.now + timeout_ms as u64 * 1_000_000);
        let (root, context) = (host.root(), host.context());
        host.calls.push(HttpCall { token, root, context, cluster, headers, body, trailers, deadline });
        Ok(write_u32(&mut c, token_at, token)?)
    };
    outcome(run())
}

/// Why Envoy refuses a call, which its `BadArgument` does not say.
fn refusal(host: &Host, cluster: &str, headers: &HeaderMap, timeout_ms: i32) -> Option<String> {
    if timeout_ms < 0 {
        return Some("the timeout is negative".to_owned());
    }
    if !host.clusters.contains(cluster) {
        return Some(no_cluster(host, cluster));
    }
    let missing = [":method", ":path", ":authority"].into_iter().find(|name| headers.get(name).is_none());
    missing.map(|name| format!("the headers lack {name}"))
}

fn no_cluster(host: &Host, cluster: &str) -> String {
    format!("there is no cluster {cluster:?}; `VmOptions::clusters` has {:?}", host.clusters)
}

#[allow(clippy::too_many_arguments, reason = "the ABI's signature")]
fn grpc_call(
    mut c: Module<'_>,
    target: u32,
    target_len: u32,
    service: u32,
    service_len: u32,
    method: u32,
    method_len: u32,
    metadata: u32,
    metadata_len: u32,
    message: u32,
    message_len: u32,
    timeout_ms: u32,
    token_at: u32,
) -> Outcome {
    let mut run = || {
        let target = Target::parse(&read(&c, target, target_len)?);
        let service = String::from_utf8_lossy(&read(&c, service, service_len)?).into_owned();
        let method = String::from_utf8_lossy(&read(&c, method, method_len)?).into_owned();
        let metadata = HeaderMap::from_pairs(&read(&c, metadata, metadata_len)?).into_kind(MapKind::Request);
        let message = read(&c, message, message_len)?;
        let now = c.data().now;
        let call = GrpcCall {
            stream: false,
            messages: vec![message],
            half_closed: true,
            // 0 means no timeout.
            deadline: (timeout_ms > 0).then(|| now + u64::from(timeout_ms) * 1_000_000),
            ..unsent(service, method, metadata)
        };
        let token = send(c.data_mut(), target, call, "proxy_grpc_call")?;
        Ok(write_u32(&mut c, token_at, token)?)
    };
    outcome(run())
}

#[allow(clippy::too_many_arguments, reason = "the ABI's signature")]
fn grpc_stream(
    mut c: Module<'_>,
    target: u32,
    target_len: u32,
    service: u32,
    service_len: u32,
    method: u32,
    method_len: u32,
    metadata: u32,
    metadata_len: u32,
    token_at: u32,
) -> Outcome {
    let mut run = || {
        let target = Target::parse(&read(&c, target, target_len)?);
        let service = String::from_utf8_lossy(&read(&c, service, service_len)?).into_owned();
        let method = String::from_utf8_lossy(&read(&c, method, method_len)?).into_owned();
        let metadata = HeaderMap::from_pairs(&read(&c, metadata, metadata_len)?).into_kind(MapKind::Request);
        let call = GrpcCall { stream: true, ..unsent(service, method, metadata) };
        let token = send(c.data_mut(), target, call, "proxy_grpc_stream")?;
        Ok(write_u32(&mut c, token_at, token)?)
    };
    outcome(run())
}

/// A call of which only these three are known.
fn unsent(service: String, method: String, metadata: HeaderMap) -> GrpcCall {
    GrpcCall {
        token: 0,
        root: 0,
        context: 0,
        cluster: String::new(),
        service,
        method,
        metadata,
        stream: false,
        messages: Vec::new(),
        half_closed: false,
        given_up: false,
        deadline: None,
    }
}

/// `Context::grpcCall` and `grpcStream`: a cluster's name must exist; a `GrpcService` whose cluster does not exist fails
/// while it is sent, and the module learns of that twice.
fn send(host: &mut Host, target: Target, mut call: GrpcCall, function: &str) -> Result<u32, Status> {
    let (cluster, by_name) = match target {
        Target::Name(name) => (name, true),
        Target::Service(name) => (name, false),
        Target::Nothing => {
            host.hazard(format!("{function} with a GrpcService that names neither a cluster nor an address"));
            return Err(Status::BadArgument);
        }
    };
    let exists = host.clusters.contains(&cluster);
    if !exists {
        host.hint(format!("{function} refused: {}", no_cluster(host, &cluster)));
    }
    if !exists && by_name {
        return Err(Status::ParseFailure);
    }
    call.token = host.grpc_token(call.stream);
    (call.root, call.context, call.cluster) = (host.root(), host.context(), cluster);
    if !exists {
        host.defer(move |cx| events::grpc_not_sent(cx, &call));
        return Err(Status::InternalFailure);
    }
    let token = call.token;
    host.grpc_calls.push(call);
    Ok(token)
}

/// A stream takes messages until the module gives it up; those sent after the other side has closed it are lost.
fn grpc_send(mut c: Module<'_>, token: u32, message: u32, message_len: u32, end: u32) -> Outcome {
    let mut run = || {
        let message = read(&c, message, message_len)?;
        if token & 3 != grpc::STREAM {
            return Err(Status::BadArgument.into());
        }
        let host = c.data_mut();
        match host.grpc_calls.iter_mut().find(|call| call.token == token) {
            Some(call) => {
                call.messages.push(message);
                call.half_closed |= end != 0;
            }
            None if host.closed_streams.contains(&token) => {}
            None => return Err(Status::NotFound.into()),
        }
        Ok(())
    };
    outcome(run())
}

/// Gives a call or a stream up.
fn grpc_cancel(mut c: Module<'_>, token: u32) -> i32 {
    if !matches!(token & 3, grpc::CALL | grpc::STREAM) {
        return Status::BadArgument.into();
    }
    let host = c.data_mut();
    if let Some(at) = host.grpc_calls.iter().position(|call| call.token == token) {
        host.grpc_calls.remove(at);
    } else if !host.closed_streams.remove(&token) {
        return Status::NotFound.into();
    }
    Status::Ok.into()
}

/// Gives a call up; half-closes a stream, which the other side then closes.
fn grpc_close(mut c: Module<'_>, token: u32) -> i32 {
    let stream = c.data_mut().grpc_calls.iter_mut().find(|call| call.token == token && call.stream);
    match stream {
        Some(call) => {
            call.half_closed = true;
            call.given_up = true;
            Status::Ok.into()
        }
        None => grpc_cancel(c, token),
    }
}

/// How the last call of this root context ended that did not end well.
fn get_status(mut c: Module<'_>, code_at: u32, message: u32, message_len: u32) -> Outcome {
    let mut run = || {
        let root = c.data().root();
        let (code, text) = c.data().statuses.get(&root).cloned().unwrap_or_default();
        write_u32(&mut c, code_at, code)?;
        hand_over(&mut c, text.as_bytes(), message, message_len)
    };
    outcome(run())
}
