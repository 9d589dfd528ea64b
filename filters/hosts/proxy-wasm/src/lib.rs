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
//! It declares [`Caps::PROXY_WASM`](filter_api::Caps::PROXY_WASM). The rules behind those caps are Envoy's, and
//! the adapter keeps cores within them; what a core asks for beyond them is dropped with a warning and counted
//! in `<filter>.dropped_operations`, because the SDK answers an illegal call with a panic, and a panic ends
//! every stream of the worker.
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
//! - **Calls** take text only: a header whose value is not UTF-8 is left out.
//! - **[`set_property`](filter_api::Ops::set_property)** sets filter state `wasm.<name>`. The name must not be one that
//!   another module of the listener declared read-only.
//! - **A reply's details** cannot be passed on: the SDK sends none. A reply is not shown to the core that gave it.
//! - **[`Reset`](filter_api::OnData::Reset)** closes an HTTP/1.1 connection before the end of the message, and sends
//!   RST_STREAM with INTERNAL_ERROR over HTTP/2, in every phase.

mod apply;
mod body;
mod calls;
mod events;
mod exchange;
mod foreign;
mod half;
mod root;
mod view;

#[doc(hidden)]
pub use proxy_wasm;
#[doc(hidden)]
pub use root::Root;

use filter_api::Memory;
use std::sync::{Arc, OnceLock};

/// What the streams of one VM may hold together, in bytes.
///
/// Envoy gives a VM 1 GiB (measured: 1009 MiB) and never gets it back. A quarter is left for the code's own
/// data, for the chunk at hand, which is in memory twice for a moment, and for a heap with holes in it.
pub const VM_BUDGET_BYTES: usize = 768 * 1024 * 1024;

/// How many bytes of a response this host dares to put into a body that Envoy buffers, unless Envoy had
/// buffered more than that just before. Half of the smallest buffer limit that Envoy's guide to edge proxies
/// recommends (32 KiB).
pub const BUFFERED_LIMIT_BYTES: usize = 16 * 1024;

/// The memory that all plugins of this VM share: with an empty `vm_id`, as Istio leaves it, every plugin of
/// the same module runs in one VM.
fn memory() -> Arc<Memory> {
    static MEMORY: OnceLock<Arc<Memory>> = OnceLock::new();
    MEMORY.get_or_init(|| Memory::new(VM_BUDGET_BYTES)).clone()
}

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
