//! Nodes as YAML: two spaces a level, fields in their order.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::input::{Item, Node};

/// Lines with comments: a document, or the part of it that an item of a List is.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    /// The first of its lines that count, from 1.
    pub(super) first: usize,
    /// The last of them.
    pub(super) last: usize,
}

impl<'a> From<&'a str> for Source<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, first: 1, last: usize::MAX }
    }
}

/// A document's text, ended by a line feed.
pub(super) fn document(item: &Item) -> String {
    rewritten(item, Source::from(""))
}

/// As [`document`], with the comments that stand in `source`, which the item was read from: above a field or at the end
/// of its line. Those of fields that are gone come before the next field that is left.
pub(super) fn rewritten(item: &Item, source: Source<'_>) -> String {
    let mut lines = Lines::default();
    lines.add(item);
    let text: Vec<&str> = source.text.lines().collect();
    let mut writer =
        Writer { source: text, used: BTreeSet::new(), orphans: BTreeSet::new(), out: String::new() };
    writer.orphans = writer.orphans(source, &lines);
    writer.block(item, 0);
    writer.orphaned(usize::MAX, "");
    writer.out
}

/// The comments of a source, each on a line of its own.
pub(super) fn comments(source: Source<'_>) -> String {
    let text: Vec<&str> = source.text.lines().collect();
    let mut writer =
        Writer { source: text, used: BTreeSet::new(), orphans: BTreeSet::new(), out: String::new() };
    writer.orphans = writer.orphans(source, &Lines::default());
    writer.orphaned(usize::MAX, "");
    writer.out
}

/// The lines of the source at which something that is written stood.
#[derive(Default)]
struct Lines {
    /// Comments above them are written.
    all: BTreeSet<usize>,
    /// Comments at their end are.
    ended: BTreeSet<usize>,
}

impl Lines {
    fn add(&mut self, item: &Item) {
        match &item.node {
            Node::Map(fields) => {
                for (key, below) in fields {
                    self.all.insert(key.line);
                    self.ended.insert(key.line);
                    self.add(below);
                }
            }
            Node::List(items) => {
                for below in items {
                    self.all.insert(below.line);
                    if !matches!(&below.node, Node::Map(fields) if !fields.is_empty()) {
                        self.ended.insert(below.line);
                    }
                    self.add(below);
                }
            }
            Node::Scalar(_) => {}
        }
    }
}

struct Writer<'a> {
    source: Vec<&'a str>,
    /// The lines of the source whose comments are written.
    used: BTreeSet<usize>,
    /// Lines with a comment whose field is not written.
    orphans: BTreeSet<usize>,
    out: String,
}

impl Writer<'_> {
    /// The lines whose comment belongs to nothing that is written.
    fn orphans(&self, source: Source<'_>, written: &Lines) -> BTreeSet<usize> {
        let last = source.last.min(self.source.len());
        let is_comment = |number: usize| self.source[number - 1].trim_start().starts_with('#');
        let is_orphan = |number: &usize| {
            if !is_comment(*number) {
                return self.ending(*number).is_some() && !written.ended.contains(number);
            }
            let owner = (*number..=last).find(|below| !is_comment(*below));
            owner.is_none_or(|owner| !written.all.contains(&owner))
        };
        (source.first..=last).filter(is_orphan).collect()
    }

    /// Writes the comments above a line whose fields are gone.
    fn orphaned(&mut self, line: usize, spaces: &str) {
        let later = self.orphans.split_off(&line);
        for number in std::mem::replace(&mut self.orphans, later) {
            let own = self.source[number - 1].trim();
            let comment = if own.starts_with('#') { Some(own) } else { self.ending(number) };
            if let Some(comment) = comment {
                let line = format!("{spaces}{comment}\n");
                self.out.push_str(&line);
            }
        }
    }

    fn block(&mut self, item: &Item, indent: usize) {
        let spaces = " ".repeat(indent);
        match &item.node {
            Node::Map(fields) => {
                for (key, below) in fields {
                    self.comments(key.line, &spaces);
                    self.out.push_str(&format!("{spaces}{}:", text(&key.name)));
                    self.after_key(below, key.line, indent);
                }
            }
            Node::List(items) => {
                for below in items {
                    self.comments(below.line, &spaces);
                    self.out.push_str(&format!("{spaces}-"));
                    match &below.node {
                        Node::Map(fields) if !fields.is_empty() => {
                            // The first field stands beside the dash.
                            let start = self.out.len();
                            self.block(below, indent + 2);
                            let inner = self.out.split_off(start);
                            self.out.push(' ');
                            self.out.push_str(inner.trim_start());
                        }
                        _ => self.after_key(below, below.line, indent),
                    }
                }
            }
            Node::Scalar(value) => self.out.push_str(&format!("{spaces}{}\n", scalar(value))),
        }
    }

    fn after_key(&mut self, below: &Item, line: usize, indent: usize) {
        if let Some(lines) = lines(below) {
            self.out.push_str(" |\n");
            let spaces = " ".repeat(indent + 2);
            lines.for_each(|line| self.out.push_str(&format!("{spaces}{line}\n")));
            return;
        }
        let own = match &below.node {
            Node::Scalar(value) => format!(" {}", scalar(value)),
            Node::Map(fields) if fields.is_empty() => " {}".into(),
            Node::List(items) if items.is_empty() => " []".into(),
            Node::Map(_) | Node::List(_) => String::new(),
        };
        self.out.push_str(&own);
        if let Some(comment) = self.beside(line) {
            self.out.push_str(&format!(" {comment}"));
        }
        self.out.push('\n');
        if own.is_empty() {
            self.block(below, indent + 2);
        }
    }

    /// The lines of comments right above a line.
    fn comments(&mut self, line: usize, spaces: &str) {
        self.orphaned(line, spaces);
        let mut first = line;
        while first > 1 && self.source.get(first - 2).is_some_and(|above| above.trim_start().starts_with('#'))
        {
            first -= 1;
        }
        for number in first..line {
            if self.used.insert(number) {
                let comment = self.source.get(number - 1).map_or("", |comment| comment.trim());
                self.out.push_str(&format!("{spaces}{comment}\n"));
            }
        }
    }

    /// The comment at the end of a line that is written.
    fn beside(&mut self, line: usize) -> Option<String> {
        let comment = self.ending(line)?.to_owned();
        self.used.insert(line).then_some(comment)
    }

    /// The comment at the end of a line; none if what looks like one may be within quotes.
    fn ending(&self, line: usize) -> Option<&str> {
        let text = self.source.get(line.checked_sub(1)?)?;
        let at = text.rfind(" #")?;
        let (before, comment) = text.split_at(at);
        let quotes = |quote: char| before.matches(quote).count() % 2 == 1 || comment.contains(quote);
        (!quotes('"') && !quotes('\'')).then(|| comment.trim())
    }
}

/// The lines of a text that YAML's literal style keeps as they are.
fn lines(item: &Item) -> Option<std::str::Lines<'_>> {
    let Node::Scalar(Value::String(text)) = &item.node else { return None };
    let plain = |line: &str| {
        !line.is_empty()
            && line.trim_end() == line
            && line.chars().all(|letter| (' '..='~').contains(&letter))
    };
    let literal =
        text.ends_with('\n') && !text.starts_with(' ') && text.lines().count() > 1 && text.lines().all(plain);
    literal.then(|| text.lines())
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(value) => text(value),
        other => other.to_string(),
    }
}

/// A text, in quotes unless it can be nothing but a text in any version of YAML.
fn text(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let begins =
        value.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'_'));
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if begins && value.bytes().all(plain) && !words.contains(&value.to_ascii_lowercase().as_str()) {
        value.to_owned()
    } else {
        Value::from(value).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::split;

    #[test]
    fn comments_stay_with_their_fields() {
        let source = "# whole\na: 1 # one\nb:\n  # two\n  # lines\n  - c: x # beside\n    d: \"a # b\"\n";
        let item = split("f", source).unwrap().remove(0).root.unwrap();
        assert_eq!(rewritten(&item, source.into()), source);
    }

    #[test]
    fn comments_of_what_is_gone_come_before_what_follows_it() {
        let source = "# whole\n\na: 1\n# of b\nb: # beside\n  # in b\n  c: 1 # of c\n# of d\nd: 2\ne: 3 # of e\n# end\n";
        let mut item = split("f", source).unwrap().remove(0).root.unwrap();
        super::super::tree::remove(&mut item, "b");
        super::super::tree::remove(&mut item, "e");
        let left = "# whole\na: 1\n# of b\n# beside\n# in b\n# of c\n# of d\nd: 2\n# of e\n# end\n";
        assert_eq!(rewritten(&item, source.into()), left);
        assert_eq!(comments(source.into()).lines().count(), 8);
    }

    #[test]
    fn what_is_written_reads_as_it_was() {
        let text = r#"{"0": "a\n  b\n", "1": {"2": "a\nb"}, "3": " a\nb\n", "a": "true", "b": [], "c": {}, "d": [1, [2, "x y"], {"e": null, "f": ["on"]}], "g.h/i": "1.0", "@j": "ü: #"}"#;
        let read = |text: &str| split("f", text).unwrap().remove(0).root.unwrap();
        let item = read(text);
        let written = document(&item);
        assert_eq!(read(&written).value(), item.value(), "{written}");
        assert_eq!(document(&read(&written)), written);
    }
}
