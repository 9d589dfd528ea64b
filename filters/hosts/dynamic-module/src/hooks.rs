//! The functions that Envoy calls.
//!
//! A panic must not cross into Envoy: it would abort the process. So every hook runs inside
//! [`catch_unwind`]; the stream whose hook panicked is answered with a 500, or reset once response headers are
//! out, and its filter is gone.

#![allow(unsafe_code)]

use crate::abi::{self, DataStatus, EnvoyBuffer, EnvoyHeader, EnvoyStream, HeadersStatus, TrailersStatus};
use crate::adapter::Exchange;
use crate::configured::Configured;
use crate::envoy::{self, Envoy, config::EnvoyConfig};
use crate::lookup;
use crate::module::{self, Module};
use crate::registry;
use filter_api::{CallEnd, CallFailure, Dir, Level};
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

/// Envoy loads the module (`envoy_dynamic_module_on_program_init`, which `module!` makes); the result is the ABI's
/// version, or null, and then Envoy does not load it.
pub fn start(module: &'static Module) -> *const c_char {
    module::load(module);
    if let Err(missing) = abi::find() {
        // Envoy's log is one of these functions; it goes to standard error as well.
        eprintln!("{}: this Envoy is too old: it does not export {missing}", module.name);
        return std::ptr::null();
    }
    // The default hook would write to standard error and walk the stack, which blocks a worker for long.
    std::panic::set_hook(Box::new(|panic| {
        envoy::log(Level::Error, module::loaded().name, panic);
    }));
    version().as_ptr()
}

/// Envoy 1.40 calls the ABI v0.2.0, 1.38 and 1.39 call it v0.1.0, and a mismatch is a warning in the log. What
/// this module uses is the same in all of them.
fn version() -> &'static CStr {
    let since_v0_2_0 = "envoy_dynamic_module_callback_http_set_filter_state_value";
    if lookup::exported(since_v0_2_0) { c"v0.2.0" } else { c"v0.1.0" }
}

/// A configuration is loaded; null refuses it. The result is given back to `config_destroy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    config: *mut abi::EnvoyConfig,
    name: EnvoyBuffer,
    json: EnvoyBuffer,
) -> *const Configured {
    let configured = catch_unwind(|| {
        // SAFETY: Envoy's pointer and buffers are valid until this hook returns.
        let (config, name, json) = unsafe { (EnvoyConfig::new(config), name.bytes(), json.bytes()) };
        registry::configure(module::loaded().filters, name, json, &config)
    });
    let refused = match configured {
        Ok(Ok(configured)) => return Arc::into_raw(Arc::new(configured)),
        Ok(Err(refused)) => refused,
        Err(_) => "the filter panicked while it was configured".to_owned(),
    };
    envoy::log(Level::Error, module::loaded().name, &refused);
    std::ptr::null()
}

/// A configuration is not used for new streams any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(configured: *const Configured) {
    // SAFETY: `config_new` made the pointer from an `Arc`, and Envoy gives it back once.
    let configured = unsafe { Arc::from_raw(configured) };
    let _ = catch_unwind(AssertUnwindSafe(|| {
        configured.leave();
        drop(configured);
    }));
}

/// An event of a configuration has come that this module scheduled. On the main thread.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    config: *mut abi::EnvoyConfig,
    configured: *const Configured,
    _event: u64,
) {
    // SAFETY: Envoy's own pointers; `config_new` made the second from an `Arc` that Envoy has not given back yet.
    let (config, configured) = unsafe { (EnvoyConfig::new(config), &*configured) };
    let _ = catch_unwind(AssertUnwindSafe(|| configured.tick(&config)));
}

/// A call of a configuration has ended. On the main thread.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
    config: *mut abi::EnvoyConfig,
    configured: *const Configured,
    id: u64,
    result: u32,
    headers: *const EnvoyHeader,
    headers_len: usize,
    body: *const EnvoyBuffer,
    body_len: usize,
) {
    // SAFETY: as for the event above.
    let (config, configured) = unsafe { (EnvoyConfig::new(config), &*configured) };
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: arrays as long as Envoy says, or null.
        let end = unsafe { call_end(result, headers, headers_len, body, body_len) };
        configured.call_ended(&config, id, end);
    }));
}

/// How a call ended.
///
/// # Safety
/// As for [`envoy::call_response`].
unsafe fn call_end(
    result: u32,
    headers: *const EnvoyHeader,
    headers_len: usize,
    body: *const EnvoyBuffer,
    body_len: usize,
) -> CallEnd {
    if result != abi::SUCCESS {
        return CallEnd::Failed(CallFailure::Reset);
    }
    // SAFETY: the caller vouches for it.
    CallEnd::Answered(unsafe { envoy::call_response(headers, headers_len, body, body_len) })
}

/// A stream begins. The result is given to all its hooks and given back to `destroy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(
    configured: *const Configured,
    _stream: *mut EnvoyStream,
) -> *const Exchange {
    // SAFETY: `config_new` made the pointer from an `Arc` that Envoy has not given back yet; the count goes up
    // for the reference which is taken here.
    let configured = unsafe {
        Arc::increment_strong_count(configured);
        Arc::from_raw(configured)
    };
    let opened = catch_unwind(AssertUnwindSafe(|| Exchange::open(configured.clone())));
    Rc::into_raw(Rc::new(opened.unwrap_or_else(|_| Exchange::failed(configured))))
}

/// A stream is over. Envoy has called, or will call, no other hook of it.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(exchange: *const Exchange) {
    // SAFETY: `new` made the pointer from an `Rc`, and Envoy gives it back once, on the same thread.
    let exchange = unsafe { Rc::from_raw(exchange) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(exchange)));
}

/// Runs a hook of a stream; `stop` is what it returns after a panic.
///
/// # Safety
/// Both pointers are those that Envoy passed to the hook which is running.
unsafe fn hook<R>(
    stream: *mut EnvoyStream,
    exchange: *const Exchange,
    stop: R,
    run: impl FnOnce(&Exchange, Envoy<'_>) -> R,
) -> R {
    // SAFETY: `new` made the pointer from an `Rc` that Envoy has not given back yet. The reference taken here
    // keeps the exchange alive until this hook returns, should Envoy destroy it from within.
    let exchange = unsafe {
        Rc::increment_strong_count(exchange);
        Rc::from_raw(exchange)
    };
    // SAFETY: the caller vouches for the pointer, and the handle does not leave this function.
    let envoy = unsafe { Envoy::new(stream) };
    // Unwind safe: a panic takes the filter's state with it, and the rest of the exchange is flags.
    let result = catch_unwind(AssertUnwindSafe(|| run(&exchange, envoy)));
    let result = result.unwrap_or_else(|panic| {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            drop(panic);
            exchange.panicked(envoy);
        }));
        stop
    });
    let _ = catch_unwind(AssertUnwindSafe(|| drop(exchange)));
    result
}

/// Request headers have arrived.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    stream: *mut EnvoyStream,
    exchange: *const Exchange,
    end: bool,
) -> HeadersStatus {
    // SAFETY: Envoy's own pointers.
    unsafe {
        hook(stream, exchange, HeadersStatus::StopIteration, |it, envoy| it.headers(envoy, Dir::Request, end))
    }
}

/// A chunk of the request's body has arrived.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
    stream: *mut EnvoyStream,
    exchange: *const Exchange,
    end: bool,
) -> DataStatus {
    // SAFETY: Envoy's own pointers.
    unsafe { hook(stream, exchange, DataStatus::StopNoBuffer, |it, envoy| it.data(envoy, Dir::Request, end)) }
}

/// Request trailers have arrived.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_trailers(
    stream: *mut EnvoyStream,
    exchange: *const Exchange,
) -> TrailersStatus {
    // SAFETY: Envoy's own pointers.
    unsafe {
        hook(stream, exchange, TrailersStatus::StopIteration, |it, envoy| it.trailers(envoy, Dir::Request))
    }
}

/// Response headers have arrived.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    stream: *mut EnvoyStream,
    exchange: *const Exchange,
    end: bool,
) -> HeadersStatus {
    // SAFETY: Envoy's own pointers.
    unsafe {
        hook(stream, exchange, HeadersStatus::StopIteration, |it, envoy| {
            it.headers(envoy, Dir::Response, end)
        })
    }
}

/// A chunk of the response's body has arrived.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_body(
    stream: *mut EnvoyStream,
    exchange: *const Exchange,
    end: bool,
) -> DataStatus {
    // SAFETY: Envoy's own pointers.
    unsafe {
        hook(stream, exchange, DataStatus::StopNoBuffer, |it, envoy| it.data(envoy, Dir::Response, end))
    }
}

/// Response trailers have arrived.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_trailers(
    stream: *mut EnvoyStream,
    exchange: *const Exchange,
) -> TrailersStatus {
    // SAFETY: Envoy's own pointers.
    unsafe {
        hook(stream, exchange, TrailersStatus::StopIteration, |it, envoy| it.trailers(envoy, Dir::Response))
    }
}

/// A call has ended.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_http_callout_done(
    stream: *mut EnvoyStream,
    exchange: *const Exchange,
    id: u64,
    result: u32,
    headers: *const EnvoyHeader,
    headers_len: usize,
    body: *const EnvoyBuffer,
    body_len: usize,
) {
    // SAFETY: Envoy's own pointers, and arrays as long as it says, or null.
    unsafe {
        hook(stream, exchange, (), |it, envoy| {
            it.call_ended(envoy, id, call_end(result, headers, headers_len, body, body_len));
        });
    }
}

/// An event has come that this module scheduled.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(
    stream: *mut EnvoyStream,
    exchange: *const Exchange,
    event: u64,
) {
    // SAFETY: Envoy's own pointers.
    unsafe { hook(stream, exchange, (), |it, envoy| it.scheduled(envoy, event)) }
}

/// A stream is complete, or was reset. `destroy` follows.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(
    stream: *mut EnvoyStream,
    exchange: *const Exchange,
) {
    // SAFETY: Envoy's own pointers.
    unsafe { hook(stream, exchange, (), |it, envoy| it.completed(envoy)) }
}

// The hooks below are for what this module does not use, but Envoy loads no module that lacks one.

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_headers(
    _stream: *mut EnvoyStream,
    _exchange: *const Exchange,
    _id: u64,
    _headers: *const EnvoyHeader,
    _headers_len: usize,
    _end: bool,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_data(
    _stream: *mut EnvoyStream,
    _exchange: *const Exchange,
    _id: u64,
    _pieces: *const EnvoyBuffer,
    _pieces_len: usize,
    _end: bool,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_trailers(
    _stream: *mut EnvoyStream,
    _exchange: *const Exchange,
    _id: u64,
    _trailers: *const EnvoyHeader,
    _trailers_len: usize,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_complete(
    _stream: *mut EnvoyStream,
    _exchange: *const Exchange,
    _id: u64,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_reset(
    _stream: *mut EnvoyStream,
    _exchange: *const Exchange,
    _id: u64,
    _reason: u32,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(
    _stream: *mut EnvoyStream,
    _exchange: *const Exchange,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(
    _stream: *mut EnvoyStream,
    _exchange: *const Exchange,
) {
}
