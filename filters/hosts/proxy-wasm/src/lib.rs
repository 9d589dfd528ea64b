//! Runs a filter core behind the proxy-wasm ABI.
