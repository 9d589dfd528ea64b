//! The part of WASI preview 1 that Envoy has: output goes to the log, time and random numbers are the
//! emulator's own, there are no files and no arguments.

use wasmtime::Caller;

use super::functions::Functions;
use super::{read, write, write_u32};
use crate::state::abi::LogLevel;
use crate::state::log::LogLine;
use crate::state::version::EnvoyVersion;
use crate::vm::host::Host;

type Module<'a> = Caller<'a, Host>;

const SUCCESS: i32 = 0;
const BAD_FILE: i32 = 8;
const BAD_POINTER: i32 = 21;
const INVALID: i32 = 28;
const NO_SUCH_FILE: i32 = 44;
const NO_SYSTEM_CALL: i32 = 52;
const NOT_A_FOLDER: i32 = 20;
const NOT_SUPPORTED: i32 = 58;

pub(super) fn register(functions: &mut Functions<'_>, version: EnvoyVersion) -> wasmtime::Result<()> {
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        functions
            .add(module, "fd_write", fd_write)?
            .add(module, "fd_read", |_: i32, _: i32, _: i32, _: i32| NO_SYSTEM_CALL)?
            .add(module, "fd_seek", |_: i32, _: i64, _: i32, _: i32| SUCCESS)?
            .add(module, "fd_close", |_: i32| SUCCESS)?
            .add(module, "fd_fdstat_get", fd_fdstat_get)?
            .add(module, "fd_fdstat_set_flags", |_: i32, _: i32| NO_SYSTEM_CALL)?
            .add(module, "fd_prestat_get", |_: i32, _: i32| BAD_FILE)?
            .add(module, "fd_prestat_dir_name", |_: i32, _: i32, _: i32| NO_SYSTEM_CALL)?
            .add(
                module,
                "path_open",
                |_: i32, _: i32, _: i32, _: i32, _: i32, _: i64, _: i64, _: i32, _: i32| NO_SUCH_FILE,
            )?
            .add(module, "environ_get", environ_get)?
            .add(module, "environ_sizes_get", environ_sizes_get)?
            .add(module, "args_get", |_: i32, _: i32| SUCCESS)?
            .add(module, "args_sizes_get", args_sizes_get)?
            .add(module, "clock_time_get", clock_time_get)?
            .add(module, "random_get", random_get)?
            .add(module, "sched_yield", || SUCCESS)?
            .add(module, "proc_exit", proc_exit)?;
        if version < EnvoyVersion::V1_39 {
            functions.add(module, "poll_oneoff", |_: i32, _: i32, _: i32, _: i32| NO_SYSTEM_CALL)?;
        } else {
            register_from_1_39(functions, module)?;
        }
    }
    functions.add("env", "emscripten_notify_memory_growth", |_: i32| {})?;
    functions.add("env", "pthread_equal", |a: i32, b: i32| i32::from(a == b))?;
    Ok(())
}

/// What Envoy offers besides, with the answers that 1.39.3 and 1.40.0 gave. `path_link` and `path_symlink` lack one of
/// the parameters that WASI gives them, there too.
fn register_from_1_39(functions: &mut Functions<'_>, module: &str) -> wasmtime::Result<()> {
    functions
        .add(module, "clock_res_get", clock_res_get)?
        .add(module, "fd_advise", |_: i32, _: i64, _: i64, _: i32| SUCCESS)?
        .add(module, "fd_allocate", |fd: i32, _: i64, _: i64| output_only(fd))?
        .add(module, "fd_datasync", output_only)?
        .add(module, "fd_fdstat_set_rights", |fd: i32, _: i64, _: i64| output_only(fd))?
        .add(module, "fd_filestat_get", |_: i32, _: i32| BAD_FILE)?
        .add(module, "fd_filestat_set_size", |fd: i32, _: i64| output_only(fd))?
        .add(module, "fd_filestat_set_times", |fd: i32, _: i64, _: i64, _: i32| output_only(fd))?
        .add(module, "fd_pread", |_: i32, _: i32, _: i32, _: i64, _: i32| NO_SYSTEM_CALL)?
        .add(module, "fd_pwrite", fd_pwrite)?
        .add(module, "fd_readdir", |_: i32, _: i32, _: i32, _: i64, _: i32| NOT_A_FOLDER)?
        .add(module, "fd_renumber", |_: i32, _: i32| BAD_FILE)?
        .add(module, "fd_sync", output_only)?
        .add(module, "fd_tell", fd_tell)?
        .add(module, "path_create_directory", |_: i32, _: i32, _: i32| NOT_SUPPORTED)?
        .add(module, "path_filestat_get", |_: i32, _: i32, _: i32, _: i32, _: i32| NOT_SUPPORTED)?
        .add(module, "path_filestat_set_times", |_: i32, _: i32, _: i32, _: i32, _: i64, _: i64, _: i32| {
            NOT_SUPPORTED
        })?
        .add(module, "path_link", |_: i32, _: i32, _: i32, _: i32, _: i32, _: i32| NOT_SUPPORTED)?
        .add(module, "path_readlink", |_: i32, _: i32, _: i32, _: i32, _: i32, _: i32| NOT_SUPPORTED)?
        .add(module, "path_remove_directory", |_: i32, _: i32, _: i32| NOT_SUPPORTED)?
        .add(module, "path_rename", |_: i32, _: i32, _: i32, _: i32, _: i32, _: i32| NOT_SUPPORTED)?
        .add(module, "path_symlink", |_: i32, _: i32, _: i32, _: i32| NOT_SUPPORTED)?
        .add(module, "path_unlink_file", |_: i32, _: i32, _: i32| NOT_SUPPORTED)?
        .add(module, "poll_oneoff", poll_oneoff)?
        .add(module, "sock_accept", |_: i32, _: i32, _: i32| NOT_SUPPORTED)?
        .add(module, "sock_recv", |_: i32, _: i32, _: i32, _: i32, _: i32, _: i32| NOT_SUPPORTED)?
        .add(module, "sock_send", |_: i32, _: i32, _: i32, _: i32, _: i32| NOT_SUPPORTED)?
        .add(module, "sock_shutdown", |_: i32, _: i32| NOT_SUPPORTED)?;
    Ok(())
}

/// What can be done to standard output and error alone.
fn output_only(fd: i32) -> i32 {
    if fd == 1 || fd == 2 { SUCCESS } else { BAD_FILE }
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

/// One nanosecond for both clocks.
fn clock_res_get(mut c: Module<'_>, clock: u32, resolution_at: u32) -> i32 {
    if clock > 1 {
        return NOT_SUPPORTED;
    }
    code(write(&mut c, resolution_at, &1_u64.to_le_bytes()))
}

/// A log has no position: this writes as `fd_write` does.
fn fd_pwrite(c: Module<'_>, fd: u32, vectors: u32, count: u32, _offset: i64, written_at: u32) -> i32 {
    fd_write(c, fd, vectors, count, written_at)
}

fn fd_tell(mut c: Module<'_>, fd: i32, position_at: u32) -> i32 {
    match output_only(fd) {
        SUCCESS => code(write(&mut c, position_at, &0_u64.to_le_bytes())),
        error => error,
    }
}

/// Nothing is waited for: every subscription has its event at once, a clock's without an error.
fn poll_oneoff(mut c: Module<'_>, subscriptions: u32, events: u32, count: u32, stored_at: u32) -> i32 {
    const SUBSCRIPTION: u32 = 48;
    const EVENT: u32 = 32;
    for i in 0..count {
        let Ok(subscription) = read(&c, subscriptions.wrapping_add(i * SUBSCRIPTION), SUBSCRIPTION) else {
            return BAD_POINTER;
        };
        let mut event = [0; EVENT as usize];
        event[..8].copy_from_slice(&subscription[..8]);
        event[10] = subscription[8];
        if write(&mut c, events.wrapping_add(i * EVENT), &event).is_err() {
            return BAD_POINTER;
        }
    }
    code(write_u32(&mut c, stored_at, count))
}

/// Envoy goes on; what modules have behind it is a trap.
fn proc_exit(mut c: Module<'_>, status: i32) {
    let text = format!("module called proc_exit({status})");
    c.data_mut().log.push(LogLine { level: LogLevel::Critical, context: 0, text });
}
