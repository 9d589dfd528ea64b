//! Log, clock, statistics, shared data, properties, foreign functions.

use wasmtime::{Caller, Linker};

use super::{Outcome, hand_over, outcome, read, write, write_u32};
use crate::abi::{LogLevel, Status};
use crate::host::Host;
use crate::property;
use crate::shared::HISTOGRAM;

type Module<'a> = Caller<'a, Host>;

pub(super) fn register(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker
        .func_wrap("env", "proxy_log", log)?
        .func_wrap("env", "proxy_get_log_level", get_log_level)?
        .func_wrap("env", "proxy_get_current_time_nanoseconds", get_time)?
        .func_wrap("env", "proxy_set_tick_period_milliseconds", set_tick_period)?
        .func_wrap("env", "proxy_define_metric", define_metric)?
        .func_wrap("env", "proxy_increment_metric", increment_metric)?
        .func_wrap("env", "proxy_record_metric", record_metric)?
        .func_wrap("env", "proxy_get_metric", get_metric)?
        .func_wrap("env", "proxy_get_shared_data", get_shared_data)?
        .func_wrap("env", "proxy_set_shared_data", set_shared_data)?
        .func_wrap("env", "proxy_get_property", get_property)?
        .func_wrap("env", "proxy_set_property", set_property)?
        .func_wrap("env", "proxy_get_status", get_status)?
        .func_wrap("env", "proxy_call_foreign_function", call_foreign_function)?
        .func_wrap("env", "proxy_register_shared_queue", |_: i32, _: i32, _: i32| unimplemented())?
        .func_wrap("env", "proxy_resolve_shared_queue", |_: i32, _: i32, _: i32, _: i32, _: i32| {
            unimplemented()
        })?
        .func_wrap("env", "proxy_dequeue_shared_queue", |_: i32, _: i32, _: i32| unimplemented())?
        .func_wrap("env", "proxy_enqueue_shared_queue", |_: i32, _: i32, _: i32| unimplemented())?
        .func_wrap(
            "env",
            "proxy_grpc_call",
            |_: i32,
             _: i32,
             _: i32,
             _: i32,
             _: i32,
             _: i32,
             _: i32,
             _: i32,
             _: i32,
             _: i32,
             _: i32,
             _: i32| { unimplemented() },
        )?
        .func_wrap(
            "env",
            "proxy_grpc_stream",
            |_: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32| unimplemented(),
        )?
        .func_wrap("env", "proxy_grpc_cancel", |_: i32| unimplemented())?
        .func_wrap("env", "proxy_grpc_close", |_: i32| unimplemented())?
        .func_wrap("env", "proxy_grpc_send", |_: i32, _: i32, _: i32, _: i32| unimplemented())?;
    Ok(())
}

fn unimplemented() -> i32 {
    Status::Unimplemented.into()
}

fn log(mut c: Module<'_>, level: u32, text: u32, text_len: u32) -> Outcome {
    let mut run = || {
        let level = LogLevel::from_abi(level).ok_or(Status::BadArgument)?;
        let text = read(&c, text, text_len)?;
        c.data_mut().write_log(level, &text);
        Ok(())
    };
    outcome(run())
}

fn get_log_level(mut c: Module<'_>, level_at: u32) -> Outcome {
    let level = c.data().log_level as u32;
    outcome(write_u32(&mut c, level_at, level).map_err(Into::into))
}

fn get_time(mut c: Module<'_>, time_at: u32) -> Outcome {
    let now = c.data().now;
    outcome(write(&mut c, time_at, &now.to_le_bytes()).map_err(Into::into))
}

fn set_tick_period(mut c: Module<'_>, milliseconds: u32) -> i32 {
    let host = c.data_mut();
    let root = host.root();
    let now = host.now;
    if let Some(index) = host.plugin_of_root(root) {
        let plugin = &mut host.plugins[index];
        let period = u64::from(milliseconds) * 1_000_000;
        plugin.tick_period = (period > 0).then_some(period);
        plugin.next_tick = now + period;
    }
    Status::Ok.into()
}

fn define_metric(mut c: Module<'_>, kind: u32, name: u32, name_len: u32, id_at: u32) -> Outcome {
    let mut run = || {
        let name = String::from_utf8_lossy(&read(&c, name, name_len)?).into_owned();
        if kind > HISTOGRAM {
            return Err(Status::BadArgument.into());
        }
        let host = c.data_mut();
        host.shared.define(kind, &name);
        host.metric_ids.push((kind, name));
        let id = (host.metric_ids.len() as u32) << 2 | kind;
        Ok(write_u32(&mut c, id_at, id)?)
    };
    outcome(run())
}

fn metric(host: &Host, id: u32) -> Result<(u32, String), Status> {
    let found = (id >> 2).checked_sub(1).and_then(|at| host.metric_ids.get(at as usize));
    found.filter(|(kind, _)| *kind == id & 3).cloned().ok_or(Status::NotFound)
}

fn increment_metric(c: Module<'_>, id: u32, offset: i64) -> i32 {
    let host = c.data();
    metric(host, id).map_or_else(Into::into, |(kind, name)| host.shared.increment(kind, &name, offset).into())
}

fn record_metric(c: Module<'_>, id: u32, value: u64) -> i32 {
    let host = c.data();
    metric(host, id).map_or_else(Into::into, |(kind, name)| host.shared.record(kind, &name, value).into())
}

fn get_metric(mut c: Module<'_>, id: u32, value_at: u32) -> Outcome {
    let mut run = || {
        let host = c.data();
        let (kind, name) = metric(host, id)?;
        let value = host.shared.read(kind, &name)?;
        Ok(write(&mut c, value_at, &value.to_le_bytes())?)
    };
    outcome(run())
}

fn get_shared_data(
    mut c: Module<'_>,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
    cas: u32,
) -> Outcome {
    let mut run = || {
        let key = read(&c, key, key_len)?;
        let host = c.data();
        let (found, number) = host.shared.data(&host.vm_id, &key).ok_or(Status::NotFound)?;
        hand_over(&mut c, &found, value, value_len)?;
        Ok(write_u32(&mut c, cas, number)?)
    };
    outcome(run())
}

fn set_shared_data(c: Module<'_>, key: u32, key_len: u32, value: u32, value_len: u32, cas: u32) -> Outcome {
    let run = || {
        let (key, value) = (read(&c, key, key_len)?, read(&c, value, value_len)?);
        let host = c.data();
        Ok(host.shared.set_data(&host.vm_id, &key, &value, cas)?)
    };
    outcome(run())
}

fn get_property(mut c: Module<'_>, path: u32, path_len: u32, value: u32, value_len: u32) -> Outcome {
    let mut run = || {
        let path = read(&c, path, path_len)?;
        let found = property::get(c.data(), &path)?;
        hand_over(&mut c, &found, value, value_len)
    };
    outcome(run())
}

fn set_property(mut c: Module<'_>, path: u32, path_len: u32, value: u32, value_len: u32) -> Outcome {
    let mut run = || {
        let (path, value) = (read(&c, path, path_len)?, read(&c, value, value_len)?);
        let stream = c.data_mut().stream().ok_or(Status::NotFound)?;
        stream.filter_state.insert(path, value);
        Ok(())
    };
    outcome(run())
}

/// The status of a gRPC call; there is none to tell of.
fn get_status(mut c: Module<'_>, code_at: u32, message: u32, message_len: u32) -> Outcome {
    let mut run = || {
        write_u32(&mut c, code_at, 0)?;
        hand_over(&mut c, b"", message, message_len)
    };
    outcome(run())
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
        let answer = foreign(c.data_mut(), &name, &arguments)?;
        if results != 0 && results_len != 0 {
            hand_over(&mut c, &answer, results, results_len)?;
        }
        Ok(())
    };
    outcome(run())
}

fn foreign(host: &mut Host, name: &str, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    if let Some(function) = host.foreign.get(name) {
        let function = function.clone();
        return (*function.borrow_mut())(arguments);
    }
    match name {
        "clear_route_cache" => {
            let stream = host.stream().ok_or(Status::BadArgument)?;
            stream.route.clears += 1;
            Ok(Vec::new())
        }
        "declare_property" => {
            let new = host.declared_properties.insert(arguments.to_vec());
            if new { Ok(Vec::new()) } else { Err(Status::BadArgument) }
        }
        _ => Err(Status::NotFound),
    }
}
