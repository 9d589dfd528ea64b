//! A plugin's configuration.

use crate::apply::{self, Voice};
use crate::exchange::Exchange;
use filter_api::{Caps, Level, Plugin};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType};
use std::sync::Arc;

/// One configuration of a plugin; Envoy makes one per VM.
#[doc(hidden)]
pub struct Root<P: Plugin> {
    loaded: Option<Loaded<P>>,
}

/// A plugin that took its configuration.
pub(crate) struct Loaded<P> {
    pub(crate) plugin: Arc<P>,
    pub(crate) voice: Arc<Voice>,
}

impl<P: Plugin> Root<P> {
    /// A plugin without its configuration, as the SDK wants it.
    #[must_use]
    pub fn boxed() -> Box<dyn RootContext> {
        Box::new(Self { loaded: None })
    }
}

impl<P: Plugin> Context for Root<P> {}

impl<P: Plugin> RootContext for Root<P> {
    fn on_configure(&mut self, size: usize) -> bool {
        let json = match size {
            0 => None,
            _ => hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size).ok().flatten(),
        };
        match P::configure(&json.unwrap_or_default(), Caps::PROXY_WASM, crate::vm()) {
            Ok(plugin) => {
                let voice = Arc::new(Voice::declare(P::NAME, P::METRICS));
                for warning in plugin.warnings() {
                    voice.log(Level::Warn, || warning);
                }
                self.loaded = Some(Loaded { plugin: Arc::new(plugin), voice });
                true
            }
            Err(error) => {
                apply::log(P::NAME, Level::Error, || error.to_string());
                false
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(match &self.loaded {
            Some(loaded) => Box::new(Exchange::new(loaded)),
            // Envoy sends no traffic to a plugin that refused its configuration; the SDK panics without a
            // context.
            None => Box::new(NoFilter),
        })
    }
}

struct NoFilter;

impl Context for NoFilter {}
impl HttpContext for NoFilter {}
