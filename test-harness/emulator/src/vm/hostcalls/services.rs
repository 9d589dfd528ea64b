//! Log, clock, shared data and queues, properties.

use wasmtime::Caller;

use super::functions::Functions;
use super::{Outcome, hand_over, outcome, read, write, write_u32};
use crate::state::abi::{Abi, LogLevel, Status};
use crate::state::attributes;
use crate::vm::host::Host;

type Module<'a> = Caller<'a, Host>;

pub(super) fn register(functions: &mut Functions<'_>, abi: Abi) -> wasmtime::Result<()> {
    functions
        .add("env", "proxy_log", log)?
        .add("env", "proxy_get_current_time_nanoseconds", get_time)?
        .add("env", "proxy_set_tick_period_milliseconds", set_tick_period)?
        .add("env", "proxy_get_shared_data", get_shared_data)?
        .add("env", "proxy_set_shared_data", set_shared_data)?
        .add("env", "proxy_get_property", get_property)?
        .add("env", "proxy_set_property", set_property)?
        .add("env", "proxy_register_shared_queue", register_queue)?
        .add("env", "proxy_resolve_shared_queue", resolve_queue)?
        .add("env", "proxy_dequeue_shared_queue", dequeue)?
        .add("env", "proxy_enqueue_shared_queue", enqueue)?;
    match abi {
        Abi::V0_1_0 => drop(functions.add("env", "proxy_get_configuration", get_configuration)?),
        Abi::V0_2_0 => {}
        Abi::V0_2_1 => drop(functions.add("env", "proxy_get_log_level", get_log_level)?),
    }
    Ok(())
}

/// The plugin's configuration while it is being configured, else that of the VM.
fn get_configuration(mut c: Module<'_>, configuration: u32, configuration_len: u32) -> Outcome {
    let host = c.data();
    let bytes = host.configuring.clone().unwrap_or_else(|| host.vm_configuration.clone());
    outcome(hand_over(&mut c, &bytes, configuration, configuration_len))
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
        let found = attributes::get(&c.data().facts(), &path);
        if found == Err(Status::NotFound) && attributes::may_be_known_to_envoy(&path) {
            let name = String::from_utf8_lossy(&path).replace('\0', ".");
            c.data_mut()
                .hint(format!("property {name} was not found; give it in `properties` if Envoy has it"));
        }
        let found = found?;
        hand_over(&mut c, &found, value, value_len)
    };
    outcome(run())
}

fn set_property(mut c: Module<'_>, path: u32, path_len: u32, value: u32, value_len: u32) -> Outcome {
    let mut run = || {
        let (path, value) = (read(&c, path, path_len)?, read(&c, value, value_len)?);
        let host = c.data_mut();
        let root = host.root();
        let read_only = host.declared_properties.get(&root).and_then(|known| known.get(&path)) == Some(&true);
        let state = host.filter_state().ok_or(Status::NotFound)?;
        if read_only && state.of_module(&path).is_some() {
            return Err(Status::BadArgument.into());
        }
        state.set_of_module(&path, value);
        Ok(())
    };
    outcome(run())
}

fn register_queue(mut c: Module<'_>, name: u32, name_len: u32, token_at: u32) -> Outcome {
    let mut run = || {
        let name = read(&c, name, name_len)?;
        let host = c.data();
        let token = host.shared.register_queue(&host.vm_id, &name, (host.listener, host.root()));
        Ok(write_u32(&mut c, token_at, token)?)
    };
    outcome(run())
}

/// An empty VM id is the module's own.
fn resolve_queue(
    mut c: Module<'_>,
    vm_id: u32,
    vm_id_len: u32,
    name: u32,
    name_len: u32,
    token_at: u32,
) -> Outcome {
    let mut run = || {
        let vm_id = String::from_utf8_lossy(&read(&c, vm_id, vm_id_len)?).into_owned();
        let name = read(&c, name, name_len)?;
        let host = c.data();
        let vm_id = if vm_id.is_empty() { &host.vm_id } else { &vm_id };
        let token = host.shared.resolve_queue(vm_id, &name)?;
        Ok(write_u32(&mut c, token_at, token)?)
    };
    outcome(run())
}

fn dequeue(mut c: Module<'_>, token: u32, item: u32, item_len: u32) -> Outcome {
    let mut run = || {
        let found = c.data().shared.dequeue(token)?;
        hand_over(&mut c, &found, item, item_len)
    };
    outcome(run())
}

fn enqueue(c: Module<'_>, token: u32, item: u32, item_len: u32) -> Outcome {
    let run = || Ok(c.data().shared.enqueue(token, read(&c, item, item_len)?)?);
    outcome(run())
}
