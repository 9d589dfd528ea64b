//! Keeps what is written about the configuration true: `schema/` and the README's table are made from the Rust
//! types, and these tests fail where they differ. `UPDATE_DOCS=1 cargo test -p kserve-transcoder` writes them.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

use super::Config;
use serde_json::Value;
use std::path::{Path, PathBuf};

const BEGIN: &str =
    "<!-- The table is made from src/config.rs: UPDATE_DOCS=1 cargo test -p kserve-transcoder -->\n";
const END: &str = "<!-- end of the table -->\n";

#[test]
fn the_json_schema_in_the_repository_is_that_of_the_rust_types() {
    let mut text = serde_json::to_string_pretty(&schema()).unwrap();
    text.push('\n');
    assert_current(&file("schema/kserve-transcoder.json"), &text);
}

#[test]
fn the_readmes_table_lists_every_key_with_its_type_default_and_meaning() {
    let path = file("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the README has a table of the configuration");
    let (_, after) = rest.split_once(END).unwrap();
    assert_current(&path, &format!("{before}{BEGIN}{}{END}{after}", table(&schema())));
}

fn schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

fn table(schema: &Value) -> String {
    let mut table = "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    for (key, property) in schema["properties"].as_object().unwrap() {
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
    if let Some(reference) = property["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        let variants = schema["$defs"][name]["oneOf"].as_array().unwrap();
        let names: Vec<String> = variants.iter().map(|variant| format!("`{}`", variant["const"])).collect();
        return names.join(" or ");
    }
    let name = match &property["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => names[0].as_str().unwrap().to_owned(),
        other => panic!("a property without a type: {other}"),
    };
    match (name.as_str(), property["minimum"].as_u64()) {
        ("array", _) => format!("list of {}s", property["items"]["type"].as_str().unwrap()),
        (_, Some(minimum)) => format!("{name}, at least {minimum}"),
        _ => name,
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
        "{} is not current: run UPDATE_DOCS=1 cargo test -p kserve-transcoder",
        path.display()
    );
}
