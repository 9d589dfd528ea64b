//! How often the module and Envoy called each other.

use std::collections::BTreeMap;
use std::fmt;

/// How often a module and Envoy called each other, by the functions' names in the ABI.
///
/// Each crossing costs Envoy about as much as copying some hundred bytes, whatever it does, and unlike time their number
/// is exact: a test that holds it notices a filter that has become chattier.
///
/// ```
/// use proxy_wasm_emulator::{Engine, Message, PluginOptions, Vm, VmOptions};
///
/// // It has Envoy's clock read for each request.
/// let filter = r#"(module
///   (import "env" "proxy_get_current_time_nanoseconds" (func $now (param i32) (result i32)))
///   (memory (export "memory") 1)
///   (func (export "proxy_abi_version_0_2_1"))
///   (func (export "malloc") (param i32) (result i32) (i32.const 1024))
///   (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
///     (drop (call $now (i32.const 64)))
///     (i32.const 0)))"#;
/// let vm = Vm::new(&Engine::new(), filter.as_bytes(), VmOptions::default())?;
/// let plugin = vm.plugin(PluginOptions::default())?;
///
/// let _of_starting = vm.take_crossings();
/// plugin.exchange(&Message::get("/"), &Message::response(200, "fine"));
/// let crossings = vm.take_crossings();
/// assert_eq!(crossings.host_calls.into_iter().collect::<Vec<_>>(), [("proxy_get_current_time_nanoseconds", 1)]);
/// assert_eq!(crossings.callbacks.into_iter().collect::<Vec<_>>(), [("proxy_on_request_headers", 1)]);
/// # Ok::<(), proxy_wasm_emulator::LoadError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crossings {
    /// The module's calls of functions that it imports, those of WASI included.
    pub host_calls: BTreeMap<&'static str, u64>,
    /// Envoy's calls of functions that the module exports, those of its allocator (`malloc` or
    /// `proxy_on_memory_allocate`) included: one for each result of a host call that needs memory.
    pub callbacks: BTreeMap<&'static str, u64>,
}

impl Crossings {
    pub(crate) fn host_call(&mut self, name: &'static str) {
        *self.host_calls.entry(name).or_default() += 1;
    }

    pub(crate) fn callback(&mut self, name: &'static str) {
        *self.callbacks.entry(name).or_default() += 1;
    }

    /// All of them, both ways.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.host_calls.values().chain(self.callbacks.values()).sum()
    }
}

/// One line for each function.
impl fmt::Display for Crossings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, counts) in [("host calls", &self.host_calls), ("callbacks", &self.callbacks)] {
            writeln!(f, "{:4} {title}", counts.values().sum::<u64>())?;
            for (name, count) in counts {
                writeln!(f, "{count:8} {name}")?;
            }
        }
        Ok(())
    }
}
