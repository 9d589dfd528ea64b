//! Rules, dashboard, runbooks and the filters' lists of metrics, beside each other.

use std::collections::BTreeSet;
use std::fs;

use e2e::repository;
use serde_json::Value;

use crate::folder;

/// What a metric's name begins with.
const FILTERS: [(&str, &str); 4] = [
    ("kserve-transcoder", "kserve_transcoder_"),
    ("dynamic-subset", "dynamic_subset_"),
    ("claim-headers", "claim_headers_"),
    ("runtime-group", "runtime_group_"),
];

/// The rules, each as the file has it.
pub(crate) fn rules() -> Vec<Value> {
    let file = istio_lint::yaml::<Value>(&folder().join("rules.yaml")).unwrap().remove(0);
    file["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

/// The queries of the dashboard, with what Grafana would put in for its variables.
pub(crate) fn queries() -> Vec<String> {
    let text = fs::read_to_string(folder().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let query = |target: &Value| {
        let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "10s").replace("$job", ".*");
        assert!(!query.contains('$'), "{query}");
        query
    };
    targets.map(query).collect()
}

/// The filters' metrics in an expression.
pub(crate) fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| FILTERS.iter().any(|(_, prefix)| word.starts_with(prefix));
    words.filter(ours).map(str::to_owned).collect()
}

pub(crate) fn runbooks() {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let cases = fs::read_to_string(folder().join("rules.test.yaml")).unwrap();
    for rule in rules() {
        let alert = rule["alert"].as_str().unwrap();
        assert!(readme.contains(&format!("\n### {alert}\n")), "{alert} has no runbook");
        let link = format!("observability/README.md#{}", alert.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], link);
        for what in ["fires", "is silent"] {
            assert!(cases.contains(&format!("- name: {alert} {what}\n")), "no case in which {alert} {what}");
        }
    }
}

/// The tables in the filters' READMEs are made from the filters' own lists.
pub(crate) fn metrics() {
    let mut listed = BTreeSet::new();
    for (filter, prefix) in FILTERS {
        let readme = fs::read_to_string(repository().join("filters").join(filter).join("README.md")).unwrap();
        let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        listed.extend(rows.map(|(name, _)| format!("{prefix}{name}")));
    }
    let expressions =
        rules().into_iter().map(|rule| rule["expr"].as_str().unwrap().to_owned()).chain(queries());
    let mut read = BTreeSet::new();
    for expression in expressions {
        let names = names(&expression);
        assert!(!names.is_empty(), "{expression}");
        read.extend(names);
    }
    let unknown: Vec<_> = read.difference(&listed).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
