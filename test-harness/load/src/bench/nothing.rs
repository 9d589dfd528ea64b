//! Filters that do nothing: what Envoy takes for entering a filter at all, below which none can go.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::row::Callbacks;

/// The name of the native one, which `test-harness/test-filters/examples/nothing_module.rs` is.
const NATIVE: &str = "libnothing_module.so";

/// Where the filters are.
pub(crate) struct Nothing {
    request: PathBuf,
    both: PathBuf,
    /// Nothing where it is not built.
    pub(crate) native: Option<PathBuf>,
}

impl Nothing {
    /// Writes the wasm modules to `directory`, and looks for the native one.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let write = |name: &str, callbacks| -> Result<PathBuf> {
            let path = directory.join(name);
            std::fs::write(&path, wat::parse_str(module(callbacks))?)
                .map_err(|e| format!("write {}: {e}", path.display()))?;
            Ok(path)
        };
        let modules = std::env::var_os("TEST_MODULES").map(PathBuf::from);
        let native = modules.unwrap_or_else(|| directory.with_file_name("test-modules")).join(NATIVE);
        Ok(Self {
            request: write("nothing_request.wasm", Callbacks::OfRequest)?,
            both: write("nothing_both.wasm", Callbacks::OfBoth)?,
            native: native.is_file().then_some(native),
        })
    }

    /// The wasm module with these callbacks.
    pub(crate) fn wasm(&self, callbacks: Callbacks) -> &Path {
        match callbacks {
            Callbacks::OfRequest => &self.request,
            Callbacks::OfBoth => &self.both,
        }
    }
}

/// A module in which each callback returns at once.
fn module(callbacks: Callbacks) -> String {
    let of_response = match callbacks {
        Callbacks::OfRequest => "",
        Callbacks::OfBoth => {
            r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) i32.const 0)
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) i32.const 0)
  (func (export "proxy_on_response_trailers") (param i32 i32) (result i32) i32.const 0)"#
        }
    };
    format!(
        r#"(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) i32.const 1024)
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) i32.const 1)
  (func (export "proxy_on_configure") (param i32 i32) (result i32) i32.const 1)
  (func (export "proxy_on_delete") (param i32))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) i32.const 0)
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) i32.const 0)
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32) i32.const 0)
  {of_response})"#
    )
}
