//! Keeps what is written about the configuration true: `schema/` and the README's table are made from the Rust
//! types, and these tests fail where they differ. `UPDATE_DOCS=1 cargo test -p dynamic-subset` writes them.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

use super::Config;
use serde_json::Value;
use std::path::{Path, PathBuf};

const BEGIN: &str =
    "<!-- The table is made from src/config.rs: UPDATE_DOCS=1 cargo test -p dynamic-subset -->\n";
const END: &str = "<!-- end of the table -->\n";

#[test]
fn the_json_schema_in_the_repository_is_that_of_the_rust_types() {
    let mut text = serde_json::to_string_pretty(&schema()).unwrap();
    text.push('\n');
    assert_current(&file("schema/dynamic-subset.json"), &text);
}

#[test]
fn the_readmes_tables_list_every_key_with_its_type_default_and_meaning() {
    let path = file("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the README has a table of the configuration");
    let (_, after) = rest.split_once(END).unwrap();
    let schema = schema();
    let (keys, rule) = (table(&schema, &schema), table(&schema["$defs"]["Rule"], &schema));
    assert_current(&path, &format!("{before}{BEGIN}{keys}\nA rule:\n\n{rule}{END}{after}"));
}

fn schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

fn table(of: &Value, schema: &Value) -> String {
    let mut table = "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    for (key, property) in of["properties"].as_object().unwrap() {
        let default = match &property["default"] {
            Value::Null => "none".to_owned(),
            value => format!("`{value}`"),
        };
        let kind = kind(property, schema);
        let meaning = property["description"].as_str().unwrap().replace('\n', " ");
        table += &format!("| `{key}` | {kind} | {default} | {meaning} |\n");
    }
    table
}

/// A property's type in words.
fn kind(property: &Value, schema: &Value) -> String {
    let name = match &property["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => names[0].as_str().unwrap().to_owned(),
        other => panic!("a property without a type: {other}"),
    };
    match (name.as_str(), property["minimum"].as_u64().zip(property["maximum"].as_u64())) {
        ("array", _) => format!("list of {}", items(&property["items"], schema)),
        (_, Some((minimum, maximum))) => format!("{name}, {minimum} to {maximum}"),
        _ => name,
    }
}

/// What a list is of.
fn items(items: &Value, schema: &Value) -> String {
    let Some(reference) = items["$ref"].as_str() else {
        return format!("{}s", items["type"].as_str().unwrap());
    };
    let definition = &schema["$defs"][reference.rsplit('/').next().unwrap()];
    match definition["oneOf"].as_array() {
        Some(variants) => {
            let names = variants.iter().map(|variant| format!("`{}`", variant["const"]));
            names.collect::<Vec<_>>().join(", ")
        }
        None => {
            let keys = definition["properties"].as_object().unwrap().keys();
            format!("objects with {}", keys.map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "))
        }
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn assert_current(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not current: run UPDATE_DOCS=1 cargo test -p dynamic-subset",
        path.display()
    );
}
