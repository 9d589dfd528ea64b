//! Files as they stand: what is not changed comes out byte for byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::render::{self, Source};
use super::tree::items;
use crate::Error;
use crate::input::{self, Document, Located};

/// A file of the input.
pub(super) struct File {
    /// Its path below the folder that was named; its name if it was named itself.
    pub(super) name: PathBuf,
    pub(super) parts: Vec<Part>,
}

/// A document, or an item of a List, and what comes out in its place.
pub(super) struct Part {
    /// The line that begins it, such as `---`; none for the first.
    pub(super) mark: String,
    pub(super) document: Rc<Document>,
    /// The resource; none if the document is empty, a kustomization or not a resource.
    pub(super) located: Option<Located>,
    pub(super) fate: Fate,
    /// Documents that come after it.
    pub(super) after: Vec<String>,
    /// The List that it is an item of, by its number in the file, and the item's lines in the document, from 1.
    pub(super) list: Option<(usize, (usize, usize))>,
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
            for own in manifests(path)? {
                let name = own.strip_prefix(path).unwrap_or(&own).to_owned();
                files.push(file(&own, name, namespace)?);
            }
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

/// The files of a folder, and of those in it, that may hold resources, by name.
pub(super) fn manifests(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let io = |source| input::Error::Io { path: folder.display().to_string(), source };
    let found = fs::read_dir(folder).map_err(io)?.map(|entry| entry.map(|entry| entry.path()));
    let mut found = found.collect::<Result<Vec<_>, _>>().map_err(io)?;
    found.sort();
    let mut files = Vec::new();
    for path in found {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let yaml = matches!(path.extension().and_then(|end| end.to_str()), Some("yaml" | "yml" | "json"));
        if path.is_dir() && !hidden {
            files.extend(manifests(&path)?);
        } else if yaml && !hidden {
            files.push(path);
        }
    }
    Ok(files)
}

fn file(path: &Path, name: PathBuf, namespace: &str) -> Result<File, Error> {
    let mut parts = Vec::new();
    for (number, (mark, document)) in input::marked(path)?.into_iter().enumerate() {
        let document = Rc::new(document);
        let part = |mark: String, located, list| Part {
            mark,
            document: Rc::clone(&document),
            located,
            fate: Fate::Same,
            after: Vec::new(),
            list,
        };
        match &document.root {
            Some(root) if input::is_list(root) => {
                let found = input::located(&document, root, namespace)?;
                let lines = lines_of(&document.text, &found);
                let mut mark = Some(mark);
                for (located, lines) in found.into_iter().zip(lines) {
                    let mark = mark.take().unwrap_or_else(|| "---\n".into());
                    parts.push(part(mark, Some(located), Some((number, lines))));
                }
                parts.extend(mark.map(|mark| part(mark, None, None)));
            }
            Some(root) if is_resource(root) => {
                parts.push(part(mark, Some(input::one(&document, root, namespace)?), None));
            }
            Some(root) if !is_something_else(root) => return Err(input::not_a_resource(&document).into()),
            _ => parts.push(part(mark, None, None)),
        }
    }
    Ok(File { name, parts })
}

/// The first and the last line of each item of a List in its document, with the comments above it. The first item has
/// what stands before the items as well.
fn lines_of(text: &str, items: &[Located]) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let first = |located: &Located| {
        let mut first = located.item.line.max(1);
        while first > 1 && lines.get(first - 2).is_some_and(|above| above.trim_start().starts_with('#')) {
            first -= 1;
        }
        first
    };
    let firsts: Vec<usize> = items.iter().map(first).collect();
    let last = |index: usize| firsts.get(index + 1).map_or(lines.len(), |next| next - 1);
    let from = |index: usize, first: usize| if index == 0 { 1 } else { first };
    firsts.iter().enumerate().map(|(index, first)| (from(index, *first), last(index))).collect()
}

fn is_resource(root: &input::Item) -> bool {
    let named = root.get("metadata").is_some() || root.text("kind") != "Kustomization";
    (root.get("kind").is_some() || root.get("apiVersion").is_some()) && named
}

/// A kustomization, a JSON patch (RFC 6902) of one, or what `check` reads besides.
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

    /// Whether a List comes out as documents of their own, because not all of its items stay as they are.
    pub(super) fn is_taken_apart(&self, list: usize) -> bool {
        let own = self.parts.iter().filter(|part| part.list.is_some_and(|(number, _)| number == list));
        own.into_iter().any(|part| !matches!(part.fate, Fate::Same) || !part.after.is_empty())
    }

    /// The text that comes out, with the ends of lines that the file has.
    pub(super) fn text(&self) -> String {
        let ended = |text: &str| if self.has_crlf() { text.replace('\n', "\r\n") } else { text.to_owned() };
        let mut out = String::new();
        let mut first = true;
        let together = |one: &Part, next: &Part| {
            one.list
                .map(|(number, _)| number)
                .is_some_and(|number| next.list.is_some_and(|(n, _)| n == number))
        };
        for parts in self.parts.chunk_by(together) {
            let whole = parts[0].list.is_some_and(|(number, _)| !self.is_taken_apart(number));
            for part in if whole { &parts[..1] } else { parts } {
                let own = match (&part.fate, &part.located) {
                    (Fate::Same, Some(located)) if part.list.is_some() && !whole => {
                        Some(ended(&render::rewritten(&located.item, part.source())))
                    }
                    (Fate::Same, _) => Some(part.document.text.clone()),
                    (Fate::Changed(text), _) => Some(ended(text)),
                    (Fate::Gone, _) => None,
                };
                if let Some(own) = own {
                    // A file does not begin with the mark of a document that is gone.
                    if !first || matches!(part.fate, Fate::Same) && (whole || part.list.is_none()) {
                        let own = part.mark.ends_with("\r\n");
                        out.push_str(&if own { part.mark.clone() } else { ended(&part.mark) });
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
        }
        out
    }
}

impl Part {
    /// Where its comments are.
    pub(super) fn source(&self) -> Source<'_> {
        let (first, last) = self.list.map_or((1, usize::MAX), |(_, lines)| lines);
        Source { text: &self.document.text, first, last }
    }
}
