//! What is written about the chart, beside what it is made from.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;
use testkit::docs::Package;

const CHART: Package =
    Package::new("chart", concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/inference-filters"));
const BEGIN: &str =
    "<!-- The tables are made from values.schema.json: UPDATE_DOCS=1 cargo test -p chart -->\n";
const END: &str = "<!-- end of the tables -->\n";
/// The parts of the values with tables of their own.
const PARTS: [(&str, &str); 9] = [
    ("Each of `gateways`", "gateway"),
    ("Each of `waypoints`", "waypoint"),
    ("`service` of a gateway", "gatewayService"),
    ("`service` of a waypoint", "waypointService"),
    ("Each of `service.groups`", "group"),
    ("`routes`", "routes"),
    ("`transcoder`", "transcoder"),
    ("`subsets`", "subsets"),
    ("`claims`", "claims"),
];

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(chart::folder().join("values.schema.json")).unwrap()).unwrap()
}

fn yaml(file: &str) -> Value {
    istio_lint::yaml(&chart::folder().join(file)).unwrap().remove(0)
}

pub(crate) fn tables() {
    let schema = schema();
    let mut text = table(&schema);
    for (title, name) in PARTS {
        write!(text, "\n{title}:\n\n{}", table(&schema["$defs"][name])).unwrap();
    }
    let listed: Vec<_> = PARTS.iter().map(|(_, name)| *name).collect();
    for name in schema["$defs"].as_object().unwrap().keys() {
        assert!(listed.contains(&name.as_str()), "no table for {name}");
    }
    let readme = fs::read_to_string(chart::folder().join("README.md")).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    CHART.assert_current("README.md", &format!("{before}{BEGIN}{text}{END}{after}"));
}

fn table(object: &Value) -> String {
    let mut table = "| key | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    rows(&mut table, "", object);
    table
}

/// A row for each key, and for the keys of objects that have no table of their own.
fn rows(table: &mut String, prefix: &str, object: &Value) {
    let required: Vec<&Value> = object["required"].as_array().into_iter().flatten().collect();
    // In the order of their names, whatever serde_json's features are.
    let properties: BTreeMap<_, _> = object["properties"].as_object().unwrap().iter().collect();
    for (key, property) in properties {
        let default = match &property["default"] {
            _ if required.iter().any(|name| *name == key) => "required".to_owned(),
            Value::Null => String::new(),
            default => format!("`{default}`"),
        };
        let meaning = match PARTS.iter().find(|(_, name)| refers_to(property, name)) {
            Some((title, _)) => format!("See the table of {}.", title.replacen("Each", "each", 1)),
            None => property["description"].as_str().unwrap().to_owned(),
        };
        writeln!(table, "| `{prefix}{key}` | {} | {default} | {meaning} |", kind(property)).unwrap();
        if property["properties"].is_object() {
            rows(table, &format!("{prefix}{key}."), property);
        }
        if property["items"]["properties"].is_object() {
            rows(table, &format!("{prefix}{key}[]."), &property["items"]);
        }
    }
}

fn refers_to(property: &Value, name: &str) -> bool {
    [&property["$ref"], &property["items"]["$ref"]].iter().any(|found| **found == format!("#/$defs/{name}"))
}

fn kind(property: &Value) -> String {
    if let Some(values) = property["enum"].as_array() {
        let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        return values.join(", ");
    }
    match property["type"].as_str() {
        None => "object".to_owned(),
        Some("array") => match property["items"]["type"].as_str() {
            Some("string") => "list of strings".to_owned(),
            _ => "list of objects".to_owned(),
        },
        Some(name) => name.to_owned(),
    }
}

/// Helm takes defaults from `values.yaml`; the schema says them to readers.
pub(crate) fn defaults() {
    let mut said = serde_json::Map::new();
    for (key, property) in schema()["properties"].as_object().unwrap() {
        if let Some(default) = default(property) {
            said.insert(key.clone(), default);
        }
    }
    assert_eq!(Value::Object(said), yaml("values.yaml"));
}

fn default(property: &Value) -> Option<Value> {
    let Some(properties) = property["properties"].as_object() else {
        return property.get("default").cloned();
    };
    let of = |(key, property)| Some((String::clone(key), default(property)?));
    Some(Value::Object(properties.iter().filter_map(of).collect()))
}
