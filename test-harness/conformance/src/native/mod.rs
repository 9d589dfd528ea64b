//! Plays Envoy to the dynamic module: loads the shared library into this process and lets a test drive streams
//! through it from both ends, as the emulator does for proxy-wasm.
//!
//! `ffi` is the boundary (the one place with `unsafe`), `chain` is Envoy's filter manager as far as one filter
//! can tell. The types for headers and for what came out are the emulator's.
//!
//! A test executable that uses it must export the functions that the module calls: see this crate's build
//! script.

mod buffer;
mod chain;
mod ffi;
mod state;

pub use ffi::{LoadError, Module, Plugin, Stream};
pub use state::{Call, StreamOptions};

pub(crate) use state::State;
