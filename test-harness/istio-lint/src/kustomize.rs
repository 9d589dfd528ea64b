//! The part of kustomize that the overlays use: resources and JSON patches.
//!
//! Anything else in a `kustomization.yaml` is an error here, so that what is checked is what a user gets.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::resource::{Error, Resource, read, yaml};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    api_version: String,
    kind: String,
    resources: Vec<String>,
    #[serde(default)]
    patches: Vec<Patch>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    target: Target,
    patch: String,
}

/// What a patch is for. kustomize reads these as anchored regular expressions; here they are plain text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    group: String,
    kind: String,
    name: String,
    /// Any, if it is left out.
    namespace: Option<String>,
}

/// An operation of RFC 6902.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "op", rename_all = "lowercase")]
enum Operation {
    Add { path: String, value: Value },
    Replace { path: String, value: Value },
}

/// The resources of the directory's `kustomization.yaml`, patched.
///
/// # Errors
/// A file is missing or malformed, a patch applies to nothing, or two resources are the same.
pub fn build(directory: &Path) -> Result<Vec<Resource>, Error> {
    let file = directory.join("kustomization.yaml");
    let mut documents: Vec<Kustomization> = yaml(&file)?;
    let (Some(kustomization), true) = (documents.pop(), documents.is_empty()) else {
        return Err(Error::content(&file, "not exactly one document"));
    };
    if (kustomization.api_version.as_str(), kustomization.kind.as_str())
        != ("kustomize.config.k8s.io/v1beta1", "Kustomization")
    {
        return Err(Error::content(&file, "not a Kustomization of version v1beta1"));
    }

    let mut resources: Vec<Resource> = Vec::new();
    for name in &kustomization.resources {
        let path = directory.join(name);
        let more = if path.is_dir() { build(&path)? } else { own_file(directory, name)? };
        for resource in more {
            if resources.iter().any(|r| r.id() == resource.id() && r.group() == resource.group()) {
                return Err(Error::content(&file, format!("{} comes twice", resource.id())));
            }
            resources.push(resource);
        }
    }
    for patch in &kustomization.patches {
        let Target { group, kind, name, namespace } = &patch.target;
        let here = |r: &Resource| namespace.as_ref().is_none_or(|namespace| r.namespace() == namespace);
        let mut targets: Vec<&mut Resource> =
            resources.iter_mut().filter(|r| r.is(group, kind) && r.name() == name && here(r)).collect();
        if targets.is_empty() {
            return Err(Error::content(
                &file,
                format!("a patch for {kind} {name}, which is not among the resources"),
            ));
        }
        let operations: Vec<Operation> =
            serde_saphyr::from_str(&patch.patch).map_err(|error| Error::content(&file, error))?;
        for operation in operations {
            for target in &mut targets {
                apply(&mut target.value, &operation).map_err(|reason| Error::content(&file, reason))?;
            }
        }
    }
    Ok(resources)
}

/// kustomize loads files only from the directory of the kustomization or below.
fn own_file(directory: &Path, name: &str) -> Result<Vec<Resource>, Error> {
    if name.split('/').any(|part| part == "..") {
        return Err(Error::content(directory, format!("{name} is outside of the kustomization's directory")));
    }
    read(&directory.join(name))
}

fn apply(document: &mut Value, operation: &Operation) -> Result<(), String> {
    let (path, value, must_exist) = match operation {
        Operation::Add { path, value } => (path, value, false),
        Operation::Replace { path, value } => (path, value, true),
    };
    let (parent, key) = path.rsplit_once('/').ok_or_else(|| format!("{path:?} is not a JSON pointer"))?;
    let parent: Option<&mut Map<String, Value>> = document.pointer_mut(parent).and_then(Value::as_object_mut);
    let parent = parent.ok_or_else(|| format!("{path}: its parent is not an object"))?;
    if must_exist && !parent.contains_key(key) {
        return Err(format!("{path}: there is nothing to replace"));
    }
    parent.insert(key.to_owned(), value.clone());
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(path: &str, op: &str) -> Result<Value, String> {
        let mut document = json!({"spec": {"hosts": ["a"]}});
        let operation = serde_json::from_value(json!({"op": op, "path": path, "value": ["b"]})).unwrap();
        apply(&mut document, &operation).map(|()| document)
    }

    #[test]
    fn a_patch_adds_and_replaces_members_of_objects_that_are_there() {
        assert_eq!(patched("/spec/hosts", "replace").unwrap(), json!({"spec": {"hosts": ["b"]}}));
        assert_eq!(patched("/spec/x", "add").unwrap(), json!({"spec": {"hosts": ["a"], "x": ["b"]}}));
        assert!(patched("/spec/x", "replace").unwrap_err().contains("nothing to replace"));
        assert!(patched("/spex/x", "add").unwrap_err().contains("parent is not an object"));
        assert!(patched("spec", "add").unwrap_err().contains("not a JSON pointer"));
    }

    #[test]
    fn a_kustomization_with_more_than_is_understood_is_refused() {
        let text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n";
        assert!(serde_saphyr::from_str::<Kustomization>(text).is_ok());
        let more = format!("{text}namePrefix: x\n");
        let error = serde_saphyr::from_str::<Kustomization>(&more).err().unwrap().to_string();
        assert!(error.contains("namePrefix"), "{error}");
    }
}
