//! `cargo xtask mesh`: raises an ambient mesh in this process tree, applies our resources, and sends requests.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mesh::exercise;
use mesh::place::{Place, enter};
use mesh::report::Report;
use mesh::setup::Mesh;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    keeper::stand_in();
    let ran = Place::inside().and_then(|place| match place {
        None => outside(),
        Some(place) => inside(place),
    });
    match ran {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mesh: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts this program once more inside, and ends it with this one.
fn outside() -> Result<ExitCode> {
    let directory = tempfile::Builder::new().prefix("mesh-").tempdir().context("make a directory")?;
    let mut inner = enter(directory.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            if let Some(status) = inner.try_wait()? {
                return Ok::<_, std::io::Error>(Some(status));
            }
            tokio::select! {
                _ = interrupt.recv() => return Ok(None),
                _ = terminate.recv() => return Ok(None),
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    });
    match status.context("wait for the mesh")? {
        Some(status) if status.success() => Ok(ExitCode::SUCCESS),
        Some(_) => Ok(ExitCode::FAILURE),
        None => {
            println!("\nEnding the mesh.");
            inner.end().context("end the mesh")?;
            Ok(ExitCode::SUCCESS)
        }
    }
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
    let (passed, failed) = report.totals();
    println!("\n{passed} passed, {failed} failed");
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
