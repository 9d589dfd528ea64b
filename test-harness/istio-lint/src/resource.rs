//! Kubernetes resources as values.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why resources could not be read or built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be read.
    #[error("{}: {}", path.display(), crate::words(source))]
    Io {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A file is not valid YAML, or not of the expected form.
    #[error("{}: {reason}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    pub(crate) fn content(path: &Path, reason: impl ToString) -> Self {
        Self::Content { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// A resource of any kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The whole of it.
    pub value: Value,
}

impl Resource {
    /// `apiVersion`, such as `networking.istio.io/v1`.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// The group in [`api_version`](Self::api_version); empty for Kubernetes' own core.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// `kind`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// `metadata.namespace`; empty if it is missing.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    /// `Kind namespace/name`, for messages.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{} {}/{}", self.kind(), self.namespace(), self.name())
    }

    /// Whether it is of this group and kind: several groups have a `Gateway`.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group() == group && self.kind() == kind
    }

    /// What a JSON pointer (RFC 6901) points at.
    #[must_use]
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        self.value.pointer(pointer)
    }

    /// The text a pointer points at; empty if it is missing.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// What it is for: the items of `targetRefs`, or the one `targetRef` of older Istio, which still counts.
    #[must_use]
    pub fn targets(&self) -> &[Value] {
        match self.at("/spec/targetRef") {
            Some(one) if self.list("/spec/targetRefs").is_empty() => std::slice::from_ref(one),
            _ => self.list("/spec/targetRefs"),
        }
    }

    /// The items of the list a pointer points at; none if there is no list.
    #[must_use]
    pub fn list(&self, pointer: &str) -> &[Value] {
        items(&self.value, pointer)
    }
}

/// The items of the list a pointer points at within `value`; none if there is no list.
pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The text a pointer points at within `value`; empty if it is missing.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Reads the resources of one file.
///
/// # Errors
/// If it cannot be read, is not valid YAML, has a key twice, or holds something other than a resource.
pub fn read(path: &Path) -> Result<Vec<Resource>, Error> {
    let documents: Vec<Value> = yaml(path)?;
    let resource = |value| {
        let resource = Resource { value };
        if resource.api_version().is_empty() || resource.kind().is_empty() || resource.name().is_empty() {
            return Err(Error::content(path, "a document without apiVersion, kind or metadata.name"));
        }
        Ok(resource)
    };
    documents.into_iter().map(resource).collect()
}

/// Reads the YAML documents of one file.
///
/// # Errors
/// If it cannot be read, is not valid YAML, has a key twice, or is not of type `T`.
pub fn yaml<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    serde_saphyr::from_multiple(&text).map_err(|error| {
        let place = error.location().map_or_else(String::new, |at| format!("line {}: ", at.line()));
        Error::content(path, format!("{place}{}", crate::reason(&error)))
    })
}

/// What is in a directory, by name.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let io = |source| Error::Io { path: directory.to_owned(), source };
    let found = fs::read_dir(directory).map_err(io)?.map(|entry| entry.map(|entry| entry.path()));
    let mut found = found.collect::<Result<Vec<_>, _>>().map_err(io)?;
    found.sort();
    Ok(found)
}
