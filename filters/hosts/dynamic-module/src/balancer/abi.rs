//! The part of Envoy's dynamic-module ABI that concerns load-balancing policies
//! (`envoy_dynamic_module_callback_lb_*` in `abi.h`).
//!
//! Envoy 1.38, 1.39 and 1.40 export all of it with the same signatures. It is looked up as the functions for filters
//! are, but not before a policy is configured: filters load where it is missing.

#![allow(unsafe_code)]

use crate::abi::{EnvoyBuffer, ModuleBuffer};
use crate::lookup::functions;

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
pub(crate) const HEALTHY: u32 = 2;

/// The number of requests under way, among the codes of `get_host_stat`.
pub(crate) const ACTIVE_REQUESTS: u32 = 7;

functions! {
    /// Defines a counter without labels and stores its id. Only inside `config_new`, with its configuration.
    #[link_name = "envoy_dynamic_module_callback_lb_config_define_counter"]
    fn define_counter(
        config: *mut EnvoyLbConfig,
        name: ModuleBuffer,
        label_names: *const ModuleBuffer,
        labels: usize,
        id: *mut usize,
    ) -> u32;

    /// Adds to a counter that the configuration defined. Any thread, as long as the configuration is there.
    #[link_name = "envoy_dynamic_module_callback_lb_config_increment_counter"]
    fn increment_counter(
        config: *mut EnvoyLbConfig,
        id: usize,
        label_values: *const ModuleBuffer,
        labels: usize,
        by: u64,
    ) -> u32;

    /// How many priorities the cluster has.
    #[link_name = "envoy_dynamic_module_callback_lb_get_priority_set_size"]
    fn priorities(lb: *mut EnvoyLb) -> usize;

    /// How many endpoints a priority has. Like all functions here that take a place, it returns nothing (`false`, 0)
    /// where the place does not exist.
    #[link_name = "envoy_dynamic_module_callback_lb_get_hosts_count"]
    fn hosts_count(lb: *mut EnvoyLb, priority: u32) -> usize;

    /// How many of them are healthy.
    #[link_name = "envoy_dynamic_module_callback_lb_get_healthy_hosts_count"]
    fn healthy_hosts_count(lb: *mut EnvoyLb, priority: u32) -> usize;

    /// Stores the address at a place among all endpoints.
    #[link_name = "envoy_dynamic_module_callback_lb_get_host_address"]
    fn host_address(lb: *mut EnvoyLb, priority: u32, index: usize, address: *mut EnvoyBuffer) -> bool;

    /// Stores the address at a place among the healthy ones.
    #[link_name = "envoy_dynamic_module_callback_lb_get_healthy_host_address"]
    fn healthy_host_address(lb: *mut EnvoyLb, priority: u32, index: usize, address: *mut EnvoyBuffer) -> bool;

    /// The weight, by the place among all endpoints.
    #[link_name = "envoy_dynamic_module_callback_lb_get_host_weight"]
    fn host_weight(lb: *mut EnvoyLb, priority: u32, index: usize) -> u32;

    /// The health at this moment, by the place among all endpoints: [`HEALTHY`] or another code.
    #[link_name = "envoy_dynamic_module_callback_lb_get_host_health"]
    fn host_health(lb: *mut EnvoyLb, priority: u32, index: usize) -> u32;

    /// A counter or gauge of an endpoint's, such as [`ACTIVE_REQUESTS`], by the place among all endpoints.
    #[link_name = "envoy_dynamic_module_callback_lb_get_host_stat"]
    fn host_stat(lb: *mut EnvoyLb, priority: u32, index: usize, stat: u32) -> u64;

    /// Stores a string of an endpoint's metadata, by the place among all endpoints; `false` where the value is of
    /// another type.
    #[link_name = "envoy_dynamic_module_callback_lb_get_host_metadata_string"]
    fn metadata_string(
        lb: *mut EnvoyLb,
        priority: u32,
        index: usize,
        namespace: ModuleBuffer,
        key: ModuleBuffer,
        value: *mut EnvoyBuffer,
    ) -> bool;

    /// Stores a number, as [`metadata_string`] does a string.
    #[link_name = "envoy_dynamic_module_callback_lb_get_host_metadata_number"]
    fn metadata_number(
        lb: *mut EnvoyLb,
        priority: u32,
        index: usize,
        namespace: ModuleBuffer,
        key: ModuleBuffer,
        value: *mut f64,
    ) -> bool;

    /// Stores a boolean, as [`metadata_string`] does a string.
    #[link_name = "envoy_dynamic_module_callback_lb_get_host_metadata_bool"]
    fn metadata_bool(
        lb: *mut EnvoyLb,
        priority: u32,
        index: usize,
        namespace: ModuleBuffer,
        key: ModuleBuffer,
        value: *mut bool,
    ) -> bool;

    /// Stores the value at `index` among those of a request header, and their number unless that pointer is null.
    #[link_name = "envoy_dynamic_module_callback_lb_context_get_downstream_header"]
    fn header(
        context: *mut EnvoyLbContext,
        name: ModuleBuffer,
        value: *mut EnvoyBuffer,
        index: usize,
        count: *mut usize,
    ) -> bool;

    /// How often Envoy would have another endpoint chosen if a retry should avoid the first; 0 without such a rule.
    #[link_name = "envoy_dynamic_module_callback_lb_context_get_host_selection_retry_count"]
    fn selection_retries(context: *mut EnvoyLbContext) -> u32;

    /// Whether the request is a retry that should avoid an endpoint.
    #[link_name = "envoy_dynamic_module_callback_lb_context_should_select_another_host"]
    fn avoids(lb: *mut EnvoyLb, context: *mut EnvoyLbContext, priority: u32, index: usize) -> bool;
}
