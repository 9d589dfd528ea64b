//! The events of a configuration.

use crate::calls::MOST_REFUSED_CALLS;
use filter_api::{Call, CallEnd, CallFailure, Event, EventCx, Leases, Level, Op, Ops};
use std::collections::VecDeque;
use std::fmt::Arguments;
use std::time::SystemTime;

/// The proxy at an event of a configuration: there is no exchange.
pub trait EventProxy {
    /// The time.
    fn now(&self) -> SystemTime;

    /// Records a value in the gauge at an index of [`Plugin::METRICS`](filter_api::Plugin::METRICS).
    fn record(&mut self, metric: usize, value: u64);

    /// Writes a line to the log behind the filter's name.
    fn log(&mut self, level: Level, text: Arguments<'_>);

    /// Starts a call, and remembers it.
    ///
    /// # Errors
    /// Why it could not be started.
    fn call(&mut self, call: Call) -> Result<(), CallFailure>;
}

/// Tells a plugin of an event ([`Plugin::event`](filter_api::Plugin::event)) and does what it asks for. Calls that cannot
/// be started have ended at once, which makes another event. The host then [wakes](crate::Driver::woken) every stream
/// that waits for one.
pub fn tell(
    event: Event,
    proxy: &mut impl EventProxy,
    leases: &dyn Leases,
    mut plugin: impl FnMut(Event, &mut EventCx<'_>),
) {
    let mut ops = Ops::default();
    // Events, and how many refusals in a row led to each.
    let mut events = VecDeque::from([(event, 0)]);
    while let Some((event, refusals)) = events.pop_front() {
        plugin(event, &mut EventCx { now: proxy.now(), ops: &mut ops, leases });
        for op in ops.iter() {
            match op {
                Op::Record(metric, value) => proxy.record(metric, value),
                Op::Log(level, text) => proxy.log(level, format_args!("{text}")),
                // Nothing else makes sense without an exchange.
                _ => {}
            }
        }
        let calls = ops.take_calls();
        ops.clear();
        if refusals == MOST_REFUSED_CALLS && !calls.is_empty() {
            let text = "too many calls in a row could not be made; the last ones are given up";
            proxy.log(Level::Error, format_args!("{text}"));
            continue;
        }
        for call in calls {
            let id = call.id;
            if let Err(why) = proxy.call(call) {
                events.push_back((Event::CallEnded(id, CallEnd::Failed(why)), refusals + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filter_api::CallId;
    use std::time::Duration;

    #[derive(Default)]
    struct Refusing {
        calls: usize,
        log: Vec<String>,
    }

    impl EventProxy for Refusing {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }

        fn record(&mut self, _metric: usize, _value: u64) {}

        fn log(&mut self, level: Level, text: Arguments<'_>) {
            self.log.push(format!("{level:?} {text}"));
        }

        fn call(&mut self, _call: Call) -> Result<(), CallFailure> {
            self.calls += 1;
            Err(CallFailure::Refused)
        }
    }

    struct Free;

    impl Leases for Free {
        fn take(&self, _name: u64, _time: Duration) -> bool {
            true
        }

        fn give_back(&self, _name: u64) {}
    }

    fn call(id: u32) -> Call {
        let cluster = "nowhere".to_owned();
        Call { id: CallId(id), cluster, headers: vec![], body: vec![], timeout: Duration::ZERO }
    }

    #[test]
    fn a_plugin_that_repeats_a_refused_call_is_stopped() {
        let mut proxy = Refusing::default();
        tell(Event::Tick, &mut proxy, &Free, |_, cx| cx.ops.call(call(0)));
        assert_eq!(proxy.calls, MOST_REFUSED_CALLS);
        assert_eq!(proxy.log.len(), 1);
    }

    #[test]
    fn however_many_calls_an_event_makes_the_end_of_each_is_told_in_order() {
        let mut proxy = Refusing::default();
        let mut told = Vec::new();
        tell(Event::Tick, &mut proxy, &Free, |event, cx| match event {
            Event::Tick => (0..50).for_each(|id| cx.ops.call(call(id))),
            Event::CallEnded(CallId(id), _) => told.push(id),
        });
        assert_eq!(told, (0..50).collect::<Vec<_>>());
        assert_eq!(proxy.log, Vec::<String>::new());
    }
}
