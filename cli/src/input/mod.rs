//! Reads resources so that every field knows its file and its line.

mod document;
mod folder;
mod node;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use istio_lint::Resource;
use serde_json::Value;

pub(crate) use document::{Document, split};
pub(crate) use node::{Item, Key, Node};

/// Why input could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("{path}: {}", istio_lint::words(source))]
    Io {
        /// Which.
        path: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A text that is not what it has to be.
    #[error("{file}:{line}: {reason}")]
    Content {
        /// Which file.
        file: String,
        /// Where in it, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A kustomization that this command does not understand.
    #[error("{0}\npipe in the output of kustomize instead: kubectl kustomize DIR | inference-mesh check -")]
    Kustomize(#[from] istio_lint::Error),
    /// There is nothing to read.
    #[error("{0}: no resources there")]
    Empty(String),
}

/// Resources that are applied together.
#[derive(Debug, Default)]
pub(crate) struct Set {
    /// The resources, in the order in which they were read.
    pub(crate) resources: Vec<Located>,
    /// Documents that are not resources: Envoy's bootstraps, and values with a mesh configuration.
    pub(crate) others: Vec<Document>,
    /// What a folder has besides.
    pub(crate) skipped: Vec<Skipped>,
}

/// A document of a folder that was not read as a resource.
#[derive(Debug)]
pub(crate) struct Skipped {
    /// Its file.
    pub(crate) file: String,
    /// Where in it, from 1.
    pub(crate) line: usize,
    /// Why.
    pub(crate) reason: String,
    /// It was meant as a resource, and an API server would refuse it.
    pub(crate) broken: bool,
}

/// A resource and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// The resource, with a namespace.
    pub(crate) resource: Resource,
    /// Its file.
    pub(crate) file: String,
    /// The line at which its document begins, from 1.
    pub(crate) line: usize,
    /// Which item of a List it is, from 1; 0 for a document of its own.
    pub(crate) index: usize,
    /// The resource's own node.
    pub(crate) item: Item,
}

impl Located {
    /// The line of a field, or of the nearest one around it that is in the file.
    #[must_use]
    pub(crate) fn line_of(&self, pointer: &str) -> usize {
        self.line - 1 + self.item.line_of(pointer)
    }
}

/// Reads what the command line names: files and standard input together are a set, each kustomization is one.
pub(crate) fn sets(inputs: &[PathBuf], namespace: &str) -> Result<Vec<Set>, Error> {
    let mut loose = Set::default();
    let mut sets = Vec::new();
    for path in inputs {
        if path.is_dir() {
            sets.extend(folder::sets(path, namespace)?);
        } else {
            add(&mut loose, &name_of(path), &text_of(path)?, namespace)?;
        }
    }
    if !loose.resources.is_empty() || !loose.others.is_empty() {
        sets.insert(0, loose);
    }
    if sets.is_empty() {
        let names: Vec<_> = inputs.iter().map(|path| name_of(path)).collect();
        return Err(Error::Empty(names.join(", ")));
    }
    Ok(sets)
}

/// Adds the documents of a text to a set.
fn add(set: &mut Set, file: &str, text: &str, namespace: &str) -> Result<(), Error> {
    for document in split(file, text)? {
        let Some(root) = &document.root else { continue };
        let value = root.value();
        if value.get("kind").is_none() && value.get("apiVersion").is_none() {
            if !is_known_besides(root) {
                return Err(not_a_resource(&document));
            }
            set.others.push(document);
            continue;
        }
        set.resources.extend(located(&document, root, namespace)?);
    }
    Ok(())
}

/// Adds the documents of a file in a folder, which may have files of all kinds: values of charts, dashboards.
fn add_of_folder(set: &mut Set, file: &str, text: &str, namespace: &str) -> Result<(), Error> {
    // Documents of one file stand or fall together where it cannot be parsed.
    let documents = match split(file, text) {
        Ok(documents) => documents,
        Err(Error::Content { file, line, reason }) => {
            let template = text.contains("{{");
            let reason = if template {
                "a template: pipe in what it makes, as of helm template".into()
            } else {
                reason
            };
            set.skipped.push(Skipped { file, line, reason, broken: !template });
            return Ok(());
        }
        Err(other) => return Err(other),
    };
    for document in documents {
        let Some(root) = &document.root else { continue };
        let has = |field: &str| root.get(field).is_some();
        if !has("kind") && !has("apiVersion") && is_known_besides(root) {
            set.others.push(document);
            continue;
        }
        match located(&document, root, namespace) {
            Ok(found) => set.resources.extend(found),
            Err(Error::Content { file, line, reason }) => {
                let broken = has("kind") && (has("metadata") || has("items"));
                let reason = if !has("kind") && !has("apiVersion") {
                    format!("{NOT_A_RESOURCE}, so it was not checked")
                } else if broken {
                    reason
                } else {
                    format!("not a Kubernetes resource, so it was not checked: {reason}")
                };
                set.skipped.push(Skipped { file, line, reason, broken });
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

const NOT_A_RESOURCE: &str = "not a Kubernetes resource: it has no apiVersion and no kind";

/// Whether a document is Envoy's bootstrap, or values with a mesh configuration.
pub(crate) fn is_known_besides(root: &Item) -> bool {
    ["static_resources", "meshConfig", "extensionProviders"].iter().any(|key| root.get(key).is_some())
}

pub(crate) fn not_a_resource(document: &Document) -> Error {
    document.error("", NOT_A_RESOURCE)
}

/// Whether a document is a List of resources.
pub(crate) fn is_list(root: &Item) -> bool {
    root.text("kind").ends_with("List") && root.get("items").is_some()
}

/// The resources of a document: one, or those of a List.
pub(crate) fn located(document: &Document, root: &Item, namespace: &str) -> Result<Vec<Located>, Error> {
    if let Some(items) = root.get("items").filter(|_| is_list(root)) {
        let Node::List(items) = &items.node else { return Err(document.error("/items", "not a list")) };
        let numbered = items.iter().enumerate();
        return numbered
            .map(|(index, item)| Ok(Located { index: index + 1, ..one(document, item, namespace)? }))
            .collect();
    }
    Ok(vec![one(document, root, namespace)?])
}

/// Kinds that have no namespace.
const OF_THE_CLUSTER: [&str; 8] = [
    "Namespace",
    "GatewayClass",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "PersistentVolume",
    "StorageClass",
    "ClusterServingRuntime",
];

/// A document, or an item of a list, as a resource.
pub(crate) fn one(document: &Document, item: &Item, namespace: &str) -> Result<Located, Error> {
    let mut value = item.value();
    for (field, pointer) in
        [("apiVersion", "/apiVersion"), ("kind", "/kind"), ("metadata.name", "/metadata/name")]
    {
        if value.pointer(pointer).and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(Error::Content {
                file: document.file.clone(),
                line: document.line - 1 + item.line,
                reason: format!("a resource without {field}"),
            });
        }
    }
    complete(&mut value, namespace);
    Ok(Located {
        resource: Resource { value },
        file: document.file.clone(),
        line: document.line,
        index: 0,
        item: item.clone(),
    })
}

/// Gives a resource that names no namespace the one that it would be applied to.
fn complete(value: &mut Value, namespace: &str) {
    let own = !OF_THE_CLUSTER.iter().any(|kind| value["kind"] == *kind);
    if own && value.pointer("/metadata/namespace").is_none() {
        value["metadata"]["namespace"] = namespace.into();
    }
}

fn name_of(path: &Path) -> String {
    if path == Path::new("-") { "standard input".into() } else { path.display().to_string() }
}

/// The documents of a file, each with the mark in front of it.
pub(crate) fn marked(path: &Path) -> Result<Vec<(String, Document)>, Error> {
    document::marked(&name_of(path), &text_of(path)?)
}

/// The value of a file that has a filter's own configuration and not a resource.
pub(crate) fn plain(path: &Path) -> Result<Value, Error> {
    let mut found = split(&name_of(path), &text_of(path)?)?.into_iter().filter_map(|document| document.root);
    match (found.next(), found.next()) {
        (Some(root), None) => Ok(root.value()),
        (None, _) => Err(Error::Empty(name_of(path))),
        (Some(_), Some(more)) => Err(Error::Content {
            file: name_of(path),
            line: more.line,
            reason: "more than one document".into(),
        }),
    }
}

fn text_of(path: &Path) -> Result<String, Error> {
    let io = |source| Error::Io { path: name_of(path), source };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map_err(io)?;
        return Ok(text);
    }
    fs::read_to_string(path).map_err(io)
}
