//! Every golden case on core, in wasm on the emulator and natively.

pub mod native;
pub mod verify_signature;
