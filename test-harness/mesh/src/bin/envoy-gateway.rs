//! `cargo xtask envoy-gateway`: runs the real Envoy Gateway without Kubernetes, in a network namespace, gives it the
//! resources of `envoy-gateway/`, and sends requests.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use mesh::envoy_gateway;
use mesh::place::{self, Place};
use mesh::report::Report;

fn main() -> ExitCode {
    place::run(inside)
}

fn inside(place: Place) -> Result<ExitCode> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(option) = wanted.iter().find(|argument| argument.starts_with('-')) {
        bail!("unknown option {option}; the arguments are names of folders of envoy-gateway/");
    }
    let begun = Instant::now();
    let mut report = Report::default();
    envoy_gateway::run(&place, &wanted, &mut report)?;
    let (passed, failed) = report.totals();
    println!("\n{passed} passed, {failed} failed in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
