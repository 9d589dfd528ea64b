//! Every golden case on core, in wasm on the emulator and natively.

pub mod native;
