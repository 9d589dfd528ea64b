//! The published schemas, for resources that are not this repository's.
//!
//! [`Schemas`](crate::Schemas) holds a resource against what this repository allows itself, which for Kubernetes' and
//! KServe's kinds is less than they have. Here only the `spec` of Istio's and the Gateway API's kinds is looked at, as
//! their CustomResourceDefinitions have it.

use std::collections::BTreeMap;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, Validator};
use serde_json::Value;

use crate::resource::Resource;
use crate::schema::{close, whole_releases};

/// The schemas of Istio's and the Gateway API's kinds, by release.
pub struct Published {
    releases: Vec<(&'static str, BTreeMap<String, Validator>)>,
}

/// What a release refuses of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Such as `Istio 1.28.10`.
    pub release: &'static str,
    /// Where, as a JSON pointer; at an unknown field.
    pub pointer: String,
    /// Why.
    pub reason: String,
}

impl Published {
    /// Compiles the schemas.
    ///
    /// # Errors
    /// If a file of this crate is damaged.
    pub fn load() -> Result<Self, String> {
        let compile = |(release, text): (&'static str, &str)| {
            let specs: BTreeMap<String, Value> =
                serde_json::from_str(text).map_err(|error| format!("schemas of {release}: {error}"))?;
            let compiled = specs.into_iter().map(|(kind, mut spec)| {
                close(&mut spec);
                let options = jsonschema::options().with_draft(Draft::Draft7);
                let validator = options.build(&spec).map_err(|error| format!("schema of {kind}: {error}"))?;
                Ok::<_, String>((kind, validator))
            });
            Ok::<_, String>((release, compiled.collect::<Result<_, _>>()?))
        };
        Ok(Self { releases: whole_releases().map(compile).collect::<Result<_, _>>()? })
    }

    /// The releases that know the kind, oldest first; versions of an API group differ in nothing but their name.
    #[must_use]
    pub fn knowing(&self, resource: &Resource) -> Vec<&'static str> {
        self.validators(resource).into_iter().map(|(release, _)| release).collect()
    }

    /// What the releases that know the kind refuse of the resource's `spec`.
    #[must_use]
    pub fn unfit(&self, resource: &Resource) -> Vec<Unfit> {
        let empty = Value::Object(serde_json::Map::new());
        let spec = resource.at("/spec").unwrap_or(&empty);
        let mut found = Vec::new();
        for (release, validator) in self.validators(resource) {
            for error in validator.iter_errors(spec) {
                let place = format!("/spec{}", error.instance_path());
                match error.kind() {
                    ValidationErrorKind::AdditionalProperties { unexpected } => {
                        found.extend(unexpected.iter().map(|name| Unfit {
                            release,
                            pointer: format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")),
                            reason: format!("unknown field {name}"),
                        }));
                    }
                    _ => found.push(Unfit { release, pointer: place, reason: error.to_string() }),
                }
            }
        }
        found
    }

    fn validators(&self, resource: &Resource) -> Vec<(&'static str, &Validator)> {
        let same = |kind: &str| {
            let (api, name) = kind.split_once(' ').unwrap_or_default();
            let group = api.split_once('/').map_or("", |(group, _)| group);
            group == resource.group() && name == resource.kind()
        };
        let mut found = Vec::new();
        for (release, all) in &self.releases {
            found.extend(
                all.iter().filter(|(kind, _)| same(kind)).map(|(_, validator)| (*release, validator)),
            );
        }
        found
    }
}
