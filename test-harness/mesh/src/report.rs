//! What ran and how it ended, printed as it happens and kept for the table.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

/// The lines between which a README has its table.
const BEGIN: &str = "<!-- what `cargo xtask mesh --once` tried; written by it with UPDATE_DOCS=1 -->\n";
const END: &str = "<!-- end -->";

/// The results of one run.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

/// What was tried of one overlay, or of the control plane itself.
struct Row {
    name: String,
    checks: Vec<Check>,
    begun: Instant,
}

struct Check {
    what: String,
    outcome: Outcome,
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    /// For want of something on this machine.
    Skipped,
}

impl Report {
    /// Begins an overlay, or another part with checks of its own.
    pub fn begin(&mut self, name: &str) {
        println!("\n{name}");
        self.rows.push(Row { name: name.to_owned(), checks: Vec::new(), begun: Instant::now() });
    }

    /// Records one check of what was begun last.
    pub fn check(&mut self, what: &str, result: Result<()>) {
        let outcome = match result {
            Ok(()) => {
                println!("  ok    {what}");
                Outcome::Passed
            }
            Err(why) => {
                println!("  FAIL  {what}: {}", format!("{why:#}").replace('\n', "\n        "));
                Outcome::Failed
            }
        };
        self.record(what, outcome);
    }

    /// Records one check of what was begun last that cannot be made on this machine, and why not.
    pub fn skip(&mut self, what: &str, why: &str) {
        println!("  skip  {what}: {why}");
        self.record(what, Outcome::Skipped);
    }

    fn record(&mut self, what: &str, outcome: Outcome) {
        if let Some(row) = self.rows.last_mut() {
            row.checks.push(Check { what: what.to_owned(), outcome });
        }
    }

    /// Ends what was begun last: `result` is what kept it from being tried to its end.
    pub fn end(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.check("runs to its end", Err(error));
        }
        if let Some(row) = self.rows.last() {
            println!("  {:.1} s", row.begun.elapsed().as_secs_f64());
        }
    }

    /// How many checks passed, and how many failed.
    pub fn totals(&self) -> (usize, usize) {
        let checks = || self.rows.iter().flat_map(|row| &row.checks);
        let count = |outcome| checks().filter(|check| check.outcome == outcome).count();
        (count(Outcome::Passed), count(Outcome::Failed))
    }

    /// Sees that the table in a README is what ran, or writes it if `UPDATE_DOCS` is set. One of which something was
    /// skipped is left as it is.
    ///
    /// # Errors
    /// If it is not, or the README has no place for it.
    pub fn document(&self, readme: &Path, prefix: &str, istio: &str, envoy: &str) -> Result<()> {
        let mut checks = self.rows(prefix).flat_map(|row| &row.checks);
        if checks.any(|check| check.outcome == Outcome::Skipped) {
            return Ok(());
        }
        let text = fs::read_to_string(readme).with_context(|| format!("read {}", readme.display()))?;
        let place = || format!("{} has no place for the table of overlays", readme.display());
        let (before, rest) = text.split_once(BEGIN).with_context(place)?;
        let (_, after) = rest.split_once(END).with_context(place)?;
        let current = format!("{before}{BEGIN}{}{END}{after}", self.table(prefix, istio, envoy));
        if env::var_os("UPDATE_DOCS").is_some() {
            return fs::write(readme, current).with_context(|| format!("write {}", readme.display()));
        }
        let stale = "is out of date: run UPDATE_DOCS=1 cargo xtask mesh --once";
        ensure!(current == text, "the table in {} {stale}", readme.display());
        Ok(())
    }

    fn rows<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.name.starts_with(prefix))
    }

    /// The rows whose name begins so, as a Markdown table.
    fn table(&self, prefix: &str, istio: &str, envoy: &str) -> String {
        let mut table =
            String::from("| overlay | Istio | Envoy | what ran | result |\n|---|---|---|---|---|\n");
        for row in self.rows(prefix) {
            let name = row.name.rsplit('/').next().unwrap_or(&row.name);
            let ran: Vec<&str> = row.checks.iter().map(|check| check.what.as_str()).collect();
            let failed = row.checks.iter().filter(|check| check.outcome == Outcome::Failed).count();
            let result = match (row.checks.len(), failed) {
                (0, _) => "nothing ran".to_owned(),
                (_, 0) => "passed".to_owned(),
                (all, failed) => format!("{failed} of {all} failed"),
            };
            // Writing to a string does not fail.
            let _ = writeln!(table, "| `{name}` | {istio} | {envoy} | {} | {result} |", ran.join("; "));
        }
        table
    }
}
