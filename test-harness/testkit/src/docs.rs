//! Keeps what is written about a filter's configuration and metrics true.
//!
//! `schema/NAME.json` and the tables in a filter's README are made from its Rust types and from its list of metrics. Its tests call this crate and
//! fail where the files differ; with `UPDATE_DOCS=1` they write them instead.
#![allow(clippy::unwrap_used)] // For tests: a schema of another shape ends them.

use filter_api::{DROPPED_OPERATIONS, Metric, MetricKind};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a README has behind its tables.
const END: &str = "<!-- end of the tables -->\n";

/// A filter's package.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    name: &'static str,
    folder: &'static str,
}

impl Package {
    /// The package of this name in this folder: `env!("CARGO_PKG_NAME")` and `env!("CARGO_MANIFEST_DIR")`.
    #[must_use]
    pub const fn new(name: &'static str, folder: &'static str) -> Self {
        Self { name, folder }
    }

    /// Asserts that `schema/NAME.json` is this schema.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_schema(&self, schema: &Value) {
        self.assert_current(&format!("schema/{}.json", self.name), &format!("{schema:#}\n"));
    }

    /// Asserts that the README's tables list every key of this schema with its type, default and meaning. `parts` are the
    /// titles and names of the schema's definitions that have tables of their own.
    ///
    /// # Panics
    /// If they do not, or the README has no place for them.
    pub fn assert_tables(&self, schema: &Value, parts: &[(&str, &str)]) {
        let tables = Tables { schema, parts };
        let mut text = tables.of(schema);
        for (title, name) in parts {
            text += &format!("\n{title}:\n\n{}", tables.of(&schema["$defs"][name]));
        }
        self.assert_between("src/config.rs", &text);
    }

    /// Asserts that the README's table of metrics lists these, and the one that hosts add.
    ///
    /// # Panics
    /// If it does not, or the README has no place for it.
    pub fn assert_metrics(&self, metrics: &[Metric]) {
        self.assert_table_of(metrics.iter().chain([&DROPPED_OPERATIONS]));
    }

    /// The same for a policy, to which hosts add nothing.
    ///
    /// # Panics
    /// If it does not, or the README has no place for it.
    pub fn assert_counters(&self, counters: &[Metric]) {
        self.assert_table_of(counters.iter());
    }

    fn assert_table_of<'a>(&self, metrics: impl Iterator<Item = &'a Metric>) {
        let mut table = "| name | counts |\n|---|---|\n".to_owned();
        for Metric { name, kind, meaning, labels } in metrics {
            let kind = match kind {
                MetricKind::Counter => "",
                MetricKind::Histogram => "(histogram) ",
                MetricKind::Gauge => "(gauge) ",
            };
            let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ");
            let by = match labels {
                [] => String::new(),
                labels => format!(", by `{}`", labels.join("`, `")),
            };
            table += &format!("| `{name}` | {kind}{meaning}{by} |\n");
        }
        self.assert_between("src/metrics.rs", &table);
    }

    /// Asserts that a file of the package is what it is made from.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_current(&self, path: &str, expected: &str) {
        let path = self.file(path);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        let (path, name) = (path.display(), self.name);
        assert!(found == expected, "{path} is not current: run UPDATE_DOCS=1 cargo test -p {name}");
    }

    /// Asserts that the README has this text where it says what it is made from.
    fn assert_between(&self, source: &str, text: &str) {
        let begin = format!(
            "<!-- The tables are made from {source}: UPDATE_DOCS=1 cargo test -p {} -->\n",
            self.name
        );
        let readme = std::fs::read_to_string(self.file("README.md")).unwrap();
        let (before, rest) = readme.split_once(&begin).expect("the README has a place for the tables");
        let (_, after) = rest.split_once(END).expect("the README says where the tables end");
        self.assert_current("README.md", &format!("{before}{begin}{text}{END}{after}"));
    }

    fn file(&self, path: &str) -> PathBuf {
        Path::new(self.folder).join(path)
    }
}

/// The tables of a schema.
struct Tables<'a> {
    schema: &'a Value,
    parts: &'a [(&'a str, &'a str)],
}

impl Tables<'_> {
    fn of(&self, object: &Value) -> String {
        let mut table = "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
        let required: Vec<&str> =
            object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (key, property) in object["properties"].as_object().unwrap() {
            let default = match &property["default"] {
                _ if required.contains(&key.as_str()) => "required".to_owned(),
                Value::Null => "none".to_owned(),
                value => format!("`{value}`"),
            };
            let meaning = property["description"].as_str().unwrap().replace('\n', " ");
            table += &format!("| `{key}` | {} | {default} | {meaning} |\n", self.kind(property));
        }
        table
    }

    /// A property's type in words.
    fn kind(&self, property: &Value) -> String {
        let reference =
            [&property["$ref"], &property["anyOf"][0]["$ref"]].into_iter().find_map(Value::as_str);
        if let Some(reference) = reference {
            return variants(self.definition(reference))
                .map_or("object, below".to_owned(), |names| one_of(&names));
        }
        let name = match &property["type"] {
            // Whatever serde_json reads.
            Value::Null => return "object".to_owned(),
            Value::String(name) => name.as_str(),
            Value::Array(names) => {
                let names: Vec<&str> =
                    names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect();
                match names[..] {
                    [name] => name,
                    _ => return names.join(" or "),
                }
            }
            other => panic!("a property without a type: {other}"),
        };
        match (name, property["minimum"].as_u64(), property["maximum"].as_u64()) {
            ("array", ..) => format!("list of {}", self.items(&property["items"])),
            (_, Some(minimum), Some(maximum)) => format!("{name}, {minimum} to {maximum}"),
            (_, Some(minimum @ 1..), None) => format!("{name}, at least {minimum}"),
            _ => name.to_owned(),
        }
    }

    /// What a list is of.
    fn items(&self, items: &Value) -> String {
        let Some(reference) = items["$ref"].as_str() else {
            return format!("{}s", items["type"].as_str().unwrap());
        };
        let definition = self.definition(reference);
        if let Some(names) = variants(definition) {
            return names.join(", ");
        }
        if self.parts.iter().any(|(_, name)| reference.ends_with(&format!("/{name}"))) {
            return "objects, below".to_owned();
        }
        let keys = definition["properties"].as_object().unwrap().keys().map(|key| format!("`{key}`"));
        format!("objects with {}", keys.collect::<Vec<_>>().join(", "))
    }

    fn definition(&self, reference: &str) -> &Value {
        &self.schema["$defs"][reference.rsplit('/').next().unwrap()]
    }
}

/// The values of a definition that is one of several.
fn variants(definition: &Value) -> Option<Vec<String>> {
    let variants = definition["oneOf"].as_array()?;
    Some(variants.iter().map(|variant| format!("`{}`", variant["const"])).collect())
}

/// `a`, `a or b`, `a, b or c`.
fn one_of(names: &[String]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => names.concat(),
    }
}
