//! A configured filter, and its events.

use crate::envoy::{self, config::EnvoyConfig};
use crate::events::{Events, OneInstance};
use filter_api::{Call, CallEnd, CallFailure, Event, EventCx, Level, MetricKind, Plugin, Stream};
use host_driver::EventProxy;
use std::fmt::Arguments;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A configuration as Envoy knows it: it makes one for each filter chain, also where several say the same.
pub(crate) struct Configured {
    pub(crate) name: &'static str,
    pub(crate) instance: Arc<Instance>,
    /// Among those of the instance.
    pub(crate) number: u64,
    /// Envoy's id for each of the filter's metrics and its kind, or `None` where Envoy refused it.
    pub(crate) metrics: Vec<Option<(usize, MetricKind)>>,
    /// The counter of what the filter asked for and did not get.
    pub(crate) dropped: Option<usize>,
}

/// A filter with its configuration: one in the process for all configurations that say the same, so that what it
/// fetches, remembers and counts is there once.
pub(crate) struct Instance {
    pub(crate) plugin: Box<dyn Open>,
    pub(crate) events: Events,
}

impl Configured {
    /// Opens the state of a new exchange.
    pub(crate) fn open(&self) -> Box<dyn Stream> {
        self.instance.plugin.open()
    }

    /// Envoy's id of a metric of the filter, and its kind.
    pub(crate) fn metric(&self, index: usize) -> Option<(usize, MetricKind)> {
        self.metrics.get(index).copied().flatten()
    }

    /// Envoy no longer uses the configuration.
    pub(crate) fn leave(&self) {
        self.instance.events.leave(self.number);
    }

    /// Some time has passed.
    pub(crate) fn tick(&self, config: &EnvoyConfig) {
        for call in self.instance.events.take_lost() {
            let id = call.id;
            if let Err(why) = (InEnvoy { filter: self, config }).call(call) {
                self.event(config, Event::CallEnded(id, CallEnd::Failed(why)));
            }
        }
        self.event(config, Event::Tick);
    }

    /// A call has ended; `id` is Envoy's.
    pub(crate) fn call_ended(&self, config: &EnvoyConfig, id: u64, end: CallEnd) {
        if let Some(id) = self.instance.events.call_ended(self.number, id) {
            self.event(config, Event::CallEnded(id, end));
        }
    }

    fn event(&self, config: &EnvoyConfig, event: Event) {
        let Instance { plugin, events } = &*self.instance;
        let mut envoy = InEnvoy { filter: self, config };
        host_driver::tell(event, &mut envoy, &OneInstance, |event, cx| plugin.event(event, cx));
        events.wake();
    }
}

/// Envoy at an event of a configuration.
struct InEnvoy<'a> {
    filter: &'a Configured,
    config: &'a EnvoyConfig,
}

impl EventProxy for InEnvoy<'_> {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn record(&mut self, metric: usize, value: u64) {
        if let Some((id, MetricKind::Gauge)) = self.filter.metric(metric) {
            self.config.set_gauge(id, value);
        }
    }

    fn log(&mut self, level: Level, text: Arguments<'_>) {
        envoy::log(level, self.filter.name, text);
    }

    fn call(&mut self, call: Call) -> Result<(), CallFailure> {
        let id = self.config.call(&call).ok_or(CallFailure::Refused)?;
        self.filter.instance.events.call_began(self.filter.number, id, call);
        Ok(())
    }
}

/// A [`Plugin`] whose type is forgotten.
pub(crate) trait Open: Send + Sync {
    fn warnings(&self) -> Vec<String>;
    fn tick(&self) -> Option<Duration>;
    fn event(&self, event: Event, cx: &mut EventCx<'_>);
    fn open(&self) -> Box<dyn Stream>;
}

impl<P: Plugin> Open for Arc<P> {
    fn warnings(&self) -> Vec<String> {
        Plugin::warnings(&**self)
    }

    fn tick(&self) -> Option<Duration> {
        Plugin::tick(&**self)
    }

    fn event(&self, event: Event, cx: &mut EventCx<'_>) {
        Plugin::event(&**self, event, cx);
    }

    fn open(&self) -> Box<dyn Stream> {
        Box::new(Plugin::open(self))
    }
}
