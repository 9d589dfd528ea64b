//! One direction of an exchange.

/// Where the headers of a direction are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Headers {
    /// They have not come yet.
    #[default]
    Ahead,
    /// They are in the filter: in their callback, or held while the body is read.
    Here,
    /// They wait for a call, or for an event where `for_event` says so.
    Waiting {
        /// No call of theirs is under way.
        for_event: bool,
    },
    /// They went on.
    Gone,
}

/// One direction of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Half {
    pub(crate) headers: Headers,
    /// The message has headers only.
    pub(crate) headers_only: bool,
    /// The trailers are in the filter.
    pub(crate) trailers_here: bool,
    /// Data came while headers wait, and the core has not seen it; whether it was the last of it.
    pub(crate) unseen_data: Option<bool>,
    /// Trailers came while headers wait.
    pub(crate) unseen_trailers: bool,
}

impl Half {
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.headers, Headers::Waiting { .. })
    }

    pub(crate) fn holds_headers(&self) -> bool {
        matches!(self.headers, Headers::Here | Headers::Waiting { .. })
    }
}
