//! The part of kustomize that the overlays use: resources and JSON patches (RFC 6902).
//!
//! Anything else in a `kustomization.yaml` is an error here, so that what is checked is what a user gets.

use std::path::Path;

use serde::Deserialize;

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
        let targets: Vec<&mut Resource> =
            resources.iter_mut().filter(|r| r.is(group, kind) && r.name() == name && here(r)).collect();
        if targets.is_empty() {
            return Err(Error::content(
                &file,
                format!("a patch for {kind} {name}, which is not among the resources"),
            ));
        }
        let patch: json_patch::Patch =
            serde_saphyr::from_str(&patch.patch).map_err(|error| Error::content(&file, error))?;
        for target in targets {
            json_patch::patch(&mut target.value, &patch).map_err(|error| Error::content(&file, error))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kustomization_with_more_than_is_understood_is_refused() {
        let text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n";
        assert!(serde_saphyr::from_str::<Kustomization>(text).is_ok());
        let more = format!("{text}namePrefix: x\n");
        let error = serde_saphyr::from_str::<Kustomization>(&more).err().unwrap().to_string();
        assert!(error.contains("namePrefix"), "{error}");
    }
}
