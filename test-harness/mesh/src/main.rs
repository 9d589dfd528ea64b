//! `cargo xtask mesh`: raises an ambient mesh in this process tree, applies our resources, and sends requests.

use std::process::ExitCode;

use anyhow::{Result, bail};
use mesh::exercise;
use mesh::place::{self, Place};
use mesh::report::Report;
use mesh::setup::Mesh;

fn main() -> ExitCode {
    place::run(inside)
}

/// Raises the mesh, tries what was asked for, and says what came of it.
fn inside(place: Place) -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let overlays: Vec<String> = arguments.iter().filter(|a| !a.starts_with("--")).cloned().collect();
    if let Some(unknown) = arguments.iter().find(|a| a.starts_with("--") && *a != "--once") {
        bail!("unknown option {unknown}; usage: mesh [--once] [OVERLAY...]");
    }
    let mesh = Mesh::raise(place)?;
    let mut report = Report::default();
    exercise::overlays(&mesh, &overlays, &mut report)?;
    if overlays.is_empty() || overlays.iter().any(|wanted| wanted == "lifecycle") {
        exercise::lifecycle(&mesh, &mut report)?;
    }
    let (passed, failed) = report.totals();
    println!("\n{passed} passed, {failed} failed");
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
