//! A native module of filters that do the least: what Envoy takes for them, below which no other can go.
//!
//! | `filter_name` | what it does |
//! |---|---|
//! | `nothing` | nothing: it is entered, and asks Envoy for nothing |
//! | `least_subset` | puts a request header's value into the load balancer's metadata, by the two calls without which no filter could: one gets the header, the other sets the metadata. Its configuration is the header's name, a space, and the key of the metadata |
//!
//! Neither keeps anything of a stream. The names and signatures are those of Envoy's `abi.h`, as
//! `filters/hosts/dynamic-module/abi.facts` has them.
#![cfg(not(target_arch = "wasm32"))]
#![allow(unsafe_code, reason = "Envoy's functions, its pointers, and the attribute by which it finds ours")]

use std::ffi::{c_char, c_void};
use std::{ptr, slice};

/// What Envoy and the module know each other's things by.
type Pointer = *const c_void;

/// A text: where it is, and its length.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text(*const u8, usize);

impl Text {
    /// What a call that gives a text is given to write it to.
    const NONE: Self = Self(ptr::null(), 0);

    /// # Safety
    /// The bytes are there, and do not change, during `'a`.
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.0.is_null() {
            return &[];
        }
        // SAFETY: not null, and the caller vouches for the rest.
        unsafe { slice::from_raw_parts(self.0, self.1) }
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.as_ptr(), bytes.len())
    }
}

/// The code of a request's headers (`http_header_type`).
const REQUEST_HEADERS: u32 = 0;
/// The metadata by which `lb_subset_config` chooses.
const NAMESPACE: &[u8] = b"envoy.lb";
/// "Continue" for headers, data and trailers.
const CONTINUE: u32 = 0;

// Envoy exports these. The dynamic linker resolves them when it loads the module, so a call costs no lookup.
unsafe extern "C" {
    fn envoy_dynamic_module_callback_http_get_header(
        stream: Pointer,
        map: u32,
        name: Text,
        value: *mut Text,
        index: usize,
        count: *mut usize,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_set_dynamic_metadata_string(
        stream: Pointer,
        namespace: Text,
        key: Text,
        value: Text,
    );
}

/// A configured filter. Envoy is given a pointer to it, and gives that back for the configuration and for each stream.
enum Filter {
    Nothing,
    Subset { header: Box<[u8]>, key: Box<[u8]> },
}

impl Filter {
    /// `None` if there is no filter of this name, or its configuration is malformed.
    fn new(name: &[u8], config: &[u8]) -> Option<Self> {
        match name {
            b"nothing" => Some(Self::Nothing),
            b"least_subset" => {
                let (header, key) = config.split_at(config.iter().position(|&byte| byte == b' ')?);
                Some(Self::Subset { header: header.into(), key: key[1..].into() })
            }
            _ => None,
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    c"v0.2.0".as_ptr()
}

/// Null, with which Envoy refuses the configuration, if no filter can be made of it.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    _: Pointer,
    name: Text,
    config: Text,
) -> *const Filter {
    // SAFETY: Envoy's texts are there during the call.
    let filter = unsafe { Filter::new(name.bytes(), config.bytes()) };
    filter.map_or(ptr::null(), |filter| Box::into_raw(Box::new(filter)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(filter: *mut Filter) {
    if !filter.is_null() {
        // SAFETY: `config_new` made the pointer from a `Box`. Envoy gives it back once, when no stream of it is left.
        drop(unsafe { Box::from_raw(filter) });
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_new(filter: *const Filter, _: Pointer) -> *const Filter {
    filter
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    stream: Pointer,
    filter: *const Filter,
    _: bool,
) -> u32 {
    // SAFETY: it is a configuration's, which Envoy keeps as long as there is a stream of it.
    if let Filter::Subset { header, key } = unsafe { &*filter } {
        let (mut value, mut count) = (Text::NONE, 0);
        // SAFETY: Envoy reads our texts, and writes to `value` and `count`, during the call.
        let found = unsafe {
            envoy_dynamic_module_callback_http_get_header(
                stream,
                REQUEST_HEADERS,
                (&**header).into(),
                &raw mut value,
                0,
                &raw mut count,
            )
        };
        if found {
            // SAFETY: Envoy reads the texts during the call. Its own stays until the headers change.
            unsafe {
                envoy_dynamic_module_callback_http_set_dynamic_metadata_string(
                    stream,
                    NAMESPACE.into(),
                    (&**key).into(),
                    value,
                );
            }
        }
    }
    CONTINUE
}

macro_rules! nothing {
    ($($name:ident($($parameter:ty),*);)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($(_: $parameter),*) {}
        )*
    };
}

macro_rules! pass {
    ($($name:ident($($parameter:ty),*);)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($(_: $parameter),*) -> u32 {
                CONTINUE
            }
        )*
    };
}

pass! {
    envoy_dynamic_module_on_http_filter_request_body(Pointer, Pointer, bool);
    envoy_dynamic_module_on_http_filter_request_trailers(Pointer, Pointer);
    envoy_dynamic_module_on_http_filter_response_headers(Pointer, Pointer, bool);
    envoy_dynamic_module_on_http_filter_response_body(Pointer, Pointer, bool);
    envoy_dynamic_module_on_http_filter_response_trailers(Pointer, Pointer);
}

nothing! {
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
