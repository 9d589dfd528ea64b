//! Folders: kustomizations, and loose files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use istio_lint::kustomize;
use serde_json::Value;

use super::{Error, Located, Set, add_of_folder, complete, name_of, one, split, text_of};

const KUSTOMIZATION: &str = "kustomization.yaml";

/// The sets of a folder: each kustomization that no other one contains, or that is an overlay; and the files that are in
/// none.
pub(super) fn sets(folder: &Path, namespace: &str) -> Result<Vec<Set>, Error> {
    let mut tree = Tree::default();
    tree.walk(folder)?;
    let mut used = BTreeSet::new();
    for kustomization in &tree.kustomizations {
        used.extend(parts(kustomization)?);
    }
    let mut sets = Vec::new();
    for kustomization in &tree.kustomizations {
        let overlay = kustomization.parent().is_some_and(|parent| parent.ends_with("overlays"));
        if overlay || !used.contains(&canonical(kustomization)) {
            sets.push(built(kustomization, namespace)?);
        }
    }
    let mut loose = Set::default();
    for file in tree.files.iter().filter(|file| !used.contains(&canonical(file))) {
        add_of_folder(&mut loose, &name_of(file), &text_of(file)?, namespace)?;
    }
    // Values with a mesh configuration are for every set.
    let others = std::mem::take(&mut loose.others);
    if !loose.resources.is_empty() || !loose.skipped.is_empty() {
        sets.insert(0, loose);
    } else if sets.is_empty() && !others.is_empty() {
        sets.push(Set::default());
    }
    for set in &mut sets {
        set.others.extend(others.iter().filter(|other| is_mesh(other)).cloned());
    }
    if let Some(first) = sets.first_mut() {
        first.others.extend(others.into_iter().filter(|other| !is_mesh(other)));
    }
    Ok(sets)
}

fn is_mesh(document: &super::Document) -> bool {
    document.root.as_ref().is_some_and(|root| root.get("static_resources").is_none())
}

#[derive(Default)]
struct Tree {
    kustomizations: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Tree {
    fn walk(&mut self, folder: &Path) -> Result<(), Error> {
        let io = |source| Error::Io { path: name_of(folder), source };
        let found = fs::read_dir(folder).map_err(io)?.map(|entry| entry.map(|entry| entry.path()));
        let mut found = found.collect::<Result<Vec<_>, _>>().map_err(io)?;
        found.sort();
        for path in found {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                self.walk(&path)?;
            } else if name == KUSTOMIZATION {
                self.kustomizations.push(folder.to_owned());
            } else if matches!(path.extension().and_then(|e| e.to_str()), Some("yaml" | "yml" | "json")) {
                self.files.push(path);
            }
        }
        Ok(())
    }
}

/// What a kustomization is built of: its files and folders, and theirs.
fn parts(folder: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let file = folder.join(KUSTOMIZATION);
    let mut found = BTreeSet::new();
    for document in split(&name_of(&file), &text_of(&file)?)? {
        let value = document.root.as_ref().map_or(Value::Null, super::Item::value);
        for list in ["resources", "components", "bases", "patches", "patchesStrategicMerge", "configurations"]
        {
            for part in value.get(list).and_then(Value::as_array).into_iter().flatten() {
                let path = part.as_str().or_else(|| part.get("path").and_then(Value::as_str));
                found.extend(path.map(|path| canonical(&folder.join(path))));
            }
        }
    }
    Ok(found)
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A kustomization as kustomize would build it, each resource at its place in the file it comes from.
fn built(folder: &Path, namespace: &str) -> Result<Set, Error> {
    let mut origins = Vec::new();
    collect(folder, namespace, &mut origins)?;
    let mut resources = Vec::new();
    for mut resource in kustomize::build(folder)? {
        complete(&mut resource.value, namespace);
        let same = |l: &&Located| l.resource.id() == resource.id() && l.resource.group() == resource.group();
        let origin = origins.iter().find(same).cloned();
        resources.extend(origin.map(|origin| Located { resource, ..origin }));
    }
    Ok(Set { resources, ..Set::default() })
}

/// The resources of a kustomization's files, before its patches.
fn collect(folder: &Path, namespace: &str, into: &mut Vec<Located>) -> Result<(), Error> {
    for part in parts(folder)? {
        if part.is_dir() {
            collect(&part, namespace, into)?;
        } else if part.is_file() {
            let shown = shorter(&part);
            for document in split(&name_of(&shown), &text_of(&part)?)? {
                if let Some(root) = &document.root {
                    into.push(one(&document, root, namespace)?);
                }
            }
        }
    }
    Ok(())
}

/// A path as seen from the working directory, where it is below that.
fn shorter(path: &Path) -> PathBuf {
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let below = here.ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    below.unwrap_or_else(|| path.to_owned())
}
