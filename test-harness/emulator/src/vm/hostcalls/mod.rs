//! The functions that the module imports.

mod calls;
mod flow;
mod foreign;
mod functions;
mod maps;
mod metrics;
mod services;
mod wasi;

use wasmtime::{AsContext, AsContextMut, Caller, Linker};

use self::functions::Functions;
use crate::state::abi::{Abi, Status};
use crate::state::version::EnvoyVersion;
use crate::vm::host::Host;

/// Defines everything that a release of Envoy offers to a module for a version of the ABI.
pub(crate) fn register(linker: &mut Linker<Host>, version: EnvoyVersion, abi: Abi) -> wasmtime::Result<()> {
    let functions = &mut Functions(linker);
    maps::register(functions)?;
    flow::register(functions, abi)?;
    calls::register(functions)?;
    services::register(functions, abi)?;
    metrics::register(functions)?;
    foreign::register(functions)?;
    wasi::register(functions, version)
}

/// How a host function ends: with an ABI status, or with a trap.
pub(crate) type Outcome = wasmtime::Result<i32>;

/// Bytes of the module's memory.
pub(crate) fn read(caller: &Caller<'_, Host>, pointer: u32, size: u32) -> Result<Vec<u8>, Status> {
    let exports = caller.data().exports.clone().ok_or(Status::InternalFailure)?;
    let memory = exports.memory.data(caller.as_context());
    let start = pointer as usize;
    let bytes = memory.get(start..start + size as usize).ok_or(Status::InvalidMemoryAccess)?;
    Ok(bytes.to_vec())
}

/// Overwrites bytes of the module's memory.
pub(crate) fn write(caller: &mut Caller<'_, Host>, pointer: u32, bytes: &[u8]) -> Result<(), Status> {
    let exports = caller.data().exports.clone().ok_or(Status::InternalFailure)?;
    exports
        .memory
        .write(caller.as_context_mut(), pointer as usize, bytes)
        .map_err(|_| Status::InvalidMemoryAccess)
}

pub(crate) fn write_u32(caller: &mut Caller<'_, Host>, pointer: u32, value: u32) -> Result<(), Status> {
    write(caller, pointer, &value.to_le_bytes())
}

/// Why a host function ends early.
pub(crate) enum Stop {
    Status(Status),
    Trap(wasmtime::Error),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

pub(crate) fn outcome(result: Result<(), Stop>) -> Outcome {
    match result {
        Ok(()) => Ok(Status::Ok.into()),
        Err(Stop::Status(status)) => Ok(status.into()),
        Err(Stop::Trap(error)) => Err(error),
    }
}

/// Hands bytes to the module in memory that its own allocator gives. Empty ones are a null pointer.
pub(crate) fn hand_over(
    caller: &mut Caller<'_, Host>,
    bytes: &[u8],
    pointer_at: u32,
    size_at: u32,
) -> Result<(), Stop> {
    let mut pointer = 0;
    if !bytes.is_empty() {
        let exports = caller.data().exports.clone().ok_or(Status::InternalFailure)?;
        pointer =
            exports.malloc.call(&mut caller.as_context_mut(), bytes.len() as u32).map_err(Stop::Trap)?;
        if pointer == 0 {
            return Err(Status::InvalidMemoryAccess.into());
        }
        write(caller, pointer, bytes)?;
    }
    write_u32(caller, pointer_at, pointer)?;
    write_u32(caller, size_at, bytes.len() as u32)?;
    Ok(())
}
