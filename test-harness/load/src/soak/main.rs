//! Many mixed requests on two workers, in wasm and natively, while the server fails in every way it can and clients
//! give up halfway. What is asked: every request that was not given up gets an answer of a kind that is right for it,
//! memory is flat once it is warm, no VM is lost, nothing is left active, and the filter's counters add up.
//!
//! `cargo xtask soak` runs it; a short one is in the test suite.

mod client;
mod kind;
mod memory;
mod plan;
mod run;
mod server;
mod table;

use std::process::ExitCode;

use plan::Plan;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    e2e::stand_in();
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went well.
fn run() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(plan) = Plan::parse(&arguments)? else {
        println!("{}", plan::HELP);
        return Ok(true);
    };
    let mut well = true;
    for &column in &plan.columns {
        eprintln!("soaking {} with {} requests", column.name(), plan.requests);
        let ran = run::column(column, &plan).map_err(|error| format!("{}: {error}", column.name()))?;
        print!("{}", table::of(&ran));
        well &= ran.failures.is_empty();
    }
    Ok(well)
}
