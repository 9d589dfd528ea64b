//! Runs filter cores ([`filter_api::Plugin`]) and load-balancing policies ([`filter_api::Policy`]) in a native Envoy
//! dynamic module.
//!
//! A module is a crate with `crate-type = ["cdylib"]` that lists what is in it:
//!
//! ```
//! use filter_api::{Caps, ConfigError, Memory, Plugin, Stream};
//! use std::sync::Arc;
//!
//! /// A filter that lets everything pass.
//! struct Transparent;
//!
//! struct Exchange;
//!
//! impl Stream for Exchange {}
//!
//! impl Plugin for Transparent {
//!     type Stream = Exchange;
//!     const NAME: &'static str = "transparent";
//!
//!     fn configure(_: &[u8], _: Caps, _: Arc<Memory>) -> Result<Self, ConfigError> {
//!         Ok(Self)
//!     }
//!
//!     fn open(self: &Arc<Self>) -> Exchange {
//!         Exchange
//!     }
//! }
//!
//! host_dynamic_module::module! {
//!     filters: [Transparent],
//!     policies: [],
//! }
//! ```
//!
//! # Layers
//! From Envoy inwards: `hooks` are the functions that Envoy calls, `adapter` tells them to the [driver](host_driver), which
//! decides what a filter's verdict comes to; `proxy` is what the driver has Envoy do. `envoy` wraps the functions of `abi`
//! so that all of these need no `unsafe`. `configured` is a filter with its configuration, and `registry` finds the
//! filters of the module. `balancer` does the same for load-balancing policies.

mod abi;
mod adapter;
mod balancer;
mod configured;
mod envoy;
mod events;
mod hooks;
mod lookup;
mod module;
mod proxy;
mod registry;

#[cfg(test)]
mod facts;

#[doc(hidden)]
pub use balancer::PolicyEntry;
#[doc(hidden)]
pub use hooks::start;
#[doc(hidden)]
pub use module::Module;
#[doc(hidden)]
pub use registry::FilterEntry;

/// Makes the crate an Envoy dynamic module with these filters and policies.
///
/// An operator chooses one of the filters by `filter_name`, which is its [`NAME`](filter_api::Plugin::NAME), and one
/// of the policies by `lb_policy_name`, its [`NAME`](filter_api::Policy::NAME); in both, `-` and `_` count as the same.
/// Lines of Envoy's log that belong to none of them begin with the crate's name. Either list may be left out.
#[macro_export]
macro_rules! module {
    (filters: [$($filter:ty),* $(,)?] $(, policies: [$($policy:ty),* $(,)?])? $(,)?) => {
        const _: () = {
            static MODULE: $crate::Module = $crate::Module {
                name: ::core::env!("CARGO_CRATE_NAME"),
                filters: &[$($crate::FilterEntry::of::<$filter>()),*],
                policies: &[$($($crate::PolicyEntry::of::<$policy>()),*)?],
            };

            /// Envoy loads the module.
            #[unsafe(no_mangle)]
            extern "C" fn envoy_dynamic_module_on_program_init() -> *const ::core::ffi::c_char {
                $crate::start(&MODULE)
            }
        };
    };
    (policies: $policies:tt $(,)?) => {
        $crate::module! { filters: [], policies: $policies }
    };
}
