//! The vendor's documented features, one file each: mapped, or refused with the right reason.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use std::fs;
use std::path::Path;

use command::{Ran, root, run, scratch};

/// What the first lines of a file say of it, by their first word.
fn said<'a>(text: &'a str, word: &str) -> Vec<String> {
    let head = text.lines().take_while(|line| line.starts_with("# "));
    let named: Vec<&'a str> =
        head.filter_map(|line| line.strip_prefix("# ")?.strip_prefix(word)?.strip_prefix(": ")).collect();
    named.into_iter().map(|value| value.replace("\\n", "\n")).collect()
}

#[test]
fn every_feature_is_mapped_or_refused_with_its_reason() {
    let folder = root().join("cli/tests/vendor");
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "yaml") {
            holds(&path);
            files += 1;
        }
    }
    assert!(files >= 15, "{files}");
}

fn holds(path: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let text = fs::read_to_string(path).unwrap();
    let folder = scratch(&format!("vendor-{name}"));
    let out = folder.join("stock");
    let mut words = vec!["migrate", path.to_str().unwrap(), "-o", out.to_str().unwrap()];
    let options = said(&text, "options").join(" ");
    words.extend(options.split_whitespace());
    let Ran { code, err, .. } = run(&words);
    assert_eq!(said(&text, "exit"), [code.to_string()], "{name}: {err}");
    let made = fs::read_to_string(out.join(name)).unwrap_or_default();
    assert!(code == 0 || made.is_empty(), "{name}: {made}");
    for said in said(&text, "says") {
        assert!(err.contains(&said), "{name}: no {said:?} in\n{err}");
    }
    // The comments of a file come along, and they have these texts as well.
    let made: String =
        made.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    for said in said(&text, "makes") {
        assert!(made.contains(&said), "{name}: no {said:?} in\n{made}");
    }
    for said in said(&text, "never") {
        assert!(!made.contains(&said) && !err.contains(&said), "{name}: {said:?} in\n{made}{err}");
    }
    if code == 0 && !made.is_empty() {
        let Ran { code, out: found, .. } = run(&["check", out.to_str().unwrap()]);
        assert_eq!(code, 0, "{name}: {found}\n{made}");
    }
}
