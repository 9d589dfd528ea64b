//! What a driver needs of a proxy: one primitive each, and no decisions.

use filter_api::{Call, CallFailure, Dir, Labels, Level, Map, Reply, Sink, View};
use std::fmt::Arguments;

/// The proxy within one of its callbacks, as the [driver](crate::Driver) uses it.
///
/// Nothing may be done with a stream after [`reply`](Self::reply) or [`reset`](Self::reset), which therefore take the
/// value. A proxy may call back from within either of them.
pub trait Proxy: Sized {
    /// The proxy's name for a call under way.
    type Call: Copy + Eq;
    /// What takes the body of a message that has headers only; [`Nowhere`] where the proxy has none.
    type Beside: Sink;

    /// A call of the core is about to be made. `maps` are the header maps that by the contract are in its hands; a proxy
    /// that cannot reach one of them takes it out, and forgets what it remembers of all of them.
    fn prepare(&mut self, _maps: &mut Maps) {}

    /// The exchange, for the core to read.
    fn view(&self) -> &dyn View;

    /// Takes the body of a message that has headers only; `None` where it cannot be given one.
    fn beside(&self, dir: Dir) -> Option<Self::Beside>;

    /// Replaces all values of a header by one. Says whether that changed anything, as far as it is known.
    fn set_header(&mut self, map: Map, name: &str, value: &[u8]) -> bool;

    /// Adds one more value of a header.
    fn add_header(&mut self, map: Map, name: &str, value: &[u8]);

    /// Removes all values of a header. Says whether that changed anything, as far as it is known.
    fn remove_header(&mut self, map: Map, name: &str) -> bool;

    /// Sets a pair of the load balancer's metadata; `false` where a filter cannot.
    fn set_lb_metadata(&mut self, key: &str, value: &str) -> bool;

    /// Sets a property, whose name is not empty.
    fn set_property(&mut self, name: &str, value: &[u8]);

    /// Says something about the exchange, under the filter's name, to whatever comes after.
    fn describe(&mut self, name: &str, value: &str);

    /// Has the route selected again. A proxy that does so by itself whenever request headers change does nothing then.
    fn reselect_route(&mut self);

    /// Adds to the counter at an index of [`Plugin::METRICS`](filter_api::Plugin::METRICS).
    fn count(&mut self, metric: usize, by: u64);

    /// Adds to the counter at an index, for these values of its labels.
    fn count_by(&mut self, metric: usize, labels: Labels<'_>, by: u64);

    /// Records a value in the histogram or gauge at an index of [`Plugin::METRICS`](filter_api::Plugin::METRICS).
    fn record(&mut self, metric: usize, value: u64);

    /// Adds one to the counter [`DROPPED_OPERATIONS`](crate::DROPPED_OPERATIONS).
    fn count_dropped(&mut self);

    /// Writes a line to the log behind the filter's name.
    fn log(&mut self, level: Level, text: Arguments<'_>);

    /// Starts a call.
    ///
    /// # Errors
    /// Why it could not be started.
    fn call(&mut self, call: &Call) -> Result<Self::Call, CallFailure>;

    /// Sees to it that [`Driver::woken`](crate::Driver::woken) is called for `dir` after the configuration's next event;
    /// `false` where it has no events.
    fn wait_for_event(&mut self, dir: Dir) -> bool;

    /// Answers the client. Response headers have not gone out.
    fn reply(self, reply: &Reply);

    /// Cuts the stream, so that the client sees an error.
    fn reset(self);
}

/// Where body bytes are at a callback: those that came, and what takes those that replace them.
///
/// ```
/// use filter_api::Sink;
/// use host_driver::{Body, Fate, Lost};
///
/// /// A chunk of a proxy that sends on whatever is in `on`, once the driver says [`Release`](host_driver::OnChunk::Release).
/// struct Piece<'a> {
///     came: &'a [u8],
///     on: &'a mut Vec<u8>,
/// }
///
/// impl Body for Piece<'_> {
///     fn show<R>(self, look: impl FnOnce(&[&[u8]], &mut dyn Sink) -> (R, Fate)) -> Result<R, Lost> {
///         let mut written = Vec::new();
///         let (result, fate) = look(&[self.came], &mut written);
///         match fate {
///             Fate::Left => self.on.extend_from_slice(self.came),
///             Fate::Replaced => self.on.append(&mut written),
///             Fate::Dropped => {}
///         }
///         Ok(result)
///     }
/// }
///
/// let mut on = Vec::new();
/// let seen = Piece { came: b"abc", on: &mut on }.show(|slices, out| {
///     out.write(b"ABC");
///     (slices.concat(), Fate::Replaced)
/// });
/// assert_eq!((seen, on), (Ok(b"abc".to_vec()), b"ABC".to_vec()));
/// ```
pub trait Body {
    /// Lends the bytes to `look` together with a sink, and then does with them what it says. Nothing is borrowed from
    /// the proxy any more when this returns.
    ///
    /// # Errors
    /// The bytes could not be read, or what replaces them cannot be passed on.
    fn show<R>(self, look: impl FnOnce(&[&[u8]], &mut dyn Sink) -> (R, Fate)) -> Result<R, Lost>;
}

/// What is done with bytes that a core has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They stay as they are.
    Left,
    /// They are taken out, and what was written stays in their place.
    Replaced,
    /// They are taken out, and so is what was written.
    Dropped,
}

/// Why a host cannot go on with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The status that the client is answered with, if it is not too late for that.
    pub status: u16,
    /// The reason, for the log and for the client.
    pub why: &'static str,
}

/// Which header maps are in the filter's hands: from their arrival until they go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maps([bool; 4]);

impl Maps {
    /// Whether a map can be read and written.
    #[must_use]
    pub fn has(self, map: Map) -> bool {
        self.0[map as usize]
    }

    /// Says whether a map can be read and written.
    pub fn set(&mut self, map: Map, here: bool) {
        self.0[map as usize] = here;
    }
}

/// Swallows what it is given and knows how much that was.
#[derive(Debug, Default)]
pub struct Nowhere {
    /// How many bytes were written.
    pub bytes: usize,
}

impl Sink for Nowhere {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len());
    }
}
