//! Filters in wasm that do nothing: what Envoy takes for entering a filter at all, below which none can go. The native one is
//! in [`least::native`](crate::least::native).

use std::path::{Path, PathBuf};

use crate::Result;
use crate::row::Callbacks;

/// Where the filters are.
pub(crate) struct Nothing {
    request: PathBuf,
    both: PathBuf,
}

impl Nothing {
    /// Writes the wasm modules to `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let write = |name: &str, callbacks| -> Result<PathBuf> {
            let path = directory.join(name);
            std::fs::write(&path, wat::parse_str(module(callbacks))?)
                .map_err(|e| format!("write {}: {e}", path.display()))?;
            Ok(path)
        };
        Ok(Self {
            request: write("nothing_request.wasm", Callbacks::OfRequest)?,
            both: write("nothing_both.wasm", Callbacks::OfBoth)?,
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
