//! Checks the resources under `istio/` and `examples/*/k8s` as far as that is possible without a cluster.
//!
//! 1. [`kustomize::build`] turns an overlay into what `kubectl apply -k` would send.
//! 2. [`Schemas::check`] holds every resource against the schemas of the oldest and the newest Istio release whose
//!    schemas are here, and of the Gateway API, with unknown fields refused.
//! 3. [`rules::check`] knows the mistakes that no schema catches, and often no webhook: a resource that is accepted and
//!    then does nothing, or the wrong thing.
//! 4. [`embedded::configurations`] finds the filters' own configurations, and [`embedded::read`] runs them through the
//!    parser that the filter itself has. [`embedded::fragments`] finds what an `EnvoyFilter` adds to Envoy's
//!    configuration, for a test that has an Envoy.
//! 5. [`Published`] and [`Problem::level`] are for anyone's resources, which the command `inference-mesh check` reads:
//!    the schemas as published, and how sure a problem is without the rest of the cluster.
//!
//! Not checked: CEL rules of the schemas, and anything that depends on a running cluster.

pub mod embedded;
pub mod envoy_gateway;
pub mod kustomize;
mod level;
mod published;
mod resource;
pub mod rules;
mod schema;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};

pub use level::Level;
pub use published::{Published, Unfit};
pub use resource::{Error, Resource, read, yaml};
pub use schema::Schemas;
pub use words::{reason, words};

/// What is wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which resource: `Kind namespace/name`.
    pub resource: String,
    /// Why.
    pub reason: String,
    /// Which rule says so: a word or two with hyphens, the same for every problem of its kind.
    pub rule: &'static str,
    /// Where in the resource, as a JSON pointer (RFC 6901); empty if it is about the whole of it.
    pub pointer: String,
}

impl Problem {
    pub(crate) fn new(resource: &Resource, reason: impl Into<String>) -> Self {
        Self { resource: resource.id(), reason: reason.into(), rule: "", pointer: String::new() }
    }

    /// With the rule's name, unless it has one.
    pub(crate) fn by(self, rule: &'static str) -> Self {
        if self.rule.is_empty() { Self { rule, ..self } } else { self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.resource, self.reason)
    }
}

/// The repository's `istio` directory.
#[must_use]
pub fn directory() -> PathBuf {
    root().join("istio")
}

/// The repository's `examples` directory.
#[must_use]
pub fn examples() -> PathBuf {
    root().join("examples")
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Every overlay under `istio/`: what a user applies, in the order of their names.
///
/// # Errors
/// If a directory cannot be read.
pub fn overlays() -> Result<Vec<PathBuf>, Error> {
    overlays_of(resource::entries(&directory())?)
}

/// Every overlay of an example: a whole application, in the order of their names.
///
/// # Errors
/// If a directory cannot be read.
pub fn applications() -> Result<Vec<PathBuf>, Error> {
    overlays_of(resource::entries(&examples())?.into_iter().map(|example| example.join("k8s")))
}

fn overlays_of(places: impl IntoIterator<Item = PathBuf>) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for place in places {
        let overlays = place.join("overlays");
        if overlays.is_dir() {
            found.extend(resource::entries(&overlays)?);
        }
    }
    Ok(found)
}
