//! What a trap says: its reason, and where the module was, with names as they are in the source.

use std::fmt::Write;

use wasmtime::WasmBacktrace;

/// How many frames are reported. Those left out lead from the callback to the interesting part.
const FRAMES: usize = 20;

pub(crate) fn describe(error: &wasmtime::Error) -> String {
    let mut text = error.root_cause().to_string();
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return text };
    for frame in backtrace.frames().iter().take(FRAMES) {
        // Writing to a string cannot fail.
        let _ = match frame.func_name() {
            Some(name) => write!(text, "\n    at {:#}", rustc_demangle::demangle(name)),
            None => write!(text, "\n    at function {}", frame.func_index()),
        };
    }
    let left = backtrace.frames().len().saturating_sub(FRAMES);
    if left > 0 {
        let _ = write!(text, "\n    and {left} more");
    }
    text
}
