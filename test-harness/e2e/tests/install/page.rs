//! The blocks of a page, by what they are marked as.

use std::fs;

use e2e::repository;

/// What is done with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `sh run`: run to its end.
    Run,
    /// `sh start`: started, and left to run until the next one.
    Start,
    /// `sh not-run`: needs what is not here.
    NotRun,
    /// `text prints`: what the block before it prints.
    Prints,
    /// A file by that name.
    File,
    /// `sh` alone.
    Unsaid,
}

#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) kind: Kind,
    /// What a file is called.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Every block of a page in `docs/` that is a command, a file, or what a command prints.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(repository().join("docs").join(page)).unwrap();
    let mut lines = text.lines();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        let Some(mark) = line.strip_prefix("```") else { continue };
        let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let kind = match mark.split_once(' ') {
            Some(("sh", "run")) => Kind::Run,
            Some(("sh", "start")) => Kind::Start,
            Some(("sh", "not-run")) => Kind::NotRun,
            Some(("text", "prints")) => Kind::Prints,
            Some(("yaml", _)) => Kind::File,
            None if mark != "sh" => continue,
            _ => Kind::Unsaid,
        };
        let name = mark.split_once(' ').map_or("", |(_, name)| name).to_owned();
        blocks.push(Block { kind, name, text: text.join("\n") + "\n" });
    }
    blocks
}
