//! The module's symbols, and the loader that finds them.

use super::EnvoyConfig;
use std::ffi::{CString, c_char, c_int, c_void};

/// Bytes with their length, of either side's.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Buf {
    pub(super) ptr: *const u8,
    pub(super) len: usize,
}

impl From<&[u8]> for Buf {
    fn from(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }
}

impl Buf {
    /// # Safety
    /// What it points to is valid during `'a`.
    pub(super) unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() {
            return &[];
        }
        // SAFETY: not null, and the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }

    /// # Safety
    /// As for `bytes`.
    pub(super) unsafe fn text(self) -> String {
        // SAFETY: the caller vouches for it.
        String::from_utf8_lossy(unsafe { self.bytes() }).into_owned()
    }
}

type HeadersHook = unsafe extern "C" fn(*const c_void, *const c_void, bool) -> u32;
type TrailersHook = unsafe extern "C" fn(*const c_void, *const c_void) -> u32;
type CalloutHook =
    unsafe extern "C" fn(*const c_void, *const c_void, u64, u32, *const (Buf, Buf), usize, *const Buf, usize);

#[derive(Clone, Copy)]
pub(super) struct Symbols {
    pub(super) program_init: unsafe extern "C" fn() -> *const c_char,
    pub(super) config_new: unsafe extern "C" fn(*const EnvoyConfig, Buf, Buf) -> *const c_void,
    pub(super) config_scheduled: unsafe extern "C" fn(*const EnvoyConfig, *const c_void, u64),
    pub(super) config_destroy: unsafe extern "C" fn(*const c_void),
    pub(super) filter_new: unsafe extern "C" fn(*const c_void, *const c_void) -> *const c_void,
    pub(super) filter_destroy: unsafe extern "C" fn(*const c_void),
    pub(super) stream_complete: unsafe extern "C" fn(*const c_void, *const c_void),
    pub(super) headers: [HeadersHook; 2],
    pub(super) body: [HeadersHook; 2],
    pub(super) trailers: [TrailersHook; 2],
    pub(super) http_callout_done: CalloutHook,
    pub(super) scheduled: unsafe extern "C" fn(*const c_void, *const c_void, u64),
}

/// Hooks without which Envoy loads no module, and which this player does not call.
const ALSO_REQUIRED: [&str; 7] = [
    "http_filter_http_stream_headers",
    "http_filter_http_stream_data",
    "http_filter_http_stream_trailers",
    "http_filter_http_stream_complete",
    "http_filter_http_stream_reset",
    "http_filter_downstream_above_write_buffer_high_watermark",
    "http_filter_downstream_below_write_buffer_low_watermark",
];

impl Symbols {
    /// # Safety
    /// The handle is a library's, which is never closed, and its hooks have the ABI's signatures.
    pub(super) unsafe fn find(handle: *mut c_void) -> Result<Self, String> {
        for name in ALSO_REQUIRED {
            // SAFETY: the caller vouches for it; nothing is called.
            unsafe { hook::<*const c_void>(handle, name) }?;
        }
        // SAFETY: the caller vouches for it: the types of the fields are the ABI's signatures.
        unsafe {
            Ok(Self {
                program_init: hook(handle, "program_init")?,
                config_new: hook(handle, "http_filter_config_new")?,
                config_scheduled: hook(handle, "http_filter_config_scheduled")?,
                config_destroy: hook(handle, "http_filter_config_destroy")?,
                filter_new: hook(handle, "http_filter_new")?,
                filter_destroy: hook(handle, "http_filter_destroy")?,
                stream_complete: hook(handle, "http_filter_stream_complete")?,
                headers: [
                    hook(handle, "http_filter_request_headers")?,
                    hook(handle, "http_filter_response_headers")?,
                ],
                body: [hook(handle, "http_filter_request_body")?, hook(handle, "http_filter_response_body")?],
                trailers: [
                    hook(handle, "http_filter_request_trailers")?,
                    hook(handle, "http_filter_response_trailers")?,
                ],
                http_callout_done: hook(handle, "http_filter_http_callout_done")?,
                scheduled: hook(handle, "http_filter_scheduled")?,
            })
        }
    }
}

/// # Safety
/// The handle is a live library's, and `F` is a pointer to what the symbol is.
unsafe fn hook<F: Copy>(handle: *mut c_void, name: &str) -> Result<F, String> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    let symbol = CString::new(format!("envoy_dynamic_module_on_{name}")).map_err(|e| e.to_string())?;
    // SAFETY: a live handle and a C string.
    let address = unsafe { dlsym(handle, symbol.as_ptr()) };
    if address.is_null() {
        return Err(format!("the module lacks the hook {name}"));
    }
    // SAFETY: both are pointers of one size, and the caller vouches for the type.
    Ok(unsafe { std::mem::transmute_copy(&address) })
}

pub(super) const RTLD_NOW: c_int = 2;

unsafe extern "C" {
    pub(super) fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    pub(super) fn dlerror() -> *const c_char;
}
