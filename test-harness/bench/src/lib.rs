//! Stock transcoder, wasm, native and passthrough, side by side.
