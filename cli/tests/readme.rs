//! The examples of the README print what it says; `UPDATE_DOCS=1` writes it.
#![allow(clippy::unwrap_used)] // Helpers of tests, which clippy does not take for tests.

mod command;

use std::fs;

use command::{Ran, root, run_in};

#[test]
fn the_examples_print_what_the_readme_says() {
    let path = root().join("cli/README.md");
    let text = fs::read_to_string(&path).unwrap();
    let mut made = String::new();
    let mut examples = 0;
    let mut rest = text.as_str();
    while let Some(at) = rest.find("```console\n$ ") {
        let (before, block) = rest.split_at(at);
        let (block, after) = block.split_at(block[3..].find("```").unwrap() + 3);
        let line = block.lines().nth(1).unwrap();
        let words = shell_words::split(line.strip_prefix("$ inference-mesh ").unwrap()).unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Ran { out, err, code } = run_in(&root(), &words);
        assert!(code < 2, "{line}: {err}");
        let long = out.lines().count() > 30;
        let shown: Vec<_> = out.lines().take(if long { 30 } else { usize::MAX }).collect();
        made.push_str(&format!("{before}```console\n{line}\n{}\n", shown.join("\n")));
        rest = after;
        examples += 1;
    }
    made.push_str(rest);
    assert!(examples >= 4, "{examples}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        made,
        "the README is stale: UPDATE_DOCS=1 cargo test -p inference-mesh"
    );
}
