//! A native module whose filter does nothing: what Envoy takes for entering a filter, below which none can go.
//!
//! It keeps no state and asks Envoy for nothing. The names and signatures are those of Envoy's `abi.h`, as
//! `filters/hosts/dynamic-module/abi.facts` has them.
#![cfg(not(target_arch = "wasm32"))]
#![allow(unsafe_code)] // The attribute by which Envoy finds a function; nothing here is unsafe in itself.

use std::ffi::{c_char, c_void};

/// What Envoy and the module know each other's things by.
type Pointer = *const c_void;

/// A text of Envoy's: where it is, and its length.
#[repr(C)]
pub struct Text(Pointer, usize);

/// A pointer that is not null.
const SOMETHING: Pointer = std::ptr::dangling();

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    c"v0.2.0".as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_new(_: Pointer, _: Text, _: Text) -> Pointer {
    SOMETHING
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_new(_: Pointer, _: Pointer) -> Pointer {
    SOMETHING
}

macro_rules! nothing {
    ($($name:ident($($parameter:ty),*);)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($(_: $parameter),*) {}
        )*
    };
}

/// 0 is "continue" for headers, data and trailers.
macro_rules! pass {
    ($($name:ident($($parameter:ty),*);)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($(_: $parameter),*) -> u32 {
                0
            }
        )*
    };
}

pass! {
    envoy_dynamic_module_on_http_filter_request_headers(Pointer, Pointer, bool);
    envoy_dynamic_module_on_http_filter_request_body(Pointer, Pointer, bool);
    envoy_dynamic_module_on_http_filter_request_trailers(Pointer, Pointer);
    envoy_dynamic_module_on_http_filter_response_headers(Pointer, Pointer, bool);
    envoy_dynamic_module_on_http_filter_response_body(Pointer, Pointer, bool);
    envoy_dynamic_module_on_http_filter_response_trailers(Pointer, Pointer);
}

nothing! {
    envoy_dynamic_module_on_http_filter_config_destroy(Pointer);
    envoy_dynamic_module_on_http_filter_config_scheduled(Pointer, Pointer, u64);
    envoy_dynamic_module_on_http_filter_config_http_callout_done(Pointer, Pointer, u64, u32, Pointer, usize, Pointer, usize);
    envoy_dynamic_module_on_http_filter_destroy(Pointer);
    envoy_dynamic_module_on_http_filter_stream_complete(Pointer, Pointer);
    envoy_dynamic_module_on_http_filter_http_callout_done(Pointer, Pointer, u64, u32, Pointer, usize, Pointer, usize);
    envoy_dynamic_module_on_http_filter_http_stream_headers(Pointer, Pointer, u64, Pointer, usize, bool);
    envoy_dynamic_module_on_http_filter_http_stream_data(Pointer, Pointer, u64, Pointer, usize, bool);
    envoy_dynamic_module_on_http_filter_http_stream_trailers(Pointer, Pointer, u64, Pointer, usize);
    envoy_dynamic_module_on_http_filter_http_stream_complete(Pointer, Pointer, u64);
    envoy_dynamic_module_on_http_filter_http_stream_reset(Pointer, Pointer, u64, u32);
    envoy_dynamic_module_on_http_filter_scheduled(Pointer, Pointer, u64);
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(Pointer, Pointer);
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(Pointer, Pointer);
}
