//! One direction of an exchange: what Envoy's buffer takes at the moment.

use filter_api::Dir;

/// How many bytes of a response this host dares to put into a body that Envoy buffers, unless Envoy had
/// buffered more than that just before. Half of the smallest buffer limit that Envoy's guide to edge proxies
/// recommends (32 KiB).
pub const BUFFERED_LIMIT_BYTES: usize = 16 * 1024;

/// The kind of callback that a chunk is given to a core in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The body's own.
    Body,
    /// That of a call or an event which the headers waited for.
    AfterWait,
}

/// One direction of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Half {
    /// The last body callback was answered with a pause, so Envoy buffers the body under its limit.
    buffered: bool,
    /// So many bytes are known to fit Envoy's limit.
    fits: usize,
    /// So many bytes are in Envoy's buffer that came while headers wait.
    waiting: usize,
}

impl Half {
    /// Notes that a body callback began with `size` bytes.
    pub(crate) fn chunk_came(&mut self, size: usize) {
        if self.buffered {
            self.fits = self.fits.max(size);
        }
    }

    /// Notes that a body callback with `size` bytes was answered with a pause because headers wait.
    pub(crate) fn waits(&mut self, size: usize) {
        (self.buffered, self.waiting) = (true, size);
    }

    /// Takes note of what came meanwhile: the number of its bytes.
    pub(crate) fn waited(&mut self) -> usize {
        std::mem::take(&mut self.waiting)
    }

    /// Notes how a body callback is answered: with a pause, or not.
    pub(crate) fn pauses(&mut self, pause: bool) {
        self.buffered = pause;
    }

    /// Whether Envoy buffers the body.
    pub(crate) fn is_buffered(self) -> bool {
        self.buffered
    }

    /// How many bytes may be emitted without waking Envoy's limit inside the call that writes them; `None`
    /// where there is no limit, or where Envoy refuses the message after the callback.
    pub(crate) fn limit(self, dir: Dir, place: Place) -> Option<usize> {
        let sudden = dir == Dir::Response || place == Place::AfterWait;
        (self.buffered && sudden).then(|| self.fits.max(BUFFERED_LIMIT_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_envoy_buffers_may_grow_to_what_has_fitted_before() {
        let mut half = Half::default();
        half.chunk_came(1 << 20);
        assert_eq!(half.limit(Dir::Response, Place::Body), None);
        half.pauses(true);
        assert_eq!(half.limit(Dir::Response, Place::Body), Some(BUFFERED_LIMIT_BYTES));
        half.chunk_came(3 * BUFFERED_LIMIT_BYTES);
        assert_eq!(half.limit(Dir::Response, Place::Body), Some(3 * BUFFERED_LIMIT_BYTES));
    }

    #[test]
    fn a_request_that_outgrows_its_buffer_is_refused_by_envoy_except_after_a_wait() {
        let mut half = Half::default();
        half.waits(5);
        assert_eq!(half.limit(Dir::Request, Place::Body), None);
        assert_eq!(half.limit(Dir::Request, Place::AfterWait), Some(BUFFERED_LIMIT_BYTES));
        assert_eq!((half.waited(), half.waited()), (5, 0));
    }
}
