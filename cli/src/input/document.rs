//! The documents of a YAML stream, each with its own text.

use super::Error;
use super::node::Item;

/// A document of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// The file's name, for messages.
    pub(crate) file: String,
    /// The line of the file at which the text begins, from 1.
    pub(crate) line: usize,
    /// The text between the marks, as it stands.
    pub(crate) text: String,
    /// What the text says; `None` if there are only comments in it.
    pub(crate) root: Option<Item>,
}

impl Document {
    /// An error at a field.
    #[must_use]
    pub(crate) fn error(&self, pointer: &str, reason: impl Into<String>) -> Error {
        let line = self.root.as_ref().map_or(1, |root| root.line_of(pointer));
        Error::Content { file: self.file.clone(), line: self.line - 1 + line, reason: reason.into() }
    }
}

/// Splits a stream into its documents and reads each.
///
/// # Errors
/// A document is not valid YAML, or has a key twice.
pub(crate) fn split(file: &str, text: &str) -> Result<Vec<Document>, Error> {
    Ok(marked(file, text)?.into_iter().map(|(_, document)| document).collect())
}

/// As [`split`], each document with the mark in front of it: concatenated, they are the stream.
pub(crate) fn marked(file: &str, text: &str) -> Result<Vec<(String, Document)>, Error> {
    let mut documents = Vec::new();
    let (mut begin, mut mark, mut own) = (1, String::new(), String::new());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let rest =
            line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if let Some(rest) = rest {
            documents.push((std::mem::take(&mut mark), read(file, begin, std::mem::take(&mut own))?));
            // Text after the mark is rare, and belongs to the document that begins.
            if rest.trim().is_empty() {
                (begin, mark) = (index + 2, line.to_owned());
            } else {
                (begin, mark, own) = (index + 1, "--- ".into(), rest.trim_start().to_owned());
            }
        } else {
            own.push_str(line);
        }
    }
    documents.push((mark, read(file, begin, own)?));
    Ok(documents)
}

fn read(file: &str, line: usize, text: String) -> Result<Document, Error> {
    let blank =
        |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#') || line.trim_end() == "...";
    if text.lines().all(blank) {
        return Ok(Document { file: file.to_owned(), line, text, root: None });
    }
    let root: Item = serde_saphyr::from_str(&text).map_err(|error| {
        let at = error.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
        let mut reason = istio_lint::reason(&error);
        if text.contains("{{") {
            reason.push_str("; {{ is of a template, of Helm's perhaps: give the output of helm template");
        }
        Error::Content { file: file.to_owned(), line: line - 1 + at, reason }
    })?;
    Ok(Document { file: file.to_owned(), line, text, root: Some(root) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_knows_its_line_in_the_file() {
        let text = "# a\n---\nkind: A\nlist:\n- x: 1\n- {x: 2,\n   y: 3}\n--- # b\n# c\nkind: B\n";
        let documents = split("f", text).unwrap();
        let [nothing, a, b] = &documents[..] else { panic!("{documents:?}") };
        assert_eq!(nothing.root, None);
        let line = |document: &Document, pointer: &str| {
            document.line - 1 + document.root.as_ref().unwrap().line_of(pointer)
        };
        assert_eq!(
            ["/kind", "/list/0/x", "/list/1", "/list/1/y", "/list/1/z"].map(|p| line(a, p)),
            [3, 5, 6, 7, 6]
        );
        assert_eq!(line(b, "/kind"), 10);
        assert_eq!(b.root.as_ref().unwrap().value(), serde_json::json!({"kind": "B"}));
    }

    #[test]
    fn an_error_names_its_line_in_the_file() {
        let error = split("f.yaml", "a: 1\n---\nb: 1\nc: 2\nb: 3\n").unwrap_err().to_string();
        assert!(error.starts_with("f.yaml:5: ") && error.contains("duplicate"), "{error}");
        let error = split("f.yaml", "a: [1\n").unwrap_err().to_string();
        assert!(error.starts_with("f.yaml:"), "{error}");
    }

    #[test]
    fn an_error_is_in_words_and_names_its_line_once() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..9 {
            let one = format!("*a{}", n - 1);
            bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![one; 10].join(",")));
        }
        let deep = format!("{}{}\n", "[".repeat(5000), "]".repeat(5000));
        for (text, reason) in [
            (bomb.as_str(), "its aliases expand to more than"),
            (&deep, "nested too deeply"),
            ("a: 1\na: 2\n", "f.yaml:2: duplicate mapping key: a"),
            ("a: [1,2\nb: }", "f.yaml:2: "),
        ] {
            let error = split("f.yaml", text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            for word in ["Options", "Nodes", "budget", " at line ", "column", "{"] {
                assert!(!error.contains(word), "{error}");
            }
        }
    }
}
