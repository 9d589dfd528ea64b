//! The transcoder as a proxy-wasm module.
