//! Which Istio a resource needs.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use super::Finding;
use crate::input::Located;

/// A release of Istio, such as 1.30.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
}

impl Version {
    pub(crate) const fn new(minor: u16) -> Self {
        Self { major: 1, minor }
    }

    /// Whether it is as old as, or older than, a release such as `Istio 1.28.10`.
    pub(super) fn is_at_most(self, release: &str) -> bool {
        release
            .strip_prefix("Istio ")
            .and_then(|text| text.parse::<Version>().ok())
            .is_some_and(|other| self <= other)
    }
}

/// The newest release that this command knows something of.
const NEWEST: Version = Version::new(31);

/// A version for the command line: a misspelt one would have everything pass.
pub(crate) fn known(text: &str) -> Result<Version, String> {
    let version: Version = text.parse()?;
    if version.major != NEWEST.major || version > NEWEST {
        return Err(format!("unknown Istio version {text}: the newest that is known here is {NEWEST}"));
    }
    Ok(version)
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a version such as 1.30");
        let mut parts = text.split('.').map(|part| part.parse::<u16>().map_err(|_| wrong()));
        match (parts.next(), parts.next()) {
            (Some(major), Some(minor)) => Ok(Self { major: major?, minor: minor? }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Something that only newer releases have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// The oldest that has it.
    pub(crate) version: Version,
    /// What.
    pub(crate) what: &'static str,
    /// The file.
    pub(crate) file: String,
    /// The line, from 1.
    pub(crate) line: usize,
    pointer: &'static str,
    resource: String,
}

impl Need {
    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "istio": self.version.to_string(), "what": self.what, "file": self.file, "line": self.line,
            "resource": self.resource,
        })
    }

    /// As a finding, where the target is older.
    pub(super) fn finding(&self, target: Version) -> Finding {
        Finding {
            level: istio_lint::Level::Error,
            rule: "istio-version",
            file: self.file.clone(),
            line: self.line,
            pointer: self.pointer.to_owned(),
            resource: self.resource.clone(),
            reason: format!("{} needs Istio {}, and the target is {target}", self.what, self.version),
        }
    }
}

/// What a resource needs.
pub(super) fn needs(located: &Located) -> Vec<Need> {
    let resource = &located.resource;
    let mut found = Vec::new();
    let mut need = |minor: u16, pointer: &'static str, what: &'static str| {
        found.push(Need {
            version: Version::new(minor),
            what,
            file: located.file.clone(),
            line: located.line_of(pointer),
            pointer,
            resource: resource.id(),
        });
    };
    let targets = resource.list("/spec/targetRefs");
    let classes = targets.iter().any(|target| target["kind"] == "GatewayClass");
    match resource.kind() {
        "TrafficExtension" => need(30, "/kind", "the kind TrafficExtension"),
        "WasmPlugin" if resource.text("/spec/failStrategy") == "FAIL_RELOAD" => {
            need(27, "/spec/failStrategy", "failStrategy FAIL_RELOAD");
        }
        "EnvoyFilter" => {
            let text = resource.value.to_string();
            if classes {
                need(28, "/spec/targetRefs", "an EnvoyFilter that targets a GatewayClass");
            } else if !targets.is_empty() {
                need(27, "/spec/targetRefs", "an EnvoyFilter with targetRefs");
            }
            if text.contains("dynamic_modules.v3.") {
                need(31, "/spec/configPatches", "a dynamic module in Istio's proxy");
            }
            if text.contains("MERGE_AND_REPLACE_LIST") {
                need(31, "/spec/configPatches", "the operation MERGE_AND_REPLACE_LIST");
            }
            if text.contains("override_host.v3.") {
                need(27, "/spec/configPatches", "the load-balancing policy override_host");
            }
        }
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let version = |text: &str| text.parse::<Version>();
        assert!(version("1.9").unwrap() < version("1.30.3").unwrap());
        assert!(version("1.28").unwrap().is_at_most("Istio 1.28.10"));
        assert!(!version("1.30").unwrap().is_at_most("Istio 1.28.10"));
        assert!(known("1.31.2").is_ok());
        for text in ["1.99", "2.1", "0.9", "99.1"] {
            assert!(known(text).unwrap_err().contains("unknown Istio version"), "{text}");
        }
        assert!(version("new").is_err() && version("1").is_err() && version("1.x").is_err());
    }
}
