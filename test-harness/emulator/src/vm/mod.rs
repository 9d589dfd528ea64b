//! The module in wasmtime: what it imports works on `state`, and it is a filter of the `chain`.

pub(crate) mod engine;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod filter;
pub(crate) mod host;
mod hostcalls;
mod imports;
pub(crate) mod instance;
pub(crate) mod network;
mod trap;
