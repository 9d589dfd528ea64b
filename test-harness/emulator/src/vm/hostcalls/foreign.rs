//! Foreign functions: those that Envoy has and the emulator knows, and the test's own.

use std::net::{IpAddr, SocketAddr};

use wasmtime::Caller;

use super::functions::Functions;
use super::{Outcome, Stop, hand_over, outcome, read};
use crate::state::abi::Status;
use crate::state::foreign::ForeignCall;
use crate::state::protobuf::{bytes_of, fields, number_of};
use crate::vm::host::Host;

type Module<'a> = Caller<'a, Host>;

/// Functions that Envoy has and the emulator has not: a wrong answer would be worse than none.
const ELSEWHERE: &[&str] =
    &["compress", "uncompress", "expr_create", "expr_evaluate", "expr_delete", "sign", "verify_signature"];

/// Objects of filter state that a module can make with `set_envoy_filter_state`: those that both releases make of
/// text.
const FILTER_STATE: &[&str] = &[
    "envoy.filters.listener.original_dst.local_ip",
    "envoy.filters.listener.original_dst.remote_ip",
    "envoy.hashable_string",
    "envoy.network.application_protocols",
    "envoy.network.ip",
    "envoy.network.network_namespace",
    "envoy.network.transport_socket.original_dst_address",
    "envoy.network.upstream_server_name",
    "envoy.network.upstream_subject_alt_names",
    "envoy.ratelimit.hits_addend",
    "envoy.router.debug_config",
    "envoy.string",
    "envoy.tcp_proxy.cluster",
    "envoy.tcp_proxy.disable_tunneling",
    "envoy.tcp_proxy.per_connection_idle_timeout_ms",
    "envoy.upstream.dynamic_host",
    "envoy.upstream.dynamic_port",
];

pub(super) fn register(functions: &mut Functions<'_>) -> wasmtime::Result<()> {
    functions.add("env", "proxy_call_foreign_function", call_foreign_function)?;
    Ok(())
}

fn call_foreign_function(
    mut c: Module<'_>,
    name: u32,
    name_len: u32,
    arguments: u32,
    arguments_len: u32,
    results: u32,
    results_len: u32,
) -> Outcome {
    let mut run = || {
        let name = String::from_utf8_lossy(&read(&c, name, name_len)?).into_owned();
        let arguments = read(&c, arguments, arguments_len)?;
        let answer = run_function(c.data_mut(), &name, &arguments)?;
        if results != 0 && results_len != 0 {
            hand_over(&mut c, &answer, results, results_len)?;
        }
        Ok(())
    };
    outcome(run())
}

fn run_function(host: &mut Host, name: &str, arguments: &[u8]) -> Result<Vec<u8>, Stop> {
    if let Some(function) = host.foreign.get(name).cloned() {
        let (context, now) = (host.context(), host.now);
        let (stream, connection) = (host.streams.get_mut(&context), host.connections.get_mut(&context));
        return Ok(function.call(&mut ForeignCall { context, now, stream, connection }, arguments)?);
    }
    match name {
        "clear_route_cache" => {
            if let Some(stream) = host.stream() {
                stream.route.clears += 1;
            }
            Ok(Vec::new())
        }
        "declare_property" => Ok(declare_property(host, arguments)?),
        "set_envoy_filter_state" => Ok(set_envoy_filter_state(host, arguments)?),
        _ if ELSEWHERE.contains(&name) => Err(Stop::Trap(wasmtime::Error::msg(format!(
            "the emulator does not have Envoy's foreign function {name:?}; give it in \
             `VmOptions::foreign_functions`, as `ForeignFunction::absent()` if the module is to find none"
        )))),
        _ => {
            host.hint(format!(
                "there is no foreign function {name:?}; give it in `VmOptions::foreign_functions`"
            ));
            Err(Status::NotFound.into())
        }
    }
}

/// `envoy.source.extensions.common.wasm.DeclarePropertyArguments`: the name, how the value is kept, how long it lives.
/// What is declared in a root context holds for the properties of its streams; what a stream declares does not, in Envoy
/// either.
fn declare_property(host: &mut Host, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let arguments = fields(arguments).ok_or(Status::BadArgument)?;
    let name = bytes_of(&arguments, 1).unwrap_or_default().to_vec();
    let read_only = number_of(&arguments, 2) == Some(1);
    let declared = host.declared_properties.entry(host.context()).or_default();
    if declared.contains_key(&name) {
        return Err(Status::BadArgument);
    }
    declared.insert(name, read_only);
    Ok(Vec::new())
}

/// `envoy.source.extensions.common.wasm.SetEnvoyFilterStateArguments`: path, value and life span.
fn set_envoy_filter_state(host: &mut Host, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let arguments = fields(arguments).ok_or(Status::BadArgument)?;
    let path = bytes_of(&arguments, 1).unwrap_or_default();
    let value = bytes_of(&arguments, 2).unwrap_or_default();
    if !FILTER_STATE.iter().any(|name| name.as_bytes() == path) {
        let path = String::from_utf8_lossy(path);
        host.hint(format!("set_envoy_filter_state: Envoy makes no object of filter state named {path:?}"));
        return Err(Status::NotFound);
    }
    let text = std::str::from_utf8(value).ok();
    let valid = match path {
        b"envoy.upstream.dynamic_port" => text.is_some_and(|text| text.parse::<u16>().is_ok()),
        b"envoy.ratelimit.hits_addend" | b"envoy.tcp_proxy.per_connection_idle_timeout_ms" => {
            text.is_some_and(|text| text.parse::<u64>().is_ok())
        }
        b"envoy.filters.listener.original_dst.local_ip"
        | b"envoy.filters.listener.original_dst.remote_ip"
        | b"envoy.network.transport_socket.original_dst_address" => {
            text.is_some_and(|text| text.parse::<SocketAddr>().is_ok())
        }
        b"envoy.network.ip" => text.is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        _ => true,
    };
    if !valid {
        return Err(Status::BadArgument);
    }
    host.filter_state().ok_or(Status::NotFound)?.set(path, value.to_vec());
    Ok(Vec::new())
}
