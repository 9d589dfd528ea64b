//! Keeps what is written about the configuration true: `schema/` and the README's tables are made from the Rust
//! types, and these tests fail where they differ. `UPDATE_DOCS=1 cargo test -p runtime-group` writes them.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

use super::Config;
use serde_json::Value;
use std::path::{Path, PathBuf};

const BEGIN: &str =
    "<!-- The tables are made from src/config.rs: UPDATE_DOCS=1 cargo test -p runtime-group -->\n";
const END: &str = "<!-- end of the tables -->\n";

#[test]
fn the_json_schema_in_the_repository_is_that_of_the_rust_types() {
    let mut text = serde_json::to_string_pretty(&schema()).unwrap();
    text.push('\n');
    assert_current(&file("schema/runtime-group.json"), &text);
}

#[test]
fn the_readmes_tables_list_every_key_with_its_type_default_and_meaning() {
    let path = file("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the README has tables of the configuration");
    let (_, after) = rest.split_once(END).unwrap();
    let schema = schema();
    let entry = table(&schema["$defs"]["Key"], &schema);
    let tables = format!("{}\nEach of `keys`:\n\n{entry}", table(&schema, &schema));
    assert_current(&path, &format!("{before}{BEGIN}{tables}{END}{after}"));
}

fn schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

fn table(object: &Value, schema: &Value) -> String {
    let mut table = "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    let required: Vec<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, property) in object["properties"].as_object().unwrap() {
        let default = match &property["default"] {
            _ if required.contains(&key.as_str()) => "required".to_owned(),
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
    let reference = [&property["$ref"], &property["anyOf"][0]["$ref"]].into_iter().find_map(Value::as_str);
    if let Some(reference) = reference {
        let name = reference.rsplit('/').next().unwrap();
        let variants = schema["$defs"][name]["oneOf"].as_array().unwrap();
        let names: Vec<String> = variants.iter().map(|variant| format!("`{}`", variant["const"])).collect();
        return names.join(" or ");
    }
    match &property["type"] {
        Value::String(name) if name == "array" => "list of objects".to_owned(),
        Value::Array(names) => names[0].as_str().unwrap().to_owned(),
        other => panic!("a property without a type: {other}"),
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
        "{} is not current: run UPDATE_DOCS=1 cargo test -p runtime-group",
        path.display()
    );
}
