//! A plugin's configuration.

use crate::events::Loaded;
use crate::exchange::Handle;
use crate::memory::memory;
use crate::voice;
use filter_api::{Caps, Event, Level, Plugin};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType};

/// One configuration of a plugin; Envoy makes one per VM.
#[doc(hidden)]
pub struct Root<P: Plugin> {
    context: u32,
    loaded: Option<Loaded<P>>,
}

impl<P: Plugin> Root<P> {
    /// A plugin without its configuration, as the SDK wants it.
    #[must_use]
    pub fn boxed(context: u32) -> Box<dyn RootContext> {
        Box::new(Self { context, loaded: None })
    }

    fn event(&mut self, event: Event) {
        if let Some(loaded) = &mut self.loaded {
            loaded.event(self.context, event);
        }
    }
}

impl<P: Plugin> Context for Root<P> {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body: usize, trailers: usize) {
        if let Some(loaded) = &mut self.loaded {
            loaded.call_ended(self.context, token, headers, body, trailers);
        }
    }
}

impl<P: Plugin> RootContext for Root<P> {
    fn on_configure(&mut self, size: usize) -> bool {
        let json = match size {
            0 => None,
            _ => hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size).ok().flatten(),
        };
        match P::configure(&json.unwrap_or_default(), Caps::PROXY_WASM, memory()) {
            Ok(plugin) => {
                let loaded = Loaded::new(plugin);
                for warning in loaded.plugin.warnings() {
                    loaded.voice.log(Level::Warn, format_args!("{warning}"));
                }
                // Nothing happens before the first tick: Envoy also configures a VM that it only copies others from,
                // which has no ticks and would wait in vain for the answer to a call.
                if let Some(period) = loaded.plugin.tick() {
                    let _ok = hostcalls::set_tick_period(period);
                }
                self.loaded = Some(loaded);
                true
            }
            Err(error) => {
                voice::log(P::NAME, Level::Error, format_args!("{error}"));
                false
            }
        }
    }

    fn on_tick(&mut self) {
        self.event(Event::Tick);
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(match &self.loaded {
            Some(loaded) => Box::new(Handle::new(context, loaded)),
            // Envoy sends no traffic to a plugin that refused its configuration; the SDK panics without a
            // context.
            None => Box::new(NoFilter),
        })
    }
}

struct NoFilter;

impl Context for NoFilter {}
impl HttpContext for NoFilter {}
