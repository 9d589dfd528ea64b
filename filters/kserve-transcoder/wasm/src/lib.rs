//! The transcoder as a proxy-wasm module.

host_proxy_wasm::export!(kserve_transcoder::KserveTranscoder);
