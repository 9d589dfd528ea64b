//! The instance in front of the filter that verifies tokens (source `guard`).
//!
//! It takes a client's copies of the payload header off, and leaves a mark that no client can write: a property of the
//! exchange (in Envoy: filter state). The instance behind the verifying filter believes the header only beside the
//! mark.

use crate::remove;
use filter_api::{Cx, Map, folded};

/// The source `guard`.
#[derive(Debug)]
pub(crate) struct Guard {
    header: String,
    mark: String,
}

impl Guard {
    /// What guards this header.
    pub(crate) fn new(header: &str) -> Self {
        Self { header: header.to_owned(), mark: mark(header) }
    }

    /// Takes the client's copies off, in every spelling, and says how many there were.
    pub(crate) fn request(&self, cx: &mut Cx<'_>) -> u64 {
        let names = std::iter::once(self.header.as_str());
        let count = remove::all(Map::RequestHeaders, cx.view, cx.ops, names);
        // Filter state that is set twice is an error to Envoy.
        if cx.view.property(&[&self.mark]).is_none() {
            cx.ops.set_property(&self.mark, b"1");
        }
        count
    }
}

/// The property that says that a client's copies of this header were taken off.
pub(crate) fn mark(header: &str) -> String {
    let folded: Vec<u8> = folded(header.as_bytes()).collect();
    format!("claim_headers.guard.{}", String::from_utf8_lossy(&folded))
}
