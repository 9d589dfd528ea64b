//! `docs/interop.md`, which has the matrix, and the matrix at the end of a run.

use super::TABLES;
use super::clients::CLIENTS;
use super::servers::Kind;
use e2e::repository;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use testkit::Column;

/// What came of all clients with one server.
#[derive(Clone)]
pub(super) struct Table {
    /// The server's.
    pub(super) version: String,
    pub(super) rows: Vec<Row>,
}

/// What came of a client.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) speaks: &'static str,
    /// Or what was missing.
    pub(super) result: Result<Asked, &'static str>,
}

#[derive(Clone)]
pub(super) struct Asked {
    /// The client's package and its version.
    pub(super) package: String,
    /// At the server's own port, if it speaks the protocol.
    pub(super) own: Option<Cell>,
    /// Through each host.
    pub(super) cells: [Cell; 3],
    /// What the server itself cannot do.
    pub(super) limits: String,
}

/// How many of the calls were told what they must be.
#[derive(Clone, Copy)]
pub(super) struct Cell {
    pub(super) answered: usize,
    pub(super) calls: usize,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.answered, self.calls)
    }
}

/// The rows of the page's table. A client that is not here has the row that the page has of it.
fn lines(kind: Kind, table: &Table, before: &str) -> String {
    let hosts = Column::ALL.map(Column::name).join(" | ");
    let mut lines = format!(
        "| {} {} | {hosts} | own port | what the server itself cannot |\n|---|---|---|---|---|---|\n",
        kind.name(),
        table.version
    );
    for Row { speaks, result } in &table.rows {
        match result {
            Ok(Asked { package, own, cells, limits }) => {
                let cells = cells.map(|cell| cell.to_string()).join(" | ");
                let own = own.map_or_else(String::new, |own| own.to_string());
                writeln!(lines, "| {package}, {speaks} | {cells} | {own} | {limits} |").unwrap();
            }
            Err(_) => {
                let of_it = |line: &&str| line.split(" | ").next().is_some_and(|cell| cell.ends_with(speaks));
                let line = before.lines().find(of_it).unwrap_or_default();
                writeln!(lines, "{line}").unwrap();
            }
        }
    }
    lines
}

/// Asserts that the page has the table; with `UPDATE_DOCS`, writes it there.
pub(super) fn hold_against(kind: Kind, table: &Table) {
    // Tests of other servers run at the same time, and share the page.
    static PAGE: Mutex<()> = Mutex::new(());
    let _alone = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let text = fs::read_to_string(page()).unwrap();
    let begin = format!("<!-- {}: made by UPDATE_DOCS=1 cargo xtask interop -->\n", kind.name());
    let (before, rest) = text.split_once(&begin).unwrap();
    let (found, after) = rest.split_once("<!-- end of the table -->\n").unwrap();
    let lines = lines(kind, table, found);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{before}{begin}{lines}<!-- end of the table -->\n{after}");
        fs::write(page(), text).unwrap();
    } else {
        assert!(
            found == lines,
            "docs/interop.md has another table; run UPDATE_DOCS=1 cargo xtask interop:\n{lines}"
        );
    }
}

fn page() -> PathBuf {
    repository().join("docs/interop.md")
}

/// Prints what has come of the servers that were run, and counts the cells. Nothing if none was.
pub(crate) fn print() {
    let tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    if tables.is_empty() {
        return;
    }
    let (mut whole, mut limited, mut empty) = (0, 0, 0);
    for kind in Kind::ALL {
        let Some(table) = tables.get(&kind) else {
            println!("\n{}: not run", kind.name());
            empty += CLIENTS.len() * Column::ALL.len();
            continue;
        };
        println!("\n{} {}", kind.name(), table.version);
        for Row { speaks, result } in &table.rows {
            match result {
                Ok(Asked { package, own, cells, limits }) => {
                    let shown = Column::ALL.iter().zip(cells);
                    let shown = shown.map(|(column, cell)| format!("{} {cell}", column.name()));
                    let own = own.map(|own| format!("own port {own}"));
                    let shown: Vec<String> = shown.chain(own).collect();
                    println!("  {package}, {speaks}\n    {}   {limits}", shown.join(", "));
                    let short = cells.iter().filter(|cell| cell.answered < cell.calls).count();
                    whole += cells.len() - short;
                    limited += short;
                }
                Err(missing) => {
                    println!("  {speaks}\n    not run: there is no {missing}");
                    empty += Column::ALL.len();
                }
            }
        }
    }
    println!(
        "\n{} clients x {} servers x {} hosts: {whole} cells with every call as it must be, {limited} with fewer, {empty} without a result",
        CLIENTS.len(),
        Kind::ALL.len(),
        Column::ALL.len(),
    );
}
