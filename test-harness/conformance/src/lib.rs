//! Every golden case in wasm on the emulator and natively.

pub mod ends;
pub mod native;
pub mod verify_signature;

use proxy_wasm_emulator::HeaderMap;
use testkit::{Case, captures, golden_cases};

/// Every golden case and every capture.
///
/// # Errors
/// One of them cannot be read.
pub fn cases() -> Result<Vec<Case>, String> {
    let golden = golden_cases().map_err(|error| error.to_string())?;
    Ok(golden.into_iter().chain(captures::cases()?).collect())
}

/// The headers and the body so far of a request that never ends, of which `dynamic-subset` holds 20,000 bytes: more than
/// it may hold of any that a case is about. All filters of a VM or of a process share its memory, and none may suffer
/// from another.
#[must_use]
pub fn endless_request() -> (HeaderMap, Vec<u8>) {
    let head = [
        (":method", "POST"),
        (":path", "/inference.GRPCInferenceService/ModelInfer"),
        (":scheme", "http"),
        (":authority", "gateway.test"),
        ("content-type", "application/grpc"),
    ];
    // A message of 60,000 bytes, whose first field has 20,000.
    let body = [b"\0\0\0\xea\x60\x12\xa0\x9c\x01".as_slice(), &[b'3'; 20_000]].concat();
    (HeaderMap::from(head), body)
}
