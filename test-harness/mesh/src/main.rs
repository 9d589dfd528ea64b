//! `cargo xtask mesh`: raises an ambient mesh in this process tree, applies our resources, and sends requests.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use mesh::exercise;
use mesh::place::{self, Place};
use mesh::report::Report;
use mesh::setup::Mesh;

fn main() -> ExitCode {
    place::run(inside)
}

const USAGE: &str = "\
usage: mesh [--once] [OVERLAY...]

  --once    ends when each overlay has been applied and tried; without it, the last one stays up until Ctrl-C, or, if
            no overlay is named, the AI application runs until then
  OVERLAY   the end of an overlay's path, such as kserve-transcoder/gateway-wasm, or `migrate`, `chart`,
            `lifecycle`; without one, all";

/// Raises the mesh, tries what was asked for, and says what came of it.
fn inside(place: Place) -> Result<ExitCode> {
    let (options, wanted): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    if let Some(unknown) = options.iter().find(|option| *option != "--once") {
        bail!("unknown option {unknown}\n\n{USAGE}");
    }
    let stays = options.is_empty();
    if stays && let Some(name) = wanted.iter().find(|name| !exercise::can_stay(name)) {
        bail!("{name} takes away again what it has tried: run it with --once");
    }
    let begun = Instant::now();
    let mesh = Mesh::raise(place)?;
    if stays && wanted.is_empty() {
        match exercise::serve(&mesh)? {}
    }
    let mut report = Report::default();
    exercise::run(&mesh, &wanted, stays, &mut report)?;
    for (name, peak) in mesh.world.plane.memory() {
        println!("memory of {name}: {} MiB", peak >> 20);
    }
    if wanted.is_empty() {
        report.check("the READMEs' tables are up to date", exercise::documents(&report));
    }
    let (passed, failed) = report.totals();
    println!("\n{passed} passed, {failed} failed in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
