//! The contract between a filter core and any host, in one place.
//!
//! A core ([`filter_api::Plugin`], [`filter_api::Stream`]) answers each callback with a verdict and a list of operations.
//! A host tells a proxy's callbacks to a [`Driver`], one for each exchange, and the driver decides what a verdict comes
//! to: which operations are in time, what a wait waits for, when a reply can only be a reset, what must be shown to the
//! core after a wait. The host says how that is done in its proxy: it implements [`Proxy`], one primitive each, and
//! [`Body`], and turns an [`OnHead`] or [`OnChunk`] into its proxy's return code. It matches on no verdict.
//!
//! # The rules
//!
//! 1. Calls that the proxy refuses have ended with [`CallFailure`](filter_api::CallFailure), and the core is told so in
//!    the order in which it made them.
//! 2. A core that makes refused calls again is told at most [`MOST_REFUSED_CALLS`] times in a row; then the client gets
//!    a 500.
//! 3. Once headers have gone on, the calls that they waited for are forgotten: their end is not told, and no later wait is
//!    a wait for them.
//! 4. A [`Wait`](filter_api::OnHeaders::Wait) with no call under way is a wait for the configuration's next event, also
//!    after calls were refused. Where the configuration has no events, it is an error: 500.
//! 5. A [`Hold`](filter_api::OnHeaders::Hold) of headers that end the message is an error: 500. No data would release them.
//! 6. A body that is written beside headers is dropped, unless they end the message and the proxy can give it a body
//!    ([`Proxy::beside`]).
//! 7. Calls beside any verdict but `Wait` are dropped.
//! 8. An operation on headers or trailers that are not in the filter's hands is dropped, as is a value with NUL, CR or LF.
//! 9. What is dropped is a warning in the log, and is counted as [`DROPPED_OPERATIONS`], on every host.
//!
//! And besides:
//!
//! - What a core kept and cannot emit any more is an error, not a short answer: a `Keep` or `Park` of a message's end, or
//!   an `Emit` in trailers that the proxy has no place for.
//! - A reply once the response's headers have gone on is a reset, and so is every error.
//! - After a reply or a reset nothing of the request goes on, and the core is gone. Nothing that arrives is shown to it.
//! - Every wait ends. If the core detaches itself in one direction while the headers of the other wait, they go on when
//!   what they wait for has happened.
//!
//! # Add a host
//!
//! A host is one folder under `filters/hosts/`; `filters/README.md` says what it consists of.
//!
//! 1. **Say what it can do**: a [`Caps`](filter_api::Caps) constant beside those that are there, with every field. A cap
//!    that is false is better than one that is nearly true.
//! 2. **Configuration**: pass the operator's bytes to [`Plugin::configure`](filter_api::Plugin::configure) with one
//!    [`Memory`](filter_api::Memory) for each that can run out (a wasm VM, a process). An `Err` keeps the filter from
//!    loading, and its text goes to the log behind the filter's name. Declare the filter's metrics and
//!    [`DROPPED_OPERATIONS`]. If the plugin has a [`tick`](filter_api::Plugin::tick), give its events to [`tell`].
//! 3. **One driver per exchange**, made with a new stream when the request's headers arrive.
//! 4. **Callbacks** go to [`Driver::headers`], [`Driver::data`] (new bytes only, whatever the proxy buffers, with `end`
//!    only if no trailers follow) and [`Driver::trailers`]; ends of calls to [`Driver::call_ended`], events to
//!    [`Driver::woken`].
//! 5. **After a wait** comes a loop: give the driver what is [unseen](Driver::unseen), and when nothing is, have the
//!    proxy go on if the direction [may](Driver::may_go_on).
//! 6. **Re-entry.** A proxy may call back from within a call of the host's (a local reply, a resumed stream). Hold no
//!    borrow of the driver when the proxy resumes; a callback within a reply finds the driver borrowed, and passes
//!    (a response) or stops (a request).
//! 7. **A reset is seen by the client**: HTTP/1.1 closes the connection before the message's end, HTTP/2 sends RST_STREAM
//!    with an error code. The filter's own reply is not shown to it.
//! 8. **Prove it**: the golden cases in the host's column, every verdict in every phase in the real proxy, and the nine
//!    rules above. The verdict filter (under `test-harness/`) does what the request header `x-plan` tells it.
//!
//! # Example
//!
//! A proxy that can do little: it has request headers, which it prints, and neither calls nor bodies. [`Body`] shows how
//! one with bodies lends them.
//!
//! ```
//! use filter_api::*;
//! use host_driver::{Driver, Nowhere, OnHead, Proxy};
//! use std::fmt::Arguments;
//!
//! #[derive(Default)]
//! struct Printer {
//!     headers: Vec<(String, Vec<u8>)>,
//! }
//!
//! impl View for Printer {
//!     fn header(&self, _map: Map, name: &str) -> Option<Vec<u8>> {
//!         self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
//!     }
//!     fn each_header(&self, _map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
//!         self.headers.iter().for_each(|(name, value)| f(name.as_bytes(), value));
//!     }
//!     fn property(&self, _path: &[&str]) -> Option<Vec<u8>> {
//!         None
//!     }
//!     fn now(&self) -> std::time::SystemTime {
//!         std::time::SystemTime::now()
//!     }
//!     fn has_metadata(&self, _namespace: &str, _key: &str) -> bool {
//!         false
//!     }
//! }
//!
//! impl Proxy for &mut Printer {
//!     type Call = u32;
//!     type Beside = Nowhere;
//!
//!     fn view(&self) -> &dyn View {
//!         &**self
//!     }
//!     fn beside(&self, _dir: Dir) -> Option<Nowhere> {
//!         None
//!     }
//!     fn set_header(&mut self, map: Map, name: &str, value: &[u8]) -> bool {
//!         self.remove_header(map, name);
//!         self.add_header(map, name, value);
//!         true
//!     }
//!     fn add_header(&mut self, _map: Map, name: &str, value: &[u8]) {
//!         self.headers.push((name.to_owned(), value.to_owned()));
//!     }
//!     fn remove_header(&mut self, _map: Map, name: &str) -> bool {
//!         self.headers.extract_if(.., |(known, _)| known == name).count() > 0
//!     }
//!     fn set_lb_metadata(&mut self, _key: &str, _value: &str) -> bool {
//!         false
//!     }
//!     fn set_property(&mut self, _name: &str, _value: &[u8]) {}
//!     fn describe(&mut self, _name: &str, _value: &str) {}
//!     fn reselect_route(&mut self) {}
//!     fn count(&mut self, _metric: usize, _by: u64) {}
//!     fn count_by(&mut self, _metric: usize, _labels: Labels<'_>, _by: u64) {}
//!     fn record(&mut self, _metric: usize, _value: u64) {}
//!     fn count_dropped(&mut self) {}
//!     fn log(&mut self, level: Level, text: Arguments<'_>) {
//!         println!("{level:?}: {text}");
//!     }
//!     fn call(&mut self, _call: &Call) -> Result<u32, CallFailure> {
//!         Err(CallFailure::Refused)
//!     }
//!     fn wait_for_event(&mut self, _dir: Dir) -> bool {
//!         false
//!     }
//!     fn reply(self, reply: &Reply) {
//!         println!("answered {}", reply.status);
//!     }
//!     fn reset(self) {
//!         println!("reset");
//!     }
//! }
//!
//! /// A core that marks every request.
//! struct Marker;
//!
//! impl Stream for Marker {
//!     fn headers(&mut self, dir: Dir, _end: bool, cx: &mut Cx<'_>) -> OnHeaders {
//!         cx.ops.set_header(dir.headers(), "x-marked", b"yes");
//!         OnHeaders::Continue
//!     }
//! }
//!
//! let mut printer = Printer::default();
//! let mut driver = Driver::new(Marker);
//! assert_eq!(driver.headers(Dir::Request, true, &mut printer), OnHead::Pass);
//! assert_eq!(printer.headers, [("x-marked".to_owned(), b"yes".to_vec())]);
//! ```

mod calls;
mod driver;
mod events;
mod half;
mod operations;
mod proxy;

pub use calls::MOST_REFUSED_CALLS;
pub use driver::{Driver, OnChunk, OnHead, Unseen};
pub use events::{EventProxy, tell};
pub use filter_api::DROPPED_OPERATIONS;
pub use proxy::{Body, Fate, Lost, Maps, Nowhere, Proxy};
