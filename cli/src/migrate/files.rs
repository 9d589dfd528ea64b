//! Files as they stand: what is not changed comes out byte for byte.

use std::fs;
use std::path::{Path, PathBuf};

use super::tree::items;
use crate::Error;
use crate::input::{self, Document, Located};

/// A file of the input.
pub(super) struct File {
    /// Its path below the folder that was named; its name if it was named itself.
    pub(super) name: PathBuf,
    pub(super) parts: Vec<Part>,
}

/// A document, and what comes out in its place.
pub(super) struct Part {
    /// The line that begins it, such as `---`; none for the first.
    pub(super) mark: String,
    pub(super) document: Document,
    /// The resource; none if the document is empty, a kustomization or not a resource.
    pub(super) located: Option<Located>,
    pub(super) fate: Fate,
    /// Documents that come after it.
    pub(super) after: Vec<String>,
}

pub(super) enum Fate {
    /// As it stands.
    Same,
    /// Another text.
    Changed(String),
    /// Nothing.
    Gone,
}

/// Reads files and folders.
pub(super) fn read(inputs: &[PathBuf], namespace: &str) -> Result<Vec<File>, Error> {
    let mut files = Vec::new();
    for path in inputs {
        if path.is_dir() {
            walk(path, path, namespace, &mut files)?;
        } else {
            let name = path.file_name().map_or_else(|| PathBuf::from("input.yaml"), PathBuf::from);
            let name = if path == Path::new("-") { PathBuf::from("input.yaml") } else { name };
            files.push(file(path, name, namespace)?);
        }
    }
    if files.is_empty() {
        let names: Vec<_> = inputs.iter().map(|path| path.display().to_string()).collect();
        return Err(input::Error::Empty(names.join(", ")).into());
    }
    Ok(files)
}

fn walk(root: &Path, folder: &Path, namespace: &str, files: &mut Vec<File>) -> Result<(), Error> {
    let io = |source| input::Error::Io { path: folder.display().to_string(), source };
    let found = fs::read_dir(folder).map_err(io)?.map(|entry| entry.map(|entry| entry.path()));
    let mut found = found.collect::<Result<Vec<_>, _>>().map_err(io)?;
    found.sort();
    for path in found {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let yaml = matches!(path.extension().and_then(|end| end.to_str()), Some("yaml" | "yml" | "json"));
        if path.is_dir() && !hidden {
            walk(root, &path, namespace, files)?;
        } else if yaml && !hidden {
            let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
            files.push(file(&path, name, namespace)?);
        }
    }
    Ok(())
}

fn file(path: &Path, name: PathBuf, namespace: &str) -> Result<File, Error> {
    let mut parts = Vec::new();
    for (mark, document) in input::marked(path)? {
        let located = match &document.root {
            Some(root) if is_resource(root) => Some(input::one(&document, root, namespace)?),
            Some(root) if !is_something_else(root) => return Err(input::not_a_resource(&document).into()),
            _ => None,
        };
        parts.push(Part { mark, document, located, fate: Fate::Same, after: Vec::new() });
    }
    Ok(File { name, parts })
}

fn is_resource(root: &input::Item) -> bool {
    let named = root.get("metadata").is_some() || root.text("kind") != "Kustomization";
    let list = root.text("kind").ends_with("List") && root.get("items").is_some();
    (root.get("kind").is_some() || root.get("apiVersion").is_some()) && named && !list
}

/// A list of resources, a kustomization, a JSON patch (RFC 6902) of one, or what `check` reads besides.
fn is_something_else(root: &input::Item) -> bool {
    let operations = items(root);
    root.get("kind").is_some()
        || input::is_known_besides(root)
        || (!operations.is_empty() && operations.iter().all(|one| !one.text("op").is_empty()))
}

impl File {
    /// Whether its first line ends with CRLF, as the others are taken to do.
    fn has_crlf(&self) -> bool {
        let lines = self.parts.iter().flat_map(|part| [&part.mark, &part.document.text]);
        let first = lines
            .into_iter()
            .find_map(|text| text.split_inclusive('\n').next().filter(|l| l.ends_with('\n')));
        first.is_some_and(|line| line.ends_with("\r\n"))
    }

    /// The text that comes out, with the ends of lines that the file has.
    pub(super) fn text(&self) -> String {
        let ended = |text: &str| if self.has_crlf() { text.replace('\n', "\r\n") } else { text.to_owned() };
        let mut out = String::new();
        let mut first = true;
        for part in &self.parts {
            let own = match &part.fate {
                Fate::Same => Some(part.document.text.clone()),
                Fate::Changed(text) => Some(ended(text)),
                Fate::Gone => None,
            };
            if let Some(own) = own {
                // A file does not begin with the mark of a document that is gone.
                if !first || matches!(part.fate, Fate::Same) {
                    out.push_str(&part.mark);
                }
                out.push_str(&own);
                first &= own.is_empty() && part.mark.is_empty();
            }
            for more in &part.after {
                if !out.is_empty() {
                    if !out.ends_with('\n') {
                        out.push_str(&ended("\n"));
                    }
                    out.push_str(&ended("---\n"));
                }
                out.push_str(&ended(more));
                first = false;
            }
        }
        out
    }
}

/// The comments in front of a document's first field.
pub(super) fn leading_comments(text: &str) -> String {
    let comment = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    text.lines().take_while(comment).map(|line| format!("{line}\n")).collect()
}
