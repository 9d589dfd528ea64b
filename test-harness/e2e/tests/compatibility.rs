//! `docs/compatibility.md` says what runs on what: one table is made from the golden cases, the others leave nothing out.
#![allow(clippy::unwrap_used)]

use e2e::{VERSIONS, repository};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use testkit::{Column, golden_cases};

const BEGIN: &str =
    "<!-- made from the golden cases: UPDATE_DOCS=1 cargo test -p e2e --test compatibility -->\n";
const END: &str = "<!-- end of the table -->\n";

/// The folders of `test-harness/cases`, and the feature that the cases of each are about.
const FEATURES: [(&str, &str); 13] = [
    ("infer", "inference: JSON, protobuf's JSON and binary tensors"),
    ("health", "health, readiness and metadata"),
    ("triton", "Triton's extensions"),
    ("errors", "errors of model servers"),
    ("compression", "compressed answers and messages"),
    ("http_body", "bodies that are not JSON"),
    ("routing", "paths, methods and other protocols"),
    ("streams", "methods that answer with a stream"),
    ("generate", "Triton's `generate` and `generate_stream`"),
    ("v1", "KServe v1"),
    ("openai", "OpenAI's API"),
    ("subsets", "groups by headers and by the model's name"),
    ("claims", "claims as headers"),
];

#[test]
fn the_first_table_counts_the_golden_cases_of_each_host() {
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for case in golden_cases().unwrap() {
        let folder = case.name.split('/').next().unwrap().to_owned();
        assert!(FEATURES.iter().any(|(known, _)| *known == folder), "a feature for the folder {folder}");
        for column in &case.columns {
            *counts.entry((folder.clone(), column.name())).or_default() += 1;
        }
    }
    let hosts = Column::ALL.map(Column::name);
    let mut table = format!(
        "| cases in Envoy {} | {} |\n|---|{}\n",
        VERSIONS.join(", "),
        hosts.join(" | "),
        "---|".repeat(hosts.len())
    );
    for (folder, feature) in FEATURES {
        let count =
            |host: &&str| counts.get(&(folder.to_owned(), *host)).copied().unwrap_or_default().to_string();
        writeln!(table, "| {feature} | {} |", hosts.iter().map(count).collect::<Vec<_>>().join(" | "))
            .unwrap();
    }

    let page = page();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let expected = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(repository().join("docs/compatibility.md"), &expected).unwrap();
    }
    assert!(self::page() == expected, "run UPDATE_DOCS=1 cargo test -p e2e --test compatibility");
}

#[test]
fn the_page_names_every_bootstrap_every_overlay_and_every_envoy() {
    let page = page();
    let named = |name: &str| page.contains(&format!("`{name}`"));
    let bootstraps = names("envoy").into_iter().filter(|name| name.ends_with(".yaml"));
    assert_eq!(bootstraps.filter(|name| !named(name)).collect::<Vec<_>>(), [""; 0]);
    for filter in names("istio") {
        let overlays = names(&format!("istio/{filter}/overlays"));
        assert!(named(&format!("istio/{filter}")), "{filter}");
        assert_eq!(overlays.into_iter().filter(|name| !named(name)).collect::<Vec<_>>(), [""; 0], "{filter}");
    }
    for version in VERSIONS {
        assert!(page.contains(&format!("| {version}.")), "{version}");
    }
}

fn page() -> String {
    fs::read_to_string(repository().join("docs/compatibility.md")).unwrap()
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(repository().join(folder)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
