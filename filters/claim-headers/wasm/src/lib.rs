//! The filter as a proxy-wasm module.

host_proxy_wasm::export!(claim_headers::ClaimHeaders);
