//! The part of WASI preview 1 that Envoy has: output goes to the log, time and random numbers are the
//! emulator's own, there are no files and no arguments.

use wasmtime::{Caller, Linker};

use super::{read, write, write_u32};
use crate::abi::LogLevel;
use crate::host::Host;

type Module<'a> = Caller<'a, Host>;

const SUCCESS: i32 = 0;
const BAD_FILE: i32 = 8;
const BAD_POINTER: i32 = 21;
const INVALID: i32 = 28;
const NO_SYSTEM_CALL: i32 = 52;
const NOT_SUPPORTED: i32 = 58;

pub(super) fn register(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        linker
            .func_wrap(module, "fd_write", fd_write)?
            .func_wrap(module, "fd_read", |_: i32, _: i32, _: i32, _: i32| NO_SYSTEM_CALL)?
            .func_wrap(module, "fd_seek", |_: i32, _: i64, _: i32, _: i32| SUCCESS)?
            .func_wrap(module, "fd_close", |_: i32| SUCCESS)?
            .func_wrap(module, "fd_fdstat_get", fd_fdstat_get)?
            .func_wrap(module, "fd_prestat_get", |_: i32, _: i32| BAD_FILE)?
            .func_wrap(module, "fd_prestat_dir_name", |_: i32, _: i32, _: i32| BAD_FILE)?
            .func_wrap(module, "environ_get", environ_get)?
            .func_wrap(module, "environ_sizes_get", environ_sizes_get)?
            .func_wrap(module, "args_get", |_: i32, _: i32| SUCCESS)?
            .func_wrap(module, "args_sizes_get", args_sizes_get)?
            .func_wrap(module, "clock_time_get", clock_time_get)?
            .func_wrap(module, "random_get", random_get)?
            .func_wrap(module, "sched_yield", || SUCCESS)?
            .func_wrap(module, "poll_oneoff", |_: i32, _: i32, _: i32, _: i32| NO_SYSTEM_CALL)?
            .func_wrap(module, "proc_exit", proc_exit)?;
    }
    linker.func_wrap("env", "emscripten_notify_memory_growth", |_: i32| {})?;
    linker.func_wrap("env", "pthread_equal", |a: i32, b: i32| i32::from(a == b))?;
    Ok(())
}

fn code<E>(result: Result<(), E>) -> i32 {
    if result.is_ok() { SUCCESS } else { BAD_POINTER }
}

fn fd_write(mut c: Module<'_>, fd: u32, vectors: u32, count: u32, written_at: u32) -> i32 {
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return BAD_FILE,
    };
    let mut text = Vec::new();
    for i in 0..count {
        let Ok(vector) = read(&c, vectors.wrapping_add(i * 8), 8) else { return BAD_POINTER };
        let word =
            |at: usize| u32::from_le_bytes([vector[at], vector[at + 1], vector[at + 2], vector[at + 3]]);
        let Ok(bytes) = read(&c, word(0), word(4)) else { return BAD_POINTER };
        text.extend_from_slice(&bytes);
    }
    let written = text.len() as u32;
    if !text.is_empty() {
        let line = text.strip_suffix(b"\n").unwrap_or(&text);
        c.data_mut().write_log(level, line);
    }
    code(write_u32(&mut c, written_at, written))
}

/// Says that standard output and error can be written to.
fn fd_fdstat_get(mut c: Module<'_>, fd: u32, stat_at: u32) -> i32 {
    if fd != 1 && fd != 2 {
        return BAD_FILE;
    }
    let mut stat = [0; 24];
    stat[8] = 64;
    code(write(&mut c, stat_at, &stat))
}

fn environment(c: &Module<'_>) -> Vec<Vec<u8>> {
    c.data().environment.iter().map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
}

fn environ_get(mut c: Module<'_>, pointers_at: u32, mut bytes_at: u32) -> i32 {
    for (i, entry) in environment(&c).into_iter().enumerate() {
        let written = write_u32(&mut c, pointers_at + 4 * i as u32, bytes_at)
            .and_then(|()| write(&mut c, bytes_at, &entry));
        if written.is_err() {
            return BAD_POINTER;
        }
        bytes_at += entry.len() as u32;
    }
    SUCCESS
}

fn environ_sizes_get(mut c: Module<'_>, count_at: u32, size_at: u32) -> i32 {
    let entries = environment(&c);
    let size: usize = entries.iter().map(Vec::len).sum();
    code(
        write_u32(&mut c, count_at, entries.len() as u32)
            .and_then(|()| write_u32(&mut c, size_at, size as u32)),
    )
}

fn args_sizes_get(mut c: Module<'_>, count_at: u32, size_at: u32) -> i32 {
    code(write_u32(&mut c, count_at, 0).and_then(|()| write_u32(&mut c, size_at, 0)))
}

fn clock_time_get(mut c: Module<'_>, clock: u32, _precision: u64, time_at: u32) -> i32 {
    if clock > 1 {
        return NOT_SUPPORTED;
    }
    let now = c.data().now;
    code(write(&mut c, time_at, &now.to_le_bytes()))
}

/// xorshift64: repeatable, which tests need; no secret depends on it.
fn random_get(mut c: Module<'_>, at: u32, len: u32) -> i32 {
    if len > 1 << 16 {
        return INVALID;
    }
    let mut bytes = Vec::with_capacity(len as usize + 8);
    while bytes.len() < len as usize {
        let state = &mut c.data_mut().random;
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len as usize);
    code(write(&mut c, at, &bytes))
}

/// A module that exits is a module that failed.
fn proc_exit(_: Module<'_>, status: i32) -> wasmtime::Result<()> {
    Err(wasmtime::Error::msg(format!("module called proc_exit({status})")))
}
