//! Findings as lines, for people and for editors.

use std::io::{self, Write};

use istio_lint::Level;

use super::{Finding, Report};

/// Writes a line for each finding, and one for all of them.
pub(super) fn write(report: &Report, colours: bool, out: &mut dyn Write) -> io::Result<()> {
    for finding in &report.findings {
        let Finding { file, line, pointer, resource, reason, rule, .. } = finding;
        let field = if pointer.is_empty() { String::new() } else { format!(" {pointer}") };
        let level = finding.level_name();
        let level =
            if colours { format!("\x1b[{}m{level}\x1b[0m", colour(finding.level)) } else { level.to_owned() };
        writeln!(out, "{file}:{line}: {level}: {resource}{field}: {reason} [{rule}]")?;
    }
    let count = |level: Level| report.findings.iter().filter(|finding| finding.level == level).count();
    let numbers =
        [(count(Level::Error), "error"), (count(Level::Warning), "warning"), (count(Level::Note), "note")];
    let found: Vec<_> =
        numbers.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| plural(n, what)).collect();
    let found = if found.is_empty() { "nothing found".to_owned() } else { found.join(", ") };
    let needs = match report.needs.first() {
        Some(need) => {
            format!("; needs Istio {} for {} ({}:{})", need.version, need.what, need.file, need.line)
        }
        None => String::new(),
    };
    let bootstraps = match report.bootstraps {
        0 => String::new(),
        number => format!(", {}", plural(number, "bootstrap")),
    };
    let not_checked = not_checked(report).map_or_else(String::new, |words| format!("; {words}"));
    writeln!(out, "{}{bootstraps}: {found}{needs}{not_checked}", plural(report.resources, "resource"))
}

/// What was not looked at, if anything was not.
pub(super) fn not_checked(report: &Report) -> Option<String> {
    let number = report.not_checked;
    (number > 0).then(|| format!("not checked: {} of Envoy Gateway", plural(number, "resource")))
}

/// The terminal's code (ECMA-48) of a colour: bold red, yellow or cyan.
fn colour(level: Level) -> &'static str {
    match level {
        Level::Error => "1;31",
        Level::Warning => "33",
        Level::Note => "36",
    }
}

fn plural(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
