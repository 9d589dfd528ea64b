//! The engine that compiles modules.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{Config, Module, OptLevel};

/// Compiles modules; each only once. Clones share what is compiled, in any thread: give one engine to all tests of a
/// process, as in `static ENGINE: LazyLock<Engine>`.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    modules: Arc<Mutex<HashMap<Vec<u8>, Module>>>,
}

impl Engine {
    /// An engine whose code is made quickly, and runs at about the speed of a debug build.
    ///
    /// # Panics
    /// When cranelift makes no code for this machine.
    #[must_use]
    pub fn new() -> Self {
        Self::with(&Config::new())
    }

    /// The same, and what is compiled is kept in a folder: later processes load it from there, unless the module or
    /// wasmtime has changed. Several processes may use the folder at once.
    ///
    /// # Errors
    /// When the folder's path is not absolute, or it cannot be made.
    #[cfg(feature = "cache")]
    pub fn with_cache(folder: impl Into<std::path::PathBuf>) -> Result<Self, String> {
        let mut cache = wasmtime::CacheConfig::new();
        cache.with_directory(folder);
        let cache = wasmtime::Cache::new(cache).map_err(|error| format!("{error:#}"))?;
        let mut config = Config::new();
        config.cache(Some(cache));
        Ok(Self::with(&config))
    }

    fn with(config: &Config) -> Self {
        let mut config = config.clone();
        config.cranelift_opt_level(OptLevel::None);
        #[allow(clippy::expect_used, reason = "documented; a test cannot go on without an engine")]
        let engine = wasmtime::Engine::new(&config).expect("cranelift supports this machine");
        Self { engine, modules: Arc::default() }
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// Compiles a module. Threads that come meanwhile wait, and find it compiled.
    pub(crate) fn module(&self, wasm: &[u8]) -> Result<Module, String> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(wasm) {
            return Ok(module.clone());
        }
        let module = Module::new(&self.engine, wasm).map_err(|e| format!("{e:#}"))?;
        modules.insert(wasm.to_vec(), module.clone());
        Ok(module)
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}
