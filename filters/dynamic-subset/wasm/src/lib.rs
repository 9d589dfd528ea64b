//! The subset filter as a proxy-wasm module.

host_proxy_wasm::export!(dynamic_subset::DynamicSubset);
