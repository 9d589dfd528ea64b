//! How far the reader of a body has come.

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More must come.
    More,
    /// The body is complete as it stands (its JSON document has been closed, its binary tails have come), so that the
    /// message can be sent although the stream has not ended.
    Complete,
}

impl Progress {
    pub(crate) fn complete_if(complete: bool) -> Self {
        if complete { Self::Complete } else { Self::More }
    }
}
