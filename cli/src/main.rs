//! `inference-mesh`: what the project's filters and Istio make of a configuration.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use inference_mesh::{Arguments, Outcome, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let stdout = std::io::stdout();
    match run(&arguments, &mut stdout.lock()) {
        Ok(Outcome::Right) => ExitCode::SUCCESS,
        Ok(Outcome::Wrong) => ExitCode::from(1),
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            // Where this cannot be written either, the exit code is left to tell.
            let _ = writeln!(std::io::stderr(), "inference-mesh: {error}");
            ExitCode::from(2)
        }
    }
}
