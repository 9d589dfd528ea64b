//! A stateful proxy-wasm host on wasmtime that behaves as Envoy does.
