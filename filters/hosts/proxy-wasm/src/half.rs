//! One direction of an exchange: what Envoy lets a filter do at the moment.

use crate::BUFFERED_LIMIT_BYTES;
use filter_api::Dir;

/// The kind of callback that a chunk is given to a core in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The body's own.
    Body,
    /// That of a call which the headers waited for.
    CallEnded,
}

/// Where the headers of a direction are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Headers {
    /// They have not come yet.
    #[default]
    Ahead,
    /// They are in the filter: in their callback, or held while the body is read.
    Here,
    /// They wait for a call.
    Waiting,
    /// They went on.
    Gone,
}

/// What arrived while headers waited for a call, and no core has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unseen {
    /// Bytes in Envoy's buffer.
    pub(crate) size: usize,
    /// A body callback came.
    pub(crate) data: bool,
    /// The body is complete and no trailers follow.
    pub(crate) end: bool,
    /// Trailers came.
    pub(crate) trailers: bool,
}

/// One direction of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Half {
    pub(crate) headers: Headers,
    /// The header map is Envoy's no more, although headers are still here.
    pub(crate) map_lost: bool,
    /// The trailers are in the filter.
    pub(crate) trailers_here: bool,
    /// The last body callback was answered with a pause, so Envoy buffers the body under its limit.
    pub(crate) buffered: bool,
    /// So many bytes are known to fit Envoy's limit.
    fits: usize,
    pub(crate) unseen: Unseen,
}

/// What a data verdict asks of the host, apart from what a verdict carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The bytes go on, changed or not.
    Released,
    /// The core took the bytes and will emit later.
    Kept,
    /// The core took the bytes and may emit in the trailers.
    Parked,
}

/// How a body callback is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Go on.
    Go,
    /// Stop: Envoy buffers.
    Stop,
    /// The exchange was answered or cut; nothing goes on.
    Over,
}

impl Half {
    /// Whether headers can be read and written.
    pub(crate) fn headers_here(&self) -> bool {
        matches!(self.headers, Headers::Here | Headers::Waiting) && !self.map_lost
    }

    /// Whether headers are held back.
    pub(crate) fn held(&self) -> bool {
        matches!(self.headers, Headers::Here | Headers::Waiting)
    }

    /// Notes that a body callback began with `size` bytes.
    pub(crate) fn chunk_came(&mut self, size: usize) {
        if self.buffered {
            self.fits = self.fits.max(size);
        }
    }

    /// Notes that a body callback came while headers wait for a call.
    pub(crate) fn body_waits(&mut self, size: usize, end: bool) {
        (self.unseen.size, self.unseen.data, self.unseen.end) = (size, true, end);
        self.chunk_came(size);
        self.buffered = true;
    }

    /// How many bytes may be emitted without waking Envoy's limit inside the call that writes them; `None`
    /// where there is no limit, or where Envoy refuses the message after the callback.
    pub(crate) fn limit(&self, dir: Dir, place: Place) -> Option<usize> {
        let sudden = dir == Dir::Response || place == Place::CallEnded;
        (self.buffered && sudden).then(|| self.fits.max(BUFFERED_LIMIT_BYTES))
    }

    /// Answers a body callback. Going on releases held headers, so kept bytes stop the stream only while there
    /// are some: a pause makes Envoy buffer, under its limit.
    pub(crate) fn answer(&mut self, taken: Taken) -> Flow {
        let stop = taken == Taken::Parked || (taken == Taken::Kept && self.held());
        self.buffered = stop;
        if taken == Taken::Released {
            self.headers = Headers::Gone;
        }
        if stop { Flow::Stop } else { Flow::Go }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(headers: Headers, buffered: bool) -> Half {
        Half { headers, buffered, ..Half::default() }
    }

    #[test]
    fn bytes_that_are_kept_stop_the_stream_only_while_headers_are_held() {
        assert_eq!(half(Headers::Here, false).answer(Taken::Kept), Flow::Stop);
        assert_eq!(half(Headers::Gone, false).answer(Taken::Kept), Flow::Go);
        assert_eq!(half(Headers::Gone, false).answer(Taken::Parked), Flow::Stop);
    }

    #[test]
    fn a_released_half_has_no_headers_left_to_write() {
        let mut half = half(Headers::Here, false);
        assert!(half.headers_here());
        half.answer(Taken::Kept);
        assert!(half.headers_here() && half.buffered);
        half.answer(Taken::Released);
        assert!(!half.headers_here() && !half.buffered);
    }

    #[test]
    fn what_envoy_buffers_may_grow_to_what_has_fitted_before() {
        let mut half = half(Headers::Gone, false);
        half.chunk_came(1 << 20);
        assert_eq!(half.limit(Dir::Response, Place::Body), None);
        half.answer(Taken::Parked);
        assert_eq!(half.limit(Dir::Response, Place::Body), Some(BUFFERED_LIMIT_BYTES));
        half.chunk_came(3 * BUFFERED_LIMIT_BYTES);
        assert_eq!(half.limit(Dir::Response, Place::Body), Some(3 * BUFFERED_LIMIT_BYTES));
    }

    #[test]
    fn a_request_that_outgrows_its_buffer_is_refused_by_envoy_except_after_a_call() {
        let half = half(Headers::Gone, true);
        assert_eq!(half.limit(Dir::Request, Place::Body), None);
        assert_eq!(half.limit(Dir::Request, Place::CallEnded), Some(BUFFERED_LIMIT_BYTES));
    }
}
