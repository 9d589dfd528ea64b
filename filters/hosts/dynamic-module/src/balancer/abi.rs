//! The part of Envoy's dynamic-module ABI that concerns load-balancing policies
//! (`envoy_dynamic_module_callback_lb_*` in `abi.h`).
//!
//! Envoy 1.38, 1.39 and 1.40 export all of it with the same signatures. It is looked up when a policy is configured,
//! and not linked, so that the filters of this module load where it is missing.

#![allow(unsafe_code)]

use crate::abi::{EnvoyBuffer, ModuleBuffer, symbol};
use std::ffi::{CStr, c_void};

/// Envoy's object of one policy's configuration; only ever passed back.
#[repr(C)]
pub(super) struct EnvoyLbConfig {
    _opaque: [u8; 0],
}

/// Envoy's object of one policy in one worker; only ever passed back.
#[repr(C)]
pub(super) struct EnvoyLb {
    _opaque: [u8; 0],
}

/// Envoy's object of one request that an endpoint is chosen for; null where there is no request.
#[repr(C)]
pub(super) struct EnvoyLbContext {
    _opaque: [u8; 0],
}

/// A healthy endpoint, among the codes of `get_host_health` (0 is unhealthy, 1 degraded).
pub(super) const HEALTHY: u32 = 2;

/// The number of requests under way, among the codes of `get_host_stat`.
pub(super) const ACTIVE_REQUESTS: u32 = 7;

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident = $symbol:literal: $kind:ty;)*) => {
        /// Envoy's functions. Those that take an index return nothing (`false`, 0) where the list has no such place.
        #[derive(Clone, Copy)]
        pub(super) struct Functions {
            $($(#[$doc])* pub(super) $name: $kind,)*
        }

        impl Functions {
            /// Looks all of them up.
            ///
            /// # Errors
            /// The name of one that the running Envoy does not export.
            pub(super) fn find() -> Result<Self, &'static CStr> {
                $(let $name = {
                    let found: *mut c_void = symbol($symbol);
                    if found.is_null() {
                        return Err($symbol);
                    }
                    // SAFETY: Envoy exports under this name a function of this type, and it stays where it is as
                    // long as the process runs.
                    unsafe { std::mem::transmute::<*mut c_void, $kind>(found) }
                };)*
                Ok(Self { $($name,)* })
            }
        }
    };
}

/// Reads a number by priority and by the place among all endpoints.
type OfHost<R> = unsafe extern "C" fn(*mut EnvoyLb, u32, usize) -> R;
/// Stores an endpoint's address, by priority and place in a list.
type Address = unsafe extern "C" fn(*mut EnvoyLb, u32, usize, *mut EnvoyBuffer) -> bool;
/// Stores a metadata value, by priority, place among all endpoints, namespace and key; `false` where there is none of
/// this type.
type Metadata<T> = unsafe extern "C" fn(*mut EnvoyLb, u32, usize, ModuleBuffer, ModuleBuffer, *mut T) -> bool;

functions! {
    /// Defines a counter without labels and stores its id. Only inside `config_new`, with its configuration.
    define_counter = c"envoy_dynamic_module_callback_lb_config_define_counter":
        unsafe extern "C" fn(*mut EnvoyLbConfig, ModuleBuffer, *const ModuleBuffer, usize, *mut usize) -> u32;
    /// Adds to a counter that the configuration defined. Any thread, as long as the configuration is there.
    increment_counter = c"envoy_dynamic_module_callback_lb_config_increment_counter":
        unsafe extern "C" fn(*mut EnvoyLbConfig, usize, *const ModuleBuffer, usize, u64) -> u32;
    /// How many priorities the cluster has.
    priorities = c"envoy_dynamic_module_callback_lb_get_priority_set_size":
        unsafe extern "C" fn(*mut EnvoyLb) -> usize;
    /// How many endpoints a priority has.
    hosts_count = c"envoy_dynamic_module_callback_lb_get_hosts_count":
        unsafe extern "C" fn(*mut EnvoyLb, u32) -> usize;
    /// How many of them are healthy.
    healthy_hosts_count = c"envoy_dynamic_module_callback_lb_get_healthy_hosts_count":
        unsafe extern "C" fn(*mut EnvoyLb, u32) -> usize;
    /// The address at a place among all endpoints.
    host_address = c"envoy_dynamic_module_callback_lb_get_host_address": Address;
    /// The address at a place among the healthy ones.
    healthy_host_address = c"envoy_dynamic_module_callback_lb_get_healthy_host_address": Address;
    /// The weight.
    host_weight = c"envoy_dynamic_module_callback_lb_get_host_weight": OfHost<u32>;
    /// The health at this moment: [`HEALTHY`] or another code.
    host_health = c"envoy_dynamic_module_callback_lb_get_host_health": OfHost<u32>;
    /// A counter or gauge of an endpoint's, such as [`ACTIVE_REQUESTS`].
    host_stat = c"envoy_dynamic_module_callback_lb_get_host_stat":
        unsafe extern "C" fn(*mut EnvoyLb, u32, usize, u32) -> u64;
    /// A string.
    metadata_string = c"envoy_dynamic_module_callback_lb_get_host_metadata_string": Metadata<EnvoyBuffer>;
    /// A number.
    metadata_number = c"envoy_dynamic_module_callback_lb_get_host_metadata_number": Metadata<f64>;
    /// A boolean.
    metadata_bool = c"envoy_dynamic_module_callback_lb_get_host_metadata_bool": Metadata<bool>;
    /// Stores the value at `index` among those of a request header, and their number unless that pointer is null.
    header = c"envoy_dynamic_module_callback_lb_context_get_downstream_header":
        unsafe extern "C" fn(*mut EnvoyLbContext, ModuleBuffer, *mut EnvoyBuffer, usize, *mut usize) -> bool;
    /// How often Envoy would have another endpoint chosen if a retry should avoid the first; 0 without such a rule.
    selection_retries = c"envoy_dynamic_module_callback_lb_context_get_host_selection_retry_count":
        unsafe extern "C" fn(*mut EnvoyLbContext) -> u32;
    /// Whether the request is a retry that should avoid an endpoint.
    avoids = c"envoy_dynamic_module_callback_lb_context_should_select_another_host":
        unsafe extern "C" fn(*mut EnvoyLb, *mut EnvoyLbContext, u32, usize) -> bool;
}
