//! Runs a filter core ([`filter_api::Plugin`]) behind the proxy-wasm ABI, in Envoy's
//! `envoy.filters.http.wasm`.
//!
//! A module is a `cdylib` of one line:
//!
//! ```text
//! host_proxy_wasm::export!(my_filter::MyFilter);
//! ```
//!
//! # What this host can do
//! It declares [`Caps::PROXY_WASM`](filter_api::Caps::PROXY_WASM), and keeps the contract that [`host_driver`] has for all
//! hosts. What a core asks for beyond it is dropped there, because the SDK answers an illegal call with a panic, and a
//! panic ends every stream of the worker. What is particular to Envoy's proxy-wasm:
//!
//! - **Headers** can be read and written from their own callback until they are released. So a core that needs
//!   a request header later must keep it. Any change of a request header makes Envoy select the route again.
//! - **[`Hold`](filter_api::OnHeaders::Hold)** works only where the operator sets
//!   `allow_on_headers_stop_iteration`; a module cannot see that flag. Without it the request would hang, so a
//!   core asks the operator for a promise in its own configuration.
//! - **[`Emit`](filter_api::OnData::Emit)** has no limit, with one exception: after a
//!   [`Keep`](filter_api::OnData::Keep) with held headers, or a [`Park`](filter_api::OnData::Park), Envoy
//!   buffers the body until the next callback has let it go, and what is emitted there must fit its buffer
//!   limit. A request that does not is answered with 413. Of a response at most [`BUFFERED_LIMIT_BYTES`], or as
//!   many bytes as Envoy had just buffered, are emitted there, and more is an error: Envoy answers an overflow
//!   with a 500 *inside* the call that overflowed, which a module does not survive. So a core that has learnt
//!   enough to let held headers go does so at once, with an `Emit` of nothing if need be.
//! - **[`Emit` in trailers](filter_api::OnTrailers::Emit)** works only after [`Park`](filter_api::OnData::Park).
//! - **[`Wait`](filter_api::OnHeaders::Wait)** reads no body. Where the operator set the flag above, Envoy
//!   buffers the body that arrives meanwhile, under its limit.
//! - **[`verify`](filter_api::View::verify)** is Envoy's `verify_signature`, which does in a twentieth of the time what
//!   Rust does inside wasm.
//! - **[Events](filter_api::Plugin::event)** come in every VM, which are those of all workers and Envoy's main thread;
//!   [leases](filter_api::Leases) keep them apart.
//! - **Calls** take text only: a header whose value is not UTF-8 is left out. A stream that was woken by an event cannot
//!   start one: it has ended at once as refused.
//! - **[`set_property`](filter_api::Ops::set_property)** sets filter state `wasm.<name>`. The name must not be one that
//!   another module of the listener declared read-only.
//! - **A reply's details** cannot be passed on: the SDK sends none. A reply is not shown to the core that gave it.
//! - **[`Reset`](filter_api::OnData::Reset)** closes an HTTP/1.1 connection before the end of the message, and sends
//!   RST_STREAM with INTERNAL_ERROR over HTTP/2, in every phase.

mod body;
mod calls;
mod events;
mod exchange;
mod foreign;
mod half;
mod memory;
mod pairs;
mod proxy;
mod root;
mod view;
mod voice;
mod waiting;

pub use half::BUFFERED_LIMIT_BYTES;
pub use memory::VM_BUDGET_BYTES;
#[doc(hidden)]
pub use proxy_wasm;
#[doc(hidden)]
pub use root::Root;

/// Exports a [`filter_api::Plugin`] as the filter of a proxy-wasm module.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        // The function that the SDK's macro makes is for the VM only.
        const _: () = {
            $crate::proxy_wasm::main! {{
                $crate::proxy_wasm::set_log_level($crate::proxy_wasm::types::LogLevel::Warn);
                $crate::proxy_wasm::set_root_context(|id| $crate::Root::<$plugin>::boxed(id));
            }}
        };
    };
}
