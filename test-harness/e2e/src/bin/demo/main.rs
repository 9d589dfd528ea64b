//! `cargo xtask demo`: what each filter does, shown with real requests through stock Envoy to real model servers, once
//! through the wasm modules and once through the native one; users who log in, through the wasm module; and the AI
//! application, in which all of it comes together.
//!
//! `--once` checks the answers against numbers computed here and ends; otherwise everything keeps running.

mod affine;
mod application;
mod checks;
mod sign_on;
mod subsets;
mod transcoder;

use checks::Checks;
use e2e::application::{Parts, application_models};
use e2e::{Envoy, Error, identity_provider, models_python};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    e2e::stand_in();
    let once = std::env::args().any(|argument| argument == "--once");
    match run(once) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            println!("\n{failed} checks failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo; returns how many checks failed.
fn run(once: bool) -> Result<usize, Error> {
    let need =
        |what: &str| Error::Protocol(format!("{what} is missing: run this through `cargo xtask demo`"));
    let binary = std::env::var_os("ENVOY").map(PathBuf::from).ok_or_else(|| need("ENVOY"))?;
    let python = models_python().ok_or_else(|| need("MODELS_PYTHON"))?;

    let mut checks = Checks::default();
    let transcoder = transcoder::Demo::start(&binary, &python)?;
    transcoder.run(&mut checks)?;
    let subsets = subsets::Demo::start(&binary, &python)?;
    subsets.run(&mut checks)?;
    let sign_on = match identity_provider() {
        Some(provider) => {
            let sign_on = sign_on::Demo::start(&binary, &provider)?;
            sign_on.run(&mut checks);
            Some(sign_on)
        }
        None => {
            sign_on::Demo::print_skipped();
            None
        }
    };
    let application = match identity_provider() {
        Some(provider) => {
            let models = application_models().ok_or_else(|| need("APPLICATION_MODELS"))?;
            let parts = Parts { envoy: binary, provider, python, models };
            let mut application = application::Demo::start(&parts)?;
            application.run(&mut checks)?;
            Some(application)
        }
        None => {
            application::Demo::print_skipped();
            None
        }
    };
    let skipped = if sign_on.is_none() { "; single sign-on and the AI application skipped" } else { "" };
    println!("\n{} passed, {} failed{skipped}", checks.passed, checks.failed);
    if !once && checks.failed == 0 {
        println!("\nRunning until Ctrl-C. To try:");
        transcoder.print_what_to_try()?;
        subsets.print_what_to_try()?;
        if let Some(sign_on) = &sign_on {
            sign_on.print_what_to_try()?;
        }
        if let Some(application) = &application {
            application.print_what_to_try()?;
        }
        wait_for_interrupt()?;
    }
    Ok(checks.failed)
}

/// The address of the listener called `inference`.
fn address(envoy: &Envoy) -> Result<SocketAddr, Error> {
    envoy.address("inference")
}

/// Keeps everything running until Ctrl-C or SIGTERM; the servers end with their values.
fn wait_for_interrupt() -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::Protocol(format!("cannot wait for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        println!("\nEnding all Envoys and servers.");
        Ok(())
    })
}
