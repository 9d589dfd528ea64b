//! Where `claim-headers` is in an overlay, and how it is configured there.

use serde_json::Value;

use super::{Overlay, Place};
use crate::Problem;
use crate::embedded::{self, Host};
use crate::resource::{Resource, items, text};

/// Its name among the filters.
pub(super) const FILTER: &str = "claim-headers";

/// One instance of `claim-headers` in an overlay.
pub(super) struct Instance<'a> {
    pub(super) resource: &'a Resource,
    pub(super) proxy: Option<(Place, String)>,
    pub(super) config: Value,
    pub(super) host: Host,
}

impl Instance<'_> {
    pub(super) fn guard(&self) -> bool {
        text(&self.config, "/source") == "guard"
    }

    pub(super) fn payload_header(&self) -> &str {
        text(&self.config, "/metadata/payload_header")
    }

    pub(super) fn builtin(&self) -> bool {
        text(&self.config, "/source") == "builtin"
    }

    /// The names of the headers that it sets.
    pub(super) fn headers(&self) -> impl Iterator<Item = &str> {
        items(&self.config, "/map").iter().map(|rule| text(rule, "/header"))
    }

    pub(super) fn strips(&self, header: &str) -> bool {
        items(&self.config, "/strip").iter().any(|name| name == header)
    }

    pub(super) fn wrong(&self, reason: impl Into<String>) -> Problem {
        Problem::new(self.resource, reason)
    }
}

/// Every instance in an overlay.
pub(super) fn all<'a>(overlay: &Overlay<'a>) -> Vec<Instance<'a>> {
    let mut found = Vec::new();
    for resource in overlay.resources {
        let configurations = embedded::configurations(resource).unwrap_or_default();
        for configuration in configurations.into_iter().filter(|c| c.filter == FILTER) {
            let config = serde_json::from_str(&configuration.json).unwrap_or_default();
            let proxy = overlay.proxy(resource);
            found.push(Instance { resource, proxy, config, host: configuration.host });
        }
    }
    found
}
