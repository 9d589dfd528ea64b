//! The table that a person reads.

use std::fmt::Write;

use crate::client::PATIENCE;
use crate::kind::KINDS;
use crate::run::{Ran, WORKERS};

/// A run as text.
pub(crate) fn of(ran: &Ran) -> String {
    let mut out = String::new();
    let all: u64 = ran.kinds.iter().map(|tally| tally.all()).sum();
    let seconds = ran.elapsed.as_secs_f64();
    let _ = writeln!(
        out,
        "\n{}: {all} requests in {seconds:.0} s ({:.0} per second), {WORKERS} workers, Envoy {}",
        ran.column.name(),
        all as f64 / seconds,
        ran.version,
    );
    let _ = writeln!(
        out,
        "  {:28} {:>8} {:>8} {:>8} {:>8} {:>12}",
        "kind", "answered", "cut off", "left", "wrong", "longest, ms"
    );
    for (kind, tally) in KINDS.iter().zip(&ran.kinds) {
        let _ = writeln!(
            out,
            "  {:28} {:>8} {:>8} {:>8} {:>8} {:>12}",
            kind.name,
            tally.told,
            tally.cut,
            tally.left,
            tally.wrong,
            tally.longest.as_millis()
        );
    }
    let memory = ran.memory;
    let _ = writeln!(
        out,
        "  resident memory, MiB: {} in the second fifth of the run, {} in the last, {} at most",
        memory.early >> 20,
        memory.late >> 20,
        memory.peak >> 20
    );
    for (name, found, wanted) in &ran.checks {
        let _ = writeln!(out, "  {name}: {found} (wanted: {wanted})");
    }
    let _ = writeln!(out, "  bound for a request: {} s without a byte", PATIENCE.as_secs());
    for failure in &ran.failures {
        let _ = writeln!(out, "  FAILED {failure}");
    }
    let verdict = if ran.failures.is_empty() { "all well" } else { "not well" };
    let _ = writeln!(out, "  {verdict}");
    out
}
