//! Properties that a test gives, and filter state.

use std::collections::BTreeMap;

use super::value::PropertyValue;

/// Properties that a test gives, by path.
#[derive(Clone, Debug, Default)]
pub struct Properties(BTreeMap<Vec<Vec<u8>>, PropertyValue>);

impl Properties {
    /// Sets a property by the parts of its path.
    pub fn set(&mut self, path: &[impl AsRef<[u8]>], value: impl Into<PropertyValue>) {
        self.0.insert(path.iter().map(|part| part.as_ref().to_vec()).collect(), value.into());
    }

    /// Sets a property by a path whose parts are joined by dots.
    pub fn set_dotted(&mut self, path: &str, value: impl Into<PropertyValue>) {
        self.set(&path.split('.').collect::<Vec<_>>(), value);
    }

    /// The value at a path: itself, or what lies below the value of the longest path that it begins with.
    pub(super) fn find(&self, path: &[&[u8]]) -> Option<Vec<u8>> {
        (1..=path.len()).rev().find_map(|length| {
            let (given, below) = path.split_at(length);
            let key: Vec<Vec<u8>> = given.iter().map(|part| part.to_vec()).collect();
            self.0.get(&key)?.at(below).map(PropertyValue::to_bytes)
        })
    }
}

/// Filter state of a stream or a connection, by the whole name of each object: what a module sets with
/// `proxy_set_property` has `wasm.` in front.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilterState(BTreeMap<Vec<u8>, Vec<u8>>);

impl FilterState {
    pub(crate) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    pub(crate) fn set(&mut self, name: &[u8], value: Vec<u8>) {
        self.0.insert(name.to_vec(), value);
    }

    /// What a module has set with `proxy_set_property`, by the path it gave.
    pub(crate) fn of_module(&self, path: &[u8]) -> Option<&[u8]> {
        self.get(&[b"wasm.", path].concat())
    }

    pub(crate) fn set_of_module(&mut self, path: &[u8], value: Vec<u8>) {
        self.set(&[b"wasm.", path].concat(), value);
    }
}
