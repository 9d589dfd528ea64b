//! Envoy's own filters, ours in wasm, ours natively and plain passthrough, side by side.
//!
//! `cargo xtask bench` runs it; `README.md` says what is measured and how to read it.

mod bootstrap;
mod claims;
mod client;
mod column;
mod descriptors;
mod exchange;
mod growth;
mod idle;
mod least;
mod measure;
mod nothing;
mod plan;
mod report;
mod row;
mod streams;
mod table;
mod tensor;
mod upstream;
mod verify;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use plan::Plan;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    e2e::stand_in();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(plan) = Plan::parse(&arguments)? else {
        println!("{}", plan::HELP);
        return Ok(());
    };
    let directory = output_directory()?;
    let setup = bootstrap::Setup::new(&plan.dist, directory.clone())?;

    let load_before = report::load();
    let rows = plan.rows();
    let mut measured = Vec::with_capacity(rows.len());
    for (number, &row) in rows.iter().enumerate() {
        eprintln!("[{}/{}] {}", number + 1, rows.len(), row.title());
        measured.push(measure::row(row, &plan, &setup).map_err(|e| format!("{}: {e}", row.name()))?);
    }
    let report =
        report::Report { plan: &plan, setup: &setup, load: [load_before, report::load()], rows: measured };

    print!("{}", table::of(&report));
    // A smoke run's numbers mean nothing: they must not take the place of measured ones.
    let path = directory.join(if plan.quick { "quick.json" } else { "latest.json" });
    std::fs::write(&path, format!("{:#}\n", report.json()))
        .map_err(|e| format!("write {}: {e}", path.display()))?;
    println!("\nas JSON: {}", path.display());
    Ok(())
}

/// `bench/` in the target directory that this program was built into.
fn output_directory() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or("this program is in no target directory")?;
    let directory = target.join("bench");
    std::fs::create_dir_all(&directory).map_err(|e| format!("make {}: {e}", directory.display()))?;
    Ok(directory)
}
