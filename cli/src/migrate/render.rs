//! Nodes as YAML: two spaces a level, fields in their order.

use serde_json::Value;

use crate::input::{Item, Node};

/// A document's text, ended by a line feed.
pub(super) fn document(item: &Item) -> String {
    let mut out = String::new();
    block(item, 0, &mut out);
    out
}

fn block(item: &Item, indent: usize, out: &mut String) {
    let spaces = " ".repeat(indent);
    match &item.node {
        Node::Map(fields) => {
            for (key, below) in fields {
                out.push_str(&format!("{spaces}{}:", text(&key.name)));
                after_key(below, indent, out);
            }
        }
        Node::List(items) => {
            for below in items {
                out.push_str(&format!("{spaces}-"));
                match &below.node {
                    Node::Map(fields) if !fields.is_empty() => {
                        // The first field stands beside the dash.
                        let mut inner = String::new();
                        block(below, indent + 2, &mut inner);
                        out.push(' ');
                        out.push_str(inner.trim_start());
                    }
                    _ => after_key(below, indent, out),
                }
            }
        }
        Node::Scalar(value) => out.push_str(&format!("{spaces}{}\n", scalar(value))),
    }
}

fn after_key(below: &Item, indent: usize, out: &mut String) {
    match &below.node {
        Node::Scalar(value) => out.push_str(&format!(" {}\n", scalar(value))),
        Node::Map(fields) if fields.is_empty() => out.push_str(" {}\n"),
        Node::List(items) if items.is_empty() => out.push_str(" []\n"),
        Node::Map(_) | Node::List(_) => {
            out.push('\n');
            block(below, indent + 2, out);
        }
    }
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
    fn what_is_written_reads_as_it_was() {
        let text = r#"{"a": "true", "b": [], "c": {}, "d": [1, [2, "x y"], {"e": null, "f": ["on"]}], "g.h/i": "1.0", "@j": "ü: #"}"#;
        let read = |text: &str| split("f", text).unwrap().remove(0).root.unwrap();
        let item = read(text);
        let written = document(&item);
        assert_eq!(read(&written).value(), item.value(), "{written}");
        assert_eq!(document(&read(&written)), written);
    }
}
