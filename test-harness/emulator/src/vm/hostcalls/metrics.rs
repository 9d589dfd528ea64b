//! Statistics.

use wasmtime::Caller;

use super::functions::Functions;
use super::{Outcome, outcome, read, write, write_u32};
use crate::state::abi::Status;
use crate::state::shared::HISTOGRAM;
use crate::vm::host::Host;

type Module<'a> = Caller<'a, Host>;

pub(super) fn register(functions: &mut Functions<'_>) -> wasmtime::Result<()> {
    functions
        .add("env", "proxy_define_metric", define_metric)?
        .add("env", "proxy_increment_metric", increment_metric)?
        .add("env", "proxy_record_metric", record_metric)?
        .add("env", "proxy_get_metric", get_metric)?;
    Ok(())
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

/// A counter or a gauge. Envoy looks at the kind in the id first, and only then whether there is such a metric.
fn number(host: &Host, id: u32) -> Result<(u32, String), Status> {
    if id & 3 >= HISTOGRAM { Err(Status::BadArgument) } else { metric(host, id) }
}

fn increment_metric(c: Module<'_>, id: u32, offset: i64) -> i32 {
    let host = c.data();
    number(host, id).map_or_else(Into::into, |(kind, name)| host.shared.increment(kind, &name, offset).into())
}

fn record_metric(c: Module<'_>, id: u32, value: u64) -> i32 {
    let host = c.data();
    metric(host, id).map_or_else(Into::into, |(kind, name)| host.shared.record(kind, &name, value).into())
}

fn get_metric(mut c: Module<'_>, id: u32, value_at: u32) -> Outcome {
    let mut run = || {
        let host = c.data();
        let (kind, name) = number(host, id)?;
        let value = host.shared.read(kind, &name)?;
        Ok(write(&mut c, value_at, &value.to_le_bytes())?)
    };
    outcome(run())
}
