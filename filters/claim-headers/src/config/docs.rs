//! Keeps what is written about the configuration true: `schema/` and the README's table are made from the Rust
//! types, and these tests fail where they differ. `UPDATE_DOCS=1 cargo test -p claim-headers` writes them.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

use super::Config;
use serde_json::Value;
use std::path::{Path, PathBuf};

const BEGIN: &str =
    "<!-- The table is made from src/config.rs: UPDATE_DOCS=1 cargo test -p claim-headers -->\n";
const END: &str = "<!-- end of the table -->\n";

#[test]
fn the_json_schema_in_the_repository_is_that_of_the_rust_types() {
    let mut text = serde_json::to_string_pretty(&schema()).unwrap();
    text.push('\n');
    assert_current("schema/claim-headers.json", &text);
}

#[test]
fn the_readmes_tables_list_every_key_with_its_type_default_and_meaning() {
    let readme = std::fs::read_to_string(file("README.md")).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the README has a table of the configuration");
    let (_, after) = rest.split_once(END).unwrap();
    let schema = schema();
    let parts = [
        ("A rule of `map`", "Rule"),
        ("`metadata`", "Metadata"),
        ("`token`", "TokenPlaces"),
        ("An issuer", "Issuer"),
    ];
    let tables =
        parts.map(|(title, name)| format!("\n{title}:\n\n{}", table(&schema["$defs"][name], &schema)));
    assert_current(
        "README.md",
        &format!("{before}{BEGIN}{}{}{END}{after}", table(&schema, &schema), tables.concat()),
    );
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
    if let Some(reference) = property["$ref"].as_str().or_else(|| property["anyOf"][0]["$ref"].as_str()) {
        let definition = &schema["$defs"][reference.rsplit('/').next().unwrap()];
        return match definition["oneOf"].as_array() {
            Some(_) => items(property, schema),
            None => "object, below".to_owned(),
        };
    }
    let name = match &property["type"] {
        // Whatever serde_json reads.
        Value::Null => return "object".to_owned(),
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
        None => "objects, below".to_owned(),
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares a file of this crate with what it is made from, or writes it.
pub(crate) fn assert_current(path: &str, expected: &str) {
    let path = file(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not current: run UPDATE_DOCS=1 cargo test -p claim-headers",
        path.display()
    );
}
