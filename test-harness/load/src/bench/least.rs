//! Filters that make only the calls of their host without which no filter could do the job, and in wasm give constant bytes
//! where they can: what Envoy takes for these, below which no filter can go.

use std::path::{Path, PathBuf};

use odd_server::wire;

use crate::Result;
use crate::claims;
use crate::column::Column;
use crate::exchange::{Exchange, SUBSET_HEADER, SUBSET_KEY};
use crate::row::{Job, Row};

/// The name of the native module, which `test-harness/test-filters/examples/least_module.rs` is.
const NATIVE: &str = "libleast_module.so";

/// Where the native module is that has the filters `nothing` and `least_subset`; nothing where it is not built. What only a
/// run needs is in `directory`.
pub(crate) fn native(directory: &Path) -> Option<PathBuf> {
    let modules = std::env::var_os("TEST_MODULES").map(PathBuf::from);
    let native = modules.unwrap_or_else(|| directory.with_file_name("test-modules")).join(NATIVE);
    native.is_file().then_some(native)
}

/// Where the filters in wasm are.
pub(crate) struct Least {
    transcoder: PathBuf,
    subset: PathBuf,
    claim: PathBuf,
}

impl Least {
    /// Writes the wasm modules to `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let write = |name: &str, module: String| -> Result<PathBuf> {
            let path = directory.join(name);
            std::fs::write(&path, wat::parse_str(module)?)
                .map_err(|e| format!("write {}: {e}", path.display()))?;
            Ok(path)
        };
        Ok(Self {
            transcoder: write("least_tiny.wasm", transcoder())?,
            subset: write("least_subset.wasm", subset())?,
            claim: write("least_claims.wasm", claim())?,
        })
    }

    /// The wasm module for a job.
    pub(crate) fn wasm(&self, job: Job) -> &Path {
        match job {
            Job::Transcode => &self.transcoder,
            Job::Subset => &self.subset,
            Job::Claim => &self.claim,
        }
    }
}

/// The ABI's number of the request's headers and of its body (`proxy_map_type_t`, `proxy_buffer_type_t`).
const REQUEST: u32 = 0;
/// That of the response's headers.
const RESPONSE_HEADERS: u32 = 2;
/// That of the response's trailers.
const RESPONSE_TRAILERS: u32 = 3;
/// That of the response's body.
const RESPONSE_BODY: u32 = 1;

/// A transcoder for [`Row::Tiny`]. It must learn which request this is, make a gRPC request of it, read the body and give
/// another one, see that the answer is gRPC, make a JSON answer of it in the same way, and learn from the trailers how
/// the call ended.
fn transcoder() -> String {
    let mut module = Module::default();
    let message = wire::frame(&Exchange::tiny(Row::Tiny, Column::Grpc).body);
    let answer = Exchange::tiny(Row::Tiny, Column::Passthrough).answer;
    let request_headers = [
        module.get(REQUEST, ":method"),
        module.get(REQUEST, ":path"),
        module.replace(REQUEST, ":path", "/inference.GRPCInferenceService/ModelInfer"),
        module.replace(REQUEST, "content-type", "application/grpc"),
        module.replace(REQUEST, "te", "trailers"),
        module.remove(REQUEST, "content-length"),
    ];
    let request_body = module.exchange_body(REQUEST, &message);
    let response_headers = [
        module.get(RESPONSE_HEADERS, "content-type"),
        module.replace(RESPONSE_HEADERS, "content-type", "application/json"),
    ];
    let response_body = module.exchange_body(RESPONSE_BODY, &answer);
    let trailers =
        [module.get(RESPONSE_TRAILERS, "grpc-status"), module.remove(RESPONSE_TRAILERS, "grpc-status")];
    let callbacks = [
        headers("proxy_on_request_headers", &request_headers.concat()),
        headers("proxy_on_request_body", &request_body),
        headers("proxy_on_response_headers", &response_headers.concat()),
        headers("proxy_on_response_body", &response_body),
        format!(
            r#"(func (export "proxy_on_response_trailers") (param i32 i32) (result i32) {} i32.const 0)"#,
            trailers.concat()
        ),
    ];
    module.text(&callbacks.concat())
}

/// A filter for [`Row::Subset`]: it must read the header, and hand its value on in one that a client cannot set. The filter
/// behind it makes metadata of that, and takes it off.
fn subset() -> String {
    let mut module = Module::default();
    let calls = [
        module.get(REQUEST, SUBSET_HEADER),
        module.replace_by_given(REQUEST, &format!("x-subset-{SUBSET_KEY}")),
    ];
    module.text(&headers("proxy_on_request_headers", &calls.concat()))
}

/// A filter for [`Row::Claims`] that remembers the token: it must read it, see that its time is not
/// over, set the header and take the token off.
fn claim() -> String {
    let mut module = Module::default();
    let calls = [
        module.get(REQUEST, "authorization"),
        format!("(drop (call $time (i32.const {RESULTS})))"),
        module.replace(REQUEST, claims::HEADER, claims::VALUE),
        module.remove(REQUEST, "authorization"),
    ];
    let callbacks =
        [headers("proxy_on_request_headers", &calls.concat()), headers("proxy_on_request_body", "")];
    module.text(&callbacks.concat())
}

/// A callback with three parameters, of which the second is a size, and that lets things go on.
fn headers(name: &str, calls: &str) -> String {
    format!(r#"(func (export "{name}") (param i32 i32 i32) (result i32) {calls} i32.const 0)"#)
}

/// Where results of host calls go: two numbers.
const RESULTS: u32 = 0;
/// Where constants are.
const CONSTANTS: u32 = 64;
/// Where Envoy puts what it gives, each time.
const GIVEN: u32 = 8192;

/// A module that is being written.
#[derive(Default)]
struct Module {
    constants: Vec<u8>,
}

impl Module {
    /// Has a module get a header's value.
    fn get(&mut self, map: u32, name: &str) -> String {
        let name = self.constant(name.as_bytes());
        format!(
            "(drop (call $get (i32.const {map}) {name} (i32.const {RESULTS}) (i32.const {})))",
            RESULTS + 4
        )
    }

    fn replace(&mut self, map: u32, name: &str, value: &str) -> String {
        let (name, value) = (self.constant(name.as_bytes()), self.constant(value.as_bytes()));
        format!("(drop (call $replace (i32.const {map}) {name} {value}))")
    }

    /// Has a module set a header to the value that it got last.
    fn replace_by_given(&mut self, map: u32, name: &str) -> String {
        let name = self.constant(name.as_bytes());
        let given = format!("(i32.load (i32.const {RESULTS})) (i32.load (i32.const {}))", RESULTS + 4);
        format!("(drop (call $replace (i32.const {map}) {name} {given}))")
    }

    fn remove(&mut self, map: u32, name: &str) -> String {
        let name = self.constant(name.as_bytes());
        format!("(drop (call $remove (i32.const {map}) {name}))")
    }

    /// Has a module read the chunk that has come, unless it is empty, and give these bytes in its place.
    fn exchange_body(&mut self, buffer: u32, bytes: &[u8]) -> String {
        let bytes = self.constant(bytes);
        format!(
            "(if (local.get 1) (then
  (drop (call $get_body (i32.const {buffer}) (i32.const 0) (local.get 1) (i32.const {RESULTS}) (i32.const {})))
  (drop (call $set_body (i32.const {buffer}) (i32.const 0) (local.get 1) {bytes}))))",
            RESULTS + 4
        )
    }

    /// Where these bytes are, and how many they are.
    fn constant(&mut self, bytes: &[u8]) -> String {
        let at = CONSTANTS as usize + self.constants.len();
        self.constants.extend_from_slice(bytes);
        format!("(i32.const {at}) (i32.const {})", bytes.len())
    }

    fn text(&self, callbacks: &str) -> String {
        let constants: String = self.constants.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!(
            r#"(module
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get_body (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_body (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const {CONSTANTS}) "{constants}")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) i32.const {GIVEN})
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) i32.const 1)
  (func (export "proxy_on_configure") (param i32 i32) (result i32) i32.const 1)
  (func (export "proxy_on_delete") (param i32))
  {callbacks})"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_are_valid_and_their_constants_lie_before_what_envoy_gives() {
        for module in [transcoder(), subset(), claim()] {
            wat::parse_str(&module).unwrap();
        }
        let mut module = Module::default();
        assert_eq!(module.constant(b"ab"), "(i32.const 64) (i32.const 2)");
        assert_eq!(module.constant(b"c"), "(i32.const 66) (i32.const 1)");
        let longest = Exchange::tiny(Row::Tiny, Column::Passthrough).answer.len();
        assert!(longest + 1024 < (GIVEN - CONSTANTS) as usize);
    }
}
