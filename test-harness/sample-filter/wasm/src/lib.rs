//! The sample filter as a proxy-wasm module.

host_proxy_wasm::export!(sample_filter::SampleFilter);
