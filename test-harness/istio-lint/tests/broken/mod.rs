//! Overlays with one thing broken.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

use istio_lint::{Resource, directory, kustomize, rules};
use serde_json::Value;

/// An overlay, of `kserve-transcoder` if it is given without its directory, with one change, which must be one.
/// `kind` may name the resource as well: `Kind/name`.
pub(crate) fn broken(overlay: &str, kind: &str, pointer: &str, value: Value) -> Vec<Resource> {
    let filter = if overlay.contains('/') { "" } else { "kserve-transcoder/overlays" };
    let mut resources = kustomize::build(&directory().join(filter).join(overlay)).unwrap();
    assert_eq!(rules::check(&resources), [], "{overlay} is not right to begin with");
    let (kind, name) = kind.split_once('/').unwrap_or((kind, ""));
    let wanted = |r: &&mut Resource| r.kind() == kind && (name.is_empty() || r.name() == name);
    let resource = resources.iter_mut().find(wanted).unwrap();
    let before = resource.value.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/");
    match (resource.value.pointer_mut(parent), value) {
        (Some(Value::Object(object)), Value::Null) => drop(object.remove(&key)),
        (Some(Value::Object(object)), value) => drop(object.insert(key, value)),
        (Some(Value::Array(array)), Value::Null) => drop(array.remove(key.parse().unwrap())),
        (parent, _) => panic!("{overlay}: {kind} {pointer}: cannot change {parent:?}"),
    }
    assert_ne!(resource.value, before, "{overlay}: {kind} {pointer} is already so");
    resources
}
