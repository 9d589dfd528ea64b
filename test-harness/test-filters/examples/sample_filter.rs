//! The sample filter as a proxy-wasm module.
#![cfg(target_arch = "wasm32")]

host_proxy_wasm::export!(test_filters::SampleFilter);
