//! The hosts match on no verdict and on no operation: what these come to is the driver's to say.
#![allow(clippy::unwrap_used)] // A test whose helpers are not marked as such.

use std::path::{Path, PathBuf};

const DECISIONS: [&str; 4] = ["OnHeaders::", "OnData::", "OnTrailers::", "Op::"];

#[test]
fn no_host_matches_on_a_verdict_or_an_operation() {
    let hosts = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let in_memory = hosts.join("../../test-harness/testkit/src/core_host.rs");
    let mut sources = vec![in_memory];
    for host in std::fs::read_dir(&hosts).unwrap().map(|entry| entry.unwrap().path()) {
        if !host.ends_with("driver") {
            sources_in(&host.join("src"), &mut sources);
        }
    }
    assert!(sources.len() > 10, "the hosts were not found: {sources:?}");
    let mut decisions = Vec::new();
    for source in sources {
        let text = std::fs::read_to_string(&source).unwrap();
        for (index, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if DECISIONS.iter().any(|decision| words(code).any(|word| word.starts_with(decision))) {
                decisions.push(format!("{}:{}: {line}", source.display(), index + 1));
            }
        }
    }
    assert!(decisions.is_empty(), "a host decides what the driver should:\n{}", decisions.join("\n"));
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
}

fn sources_in(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
